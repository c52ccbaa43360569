"""The log of a run: JSON lines, the status file, and `mvp-data status`."""

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from mvp_data.core.errors import OutputError
from mvp_data.pipeline import run_log as module
from mvp_data.pipeline.ledger import LEDGER_NAME
from mvp_data.pipeline.output_folder import STARTED_NAME
from mvp_data.pipeline.run_log import STATUS_NAME, RunLog
from mvp_data.pipeline.status import read_status, to_text
from mvp_data.system.locks import LOCK_NAME, locked_folder
from mvp_data.system.signals import Stopped
from tests.samples import make_folder, make_shard


def test_times_counts_and_rates() -> None:
    log = RunLog()
    with log.step("scan"):
        pass
    with log.step("mine", "mining", total=4, unit="video") as advance:
        advance(3)
        advance(1)
        time.sleep(0.1)
    assert list(log.seconds) == list(log.cpu_seconds) == ["scan", "mine"]
    assert log.seconds["mine"] >= 0.1
    assert list(log.rates) == ["videos a second, mine"]
    assert 4 <= log.rates["videos a second, mine"] <= 40


def test_each_event_is_a_line_of_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STATUS_EVERY_S", 0.05)
    monkeypatch.setattr(module, "LOG_EVERY_S", 0.1)
    log = RunLog(log_json=True)
    with log.kept_in(tmp_path), log.step("extract", "decoding", total=2, unit="video") as advance:
        log.video("a\n.mp4", "ab", "", "")
        advance(1)
        time.sleep(0.5)
        log.video("b.mp4", "cd", "timeout", "not done")
        advance(1)
    log.warn("a warning")
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    events = [line["event"] for line in lines]
    assert [e for e in events if e != "progress"] == ["step", "video", "video", "step done", "done", "warning"]
    progress = lines[events.index("progress")]
    assert (progress["stage"], progress["done"], progress["total"]) == ("extract", 1, 2)
    assert progress["per_second"] > 0
    assert [(line["path"], line["skip"]) for line in lines if line["event"] == "video"] == [
        ("a\n.mp4", ""),
        ("b.mp4", "timeout"),
    ]
    assert list(tmp_path.iterdir()) == [], "nothing is left when all went well"


@pytest.mark.parametrize(
    ("error", "state", "because"),
    [
        (Stopped(15), "stopped", ""),
        (KeyboardInterrupt(), "stopped", ""),
        (OutputError("disk full"), "failed", "disk full"),
    ],
    ids=["told to stop", "Ctrl-C", "failed"],
)
def test_the_status_of_a_run_that_stopped_or_failed(
    tmp_path: Path, error: BaseException, state: str, because: str
) -> None:
    def run() -> None:
        log = RunLog()
        with log.kept_in(tmp_path), log.step("extract", total=9, unit="video") as advance:
            log.video("a.mp4", "", "unreadable", "")
            advance(1)
            raise error

    with pytest.raises(type(error)):
        run()
    status = read_status(tmp_path)
    assert (status.state, status.message, status.stage, status.done, status.total) == (state, because, "extract", 1, 9)
    assert status.skipped == {"unreadable": 1}
    text = to_text(status)
    assert "extract, 1 of 9 videos (11%)" in text
    assert "the same command again" in text


def test_a_running_build_is_distinguished_from_a_killed_one(tmp_path: Path) -> None:
    log = RunLog()
    with (
        locked_folder(tmp_path, unusable="", busy="") as lock,
        log.kept_in(tmp_path, lock),
        log.step("embed", total=10, unit="frame") as advance,
    ):
        advance(5)
        time.sleep(0.1)
        log._write("running")
        status = read_status(tmp_path)
        assert (status.state, status.pid, status.host) == ("running", os.getpid(), socket.gethostname())
        assert "embed, 5 of 10 frames (50%), " in to_text(status)
        assert "about 00:00 left" in to_text(status)
        said = (tmp_path / STATUS_NAME).read_text()
    assert read_status(tmp_path).state == "empty"
    (tmp_path / STATUS_NAME).write_text(said)  # as a killed run leaves it
    (tmp_path / LOCK_NAME).write_text("{}")
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / STATUS_NAME).write_text(said.replace(str(os.getpid()), str(gone.pid)))
    status = read_status(tmp_path)
    assert status.state == "killed"
    assert "killed (process" in to_text(status)


def test_the_lock_is_touched_during_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATUS_EVERY_S", 0.02)
    with locked_folder(tmp_path, unusable="", busy="") as lock:
        os.utime(tmp_path / LOCK_NAME, (0, 0))
        with RunLog().kept_in(tmp_path, lock):
            until = time.monotonic() + 10
            while (tmp_path / LOCK_NAME).stat().st_mtime < 1000:
                assert time.monotonic() < until
                time.sleep(0.01)


def test_folders_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no such folder"):
        read_status(tmp_path / "missing")
    assert read_status(tmp_path).state == "empty"
    make_folder(tmp_path, [make_shard(tmp_path / "shard-000000.tar", 2)])
    assert "complete, 2 samples in 1 shard" in to_text(read_status(tmp_path))
    (tmp_path / STARTED_NAME).write_text("{}")
    assert read_status(tmp_path).state == "killed"


def test_known_videos_do_not_count_toward_the_rate(tmp_path: Path) -> None:
    log = RunLog()
    with log.kept_in(tmp_path), log.step("extract", total=1010, unit="video") as advance:
        advance(1000, known=True)
        time.sleep(0.2)
        advance(2)
        log._write("running")
        status = read_status(tmp_path)
        assert (status.done, status.known, status.total) == (1002, 1000, 1010)
        assert 1 < status.per_second < 10.1
        assert "1,002 of 1,010 videos (99%), 1,000 of them from before" in to_text(status)
    assert log.rates["videos a second, extract"] < 10.1


def test_tasks_that_share_a_bank_have_a_status_each(tmp_path: Path) -> None:
    (tmp_path / "0123456789ab" / "frames" / "ab").mkdir(parents=True)
    (tmp_path / "0123456789ab" / "frames" / "ab" / "abc.parquet").touch()
    assert "a bank, 1 video in it" in to_text(read_status(tmp_path))
    first, second = RunLog(), RunLog()
    with pytest.raises(OutputError), first.kept_in(tmp_path, task="0-of-2"):
        raise OutputError("disk full")
    with second.kept_in(tmp_path, task="1-of-2"):
        status = read_status(tmp_path)
        assert [(task.task, task.state) for task in status.tasks] == [("0-of-2", "failed"), ("1-of-2", "running")]
        assert "task 0-of-2: failed" in to_text(status)


def test_a_build_without_a_sample(tmp_path: Path) -> None:
    (tmp_path / LEDGER_NAME).touch()
    assert "ended without a sample" in to_text(read_status(tmp_path))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"state": "running"}', "[" * 5000, '{"state": {}, "skipped": 1}'])
def test_a_damaged_status_file_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / STATUS_NAME).write_text(text)
    assert read_status(tmp_path).state == "empty"


def test_a_full_disk_does_not_hide_the_error_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> None:
        with RunLog().kept_in(tmp_path):
            monkeypatch.setattr(os, "fsync", no_space)
            raise OutputError("the bank is full")

    with pytest.raises(OutputError, match="the bank is full"):
        run()


def no_space(_: int) -> None:
    raise OSError(28, "No space left on device")
