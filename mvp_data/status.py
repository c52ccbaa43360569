"""Where a build stands: at work, finished, stopped, failed or killed, and what to do next."""

import json
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mvp_data.errors import OutputError
from mvp_data.inspect import printable
from mvp_data.journal import STATUS_NAME
from mvp_data.locks import is_fresh, is_held
from mvp_data.output import STARTED_NAME
from mvp_data.report import counts, plural
from mvp_data.shard_index import INDEX_NAME, read_index

_MAX_BYTES = 1 << 20
_HELP = {
    "complete": "look at them: mvp-data inspect {folder}    check them: mvp-data verify {folder}",
    "stopped": "run the same command again: it goes on where this one ended",
    "killed": "run the same command again: what is decoded and embedded lies in the bank, whole",
    "failed": "mend what it says, then run the same command again: it goes on where this one ended",
    "empty": "no build has begun here: mvp-data build --src VIDEOS --out {folder}",
}
_TEXTS = ("state", "message", "host", "began", "updated", "stage", "unit")
_NUMBERS = ("pid", "done", "total", "per_second", "seconds_left")


@dataclass(frozen=True, kw_only=True)
class Status:
    """What is known of a run from its folder; texts are empty and numbers 0 where nothing is."""

    folder: Path
    state: str  # running | complete | stopped | failed | killed | empty
    message: str = ""  # why it failed
    pid: float = 0
    host: str = ""
    began: str = ""  # UTC, ISO 8601, as all times here
    updated: str = ""
    stage: str = ""  # of the steps in `report.json`
    done: float = 0
    total: float = 0
    unit: str = ""
    per_second: float = 0
    seconds_left: float = 0
    skipped: dict[str, int] = field(default_factory=dict)  # sources so far, by reason
    samples: int = 0  # of a finished build
    shards: int = 0


def read_status(folder: Path) -> Status:
    """Look at the `--out` folder of a build, or the bank of `mvp-data index`; nothing is changed.

    Raises:
        OutputError: there is no such folder.
        ShardError: the index in it is damaged.
    """
    if not folder.is_dir():
        raise OutputError(f"{folder}: no such folder; give the --out folder of a build, or a bank")
    said = _said(folder / STATUS_NAME)
    if is_held(folder) or _speaks(folder / STATUS_NAME, said):
        return Status(folder=folder, **{**said, "state": "running"})
    if said:
        return Status(folder=folder, **{**said, "state": "killed" if said["state"] == "running" else said["state"]})
    if (folder / INDEX_NAME).exists() and not (folder / STARTED_NAME).exists():
        index = read_index(folder)
        return Status(folder=folder, state="complete", samples=index.counts["samples"], shards=len(index.shards))
    return Status(folder=folder, state="killed" if (folder / STARTED_NAME).exists() else "empty")


def _said(path: Path) -> dict[str, Any]:
    """What a run last wrote of itself; nothing where there is no such file, or a damaged one."""
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(_MAX_BYTES))
        facts = {name: str(said[name]) for name in _TEXTS} | {name: float(said[name]) for name in _NUMBERS}
        return {**facts, "skipped": {str(reason): int(count) for reason, count in said["skipped"].items()}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _speaks(path: Path, said: dict[str, Any]) -> bool:
    """Whether a run that holds no lock of its own, as `index`, is still writing."""
    if not said or said["state"] != "running" or not is_fresh(path):
        return False
    if said["host"] != socket.gethostname() or os.name == "nt":
        return True
    try:
        os.kill(int(said["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def to_text(status: Status) -> str:
    """A few lines, with the command that comes next."""
    lines = [f"{status.folder}: {_state(status)}"]
    if status.stage:
        lines.append(f"  step      {_step(status)}")
    if status.skipped:
        lines.append(f"  skipped   {counts(status.skipped)}")
    if status.began:
        lines.append(f"  began     {status.began}, last heard of {status.updated}")
    if status.message:
        lines.append(f"  because   {printable(status.message)}")
    if status.state in _HELP:
        lines.append(_HELP[status.state].format(folder=status.folder))
    return "\n".join(lines)


def _state(status: Status) -> str:
    where = f" (process {status.pid:.0f} on {status.host})" if status.host else ""
    if status.state == "complete":
        return f"complete, {plural(status.samples, 'sample')} in {plural(status.shards, 'shard')}"
    return {"running": "at work", "empty": "nothing here"}.get(status.state, status.state) + where


def _step(status: Status) -> str:
    if not status.total:
        return status.stage
    text = (
        f"{status.stage}, {status.done:,.0f} of {status.total:,.0f} {status.unit}s ({status.done / status.total:.0%})"
    )
    if status.state == "running" and status.seconds_left >= 0:
        text += f", {status.per_second:.3g} a second, about {tqdm.format_interval(status.seconds_left)} left"
    return text
