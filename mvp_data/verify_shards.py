"""The pass of `verify` over the shards: one sample at a time, of all others only hashes of their names are held."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import IO

from mvp_data.errors import ShardError
from mvp_data.ledger import LEDGER_NAME
from mvp_data.output import CARD_NAME, REPORT_NAME, SAMPLES_NAME
from mvp_data.schema import Record
from mvp_data.seeds import stable_hash
from mvp_data.shard_index import INDEX_NAME, Index, ShardInfo
from mvp_data.shards import Sample, read_shard
from mvp_data.summary import label_balance
from mvp_data.tasks.catalogue import TASKS
from mvp_data.verify_beside import LedgerCheck, SamplesCheck, Totals, report_finding
from mvp_data.verify_sample import sample_findings
from mvp_data.verify_tally import Finding, Tally

RARE_P = 1e-6  # chance alone makes the labels of one build in a million less even than this
AT_THE_LIMIT = "the build judged otherwise, before JPEG coding; `mvp-data inspect --sample` shows it"
MADE_SO = "the build made it so: build again with another mvp-data, and report it"
_READ_BYTES = 1 << 20


class ShardWalk:
    """Checks shard after shard, and at the end what only all of them together tell."""

    def __init__(self, folder: Path, index: Index, tally: Tally) -> None:
        self._folder, self._index, self._tally = folder, index, tally
        self._keys: set[int] = set()  # hashes of 64 bits: two of a million keys meet in one build of 40 million
        self._groups: dict[int, str] = {}  # hash of a group -> split
        self._shapes: dict[str, tuple[int, int, int]] = {}  # k, l, context frames of a task
        self._positives: dict[str, Counter[str]] = defaultdict(Counter)
        self._samples, self._ledger = SamplesCheck(folder), LedgerCheck(folder)
        self._complete = True  # every shard was there, whole
        self.totals = Totals()

    def shard(self, info: ShardInfo, add: Callable[[int], None]) -> None:
        """Check one shard; `add` is told the bytes read.

        What is wrong inside is damage if the bytes are not those of the index, and a fault of the build if they are.
        """
        path, tally = self._folder / info.name, self._tally
        tally.looked_at["bytes"] += 1
        records: list[Record] = []
        findings: list[Finding] = []
        problem = f"{path}: not there, or no plain file"
        if path.is_file():
            try:
                problem = self._read(info, path, add, records, findings)
            except OSError as error:
                problem = f"{path}: cannot be read ({error.strerror})"
        if problem:
            tally.damaged("bytes", info.name, problem)
        if problem or len(records) != info.samples:
            self._complete = False
            self._samples.skip(info.samples)
        else:
            self._samples.compare(info.name, records)
        for f in findings:
            advice = AT_THE_LIMIT if f.warning else tally.remedy if problem else MADE_SO
            tally.add(Finding(check=f.check, text=f"{path}: {f.text}", warning=f.warning), advice)

    def _read(
        self, info: ShardInfo, path: Path, add: Callable[[int], None], records: list[Record], findings: list[Finding]
    ) -> str:
        """Read a shard to its end, noting records and findings; says how its bytes differ from those of the index."""
        with path.open("rb") as file:
            reader = HashingReader(file, str(path), add)
            try:
                for sample in read_shard(reader):  # type: ignore[arg-type] # it only calls `read`
                    findings += self._sample(info, sample)
                    records.append(sample.record)
                if len(records) != info.samples:
                    text = f"{len(records)} samples, {INDEX_NAME} says {info.samples}"
                    findings.append(Finding(check="records", text=text))
            except ShardError as error:
                findings.append(Finding(check="records", text=str(error).removeprefix(f"{path}: ")))
            reader.drain()
        found = reader.sha256.hexdigest()
        if (reader.size, found) == (info.bytes, info.sha256):
            return ""
        said = f"{INDEX_NAME} says {info.bytes} and {info.sha256[:16]}..."
        return f"{path}: has {reader.size} bytes and sha256 {found[:16]}..., {said}"

    def finish(self) -> None:
        """What is compared with the whole: labels, and the files beside the shards."""
        tally, totals = self._tally, self.totals
        for task, samples in sorted(totals.tasks.items()):
            asked = TASKS[task].question(*self._shapes[task][:2])
            _, p = label_balance(self._positives[task], samples=samples, k=asked.slots, pool=asked.choices)
            if p < RARE_P:
                text = f"{self._folder}: labels of {task} are right unequally often (p {p:.1g})"
                tally.add(Finding(check="labels", text=text, warning=True), "`mvp-data inspect` shows which")
        if problem := self._samples.finish():
            tally.damaged(SAMPLES_NAME, SAMPLES_NAME, problem)
        complete = self._complete  # or there is nothing to add up
        problem = self._ledger.finish(totals.videos) if complete else self._ledger.problem
        found = Finding(check=LEDGER_NAME, text=problem) if problem else None
        if complete and found is None:
            found = report_finding(self._folder, self._index.config["thresholds"], totals, self._ledger)
        if found is not None and found.check == LEDGER_NAME:
            tally.broken[LEDGER_NAME] = None
            first = f"delete {LEDGER_NAME} and " if (self._folder / LEDGER_NAME).exists() else ""
            tally.add(found, f"{first}run the same `mvp-data build` command; the bank keeps what is decoded")
        elif found is not None:
            tally.damaged(REPORT_NAME, REPORT_NAME, found.text)
        if not (self._folder / CARD_NAME).is_file():
            tally.damaged(CARD_NAME, CARD_NAME, f"{self._folder / CARD_NAME}: not there")
        tally.looked_at.update({SAMPLES_NAME: totals.samples, "labels": totals.samples, CARD_NAME: 1})
        tally.looked_at.update({LEDGER_NAME: self._ledger.sources, REPORT_NAME: 1} if complete else {})

    def _sample(self, info: ShardInfo, sample: Sample) -> list[Finding]:
        """One sample by itself, and against those before it."""
        record, looked_at = sample.record, self._tally.looked_at
        for name in ("records", "keys", "shape", "splits", "repeats", "margin", "encoding"):
            looked_at[name] += 1
        looked_at["pictures"] += len(record.member_names) - 1
        self.totals.add(record)
        self._positives[record.task].update(record.answer)
        self._ledger.compare(record)
        found = [Finding(check="records", text=text) for text in self._strangeness(info, record)]
        key, group = stable_hash(record.key), stable_hash(record.video_group)
        if key in self._keys:
            found.append(Finding(check="keys", text=f"{record.key}: the key comes twice in the build"))
        self._keys.add(key)
        if (split := self._groups.setdefault(group, record.split)) != record.split:
            text = f"{record.key}: in {record.split}, others of its video group {record.video_group} are in {split}"
            found.append(Finding(check="splits", text=text))
        shape = (record.k, record.l, len(record.context))
        if (first := self._shapes.setdefault(record.task, shape)) != shape:
            text = f"{record.key}: k, l and context frames {shape}, other samples of {record.task} have {first}"
            found.append(Finding(check="shape", text=text))
        return [*found, *sample_findings(sample, self._index.config["thresholds"])]

    def _strangeness(self, info: ShardInfo, record: Record) -> list[str]:
        """Why a record is not of this shard and this build."""
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
    """A file that hashes and counts what is read from it."""

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
        """Read what is left."""
        while self.read(_READ_BYTES):
            pass
