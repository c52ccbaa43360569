"""The output folder: whose it is, what state it is in, and the files that stand beside the shards."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvp_data.core.errors import OutputError, ShardError
from mvp_data.pipeline.ledger import LEDGER_NAME
from mvp_data.pipeline.pack import shard_stem
from mvp_data.pipeline.run_log import STATUS_NAME
from mvp_data.shards.index import INDEX_NAME, Index, ShardInfo, read_index
from mvp_data.shards.offsets import OFFSETS_NAME
from mvp_data.shards.record import SPLITS
from mvp_data.system.files import atomic_write, remove
from mvp_data.system.locks import LOCK_NAME, Lock, locked_folder
from mvp_data.tasks.catalogue import TASKS

STARTED_NAME = "started.json"  # says whose unfinished work lies here; gone once the index is written
SAMPLES_NAME = "samples.parquet"
REPORT_NAME = "report.json"
CARD_NAME = "README.md"
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
