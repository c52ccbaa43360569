"""Ends a cluster whose driver is gone: run as a script of its own, with the standard library alone.

A driver that is killed cannot end what it started, and some of Ray's processes then live on for minutes, or for ever,
and hold what they inherited. So the driver starts this beside its cluster. When the driver closes its end of the pipe,
or has died, every process that bears the mark in its environment is killed, and the folder of the cluster is removed.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

MARK = "MVP_CLUSTER"  # in the environment of all processes of a cluster: its folder
MOST_S = 30.0  # for processes to go


def keep(folder: str) -> None:
    """Wait for the end of standard input, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    until = time.monotonic() + MOST_S
    while marked(folder) and time.monotonic() < until:
        for process_id in marked(folder):
            try:
                os.kill(process_id, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def marked(folder: str) -> list[int]:
    """The processes that bear the mark of this folder."""
    mark, found = os.fsencode(f"{MARK}={folder}"), []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
        except OSError:  # gone, or another user's
            continue
    return found


if __name__ == "__main__":
    keep(sys.argv[1])
