"""Checks samples.parquet, ledger.parquet and report.json against the shards."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mvp_data.core.errors import ShardError
from mvp_data.core.seeds import stable_hash
from mvp_data.core.text import one_line
from mvp_data.pipeline.ledger import LEDGER_NAME, LedgerRow
from mvp_data.pipeline.output_folder import REPORT_NAME, SAMPLES_NAME
from mvp_data.pipeline.sample_table import SampleRow, sample_row
from mvp_data.shards.record import MAX_JSON_BYTES, SPLITS, Record, parse_object
from mvp_data.system.parquet import open_parquet, plain_value, scalars
from mvp_data.verify.findings import Finding

MAX_REPORT_BYTES = 64 << 20


def rows_of(path: Path, row_type: type) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file whose columns are the fields of a dataclass; one row is in memory at a time.

    Raises:
        ShardError: the file is missing or damaged, or has other columns.
    """
    import pyarrow as pa

    types = {f.name: f.type for f in fields(row_type)}
    if path.exists() and not path.is_file():  # opening a pipe would block
        raise ShardError(f"{path}: is not a file")
    try:
        with path.open("rb") as raw, open_parquet(raw) as file:
            if file.schema_arrow.names != list(types):
                raise ShardError(f"{path}: its columns are not those that this version writes")
            for cells in scalars(file):
                row = {name: plain_value(cell, MAX_JSON_BYTES) for name, cell in zip(types, cells, strict=True)}
                if any(type(row[name]) is not kind for name, kind in types.items()):
                    raise ShardError(f"{path}: has a value of the wrong type")
                yield row
    except FileNotFoundError as error:
        raise ShardError(f"{path}: missing") from error
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise ShardError(f"{path}: cannot be read ({one_line(error)})") from error


@dataclass(kw_only=True, slots=True)
class Totals:
    """Sums over all shards."""

    samples: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)
    videos: Counter[int] = field(default_factory=Counter)  # hash of the id -> samples
    pairs: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        """Count a sample."""
        self.samples += 1
        self.splits[record.split] += 1
        self.tasks[record.task] += 1
        self.videos[stable_hash(record.video_id)] += 1
        self.origins.update(c.origin for c in record.candidates if c.order < 0)
        self.pairs[record.pair_kind or "none"] += 1


class SamplesCheck:
    """Compares `samples.parquet` with the shards, row by row; `problem` is the first problem, or empty."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / SAMPLES_NAME
        self._rows = rows_of(self._path, SampleRow)
        self._number = 0
        self.problem = ""

    def compare(self, shard: str, records: Sequence[Record]) -> None:
        """Compare the rows of one shard."""
        for record in records:
            row = self._next()
            if not self.problem and row != sample_row(shard, record):
                self.problem = f"{self._path}: row {self._number} does not match sample {record.key} in {shard}"

    def skip(self, count: int) -> None:
        """Skip the rows of a shard that cannot be read."""
        for _ in range(count):
            if self._next() is None:  # a damaged index may claim any number
                return

    def finish(self) -> str:
        """The problem, or an empty string."""
        if not self.problem and self._next() is not None:
            self.problem = f"{self._path}: has more rows than there are samples"
        return self.problem

    def _next(self) -> dict[str, Any] | None:
        self._number += 1
        try:
            return None if self.problem else next(self._rows, None)
        except ShardError as error:
            self.problem = str(error)
            return None


class LedgerCheck:
    """Compares `ledger.parquet` with the shards; `problem` is the first problem, or empty."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER_NAME
        self.sources, self.used = 0, 0
        self.skipped: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()  # frames by reason
        self.problem = ""
        self._videos: dict[str, tuple[str, str, int]] = {}  # id -> path, split, samples
        try:
            for row in rows_of(self._path, LedgerRow):
                self._add(LedgerRow(**row))
        except ShardError as error:
            self.problem = str(error)

    def compare(self, record: Record) -> None:
        """Compare the videos of a sample with their rows in the ledger."""
        if self.problem:
            return
        for video_id, path in {(record.video_id, record.video_path)} | {
            (c.video_id, c.video_path) for c in record.candidates
        }:
            known = self._videos.get(video_id)
            if known is None or known[:2] != (path, record.split):
                listed = f"lists it as {known[0]!r:.200} of {known[1]}" if known else "does not list it"
                self.problem = (
                    f"{self._path}: {record.key} is from {path!r:.200} of {record.split}, the ledger {listed}"
                )

    def finish(self, videos: Mapping[int, int]) -> str:
        """The problem, or an empty string. `videos` maps the hash of a video id to its number of samples."""
        for video_id, (path, _, samples) in self._videos.items():
            if not self.problem and samples != (found := videos.get(stable_hash(video_id), 0)):
                self.problem = f"{self._path}: {samples} samples of {path!r:.200}, the shards have {found}"
        return self.problem

    def _add(self, row: LedgerRow) -> None:
        self.sources += 1
        self.used += row.outcome == "used"
        self.skipped.update([row.reason] if row.outcome == "skipped" else [])
        rejected = parse_object(row.frames_rejected.encode(), limit_bytes=MAX_JSON_BYTES)
        self.rejected.update({reason: count for reason, count in rejected.items() if isinstance(count, int)})
        wrong = (row.outcome == "used") != (row.samples > 0) or (row.outcome == "used") == bool(row.reason)
        twice = bool(row.split) and row.video_id in self._videos  # a second file with the same bytes has no split
        if not self.problem and (wrong or twice or row.outcome not in ("used", "skipped")):
            self.problem = f"{self._path}: the row of {row.path!r:.200} contradicts itself or another one"
        if row.split:  # it gave frames
            self._videos[row.video_id] = (row.path, row.split, row.samples)


def report_finding(
    folder: Path, thresholds: Mapping[str, float], totals: Totals, ledger: LedgerCheck
) -> Finding | None:
    """The first difference between `report.json` and the other files, or why it cannot be read.

    If it contradicts only the ledger, either file may be wrong. The finding then names the ledger, because only a new
    build can replace that, and it writes both files.
    """
    path = folder / REPORT_NAME
    if path.exists() and not path.is_file():
        return Finding(check=REPORT_NAME, text=f"{path}: is not a file")
    try:
        with path.open("rb") as file:
            report = parse_object(file.read(MAX_REPORT_BYTES + 1), limit_bytes=MAX_REPORT_BYTES)
    except OSError as error:
        return Finding(check=REPORT_NAME, text=f"{path}: cannot be read ({error.strerror})")
    except ShardError as error:
        return Finding(check=REPORT_NAME, text=f"{path}: {error}")
    by_shards = {
        "samples": totals.samples,
        "splits": {split: totals.splits[split] for split in SPLITS},
        "tasks": dict(totals.tasks),
        "origins": dict(totals.origins),
        "pairs": dict(totals.pairs),
        "thresholds": dict(thresholds),
    }
    by_ledger = {
        "sources": ledger.sources,
        "used": ledger.used,
        "skipped": dict(ledger.skipped),
        "rejected_frames": dict(ledger.rejected),
    }
    for check, wanted in ((REPORT_NAME, by_shards), (LEDGER_NAME, by_ledger)):
        for name, value in wanted.items():
            if report.get(name) != value:
                others = "the other files say" if check == REPORT_NAME else f"{LEDGER_NAME} says"
                text = f"{path}: {name} is {report.get(name)!r:.200}, {others} {value!r:.200}"
                return Finding(check=check, text=text)
    return None
