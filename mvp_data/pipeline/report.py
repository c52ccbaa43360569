"""The reports that `build` and `index` return; that of a build is also stored as `report.json`."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mvp_data.config.options import PuzzleConfig
from mvp_data.core.errors import OutputError
from mvp_data.core.text import counts, plural, times
from mvp_data.pipeline.ledger import LedgerRow
from mvp_data.pipeline.output_folder import REPORT_NAME
from mvp_data.pipeline.pack import Packed
from mvp_data.puzzles.corpus import Thresholds
from mvp_data.puzzles.make import PuzzleSet
from mvp_data.shards.record import SPLITS
from mvp_data.system.files import atomic_write

MAX_REPORT_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """The results of a build, as in `report.json`."""

    out: Path
    bank: Path
    samples: int
    shards: int
    sources: int  # files found, usable or not
    used: int  # videos that gave samples
    skipped: dict[str, int]  # the other sources, by reason
    refused: dict[str, int] = field(default_factory=dict)  # hidden segments that gave no puzzle, by reason
    origins: dict[str, int] = field(default_factory=dict)  # distractors by origin
    shortfalls: dict[str, int] = field(default_factory=dict)  # distractors that an origin lacked and others gave
    splits: dict[str, int] = field(default_factory=dict)  # samples
    tasks: dict[str, int] = field(default_factory=dict)  # samples
    shares: dict[str, float] = field(default_factory=dict)  # of the tasks, as asked for
    pairs: dict[str, int] = field(default_factory=dict)  # samples by `Record.pair_kind`, `none` without a pair
    overlap: dict[str, float] = field(default_factory=dict)  # by split: share of samples whose answer another one shows
    rejected_frames: dict[str, int] = field(default_factory=dict)  # sampled frames that are not used, by reason
    encoder: str = ""  # its name and device
    thresholds: dict[str, float] = field(default_factory=dict)
    indexes: dict[str, dict[str, float | str]] = field(default_factory=dict)  # neighbour search: kind and recall
    seconds: dict[str, float] = field(default_factory=dict)  # wall-clock time by step
    cpu_seconds: dict[str, float] = field(default_factory=dict)  # the same, summed over all processes
    rates: dict[str, float] = field(default_factory=dict)  # items a second, by step
    workers: dict[str, float] = field(default_factory=dict)  # of pass 1: number, share of time busy, peak MB
    short_videos: int = 0  # decoded videos under a minute
    already_complete: bool = False  # the folder already held this build


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """The results of `index`."""

    bank: Path
    sources: int
    videos: int  # in the bank, decoded and embedded
    skipped: dict[str, int]
    seconds: dict[str, float]


SHORT_S = 60.0  # `--preset short` is for shorter videos


def make_report(
    out: Path,
    bank: Path,
    rows: Sequence[LedgerRow],
    puzzle_set: PuzzleSet,
    packed: Packed,
    puzzle: PuzzleConfig,
    thresholds: Thresholds,
) -> BuildReport:
    """Sum up the ledger, the puzzles and the shards. Encoder, workers and times stay empty."""
    splits = Counter(record.split for _, record in packed.records)
    rejected: Counter[str] = Counter()
    for row in rows:
        rejected.update(json.loads(row.frames_rejected))
    return BuildReport(
        out=out,
        bank=bank,
        samples=len(packed.records),
        shards=len(packed.shards),
        sources=len(rows),
        used=sum(row.outcome == "used" for row in rows),
        short_videos=sum(0 < row.duration_s < SHORT_S for row in rows),
        skipped=dict(Counter(row.reason for row in rows if row.outcome == "skipped")),
        refused=puzzle_set.drops,
        origins=puzzle_set.origins,
        shortfalls=puzzle_set.shortfalls,
        splits={split: splits[split] for split in SPLITS},
        tasks=dict(Counter(record.task for _, record in packed.records)),
        shares={task: round(share, 4) for task, share in puzzle.task_shares},
        pairs=dict(Counter(record.pair_kind or "none" for _, record in packed.records)),
        overlap=puzzle_set.overlap,
        rejected_frames=dict(rejected),
        thresholds=asdict(thresholds),
        indexes=puzzle_set.indexes,
    )


def stored_report(out: Path, bank: Path) -> BuildReport:
    """Return the report of the finished build in `out`, with the folders as they are named now.

    Raises:
        OutputError: it is missing or damaged.
    """
    known = {f.name for f in fields(BuildReport)}
    stored = {name: value for name, value in read_report(out).items() if name in known}
    return BuildReport(**{**stored, "out": out, "bank": bank, "already_complete": True})


def to_text(report: BuildReport) -> str:
    """Format the report as a few lines, with the command to run next."""
    if report.already_complete:
        return (
            f"{report.out} already holds this build: {report.samples} samples in {plural(report.shards, 'shard')}. "
            "Pass --overwrite to build it again (the bank keeps what is decoded)."
        )
    lines = [
        f"{report.samples} samples in {plural(report.shards, 'shard')} from {report.used} of "
        f"{plural(report.sources, 'file')}: {report.out}",
        f"  splits    {counts(report.splits)}",
        f"  tasks     {counts(report.tasks)}{_asked(report.shares)}",
        f"  pairs     {counts(report.pairs)} (samples by where their distractors are from)",
        f"  overlap   {_percentages(report.overlap)} (samples whose hidden frames another one shows)",
        f"  skipped   {counts(report.skipped)}",
        f"  refused   {counts(report.refused)} (hidden segments)",
        f"  frames    {counts(report.rejected_frames)} (not used)",
        f"  mined     {counts(report.origins)} (distractors)",
        f"  encoder   {report.encoder}",
        f"  time      {times(report.seconds)}",
    ]
    if report.samples:
        lines.append(f"look at them: mvp-data inspect {report.out} --html page.html")
    if 2 * report.short_videos > report.sources:
        lines.append("short clips:  --preset short makes more samples of videos under a minute (docs/puzzles.md)")
    if report.skipped:
        lines.append(f"why skipped:  mvp-data ledger {report.out} --skipped    (docs/puzzles.md explains every reason)")
    return "\n".join(lines)


def _percentages(shares: Mapping[str, float]) -> str:
    """`train 8 %, val 0 %`."""
    return ", ".join(f"{name} {share:.0%}".replace("%", " %") for name, share in shares.items()) or "none"


def _asked(shares: Mapping[str, float]) -> str:
    """Return the requested task shares as text; actual ones differ if the rules refuse more puzzles of one task."""
    asked = ", ".join(f"{task} {share:.0%}" for task, share in shares.items())
    return f" (asked for: {asked})" if len(shares) > 1 else ""


def write_report(out: Path, report: Mapping[str, Any]) -> None:
    """Write `report.json`."""
    with atomic_write(out / REPORT_NAME) as file:
        file.write((json.dumps(report, indent=1, sort_keys=True, default=str) + "\n").encode())


def read_report(out: Path) -> dict[str, Any]:
    """Read `report.json`.

    Raises:
        OutputError: it is missing or damaged.
    """
    try:
        with (out / REPORT_NAME).open("rb") as file:
            loaded = json.loads(file.read(MAX_REPORT_BYTES))
        if not isinstance(loaded, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError, RecursionError) as error:
        problem = f"{out / REPORT_NAME}: cannot be read ({error}); pass --overwrite to build again"
        raise OutputError(problem) from error
    return loaded
