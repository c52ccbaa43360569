"""Ends a cluster whose driver is gone: run as a script of its own, with the standard library alone.

A driver that is killed cannot end what it started, and some of Ray's processes then live on for minutes, or for ever,
and hold what they inherited. So the driver starts this beside its cluster. When the driver closes its end of the pipe,
or has died, every process of the cluster is killed, and its folder is removed.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

MARK = "MVP_CLUSTER"  # in the environment of all processes of a cluster: its folder
MOST_S = 30.0  # for processes to go


def keep(folder: str, driver: int) -> None:
    """Wait for the end of standard input, then clean up; the driver may still have files of the cluster open."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    until = time.monotonic() + MOST_S
    while (found := set(marked(folder)) - {driver}) and time.monotonic() < until:
        for process_id in found:
            try:
                os.kill(process_id, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def marked(folder: str) -> list[int]:
    """The processes of the cluster whose folder this is.

    The mark alone does not tell: Ray's processes change their titles, which overwrites the head of their environment.
    """
    mark, found = os.fsencode(f"{MARK}={folder}"), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            if mark in environment.split(b"\0") or (b"RAY_" in environment and _has_open(process, folder)):
                found.append(int(process.name))
        except OSError:  # gone, or another user's
            continue
    return found


def _has_open(process: Path, folder: str) -> bool:
    """Whether a process has a file open that lies, or lay, in a folder."""
    return any(os.readlink(file).startswith(f"{folder}/") for file in (process / "fd").iterdir())


if __name__ == "__main__":
    keep(sys.argv[1], int(sys.argv[2]))
