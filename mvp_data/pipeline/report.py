"""What a run says of itself: the report that `build` returns and writes."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mvp_data.config.options import BuildConfig
from mvp_data.core.errors import OutputError
from mvp_data.core.text import counts, plural, times
from mvp_data.pipeline.ledger import LedgerRow
from mvp_data.pipeline.output_folder import REPORT_NAME
from mvp_data.pipeline.pack import Packed
from mvp_data.pipeline.run_log import Journal
from mvp_data.puzzles.corpus import Thresholds
from mvp_data.puzzles.make import PuzzleSet
from mvp_data.shards.record import SPLITS
from mvp_data.system.files import atomic_write

MAX_REPORT_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build did; `report.json` holds the same."""

    out: Path
    bank: Path
    samples: int
    shards: int
    sources: int  # files found, usable or not
    used: int  # of them, videos that gave samples
    skipped: dict[str, int]  # the others by reason
    refused: dict[str, int] = field(default_factory=dict)  # hidden segments that gave no puzzle, by reason
    origins: dict[str, int] = field(default_factory=dict)  # distractors by origin
    shortfalls: dict[str, int] = field(default_factory=dict)  # quota an origin could not give, taken from others
    splits: dict[str, int] = field(default_factory=dict)  # samples
    tasks: dict[str, int] = field(default_factory=dict)  # samples
    shares: dict[str, float] = field(default_factory=dict)  # of the tasks, as asked for
    decoys: int = 0  # samples with a decoy run
    foreign_decoys: int = 0  # of them, with a run of another video: easy
    rejected_frames: dict[str, int] = field(default_factory=dict)  # sampled frames that are no key frames
    encoder: str = ""  # its name, and what it ran on
    thresholds: dict[str, float] = field(default_factory=dict)
    indexes: dict[str, dict[str, float | str]] = field(default_factory=dict)  # neighbour search: kind and recall
    seconds: dict[str, float] = field(default_factory=dict)  # wall-clock time by step
    cpu_seconds: dict[str, float] = field(default_factory=dict)  # the same with all processes added up
    rates: dict[str, float] = field(default_factory=dict)  # things done a second, by step
    workers: dict[str, float] = field(default_factory=dict)  # of pass 1: how many, share of time at work, peak MB
    already_complete: bool = False  # nothing was done: the folder held this very build


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """What filling a bank did."""

    bank: Path
    sources: int
    videos: int  # in the bank, decoded and embedded
    skipped: dict[str, int]
    seconds: dict[str, float]


def make_report(
    config: BuildConfig,
    rows: Sequence[LedgerRow],
    puzzle_set: PuzzleSet,
    packed: Packed,
    thresholds: Thresholds,
    workers: Mapping[str, float],
    journal: Journal,
) -> BuildReport:
    """Add up what the ledger, the puzzles and the shards say."""
    splits = Counter(record.split for _, record in packed.records)
    rejected: Counter[str] = Counter()
    for row in rows:
        rejected.update(json.loads(row.frames_rejected))
    return BuildReport(
        out=config.out,
        bank=config.bank_folder,
        samples=len(packed.records),
        shards=len(packed.shards),
        sources=len(rows),
        used=sum(row.outcome == "used" for row in rows),
        skipped=dict(Counter(row.reason for row in rows if row.outcome == "skipped")),
        refused=puzzle_set.drops,
        origins=puzzle_set.origins,
        shortfalls=puzzle_set.shortfalls,
        splits={split: splits[split] for split in SPLITS},
        tasks=dict(Counter(record.task for _, record in packed.records)),
        shares={task: round(share, 4) for task, share in config.puzzle.task_shares},
        decoys=sum(any(c.decoy >= 0 for c in record.candidates) for _, record in packed.records),
        foreign_decoys=sum(
            any(c.decoy >= 0 and c.origin == "corpus" for c in record.candidates) for _, record in packed.records
        ),
        rejected_frames=dict(rejected),
        thresholds=asdict(thresholds),
        indexes=puzzle_set.indexes,
        seconds=journal.seconds,
        cpu_seconds=journal.cpu_seconds,
        rates=journal.rates,
        workers=dict(workers),
    )


def stored_report(config: BuildConfig) -> BuildReport:
    """The report of the finished build that lies in the output folder.

    Raises:
        OutputError: there is none that can be read.
    """
    known = {f.name for f in fields(BuildReport)}
    stored = {name: value for name, value in read_report(config.out).items() if name in known}
    return BuildReport(**{**stored, "out": config.out, "bank": config.bank_folder, "already_complete": True})


def to_text(report: BuildReport) -> str:
    """The report as a few lines, with the command that comes next."""
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
        f"  decoys    {report.decoys} samples with a decoy run, {report.foreign_decoys} with one of another video",
        f"  skipped   {counts(report.skipped)}",
        f"  refused   {counts(report.refused)} (hidden segments)",
        f"  frames    {counts(report.rejected_frames)} (not used)",
        f"  mined     {counts(report.origins)} (distractors)",
        f"  encoder   {report.encoder}",
        f"  time      {times(report.seconds)}",
    ]
    if report.samples:
        lines.append(f"look at them: mvp-data inspect {report.out} --html page.html")
    if report.skipped:
        lines.append(f"why skipped:  mvp-data ledger {report.out} --skipped    (docs/puzzles.md explains every reason)")
    return "\n".join(lines)


def _asked(shares: Mapping[str, float]) -> str:
    """The shares asked for, where there are several: rules and partners may have left others."""
    asked = ", ".join(f"{task} {share:.0%}" for task, share in shares.items())
    return f" (asked for: {asked})" if len(shares) > 1 else ""


def write_report(out: Path, report: Mapping[str, Any]) -> None:
    """Write `report.json`: counts and times of this run."""
    with atomic_write(out / REPORT_NAME) as file:
        file.write((json.dumps(report, indent=1, sort_keys=True, default=str) + "\n").encode())


def read_report(out: Path) -> dict[str, Any]:
    """What `report.json` holds.

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
