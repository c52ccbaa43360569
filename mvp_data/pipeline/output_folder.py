"""The output folder of a build: its state, the files next to the shards, and a build that it already holds."""

import json
import re
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from mvp_data.core.errors import OutputError, ShardError
from mvp_data.ingest.jobs import PASSING
from mvp_data.pipeline.ledger import LEDGER_NAME, read_ledger
from mvp_data.pipeline.pack import shard_stem
from mvp_data.pipeline.run_log import STATUS_NAME
from mvp_data.shards.index import INDEX_NAME, Index, ShardInfo, read_index
from mvp_data.shards.offsets import OFFSETS_NAME
from mvp_data.shards.record import SPLITS
from mvp_data.sources.scan import ScanResult
from mvp_data.system.files import atomic_write, remove
from mvp_data.system.locks import LOCK_NAME, Lock, locked_folder
from mvp_data.tasks.catalogue import TASKS

STARTED_NAME = "started.json"  # config_hash of an unfinished build; removed after the index is written
SAMPLES_NAME = "samples.parquet"
REPORT_NAME = "report.json"
CARD_NAME = "README.md"
_EMPTY_BUILD = frozenset({LEDGER_NAME, REPORT_NAME})  # the files of a build without samples
_RUNNING = frozenset({LOCK_NAME, STATUS_NAME})  # files of the current run, or of one that was killed
_OWN_NAMES = _RUNNING | {INDEX_NAME, STARTED_NAME, SAMPLES_NAME, LEDGER_NAME, REPORT_NAME, CARD_NAME, OFFSETS_NAME}


@contextmanager
def locked(out: Path) -> Iterator[Lock]:
    """Create the folder if needed and lock it for one build; the lock ends with the process.

    Raises:
        OutputError: another build holds the lock, or the folder cannot be created.
    """
    busy = "another build is running there; wait for it, or choose another --out"
    with locked_folder(out, unusable="cannot be used as output folder", busy=busy) as lock:
        yield lock


def prepare(out: Path, config_hash: str, *, overwrite: bool) -> Index | None:
    """Check that a build may use the folder; it is not changed yet.

    Returns:
        The index of a complete build of the same configuration, if the folder holds one.

    Raises:
        OutputError: the folder holds other files or another build, or cannot be read.
    """
    try:
        paths = list(out.iterdir())
        foreign = sorted(path.name for path in paths if path.is_dir() or not is_own(path.name))
    except OSError as error:
        raise OutputError(f"{out}: cannot be used as output folder ({error.strerror})") from error
    names = {path.name for path in paths}
    _refuse_foreign(out, names, foreign, overwrite=overwrite)
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
        if overwrite and LEDGER_NAME in names:  # a damaged build; without a ledger, index.json may be another program's
            return None
        problem = f"{out}: holds a build that cannot be read, damaged or of another version ({error})"
        raise OutputError(f"{problem}; pass --overwrite to replace it, or give another --out") from error
    same = index.config_hash == config_hash
    if not (same or unfinished or overwrite):
        raise OutputError(
            f"{out}: holds a finished build of another configuration ({index.counts['samples']} samples); "
            "choose another --out, or pass --overwrite to replace it"
        )
    tables = {SAMPLES_NAME, LEDGER_NAME, REPORT_NAME, CARD_NAME} <= names
    if overwrite or not same or not tables or not all(_is_whole(out, shard) for shard in index.shards):
        return None
    finish(out)  # an earlier run may have been killed just before this
    return index


def _refuse_foreign(out: Path, names: Set[str], foreign: list[str], *, overwrite: bool) -> None:
    """Raise OutputError if the files are not those of a build, or of a build whose index was lost."""
    whole = {name for name in names if not name.startswith(".")}  # `rm shards/*` leaves hidden files
    marked = whole & {INDEX_NAME, STARTED_NAME}
    lost_index = not marked and whole >= _EMPTY_BUILD | {SAMPLES_NAME}
    if lost_index and not foreign and not overwrite:
        raise OutputError(f"{out}: holds a build without its {INDEX_NAME}; pass --overwrite to make it again")
    if foreign or not (lost_index or marked or whole in (set(), _EMPTY_BUILD)):
        shown = ", ".join(foreign[:3] or sorted(names)[:3])
        raise OutputError(f"{out}: holds files that are not a build's ({shown}); give an empty or new folder to --out")


def refuse_other_sources(out: Path, finished: Index, found: ScanResult) -> None:
    """Raise OutputError if the finished build was made from other sources; called before the sources are decoded."""
    before = {row.path for row in read_ledger(out)}
    if before != {s.path for s in found.sources} | {p.path for p in found.problems}:
        raise _other_sources(out, finished)


def lacks_retried(out: Path, finished: Index, corpus: str, retried: Set[str]) -> bool:
    """Return whether to build again because a video that failed in the finished build may succeed now.

    Args:
        out: the folder.
        finished: its index.
        corpus: the hash of the sources and their outcomes in this run.
        retried: the reasons that this run tries again.

    Raises:
        OutputError: the build differs for another reason, so it was made from other sources.
    """
    if finished.config.get("corpus") == corpus:
        return False
    if any(row.reason in {*PASSING, *retried} for row in read_ledger(out)):
        return True
    raise _other_sources(out, finished)


def _other_sources(out: Path, finished: Index) -> OutputError:
    return OutputError(
        f"{out}: holds a finished build of other sources ({finished.counts['samples']} samples); pass "
        "--overwrite to build it again with these (the bank keeps what is decoded), or choose another --out"
    )


def start(out: Path, config_hash: str) -> None:
    """Mark the folder as an unfinished build, then remove an earlier build, its index first.

    After a kill at any moment the same command resumes; it never reuses a shard of an unfinished build.
    """
    with atomic_write(out / STARTED_NAME) as file:
        file.write(json.dumps({"config_hash": config_hash}).encode())
    for path in sorted(out.iterdir(), key=lambda p: (p.name != INDEX_NAME, p.name)):
        if path.name not in {STARTED_NAME} | _RUNNING:
            remove(path)


def finish(out: Path) -> None:
    """Remove the mark of an unfinished build."""
    remove(out / STARTED_NAME)


def is_own(name: str) -> bool:
    """Return whether a build, finished or killed, leaves files of this name in its folder."""
    plain = re.sub(r"^\.(.+)\.[0-9a-f-]+\.tmp$", r"\1", name)  # the temporary file of an atomic write
    shard = plain.removeprefix(".").removesuffix(OFFSETS_NAME)  # a single shard has an offset index of its own
    stem, _, number = shard.rpartition("-")
    stems = {shard_stem(task, split) for task in TASKS for split in SPLITS}
    return plain in _OWN_NAMES or (stem in stems and re.fullmatch(r"\d{6}\.tar", number) is not None)


def _started_hash(out: Path) -> str:
    try:
        return str(json.loads((out / STARTED_NAME).read_bytes())["config_hash"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OutputError(f"{out / STARTED_NAME}: damaged; pass --overwrite to start again") from error


def _is_whole(out: Path, shard: ShardInfo) -> bool:
    path = out / shard.name
    return path.is_file() and path.stat().st_size == shard.bytes
