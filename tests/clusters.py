"""Real Ray clusters for tests. All their processes end with the test.

Ray starts a dozen processes, some in their own sessions, which may outlive their parent and keep its pipes, terminals
and folders open. So Ray never runs in the process of a test. Each `Site` has a temporary folder with a short name
(sockets are in it), which is in the environment of all its processes. Output goes to files. At the end, all processes
are killed that have the folder in their environment or a file of it open.
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
)
needs_ray = pytest.mark.skipif(
    sys.platform != "linux" or find_spec("ray") is None, reason="needs Linux and the extra `ray`"
)


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended, or was killed when its time was over."""

    code: int  # -9 where it was killed
    said: str


@dataclass(frozen=True, slots=True)
class Site:
    """Where the processes of one test live."""

    folder: Path
    started: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def start(self, name: str, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Python with these arguments, in a session of its own; what it says goes to a file called `name`."""
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
        places = {"TMPDIR": str(self.folder), "RAY_TMPDIR": str(self.folder), "PYTHONPATH": str(ROOT)}
        with (self.folder / name).open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env={**os.environ, **quiet, **places},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def said(self, name: str) -> str:
        """The output so far of the process with this name."""
        return (self.folder / name).read_text(errors="replace")

    def run(self, name: str, arguments: Sequence[str], *, limit_s: float) -> Ended:
        """The same, waited for."""
        return self.ended(name, self.start(name, arguments), limit_s=limit_s)

    def ended(self, name: str, process: "subprocess.Popen[bytes]", *, limit_s: float) -> Ended:
        """Wait for a process."""
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = -signal.SIGKILL
        return Ended(code, self.said(name))

    def processes(self) -> list[int]:
        """All that live and were started from here, by whomever."""
        # Ray's processes change their titles, which overwrites the head of what their environment was: see also what
        # they have open.
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                named = os.fsencode(self.folder) in (process / "environ").read_bytes()
                if named or any(str(self.folder) in os.readlink(file) for file in (process / "fd").iterdir()):
                    found.append(int(process.name))
        return [process_id for process_id in found if process_id != os.getpid()]

    def await_none(self, limit_s: float = 30.0) -> list[str]:
        """The command lines of those that are still there after a while; none, if all is well."""
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
        """Kill all that is left, and wait for those that were started from here."""
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
    """A place for a test; all that runs there is killed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="mvpt-", dir="/tmp"))
    place = Site(folder)
    try:
        yield place
    finally:
        place.end()
        shutil.rmtree(folder, ignore_errors=True)
