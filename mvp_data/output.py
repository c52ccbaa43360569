"""The output folder: whose it is, what state it is in, and the files that stand beside the shards."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvp_data.errors import OutputError, ShardError
from mvp_data.files import atomic_write, remove
from mvp_data.journal import STATUS_NAME
from mvp_data.ledger import LEDGER_NAME, write_rows
from mvp_data.locks import LOCK_NAME, Lock, locked_folder
from mvp_data.pack import shard_stem
from mvp_data.puzzles.difficulty import bucket
from mvp_data.puzzles.distractors import ORIGINS
from mvp_data.schema import SPLITS, Record
from mvp_data.shard_index import INDEX_NAME, Index, ShardInfo, read_index
from mvp_data.shard_offsets import OFFSETS_NAME
from mvp_data.tasks.catalogue import TASKS

STARTED_NAME = "started.json"  # says whose unfinished work lies here; gone once the index is written
SAMPLES_NAME = "samples.parquet"
REPORT_NAME = "report.json"
CARD_NAME = "README.md"
MAX_REPORT_BYTES = 16 << 20
_LEFT_BY_NOTHING = frozenset({LEDGER_NAME, REPORT_NAME})  # what a build without a sample leaves
_RUNNING = frozenset({LOCK_NAME, STATUS_NAME})  # of the run that is at work, or was when it died
_OWN_NAMES = _RUNNING | {INDEX_NAME, STARTED_NAME, SAMPLES_NAME, LEDGER_NAME, REPORT_NAME, CARD_NAME, OFFSETS_NAME}


@contextmanager
def locked(out: Path) -> Iterator[Lock]:
    """Hold the folder, made if need be, for one build; the lock dies with the process.

    Raises:
        OutputError: another build is at work there, or the folder cannot be made.
    """
    unusable, busy = (
        "cannot be used as output folder",
        "another build is at work there; wait for it, or choose another --out",
    )
    with locked_folder(out, unusable=unusable, busy=busy) as lock:
        yield lock


def prepare(out: Path, config_hash: str, *, overwrite: bool) -> Index | None:
    """See whether a build may go into the folder; nothing in it is changed yet.

    Returns the index of a whole build of the same configuration if that is what lies there.

    Raises:
        OutputError: the folder holds something else, or cannot be read.
    """
    try:
        paths = list(out.iterdir())
        foreign = sorted(path.name for path in paths if path.is_dir() or not is_own(path.name))
    except OSError as error:
        raise OutputError(f"{out}: cannot be used as output folder ({error.strerror})") from error
    names = {path.name for path in paths}
    whole = {name for name in names if not name.startswith(".")}  # `rm shards/*` leaves what is hidden
    lost_index = not whole & {INDEX_NAME, STARTED_NAME} and whole >= _LEFT_BY_NOTHING | {SAMPLES_NAME}
    if lost_index and not foreign and not overwrite:
        raise OutputError(f"{out}: holds a build without its {INDEX_NAME}; pass --overwrite to make it again")
    ours = lost_index or whole in (set(), _LEFT_BY_NOTHING) or whole & {INDEX_NAME, STARTED_NAME}
    if foreign or not ours:
        shown = ", ".join(foreign[:3] or sorted(names)[:3])
        raise OutputError(f"{out}: holds files that are not a build's ({shown}); give an empty or new folder to --out")
    unfinished = STARTED_NAME in names
    if unfinished and not overwrite and _started_hash(out) != config_hash:
        raise OutputError(
            f"{out}: holds an unfinished build of another configuration; "
            "finish it with its own options, choose another --out, or pass --overwrite"
        )
    if INDEX_NAME not in names:
        return None
    try:
        index = read_index(out)
    except ShardError as error:
        if overwrite and LEDGER_NAME in names:  # damaged, yet ours; some other index.json is not ours to clear
            return None
        problem = f"{out}: holds a build that cannot be read, damaged or of another version ({error})"
        raise OutputError(f"{problem}; pass --overwrite to replace it, or give another --out") from error
    same = index.config_hash == config_hash
    if not (same or unfinished or overwrite):
        raise OutputError(
            f"{out}: holds a finished build of another configuration ({index.counts['samples']} samples); "
            "choose another --out, or pass --overwrite to replace it"
        )
    beside = {SAMPLES_NAME, LEDGER_NAME, REPORT_NAME, CARD_NAME} <= names
    if overwrite or not same or not beside or not all(_is_whole(out, shard) for shard in index.shards):
        return None
    finish(out)  # a run that was killed just before it could
    return index


def start(out: Path, config_hash: str) -> None:
    """Mark the folder as this build's, then remove an earlier one, its index first.

    Killed at any moment, the same command goes on: no shard that lies there is ever taken over.
    """
    with atomic_write(out / STARTED_NAME) as file:
        file.write(json.dumps({"config_hash": config_hash}).encode())
    for path in sorted(out.iterdir(), key=lambda p: (p.name != INDEX_NAME, p.name)):
        if path.name not in {STARTED_NAME} | _RUNNING:
            remove(path)


def finish(out: Path) -> None:
    """Remove the mark of unfinished work, once the index is there, or when there is nothing to finish."""
    remove(out / STARTED_NAME)


def _plain(name: str) -> str:
    return re.sub(r"^\.(.+)\.[0-9a-f-]+\.tmp$", r"\1", name)  # what a killed run leaves of an atomic write


def is_own(name: str) -> bool:
    """Whether a build, or what a killed one left, has files of this name in its folder."""
    plain = _plain(name)
    shard = plain.removeprefix(".").removesuffix(OFFSETS_NAME)  # the offset index of a single shard bears its name
    stem, _, number = shard.rpartition("-")
    return plain in _OWN_NAMES or (stem in _shard_stems() and re.fullmatch(r"\d{6}\.tar", number) is not None)


def _shard_stems() -> set[str]:
    return {shard_stem(task, split) for task in TASKS for split in SPLITS}


def _started_hash(out: Path) -> str:
    try:
        return str(json.loads((out / STARTED_NAME).read_bytes())["config_hash"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OutputError(f"{out / STARTED_NAME}: damaged; pass --overwrite to start again") from error


def _is_whole(out: Path, shard: ShardInfo) -> bool:
    path = out / shard.name
    return path.is_file() and path.stat().st_size == shard.bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleRow:
    """One row of `samples.parquet`: a sample without its pixels."""

    key: str
    task: str
    shard: str
    split: str
    video_id: str
    video_path: str
    video_group: str
    k: int
    l: int  # noqa: E741 - the name of the paper
    answer: str  # "C, A, F, B"
    width_px: int
    height_px: int
    context_frames: int
    mask_start: int
    mask_policy: str
    hidden_start_s: float
    hidden_end_s: float
    sampled_fps: float
    difficulty: float
    difficulty_bucket: int  # tenth of the scale, 0 to 9
    doubt: str  # why its order may be argued about, or empty
    margin: float
    decoys: int  # distractors that form a decoy run
    neighbourhood: int  # distractors by origin
    same_video: int
    corpus: int
    distractor_similarity: float  # the highest
    extra: str  # the manifest's other columns, as one JSON object


def write_samples(out: Path, records: Sequence[tuple[str, Record]]) -> None:
    """Write `samples.parquet`, a row a sample in the order of the shards."""
    write_rows(out / SAMPLES_NAME, SampleRow, [sample_row(shard, record) for shard, record in records])


def sample_row(shard: str, record: Record) -> dict[str, Any]:
    """The row of `samples.parquet` for a sample of this shard."""
    distractors = [c for c in record.candidates if c.order < 0]
    origins = [c.origin for c in distractors]
    derived = {
        "shard": shard,
        "answer": ", ".join(record.answer),
        "context_frames": len(record.context),
        "difficulty_bucket": bucket(record.difficulty),
        "decoys": sum(c.decoy >= 0 for c in record.candidates),
        "distractor_similarity": max((c.similarity for c in distractors), default=0.0),
        **{origin: origins.count(origin) for origin in ORIGINS},
    }
    return {name: derived.get(name, getattr(record, name, None)) for name in SampleRow.__slots__}


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


_CARD = """---
configs:
{configs}
task_categories:
- visual-question-answering
tags:
- masked-video-prediction
- webdataset
size_categories:
- {size}
---

# Masked video prediction puzzles

Each sample hides a segment of a video. Its JSON names the
hidden key frames among the candidates, in order (`answer`); other tasks ask for a part of that. Made by
`mvp-data build`.

| | |
|---|---|
{facts}
"""
_HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_HUB_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_card(out: Path, shards: Sequence[ShardInfo], facts: Mapping[str, Any]) -> None:
    """Write the dataset card, whose YAML header tells `datasets` and the Hub which files make up which split."""
    there = {(shard.task, shard.split) for shard in shards}
    samples = sum(shard.samples for shard in shards)
    configs: list[str] = []
    for task in (name for name in TASKS if any(name == shard.task for shard in shards)):
        first = "  default: true\n" if TASKS[task].main else ""
        configs.append(f"- config_name: {task}\n{first}  data_files:")
        splits = [split for split in SPLITS if (task, split) in there]
        configs += [f'  - split: {_HUB_SPLITS[s]}\n    path: "{shard_stem(task, s)}-*.tar"' for s in splits]
    card = _CARD.format(
        configs="\n".join(configs),
        size=next((name for limit, name in _HUB_SIZES if samples < limit), "n>1M"),
        facts="\n".join(f"| {name} | {value} |" for name, value in facts.items()),
    )
    with atomic_write(out / CARD_NAME) as file:
        file.write(card.encode())
