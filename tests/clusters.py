"""Real Ray clusters for tests; no process is left afterwards, however a test ends.

Ray starts a dozen processes, some in their own sessions, which may outlive their parent and keep the pipes, terminals
and folders that they inherited. A test therefore runs Ray in other processes only. A `Site` has its own temporary
folder, with a short name because Ray puts sockets into it. All processes of the site have the folder in their
environment and write their output to files. The end of the site kills all processes that have the folder in their
environment, or one of its files open.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import ROOT

BUILD = ("-m", "mvp_data.cli.main", "build")
OPTIONS = (
    *("--hidden-frames", "2", "--context-frames", "2", "--distractors", "2", "--fps", "2", "--min-frames", "2"),
    *("--max-pixels", "6272", "--jpeg-quality", "70", "--val-share", "0", "--test-share", "0"),
    *("--reversible", "keep", "--decoy-share", "0"),
)
needs_ray = pytest.mark.skipif(
    sys.platform != "linux" or find_spec("ray") is None, reason="needs Linux and the extra `ray`"
)


@dataclass(frozen=True, slots=True)
class Ended:
    """The result of a command that has ended, or was killed at its time limit."""

    code: int  # -9 if it was killed
    output: str


@dataclass(frozen=True, slots=True)
class Site:
    """The folder and the processes of one test."""

    folder: Path
    started: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def start(self, name: str, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start Python with these arguments in its own session; its output goes to the file `name`."""
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
        places = {"TMPDIR": str(self.folder), "RAY_TMPDIR": str(self.folder), "PYTHONPATH": str(ROOT)}
        with (self.folder / name).open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env={**os.environ, **quiet, **places},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def output(self, name: str) -> str:
        """Return the output of a process so far."""
        return (self.folder / name).read_text(errors="replace")

    def run(self, name: str, arguments: Sequence[str], *, limit_s: float) -> Ended:
        """Start Python with these arguments, and wait for its end."""
        return self.ended(name, self.start(name, arguments), limit_s=limit_s)

    def ended(self, name: str, process: "subprocess.Popen[bytes]", *, limit_s: float) -> Ended:
        """Wait for a process."""
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = -signal.SIGKILL
        return Ended(code, self.output(name))

    def processes(self) -> list[int]:
        """Return the ids of all running processes that were started from here, directly or not."""
        # Ray's processes change their titles, which overwrites the start of their environment; so also look at the
        # files that they have open.
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                named = os.fsencode(self.folder) in (process / "environ").read_bytes()
                if named or any(str(self.folder) in os.readlink(file) for file in (process / "fd").iterdir()):
                    found.append(int(process.name))
        return [process_id for process_id in found if process_id != os.getpid()]

    def await_none(self, limit_s: float = 30.0) -> list[str]:
        """Wait until no process is left; return the command lines of those that are still running at the limit."""
        until = time.monotonic() + limit_s
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.1)
        lines = []
        for process_id in left:
            with suppress(OSError):
                words = Path(f"/proc/{process_id}/cmdline").read_bytes().split(b"\0")
                lines.append(f"{process_id} " + b" ".join(words).decode(errors="replace"))
        return lines

    def end(self) -> None:
        """Kill all processes that are left, and wait for those that this process started."""
        until = time.monotonic() + 20
        while (left := self.processes()) and time.monotonic() < until:
            for process_id in left:
                with suppress(ProcessLookupError):
                    os.kill(process_id, signal.SIGKILL)
            for process in self.started:
                process.poll()
            time.sleep(0.05)
        for process in self.started:
            process.kill()
            process.wait(20)


@contextmanager
def site() -> Iterator[Site]:
    """Yield a site for a test; kill all its processes at the end."""
    folder = Path(tempfile.mkdtemp(prefix="mvpt-", dir="/tmp"))
    place = Site(folder)
    try:
        yield place
    finally:
        place.end()
        shutil.rmtree(folder, ignore_errors=True)
