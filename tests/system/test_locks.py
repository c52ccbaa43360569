"""A folder has one holder at a time, also after processes die, and messages name the holder."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mvp_data.core.errors import OutputError
from mvp_data.system.locks import ALIVE_S, LOCK_NAME, Lock, is_held, locked_folder, read_owner

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows locks no folder")
WORDS = {"unusable": "cannot be used", "busy": "another build is running there"}


def holder(folder: Path) -> subprocess.Popen[bytes]:
    """A process that holds the folder until it is killed."""
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom mvp_data.system.locks import locked_folder\n"
        "with locked_folder(Path(sys.argv[1]), unusable='', busy=''):\n"
        "    print('held', flush=True)\n    time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_holder_is_refused_until_the_first_has_died(tmp_path: Path) -> None:
    first = holder(tmp_path)
    assert is_held(tmp_path)
    owner = f"process {first.pid} on {socket.gethostname()}"
    with (
        pytest.raises(OutputError, match=f"another build is running there .held by {owner}"),
        locked_folder(tmp_path, **WORDS),
    ):
        pass
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert not is_held(tmp_path), "its file is still there, but says nothing any more"
    assert read_owner(tmp_path)["pid"] == str(first.pid)
    with locked_folder(tmp_path, **WORDS):
        assert read_owner(tmp_path)["pid"] == str(os.getpid())
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_another_machine_counts_while_it_is_touched(tmp_path: Path) -> None:
    """Network file systems may not share locks, but they share the file."""
    file = tmp_path / LOCK_NAME
    file.write_text(json.dumps({"pid": 7, "host": "elsewhere", "since": "then"}))
    assert is_held(tmp_path)
    with pytest.raises(OutputError, match="process 7 on elsewhere, since then"), locked_folder(tmp_path, **WORDS):
        pass
    os.utime(file, (0, time.time() - 2 * ALIVE_S))
    assert not is_held(tmp_path)
    with locked_folder(tmp_path, **WORDS):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"pid": 1}', "[" * 5000])
def test_a_damaged_lock_file_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / LOCK_NAME).write_text(text)
    assert read_owner(tmp_path) == {}
    with locked_folder(tmp_path, **WORDS):
        pass


def test_a_shared_lock_detects_other_holders(tmp_path: Path) -> None:
    first, second = Lock(tmp_path, alone=False), Lock(tmp_path, alone=False)
    assert first.take()
    assert first.only_holder()
    first.share()
    assert second.take()
    assert not first.only_holder()
    assert not Lock(tmp_path, alone=True).take()
    first.release()
    assert (tmp_path / LOCK_NAME).exists(), "another one holds it"
    assert second.only_holder()
    second.release()
    assert not (tmp_path / LOCK_NAME).exists()


def take_and_count(folder: Path, rounds: int, result: "multiprocessing.Queue[int]") -> None:
    """Lock the folder many times; count how often another process had it locked at the same time."""
    met = 0
    for _ in range(rounds):
        try:
            with locked_folder(folder, **WORDS):
                try:
                    (folder / "inside").touch(exist_ok=False)
                except FileExistsError:
                    met += 1
                else:
                    (folder / "inside").unlink()
        except OutputError:
            continue
    result.put(met)


def test_removing_the_lock_file_never_admits_two_holders(tmp_path: Path) -> None:
    """The last holder removes the file while others have opened it and not yet locked it."""
    context = multiprocessing.get_context("spawn")
    result = context.Queue()
    crowd = [context.Process(target=take_and_count, args=(tmp_path, 150, result)) for _ in range(3)]
    for process in crowd:
        process.start()
    assert [result.get(timeout=60) for _ in crowd] == [0, 0, 0]
    for process in crowd:
        process.join()
