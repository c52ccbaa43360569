"""`mvp-data verify`: checks a finished build against its index, its tables, and the rules of a puzzle.

It reads every byte once and changes nothing. Memory holds the records of one shard, and a hash of each key.
docs/verify.md explains each check.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import IO

from mvp_data.config.options import GROUPS, BuildConfig
from mvp_data.core.errors import ConfigError, OutputError, ShardError
from mvp_data.core.seeds import stable_hash
from mvp_data.core.types import Encoder
from mvp_data.core.version import __version__
from mvp_data.pipeline.build import build_hash
from mvp_data.pipeline.ledger import LEDGER_NAME
from mvp_data.pipeline.output_folder import CARD_NAME, REPORT_NAME, SAMPLES_NAME, STARTED_NAME, is_own
from mvp_data.puzzles.corpus import Thresholds
from mvp_data.shards.index import INDEX_NAME, Index, ShardInfo, read_index
from mvp_data.shards.record import Record
from mvp_data.shards.tar import Sample, read_shard
from mvp_data.system.progress import megabytes
from mvp_data.tasks.catalogue import TASKS
from mvp_data.verify.findings import Finding, Findings, Verification
from mvp_data.verify.pair_checks import PairCheck
from mvp_data.verify.sample_checks import sample_findings
from mvp_data.verify.table_checks import LedgerCheck, SamplesCheck, Totals, report_finding
from mvp_data.viewer.summary import label_balance

RARE_P = 1e-6  # an unbiased build has less even labels once in a million builds
AT_THE_LIMIT = "the build accepted it before JPEG coding: look at it with `mvp-data inspect --sample`"
MADE_SO = "the build itself wrote this: report it, and build again with another version of mvp-data"
_READ_BYTES = 1 << 20


def verify(folder: str | Path) -> Verification:
    """Check the output folder of a build.

    Raises:
        OutputError: the folder does not exist, or cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise OutputError(f"{folder}: no such folder: give the --out folder of a build")
    findings = Findings(remedy=f"repair it with `mvp-data verify {folder} --repair`")
    findings.looked_at(INDEX_NAME)
    try:
        index = _index(folder)
    except ShardError as error:
        there = (folder / INDEX_NAME).exists()
        text = str(error) if there else f"{folder}: no {INDEX_NAME}, so the build is not finished"
        findings.add(Finding(check=INDEX_NAME, text=text), _index_advice(folder))
        results = tuple(findings.checks.values())
        return Verification(path=str(folder), shards=0, samples=0, checks=results, broken=(INDEX_NAME,), foreign=())
    foreign = _foreign_files(folder, index, findings)
    checks = _ShardChecks(folder, index, findings)
    with megabytes(sum(shard.bytes for shard in index.shards), "verify", quiet=False) as add:
        for shard in index.shards:
            checks.shard(shard, add)
    checks.finish()
    return Verification(
        path=str(folder),
        shards=len(index.shards),
        samples=checks.totals.samples,
        checks=tuple(findings.checks.values()),
        broken=tuple(findings.broken),
        foreign=foreign,
    )


def read_config(index: Index, folder: Path, bank: Path | None) -> tuple[BuildConfig, Encoder, Thresholds]:
    """Read configuration, encoder and thresholds from an index. It does not contain the sources.

    Raises:
        ShardError: they are missing, or from a version that this one cannot read.
    """
    try:
        options = index.config["options"]
        groups = {name: kind(**options[name]) for name, kind in GROUPS.items()}
        config = BuildConfig(src=("not known",), out=folder, bank=bank, seed=options["seed"], **groups)
        if not all(isinstance(value, float) for value in index.config["thresholds"].values()):
            raise TypeError("a threshold is not a number")
        return config, Encoder(**index.config["encoder"]), Thresholds(**index.config["thresholds"])
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        raise ShardError(f"{folder / INDEX_NAME}: has no complete configuration ({error!r})") from error


def _index(folder: Path) -> Index:
    """The index; raises `ShardError` if it contradicts itself."""
    index = read_index(folder)
    config, encoder, _ = read_config(index, folder, None)
    if index.tool_version == __version__ and build_hash(config, encoder) != index.config_hash:
        raise ShardError(f"{folder / INDEX_NAME}: its options do not match its config_hash")
    return index


def _index_advice(folder: Path) -> str:
    if (folder / STARTED_NAME).exists():
        return "run the same `mvp-data build` command to finish the build"
    if (folder / INDEX_NAME).exists():
        return "run the same `mvp-data build` command with --overwrite; the bank keeps the decoded videos"
    return "empty the folder and run the same `mvp-data build` command; the bank keeps the decoded videos"


def _foreign_files(folder: Path, index: Index, findings: Findings) -> tuple[str, ...]:
    """Names of the files that do not belong to the build. A hidden file is a warning, since no loader reads it."""
    shards = {shard.name for shard in index.shards}
    foreign: list[str] = []
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise OutputError(f"{folder}: cannot be read ({error.strerror}): check its permissions") from error
    for path in paths:
        name = path.name
        findings.looked_at("folder")
        if name in shards or (is_own(name) and not name.endswith((".tar", ".tmp")) and name != STARTED_NAME):
            continue
        foreign.append(name)
        if name == STARTED_NAME:
            text, advice = "the build is not finished", "run the same `mvp-data build` command to finish it"
        elif is_own(name) and name.endswith(".tmp"):
            text, advice = "left by a killed run", "remove it, unless a build is using the folder"
        elif is_own(name):
            text, advice = f"a shard that is not in {INDEX_NAME}", "move it away"
        else:
            text, advice = "not a file of a build", "move it away"
        findings.add(Finding(check="folder", text=f"{path}: {text}", warning=name.startswith(".")), advice)
    return tuple(foreign)


class _ShardChecks:
    """Checks shard after shard; `finish` makes the checks that need all of them."""

    def __init__(self, folder: Path, index: Index, findings: Findings) -> None:
        self._folder, self._index, self._findings = folder, index, findings
        self._keys: set[int] = set()  # 64-bit hashes: for a million keys, 1 build in 40 million has a collision
        self._groups: dict[int, str] = {}  # hash of a group -> split
        self._shapes: dict[str, tuple[int, int, int]] = {}  # task -> k, l, context frames
        self._positives: dict[str, Counter[str]] = defaultdict(Counter)
        self._samples, self._ledger = SamplesCheck(folder), LedgerCheck(folder)
        self._pairs = PairCheck()
        self._complete = True  # every shard so far was complete
        self.totals = Totals()

    def shard(self, info: ShardInfo, add: Callable[[int], None]) -> None:
        """Check one shard; `add` receives the number of bytes read.

        A problem in a shard counts as damage if the shard's sha256 differs from the index, and otherwise as a defect of
        the build.
        """
        path, findings = self._folder / info.name, self._findings
        findings.looked_at("bytes")
        records: list[Record] = []
        found: list[Finding] = []
        problem = f"{path}: missing, or not a regular file"
        if path.is_file():
            try:
                problem = self._read(info, path, add, records, found)
            except OSError as error:
                problem = f"{path}: cannot be read ({error.strerror})"
        if problem:
            findings.damaged("bytes", info.name, problem)
        if problem or len(records) != info.samples:
            self._complete = False
            self._samples.skip(info.samples)
        else:
            self._samples.compare(info.name, records)
            findings.looked_at("pairs", len({record.pair_id for record in records} - {""}))
            found += self._pairs.shard(records)
        for f in found:
            advice = AT_THE_LIMIT if f.warning else findings.remedy if problem else MADE_SO
            findings.add(Finding(check=f.check, text=f"{path}: {f.text}", warning=f.warning), advice)

    def _read(
        self, info: ShardInfo, path: Path, add: Callable[[int], None], records: list[Record], found: list[Finding]
    ) -> str:
        """Read a whole shard; appends to `records` and `found`.

        Returns how its bytes differ from the index, or an empty string.
        """
        with path.open("rb") as file:
            reader = HashingReader(file, str(path), add)
            try:
                for sample in read_shard(reader):  # type: ignore[arg-type] # it only calls `read`
                    found += self._sample(info, sample)
                    records.append(sample.record)
                if len(records) != info.samples:
                    text = f"{len(records)} samples, {INDEX_NAME} says {info.samples}"
                    found.append(Finding(check="records", text=text))
            except ShardError as error:
                found.append(Finding(check="records", text=str(error).removeprefix(f"{path}: ")))
            reader.drain()
        sha256 = reader.sha256.hexdigest()
        if (reader.size, sha256) == (info.bytes, info.sha256):
            return ""
        said = f"{INDEX_NAME} says {info.bytes} and {info.sha256[:16]}..."
        return f"{path}: has {reader.size} bytes and sha256 {sha256[:16]}..., {said}"

    def finish(self) -> None:
        """Check the balance of the labels, and the tables against all shards."""
        findings, totals = self._findings, self.totals
        for task, samples in sorted(totals.tasks.items()):
            asked = TASKS[task].question(*self._shapes[task][:2])
            _, p = label_balance(self._positives[task], samples=samples, k=asked.slots, pool=asked.choices)
            if p < RARE_P:
                text = f"{self._folder}: the labels of {task} are not equally often right (p {p:.1g})"
                findings.add(Finding(check="labels", text=text, warning=True), "`mvp-data inspect` shows which")
        if problem := self._samples.finish():
            findings.damaged(SAMPLES_NAME, SAMPLES_NAME, problem)
        complete = self._complete  # otherwise the totals are incomplete
        problem = self._ledger.finish(totals.videos) if complete else self._ledger.problem
        found = Finding(check=LEDGER_NAME, text=problem) if problem else None
        if complete and found is None:
            found = report_finding(self._folder, self._index.config["thresholds"], totals, self._ledger)
        if found is not None and found.check == LEDGER_NAME:
            findings.broken[LEDGER_NAME] = None
            first = f"delete {LEDGER_NAME} and " if (self._folder / LEDGER_NAME).exists() else ""
            findings.add(found, f"{first}run the same `mvp-data build` command; the bank keeps the decoded videos")
        elif found is not None:
            findings.damaged(REPORT_NAME, REPORT_NAME, found.text)
        if not (self._folder / CARD_NAME).is_file():
            findings.damaged(CARD_NAME, CARD_NAME, f"{self._folder / CARD_NAME}: missing")
        counts = {SAMPLES_NAME: totals.samples, "labels": totals.samples, CARD_NAME: 1}
        counts |= {LEDGER_NAME: self._ledger.sources, REPORT_NAME: 1} if complete else {}
        for check, count in counts.items():
            findings.looked_at(check, count)

    def _sample(self, info: ShardInfo, sample: Sample) -> list[Finding]:
        """Check one sample by itself and against the samples before it."""
        record = sample.record
        for name in ("records", "keys", "shape", "splits", "repeats", "margin", "encoding"):
            self._findings.looked_at(name)
        self._findings.looked_at("pictures", len(record.member_names) - 1)
        self.totals.add(record)
        self._positives[record.task].update(record.answer)
        self._ledger.compare(record)
        found = [Finding(check="records", text=text) for text in self._mismatches(info, record)]
        key, group = stable_hash(record.key), stable_hash(record.video_group)
        if key in self._keys:
            found.append(Finding(check="keys", text=f"{record.key}: the key occurs twice in the build"))
        self._keys.add(key)
        if (split := self._groups.setdefault(group, record.split)) != record.split:
            text = f"{record.key}: in {record.split}, others of its video group {record.video_group} are in {split}"
            found.append(Finding(check="splits", text=text))
        shape = (record.k, record.l, len(record.context))
        if (first := self._shapes.setdefault(record.task, shape)) != shape:
            text = f"{record.key}: k, l and context frames {shape}, other samples of {record.task} have {first}"
            found.append(Finding(check="shape", text=text))
        return [*found, *sample_findings(sample, self._index.config["thresholds"])]

    def _mismatches(self, info: ShardInfo, record: Record) -> list[str]:
        """The fields of a record that contradict the index."""
        index, encoder = self._index, self._index.config["encoder"]
        pairs = {
            "task": (record.task, info.task),
            "split": (record.split, info.split),
            "config_hash": (record.config_hash, index.config_hash),
            "tool_version": (record.tool_version, index.tool_version),
            "seed": (record.seed, index.config["options"]["seed"]),
            "encoder": (record.encoder_weights_sha256, encoder["weights_sha256"]),
        }
        return [f"{record.key}: {name} is {a}, {INDEX_NAME} says {b}" for name, (a, b) in pairs.items() if a != b]


class HashingReader:
    """A file that hashes and counts the bytes read from it."""

    def __init__(self, file: IO[bytes], name: str, add: Callable[[int], None]) -> None:
        self.name, self.size, self.sha256 = name, 0, hashlib.sha256()
        self._file, self._add = file, add

    def read(self, size: int) -> bytes:
        """Up to `size` bytes."""
        data = self._file.read(size)
        self.size += len(data)
        self.sha256.update(data)
        self._add(len(data))
        return data

    def drain(self) -> None:
        """Read the rest of the file."""
        while self.read(_READ_BYTES):
            pass
