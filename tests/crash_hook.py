"""Runs inside a build under test: logs each change of a file just before it is made, and kills the build at one.

`crashes.py` puts this module into the parent and into every worker through a `sitecustomize` on PYTHONPATH. All of them
append to one log of records of one length: a record's place in it is the number of its event, whichever process it is
from. Nothing but the standard library is imported: it runs before anything else does.
"""

import builtins
import io
import json
import os
import signal
import sys
import threading
import time
from typing import Any

RECORD_BYTES = 600
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_AUDITED = {
    "os.rename": "rename",
    "os.remove": "remove",
    "os.mkdir": "mkdir",
    "os.rmdir": "rmdir",
    "os.truncate": "truncate",
    "os.link": "link",
}
_open, _write, _fsync = io.open, os.write, os.fsync


class _Hook:
    """One process of the build."""

    def __init__(self, *, log: str, root: str, at: int | str, torn: bool, whom: str) -> None:
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.root, self.at, self.torn, self.whom = root + os.sep, at, torn, whom

    def watched(self, path: Any) -> str:
        """Return the absolute path if it is below the root, otherwise ""."""
        try:
            path = path.fileno() if hasattr(path, "fileno") else path
            name = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.path.abspath(os.fsdecode(path))
        except (OSError, TypeError):
            return ""
        return name if name.startswith(self.root) else ""

    def event(self, what: str, path: Any, other: Any = "") -> bool:
        """Log a change; True if the process shall die in the middle of it, since before it is not asked for."""
        name = self.watched(path)
        if not name or threading.current_thread() is not threading.main_thread():
            return False  # a thread that acts by the clock would shift the numbers of all that follow
        names = [n.removeprefix(self.root) for n in (name, self.watched(other) if other else "")]
        record = json.dumps([threading.get_native_id(), what, *names]).encode().ljust(RECORD_BYTES - 1) + b"\n"
        assert len(record) == RECORD_BYTES, f"{name}: too long for the log"
        _write(self.log, record)
        number = os.lseek(self.log, 0, os.SEEK_CUR) // RECORD_BYTES - 1  # O_APPEND: the end of this very record
        if not (number == self.at if isinstance(self.at, int) else self.at in " ".join([what, *names])):
            return False
        if self.torn and what == "write":
            return True
        self.kill()
        return False

    def kill(self) -> None:
        """End the whole build, its parent alone, or this process alone."""
        leader = os.getpgrp()
        if self.whom == "group":
            os.killpg(leader, signal.SIGKILL)
        else:
            os.kill(leader if self.whom == "parent" else os.getpid(), signal.SIGKILL)
        if self.whom != "parent" or leader == os.getpid():
            time.sleep(60)  # it is killed before that

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[2], int) and args[2] & _WRITING:
            self.event("open", args[0])
        elif event in _AUDITED:
            self.event(_AUDITED[event], args[0], args[1] if event in ("os.rename", "os.link") else "")

    def write(self, descriptor: int, data: Any) -> int:
        if self.event("write", descriptor):
            _write(descriptor, memoryview(data)[: len(data) // 2])
            self.kill()
        return _write(descriptor, data)

    def fsync(self, fd: Any) -> None:
        self.event("fsync", fd)
        _fsync(fd)
        self.event("synced", fd)

    def open(self, file: Any, mode: str = "r", buffering: int = -1, *args: Any, **named: Any) -> Any:
        """`open`, with every write to a watched file an event of its own."""
        if not set(mode) & set("wxa+") or isinstance(file, int) or not self.watched(file):
            return _open(file, mode, buffering, *args, **named)
        raw = _Raw(self, file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *args, **named)


class _Raw(io.FileIO):
    """A file whose writes are events."""

    def __init__(self, hook: _Hook, file: Any, mode: str) -> None:
        self.hook = hook
        super().__init__(os.fspath(file), mode)

    def write(self, data: Any) -> int:
        if self.hook.event("write", self.fileno()):
            super().write(memoryview(data)[: len(data) // 2])
            self.hook.kill()
        return super().write(data)


def install() -> None:
    """Put the hook in place if the environment asks for it."""
    asked = os.environ.get("MVP_CRASH")
    if not asked:
        return
    hook = _Hook(**json.loads(asked))
    os.write, os.fsync = hook.write, hook.fsync
    io.open = builtins.open = hook.open
    sys.addaudithook(hook.audit)
