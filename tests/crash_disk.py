"""The changes that a build under test makes to the disk, and a simulated power cut that undoes some of them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.crash_hook import RECORD_BYTES

_VOLATILE = ("seconds", "cpu_seconds", "rates", "workers", "out", "bank")  # of report.json: times, and where it was run


@dataclass(frozen=True, slots=True)
class Event:
    """A change that a thread is about to make; paths are relative to the folder of the run."""

    thread: int
    what: str
    path: str
    other: str  # the new name in a rename

    def __str__(self) -> str:
        return f"{self.what} {self.path}{' -> ' * bool(self.other)}{self.other}"

    @property
    def stage(self) -> str:
        """The step of a build that makes this change; "" for a change that may come at any time."""
        name = Path(self.path).name
        if name in (".lock", ".status.json") and self.what == "remove":
            return "end"
        if self.path.startswith("bank/"):
            kinds = {"spool/": "fetch", ".jpgs": "decode", ".parquet": "decode", ".npy": "embed"}
            return next((stage for part, stage in kinds.items() if part in self.path), "")
        if name.startswith((".started.json", "started.json")):
            return "end" if self.what == "remove" else "mine"  # which ends with this mark
        if ".tar" in name:
            return "pack"
        if "index.json" in name:
            return "index"
        return "beside" if name.startswith((".ledger", ".report", ".samples", ".README")) else ""


def read_log(log: Path) -> tuple[Event, ...]:
    """Read the changes, in order."""
    data = log.read_bytes() if log.exists() else b""
    whole = len(data) // RECORD_BYTES * RECORD_BYTES
    return tuple(Event(*json.loads(data[at : at + RECORD_BYTES])) for at in range(0, whole, RECORD_BYTES))


def lose_cache(place: Path, events: Sequence[Event], before: Mapping[Path, int]) -> None:
    """Simulate a power cut: zero the second half of unsynced content, and undo unsynced renames."""
    dirty: set[Path] = set()
    renamed: dict[Path, Path] = {}
    for event in events:
        path, other = place / event.path, place / event.other
        if event.what in ("open", "write", "truncate"):
            dirty.add(path)
        elif event.what == "rename":
            dirty ^= {path, other} if path in dirty else set()
            renamed[other] = path
        elif event.what == "synced":
            dirty.discard(path)
            renamed = {new: old for new, old in renamed.items() if new.parent != path}
    for path in dirty:
        if path.is_file():
            start = before.get(path, 0)
            data = path.read_bytes()
            keep = start + (len(data) - start) // 2
            path.write_bytes(data[:keep] + bytes(max(0, len(data) - keep)))
    for new, old in renamed.items():
        if new.exists() and not old.exists() and new not in before:
            new.rename(old)


def snapshot(place: Path) -> dict[str, str]:
    """Return the hash of each file below `place` by name; that of the report without times and paths.

    The list of known files is left out: it holds times of files, and it is right even if it is incomplete.
    """
    found: dict[str, str] = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if path.is_dir():
            found[name + "/"] = ""
            continue
        if name == "bank/seen.txt":
            continue
        data = path.read_bytes()
        if name == "out/report.json":
            report = json.loads(data)
            data = json.dumps({k: v for k, v in report.items() if k not in _VOLATILE}).encode()
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def is_leftover(name: str) -> bool:
    """Return whether a finished run must not leave a file of this name."""
    last = Path(name).name
    return last.startswith((".", "fetched-")) or last.endswith(".tmp") or last == "started.json"


def compare(expected: Mapping[str, str], found: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return (differences, leftovers): missing or different files, and files that must not exist."""
    differences = [
        f"{name}: {'missing' if name not in found else 'differs'}"
        for name in expected
        if found.get(name) != expected[name]
    ]
    return differences, sorted(set(found) - set(expected))


def unsynced(events: Sequence[Event], kept: Mapping[str, str]) -> list[str]:
    """List the kept files that a power cut could remove or empty although the run continued.

    Each must come by a rename, with an fsync of the content before it and one of its folder before the next rename.
    """
    problems: list[str] = []
    clean: set[str] = set()
    arrived: set[str] = set()
    waiting: dict[int, str] = {}  # by thread: a rename whose folder is not synced yet
    for event in events:
        if event.what in ("open", "write", "truncate"):
            clean.discard(event.path)
        elif event.what == "synced":
            clean.add(event.path)
            if event.path == str(Path(waiting.get(event.thread, "-/-")).parent):
                del waiting[event.thread]
        elif event.what == "rename":
            if event.path not in clean:
                problems.append(f"{event.other}: renamed before its content was synced")
            if event.thread in waiting:
                problems.append(f"{waiting[event.thread]}: its folder was not synced before {event.other}")
            waiting[event.thread] = event.other
            arrived.add(event.other)
    problems += [f"{name}: its folder was not synced at the end" for name in waiting.values()]
    return problems + [f"{name}: not written by a rename" for name in sorted(set(kept) - arrived) if name[-1] != "/"]
