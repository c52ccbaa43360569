"""Builds with faults in disks, sources, clocks, networks and processes, each followed by an undisturbed run.

Each test expects a message or a row in the ledger, no traceback, and then the same bytes as those of an undisturbed
build. `python -m tests.faults` breaks many more calls.
"""

import contextlib
import errno
import gc
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mvp_data.bank.bank import Bank
from mvp_data.config.options import BuildConfig, from_options
from mvp_data.core.errors import MvpError, OutputError
from mvp_data.pipeline import build
from mvp_data.pipeline.ledger import read_ledger
from mvp_data.pipeline.output_folder import locked
from mvp_data.sources.fetch import fingerprint
from mvp_data.system import files
from tests import faults
from tests.faults import ROOT, Thumbnails, contents
from tests.scenes import film

FILMS = 5
SMALL = {"hidden_frames": 2, "context_frames": 4, "distractors": 2, "samples_per_video": 4, "decoy_share": 0.0}


@pytest.fixture(scope="module")
def reel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few short videos; tests that change them use copies."""
    folder = tmp_path_factory.mktemp("reel")
    for seed in range(FILMS):
        film(folder / f"film {seed}.mp4", seed=seed, seconds=6)
    return folder


@pytest.fixture(autouse=True)
def _thumbnails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "load_embedder", lambda _: Thumbnails())


def config_for(src: Path, place: Path, **options: Any) -> BuildConfig:
    return from_options({"src": str(src), "out": place / "out", "bank": place / "bank", **SMALL, **options})


@pytest.fixture(scope="module")
def whole(reel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of an undisturbed build."""
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "load_embedder", lambda _: Thumbnails())
        report = build.build(config_for(reel, place, workers=1))
    assert report.used == FILMS
    return contents(place / "out")


@contextlib.contextmanager
def acts(**planned: Any) -> Iterator[None]:
    """Make the workers act in this way on each video; film_3 means `film 3.mp4`."""
    named = {f"{name.replace('_', ' ')}.mp4" if name.startswith("film") else name: act for name, act in planned.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MVP_ACTS", json.dumps(named))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "tests" / "faulty_site"), str(ROOT)]))
        yield


def reasons(place: Path) -> dict[str, str]:
    return {row.path: row.reason for row in read_ledger(place / "out")}


@pytest.mark.slow
def test_a_worker_lost_in_any_way_costs_its_own_video(reel: Path, whole: dict[str, str], tmp_path: Path) -> None:
    limits = {"workers": 2, "video_memory_mb": 1000}
    with acts(
        film_0=["abort", 3], film_1=["segfault", 3, str(tmp_path / "once")], film_2=["kill", 20], film_3=["memory", 5]
    ):
        build.build(config_for(reel, tmp_path, **limits))
    found = reasons(tmp_path)
    assert found == {
        "film 0.mp4": "crash",
        "film 1.mp4": "",
        "film 2.mp4": "crash",
        "film 3.mp4": "memory",
        "film 4.mp4": "",
    }
    assert not multiprocessing.active_children()
    build.build(config_for(reel, tmp_path, workers=2, retry="crash,memory"))
    assert contents(tmp_path / "out") == whole


def test_a_changed_source_is_not_mixed_up_with_its_old_version(
    reel: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(reel, tmp_path / "src")
    shutil.copy(reel / "film 4.mp4", tmp_path / "other.mp4")
    with acts(
        film_0=["truncate", 3],
        film_1=["grow", 3],
        film_2=["replace", 3, str(tmp_path / "other.mp4")],
        film_3=["vanish", 3],
    ):
        build.build(config_for(tmp_path / "src", tmp_path, workers=1))
    found = reasons(tmp_path)
    assert set(found.values()) == {"", "changed"}
    assert [name for name, reason in found.items() if reason] == [f"film {n}.mp4" for n in range(4)]
    bank = Bank(tmp_path / "bank", config_for(reel, tmp_path).extract_hash())
    assert not any(bank.has(fingerprint(reel / f"film {n}.mp4")) for n in range(4))
    for n in range(4):
        shutil.copy(reel / f"film {n}.mp4", tmp_path / "src")
    build.build(config_for(tmp_path / "src", tmp_path, workers=1))
    assert contents(tmp_path / "out") == whole


@pytest.mark.slow
def test_slow_workers_and_jumping_clocks_change_nothing(
    reel: Path, whole: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src = shutil.copytree(reel, tmp_path / "src")
    later_s = 4_000_000_000  # the year 2096
    for path in (src / "film 1.mp4", src / "film 2.mp4"):
        os.utime(path, (later_s, later_s))
    with acts(clock=1, film_0=["sleep", 2, "1.5"], film_3=["sleep", 30, "0.7"]), monkeypatch.context() as patch:
        from tests.faulty_site.sitecustomize import jump

        patch.setattr("time.time", __import__("time").time)  # so that it is put back
        jump()
        build.build(config_for(src, tmp_path, workers=3))
    assert contents(tmp_path / "out") == whole
    # The file of the future is another one now, with the same name, size and time.
    text = bytearray((src / "film 1.mp4").read_bytes())
    text[len(text) // 2] ^= 1
    (src / "film 1.mp4").write_bytes(text)
    os.utime(src / "film 1.mp4", (later_s, later_s))
    with pytest.raises(OutputError, match="other sources"):
        build.build(config_for(src, tmp_path, workers=1))


class _Stalls(BaseHTTPRequestHandler):
    """A server that sends half of `film 0.mp4` and then stalls."""

    over = threading.Event()
    data = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(self.data[: len(self.data) // 2])
            self.wfile.flush()
            self.over.wait(30)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
def test_a_server_that_stalls_costs_its_own_video(reel: Path, tmp_path: Path) -> None:
    _Stalls.data = (reel / "film 0.mp4").read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Stalls)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        listed = [f"http://127.0.0.1:{server.server_port}/film.mp4", *(str(reel / f"film {n}.mp4") for n in (1, 2))]
        (tmp_path / "list.txt").write_text("\n".join(listed) + "\n")
        with acts(read_timeout_s=1.0):
            build.build(config_for(tmp_path / "list.txt", tmp_path, workers=2, video_timeout_s=30.0))
    finally:
        _Stalls.over.set()
        server.shutdown()
        server.server_close()
    rows = {row.path: row for row in read_ledger(tmp_path / "out")}
    stalled = next(row for path, row in rows.items() if path.endswith("film.mp4"))
    assert (stalled.reason, stalled.video_id) == ("unreadable", "")
    assert "no answer in time" in stalled.detail
    assert sum(row.samples > 0 for row in rows.values()) == 2
    assert not list((tmp_path / "bank").rglob("fetched-*"))


@contextlib.contextmanager
def limited(what: int, most: int) -> Iterator[None]:
    """Set a resource limit of this process and its workers."""
    soft, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(what, (soft, hard))


def test_a_refused_system_call_stops_a_build_and_damages_nothing(
    reel: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    """One folder, with another fault in each run: files may not grow, no descriptors, removed folders."""
    gc.collect()  # close files that earlier tests have left open
    held = len(os.listdir("/proc/self/fd"))
    config = config_for(reel, tmp_path, workers=1)
    messages = []
    for fault in (
        limited(resource.RLIMIT_FSIZE, 20_000),  # met by a worker, in the first blob
        limited(resource.RLIMIT_NOFILE, held + 6),  # met when a worker is started
        acts(film_3=["remove", 2, str(tmp_path / "bank")]),
        acts(film_3=["remove", 2, str(tmp_path / "out")]),
        limited(resource.RLIMIT_FSIZE, 100_000),  # met here, in a shard
    ):
        with fault, pytest.raises(MvpError) as stopped:
            build.build(config)
        assert not multiprocessing.active_children()
        messages.append(str(stopped.value))
    assert not any("\n" in message for message in messages)
    assert [".jpgs: cannot be written (File too large)" in messages[0], ".tar: cannot" in messages[4]] == [True, True]
    assert "no worker process can be started (Too many open files)" in messages[1]
    assert [str(tmp_path / name) in messages[n] for n, name in ((2, "bank"), (3, "out"))] == [True, True]
    build.build(config)
    assert contents(tmp_path / "out") == whole
    (calibration,) = (tmp_path / "bank").rglob("calibration-*.json")
    calibration.write_bytes(calibration.read_bytes()[:-1])
    with pytest.raises(OutputError, match=r"calibration-.*: damaged bank entry .*; delete this file"):
        build.build(replace(config, out=tmp_path / "another"))


def test_a_lock_that_cannot_be_signed_is_let_go(tmp_path: Path) -> None:
    with limited(resource.RLIMIT_FSIZE, 0), pytest.raises(OutputError, match="File too large"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_folders_and_files_that_cannot_be_made_or_removed_are_output_errors(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="folder: cannot be removed"):
        files.remove(tmp_path / "folder")
    with pytest.raises(OutputError, match="below: cannot be created"):
        files.make_folder(tmp_path / "file" / "below")
    files.remove(tmp_path / "nothing")


def test_a_folder_that_cannot_be_synced_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(folder))

    monkeypatch.setattr(files, "_sync_folder", refuse)
    with (
        pytest.raises(OutputError, match="file: cannot be written \\(Too many open files"),
        files.atomic_write(tmp_path / "file"),
    ):
        pass


@pytest.mark.slow
def test_a_small_disk_that_grows(reel: Path, whole: dict[str, str], tmp_path: Path) -> None:
    """A real file system that is full several times; the kernel must allow users to mount one."""
    program = (
        "import json, subprocess, sys\n"
        "from pathlib import Path\n"
        "from mvp_data import pipeline\n"
        "from mvp_data.core.errors import OutputError\n"
        "from tests.faults import Thumbnails, contents\n"
        "from tests.test_faults import config_for\n"
        "if __name__ == '__main__':\n"
        "    pipeline.load_embedder = lambda _: Thumbnails()\n"
        "    src, place = map(Path, sys.argv[1:])\n"
        "    said = []\n"
        "    for kib in (64, 256, 512, 768, 1024, 65536):\n"
        "        subprocess.run(['mount', '-o', f'remount,size={kib}k', str(place)], check=True)\n"
        "        try:\n"
        "            pipeline.build(config_for(src, place, workers=1))\n"
        "        except OutputError as error:\n"
        "            said.append(str(error))\n"
        "    print(json.dumps([said, contents(place / 'out')]))\n"
    )
    script, place = tmp_path / "build.py", tmp_path / "place"
    script.write_text(program)
    place.mkdir()
    mount = f"mount -t tmpfs -o size=64k none '{place}'"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    command = f"{mount} && exec '{sys.executable}' '{script}' '{reel}' '{place}'"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said, found = json.loads(done.stdout)
    assert len(said) >= 3
    assert all("No space left on device" in message and "\n" not in message for message in said)
    assert found == whole


@pytest.mark.slow
def test_builds_that_share_a_bank_at_the_same_time(reel: Path, whole: dict[str, str], tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mvp_data import pipeline\n"
        "from tests.faults import Thumbnails\n"
        "from tests.test_faults import config_for\n"
        "if __name__ == '__main__':\n"
        "    pipeline.load_embedder = lambda _: Thumbnails()\n"
        "    src, place, out = map(Path, sys.argv[1:])\n"
        "    pipeline.build(config_for(src, place, out=out, workers=1))\n"
    )
    script = tmp_path / "build.py"
    script.write_text(program)
    outs = [tmp_path / "out a", tmp_path / "out b"]
    running = [
        subprocess.Popen(
            [sys.executable, script, reel, tmp_path, out],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for out in outs
    ]
    ended = [(process.communicate(timeout=120)[1], process.returncode) for process in running]
    assert [code for _, code in ended] == [0, 0], ended
    assert [contents(out) for out in outs] == [whole, whole]


@pytest.mark.slow
def test_calls_that_fail_at_chosen_moments(reel: Path) -> None:
    """A few of the calls that `python -m tests.faults` breaks, each in a separate build."""
    if shutil.which("cc") is None or sys.platform != "linux":
        pytest.skip("needs a C compiler on Linux")
    done = faults.preloaded(["full", "misread", "source sector", "--points", "2", "--json"], reel)
    assert done.returncode in (0, 1), done.stderr
    trials = json.loads(done.stdout)
    assert [trial for trial in trials if trial["fault"]] == []
    assert {trial["ended"] for trial in trials if trial["kind"] == "full"} == {"stopped"}
