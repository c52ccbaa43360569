"""Whoever ends what a killed driver has started."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mvp_data import engine_keeper
from mvp_data.engine_keeper import MARK, marked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def until(what: Callable[[], bool]) -> None:
    over = time.monotonic() + 60
    while not what():
        assert time.monotonic() < over
        time.sleep(0.02)


def ignores(process_id: int, number: int) -> bool:
    """Whether a process ignores a signal."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return bool(int(re.findall(r"SigIgn:\s*([0-9a-f]+)", status)[0], 16) >> (number - 1) & 1)


def test_all_that_bear_the_mark_are_ended_and_nobody_else(tmp_path: Path) -> None:
    folder, other = tmp_path / "cluster", tmp_path / "cluster2"
    folder.mkdir()
    (folder / "socket").touch()
    sleep = [sys.executable, "-c", "import time; time.sleep(120)"]
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}  # of earlier tests
    theirs, stays = (subprocess.Popen(sleep, env={**without, MARK: str(path)}) for path in (folder, other))
    # The environment of one that has a new title may begin with anything; what it has open tells then.
    with (folder / "log").open("wb") as log:
        renamed = subprocess.Popen(sleep, env={**without, "RAY_X": "1"}, stdout=log)
        reader = subprocess.Popen(sleep, env=without, stdout=log)
    command = [sys.executable, "-I", engine_keeper.__file__, str(folder), str(os.getpid())]
    keeper = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        until(lambda: sorted(marked(str(folder))) == sorted([theirs.pid, renamed.pid]))
        until(lambda: ignores(keeper.pid, signal.SIGTERM))
        keeper.terminate()  # told to the whole group, it stays until its driver is gone
        time.sleep(0.1)
        assert keeper.poll() is None
        keeper.communicate(timeout=60)
        assert theirs.wait(60) < 0
        assert renamed.wait(60) < 0
        assert stays.poll() is None
        assert reader.poll() is None, "somebody else, who looks at its log"
        assert not folder.exists()
    finally:
        for process in (theirs, renamed, reader, stays, keeper):
            process.kill()
            process.communicate()
