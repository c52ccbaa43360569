"""Whoever ends what a killed driver has started."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mvp_data import engine_keeper
from mvp_data.engine_keeper import MARK, marked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_all_that_bear_the_mark_are_ended_and_nobody_else(tmp_path: Path) -> None:
    folder, other = tmp_path / "cluster", tmp_path / "cluster2"
    folder.mkdir()
    (folder / "socket").touch()
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    theirs, stays = (subprocess.Popen(sleep, env={**os.environ, MARK: str(path)}) for path in (folder, other))
    keeper = subprocess.Popen([sys.executable, "-I", engine_keeper.__file__, str(folder)], stdin=subprocess.PIPE)
    try:
        time.sleep(0.3)
        assert marked(str(folder)) == [theirs.pid]
        keeper.terminate()  # told to the whole group, it stays until its driver is gone
        time.sleep(0.1)
        assert keeper.poll() is None
        keeper.communicate(timeout=20)
        assert theirs.wait(5) < 0
        assert stays.poll() is None
        assert not folder.exists()
    finally:
        for process in (theirs, stays, keeper):
            process.kill()
            process.wait()
