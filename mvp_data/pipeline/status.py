"""The state of a build, read from its folder, and what to do next."""

import json
import socket
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mvp_data.core.errors import OutputError
from mvp_data.core.text import counts, plural, printable
from mvp_data.pipeline.ledger import LEDGER_NAME
from mvp_data.pipeline.output_folder import STARTED_NAME
from mvp_data.pipeline.run_log import STATUS_NAME
from mvp_data.shards.index import INDEX_NAME, read_index
from mvp_data.system.locks import is_fresh, is_held, lives

_MAX_BYTES = 1 << 20
_HELP = {
    "complete": "look at the samples: mvp-data inspect {folder}    check them: mvp-data verify {folder}",
    "stopped": "run the same command again to resume",
    "killed": "run the same command again to resume: decoded and embedded videos are in the bank",
    "failed": "fix the cause, then run the same command again to resume",
    "without samples": "why: mvp-data ledger {folder} --skipped",
    "bank": "build shards from it: mvp-data build --src VIDEOS --bank {folder} --out SHARDS",
    "empty": "no build has begun here: mvp-data build --src VIDEOS --out {folder}",
}
_WORDS = {"empty": "nothing here", "without samples": "ended without a sample"}
_TEXTS = ("state", "message", "host", "began", "updated", "stage", "unit")
_COUNTS = ("pid", "done", "known", "total")
_NUMBERS = ("per_second", "seconds_left")


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of a run; unknown texts are empty, and unknown numbers are 0."""

    folder: Path
    state: str  # running | complete | without samples | stopped | failed | killed | bank | empty
    message: str = ""  # why it failed
    task: str = ""  # `1-of-8`, if a bank has several
    pid: int = 0
    host: str = ""
    began: str = ""  # UTC, ISO 8601
    updated: str = ""
    stage: str = ""  # a step of `report.json`
    done: int = 0
    known: int = 0  # the part of `done` from earlier runs
    total: int = 0
    unit: str = ""
    per_second: float = 0
    seconds_left: float = 0
    skipped: dict[str, int] = field(default_factory=dict)  # sources so far, by reason
    samples: int = 0  # of a finished build
    shards: int = 0
    videos: int = 0  # entries of a bank, skipped ones included
    tasks: "tuple[Status, ...]" = ()  # runs of a bank that have not ended well


def read_status(folder: Path) -> Status:
    """Read the state of the output folder of a build, or of the bank of an `index`; it is not changed.

    Raises:
        OutputError: the folder does not exist.
        ShardError: the index in it is damaged.
    """
    if not folder.is_dir():
        raise OutputError(f"{folder}: no such folder; give the --out folder of a build, or a bank")
    run = _run(folder, folder / STATUS_NAME, held=is_held(folder))
    tasks = tuple(_run(folder, path, held=False) for path in sorted(folder.glob(".status-*.json")))
    if run.state == "running":
        return run
    begun, names = (folder / STARTED_NAME).exists(), {path.name for path in folder.iterdir()}
    if INDEX_NAME in names and not begun:
        index = read_index(folder)
        later = f"a later attempt ended as {run.state}. {run.message}".rstrip() if run.state != "empty" else ""
        samples, shards = index.counts["samples"], len(index.shards)
        return Status(folder=folder, state="complete", samples=samples, shards=shards, message=later)
    if run.state != "empty":
        return run
    if tasks or any(path.is_dir() for path in folder.glob("*/frames")):
        videos = sum(1 for _ in folder.glob("*/frames/*/*.parquet"))
        return Status(folder=folder, state="bank", videos=videos, tasks=tasks)
    if LEDGER_NAME in names and not begun:
        return Status(folder=folder, state="without samples")
    return replace(run, state="killed" if begun else "empty")


def _run(folder: Path, path: Path, *, held: bool) -> Status:
    """Return the state in a status file; `empty` if the file is missing or damaged."""
    facts = _facts(path)
    if held or _is_alive(path, facts):
        state = "running"
    elif not facts:
        return Status(folder=folder, state="empty")
    else:
        state = "killed" if facts["state"] == "running" else facts["state"]
    task = path.stem.removeprefix(".status").lstrip("-")
    return Status(folder=folder, task=task, **{**facts, "state": state})


def _facts(path: Path) -> dict[str, Any]:
    """Read a status file; return nothing if it is missing or damaged."""
    try:
        with path.open("rb") as file:
            loaded = json.loads(file.read(_MAX_BYTES))
        facts = {name: str(loaded[name]) for name in _TEXTS} | {name: float(loaded[name]) for name in _NUMBERS}
        facts |= {name: int(loaded[name]) for name in _COUNTS}
        return {**facts, "skipped": {str(reason): int(count) for reason, count in loaded["skipped"].items()}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _is_alive(path: Path, facts: dict[str, Any]) -> bool:
    """Return whether a run that holds no lock, such as `index`, still writes this file."""
    if not facts or facts["state"] != "running" or not is_fresh(path):
        return False
    return facts["host"] != socket.gethostname() or lives(int(facts["pid"]))


def to_text(status: Status) -> str:
    """Format the state as a few lines, with the command to run next."""
    lines = [f"{status.folder}{status.task and f', task {status.task}'}: {_state(status)}"]
    lines += [to_text(task) for task in status.tasks]
    if status.stage:
        lines.append(f"  step      {_step(status)}")
    if status.skipped:
        lines.append(f"  skipped   {counts(status.skipped)}")
    if status.began:
        lines.append(f"  began     {status.began}, last update {status.updated}")
    if status.message:
        lines.append(f"  because   {printable(status.message)}")
    if status.state in _HELP and not status.task:
        lines.append(_HELP[status.state].format(folder=status.folder))
    return "\n".join(lines)


def _state(status: Status) -> str:
    if status.state == "complete":
        return f"complete, {plural(status.samples, 'sample')} in {plural(status.shards, 'shard')}"
    if status.state == "bank":
        return f"a bank, {plural(status.videos, 'video')} in it"
    where = f" (process {status.pid} on {status.host})" if status.host else ""
    return _WORDS.get(status.state, status.state) + where


def _step(status: Status) -> str:
    if not status.total:
        return status.stage
    share = status.done / status.total
    text = f"{status.stage}, {status.done:,.0f} of {status.total:,.0f} {status.unit}s ({share:.0%})"
    if status.known:
        text += f", {status.known:,} of them from before"
    if status.state == "running" and status.seconds_left >= 0:
        text += f", {status.per_second:.3g} a second, about {tqdm.format_interval(status.seconds_left)} left"
    return text
