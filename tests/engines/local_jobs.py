"""The jobs of `test_local`, for worker processes: a module that imports little, so that they start quickly."""

import os
import signal
import time

from mvp_data.core.errors import OutputError
from mvp_data.engines.base import extend_deadline, note


def act(job: tuple[str, int]) -> str:
    """Die, hang, fail or answer, as the first word says."""
    what, number = job
    if what == "die":
        os._exit(7)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        time.sleep(60)
    if what == "fail":
        raise ValueError("a defect")
    if what == "memory":
        raise MemoryError
    if what == "grow":
        hoard = bytearray()
        while True:
            hoard += bytes(10_000_000)
            time.sleep(0.1)
    if what == "wall":
        bytearray(20_000_000_000)
    if what == "slow":
        for _ in range(4):
            time.sleep(0.5)
            extend_deadline()
    if what == "noted":
        note("halfway")
        os._exit(7)
    if what == "stop":
        raise OutputError("disk full")
    return f"{what} {number}"


def my_process(_: int) -> int:
    """Return the id of the worker process."""
    return os.getpid()
