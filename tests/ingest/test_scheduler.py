"""Pass 1: failures of worker processes, known files, signals, and the calls of the encoder."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvp_data.bank.bank import Bank
from mvp_data.config.options import BuildConfig, from_options
from mvp_data.core.errors import Skip, SkipReason, SourceError
from mvp_data.core.types import Encoder, FrameTable, Picture, Vectors, VideoEntry
from mvp_data.engines import local
from mvp_data.engines.base import Lost
from mvp_data.ingest import scheduler, worker
from mvp_data.ingest.embed import embed_all
from mvp_data.ingest.jobs import Outcome
from mvp_data.ingest.scheduler import extract_all
from mvp_data.pipeline.status import read_status
from mvp_data.sources.fetch import fingerprint
from mvp_data.sources.scan import scan
from mvp_data.system.signals import STOPPING
from mvp_data.video import extract as extract_module
from tests.web import serve


def config_for(src: Path, out: Path, **options: object) -> BuildConfig:
    return from_options({"src": str(src), "out": out, **options})


class Averages:
    """An embedder that returns mean colours, and keeps the sizes of its batches."""

    encoder = Encoder(name="test:averages", weights_sha256="0" * 64, dimension=3, engine="numpy")

    def __init__(self) -> None:
        self.batches: list[int] = []

    def embed(self, pictures: Sequence[Picture]) -> Vectors:
        self.batches.append(len(pictures))
        rows = np.array([p.reshape(-1, 3).mean(axis=0) + 1 for p in pictures], np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def extracted(
    films: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[BuildConfig, tuple[Outcome, ...], list[Outcome]]:
    """A finished pass 1 without vectors: its configuration, its outcomes, and the same in the order of their end."""
    config, done = config_for(films, tmp_path_factory.mktemp("extracted") / "out", workers=2), list[Outcome]()
    return config, tuple(extract_all(scan([str(films)]).sources, config, done.append)), done


def test_outcomes_come_in_the_order_of_the_sources(
    films: Path, extracted: tuple[BuildConfig, tuple[Outcome, ...], list[Outcome]]
) -> None:
    sources = scan([str(films)]).sources
    _, outcomes, done = extracted
    assert [o.source for o in outcomes] == list(sources)
    assert sorted(map(repr, done)) == sorted(map(repr, outcomes))


def test_the_largest_begins_first(films: Path, tmp_path: Path, in_process: list[str]) -> None:
    sources = scan([str(films)]).sources
    sizes = {source.path: os.path.getsize(source.location) for source in sources}
    extract_all(sources, config_for(films, tmp_path / "out"))
    assert in_process == sorted(sizes, key=lambda path: -sizes[path])
    assert in_process != list(sizes)


def test_order_by_size_is_kept_to_few_sources_at_a_time(
    films: Path, tmp_path: Path, in_process: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "WINDOW", 2)
    sources = scan([str(films)]).sources
    extract_all(sources, config_for(films, tmp_path / "out"))
    paths = [source.path for source in sources]
    assert [sorted(in_process[i : i + 2]) for i in range(0, len(paths), 2)] == [
        sorted(paths[i : i + 2]) for i in range(0, len(paths), 2)
    ]


def test_a_worker_that_dies_costs_one_video_and_not_for_good(films: Path, tmp_path: Path) -> None:
    sources = scan([str(films)]).sources
    config = config_for(films, tmp_path / "out", workers=1)
    killed: list[int] = []

    def kill_once(_: Outcome) -> None:
        for child in multiprocessing.active_children():
            if not killed and child.pid is not None:
                killed.append(child.pid)
                os.kill(child.pid, signal.SIGKILL)

    outcomes = extract_all(sources, config, kill_once)
    assert len(killed) == 1
    assert len(outcomes) == len(sources)
    crashed = [o for o in outcomes if o.skip == SkipReason.CRASH]
    assert len(crashed) <= 1
    again = extract_all(sources, config)
    assert not [o for o in again if o.skip == SkipReason.CRASH]
    assert len(list(config.bank_folder.rglob("*.tmp"))) <= len(killed), "what was being written when it died"


def test_a_reason_to_skip_is_kept_and_not_found_out_again(films: Path, tmp_path: Path) -> None:
    config = config_for(films, tmp_path / "out", workers=1)
    sources = scan([str(films / "text.mp4")]).sources
    (first,) = extract_all(sources, config)
    entry = Bank(config.bank_folder, config.extract_hash()).read(first.video_id)
    assert (entry.skip, entry.detail) == (first.skip, first.detail) == ("not_a_video", first.detail)
    assert extract_all(sources, config) == (first,)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run the jobs of pass 1 in this process; the paths that they read."""
    worked: list[str] = []

    def run_all(work: Any, jobs: Any, **_: Any) -> Iterator[Any]:
        for job in jobs:
            worked.append(job.source.path)
            yield job, work(job)

    monkeypatch.setattr(local, "run_all", run_all)
    return worked


def test_a_file_that_was_seen_is_not_read_again(films: Path, tmp_path: Path, in_process: list[str]) -> None:
    for name in ("film 0.mp4", "text.mp4"):
        shutil.copy2(films / name, tmp_path / name)
    time.sleep(2.1)  # what has just changed is not trusted
    config = config_for(tmp_path, tmp_path / "out")
    sources = scan([str(tmp_path)]).sources
    first = extract_all(sources, config)
    assert in_process == ["film 0.mp4", "text.mp4"]
    assert extract_all(sources, config) == first
    assert in_process == ["film 0.mp4", "text.mp4"], "both are known, the reason to skip too"
    (tmp_path / "text.mp4").write_text("another text")
    again = extract_all(sources, config)
    assert in_process == ["film 0.mp4", "text.mp4", "text.mp4"]
    assert again[1].video_id not in ("", first[1].video_id)


def test_a_file_behind_a_url_is_not_fetched_again(films: Path, tmp_path: Path, in_process: list[str]) -> None:
    (tmp_path / "web").mkdir()
    for name in ("film 0.mp4", "text.mp4"):
        shutil.copy2(films / name, tmp_path / "web" / name)
    with tarfile.open(tmp_path / "web" / "films.tar", "w") as tar:
        tar.add(films / "film 1.mp4", "film 1.mp4")
    with serve(tmp_path / "web") as site:
        config = config_for(films, tmp_path / "out")
        sources = scan([f"{site.url}/{name}" for name in ("film%200.mp4", "text.mp4", "films.tar")]).sources
        assert len(sources) == 3
        first = extract_all(sources, config)
        assert [o.skip for o in first] == ["", "", "not_a_video"]
        sent = site.bytes_sent
        assert extract_all(sources, config) == first
        assert site.bytes_sent == sent, "only asked for what it is"
        (tmp_path / "web" / "text.mp4").write_text("other text of the same name")
        again = extract_all(sources, config)
        assert again[2].video_id != first[2].video_id
        assert site.bytes_sent - sent == len("other text of the same name")


@pytest.mark.parametrize("how", ["replaced", "grown", "damaged"])
def test_a_file_that_changes_while_it_is_read_is_not_taken(
    films: Path, tmp_path: Path, in_process: list[str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Its id was computed from other bytes than those that were decoded."""
    film = tmp_path / "film.mp4"
    shutil.copy2(films / "film 0.mp4", film)
    extract = extract_module.extract

    def meanwhile(path: Path, **options: Any) -> VideoEntry:
        if how == "damaged":  # the disk gives other bytes, and its times are those of before
            status = film.stat()
            film.write_bytes(film.read_bytes()[:-1] + b"x")
            monkeypatch.setattr(worker, "file_state", lambda _: None)
            os.utime(film, ns=(status.st_atime_ns, status.st_mtime_ns))
            return replace(extract(path, **options), damaged_packets=1)
        found = extract(path, **options)
        film.write_bytes(film.read_bytes() + b"more" if how == "grown" else b"another")
        return found

    monkeypatch.setattr(extract_module, "extract", meanwhile)
    config = config_for(film, tmp_path / "out")
    (outcome,) = extract_all(scan([str(film)]).sources, config)
    assert (outcome.skip, outcome.video_id) == (SkipReason.CHANGED, "")
    assert "run again" in outcome.detail
    assert not [*config.bank_folder.rglob("*.parquet"), *config.bank_folder.rglob("*.jpgs")]
    monkeypatch.undo()
    (outcome,) = extract_all(scan([str(film)]).sources, config)
    assert outcome.skip in ("", SkipReason.NOT_A_VIDEO)


@pytest.mark.parametrize("glitch", ["refused", "damaged"])
def test_what_a_disk_gives_wrong_once_is_not_kept(
    films: Path, tmp_path: Path, in_process: list[str], monkeypatch: pytest.MonkeyPatch, glitch: str
) -> None:
    """libavformat cannot distinguish a failed read from a damaged file; at the second read the file is whole."""
    extract, times = extract_module.extract, []

    def once(path: Path, **options: Any) -> VideoEntry:
        times.append(path)
        if len(times) > 1:
            return extract(path, **options)
        if glitch == "refused":
            raise Skip(SkipReason.NOT_A_VIDEO, "no container of the accepted kinds (Input/output error)")
        found = extract(path, **options)
        return replace(found, damaged_packets=1, frames=FrameTable.of(found.frames[:-1]))

    monkeypatch.setattr(extract_module, "extract", once)
    config = config_for(films / "film 0.mp4", tmp_path / "out")
    sources = scan([str(films / "film 0.mp4")]).sources
    (outcome,) = extract_all(sources, config)
    assert (outcome.skip, outcome.video_id, len(times)) == (SkipReason.UNREADABLE, "", 2)
    assert not [*config.bank_folder.rglob("*.parquet"), *config.bank_folder.rglob("*.jpgs")]
    (outcome,) = extract_all(sources, config)
    assert outcome.skip == ""


def test_a_failed_video_is_tried_again_on_request(
    films: Path, tmp_path: Path, in_process: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(films / "film 0.mp4", tmp_path / "out")
    sources = scan([str(films / "film 0.mp4")]).sources
    with monkeypatch.context() as patch:
        lost = Lost("timeout", "not done after 1800 s", fingerprint(films / "film 0.mp4"))
        patch.setattr(local, "run_all", lambda work, jobs, **_: ((job, lost) for job in jobs))
        (slow,) = extract_all(sources, config)
    assert (slow.skip, slow.detail.endswith("--video-timeout-s and --retry timeout")) == ("timeout", True)
    assert extract_all(sources, config) == (slow,), "what took too long once is not waited for again"
    assert extract_all(sources, replace(config, retry="crash")) == (slow,)
    (mended,) = extract_all(sources, replace(config, retry="crash,timeout"))
    assert (mended.skip, mended.video_id) == ("", slow.video_id)
    assert extract_all(sources, config) == (mended,)


def test_when_everything_fails_it_stops(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Lost("crash", "its process died (signal SIGSEGV)")
    monkeypatch.setattr(local, "run_all", lambda work, jobs, **_: ((job, lost) for job in jobs))
    config = config_for(films, tmp_path / "out", max_failures=3)
    sources = scan([str(films)]).sources
    with pytest.raises(SourceError) as caught:
        extract_all(sources, config)
    message = str(caught.value)
    assert "3 videos failed and none succeeded (crash 3; film 3.mp4: its process died (signal SIGSEGV)" in message
    assert "mvp-data doctor" in message
    assert "--retry crash, or with --max-failures 0 to continue" in message
    assert len(extract_all(sources, replace(config, max_failures=0))) == len(sources)
    assert len(extract_all(sources, replace(config, max_failures=99))) == len(sources)


def test_a_few_failures_among_good_videos_stop_nothing(films: Path, tmp_path: Path) -> None:
    for name in ("film 0.mp4", "film 1.mp4"):
        shutil.copy2(films / name, tmp_path / name)
    os.symlink(tmp_path / "film 0.mp4", tmp_path / "z.mp4")
    sources = scan([str(tmp_path)]).sources
    (tmp_path / "film 0.mp4").unlink()  # it and what leads to it are gone
    outcomes = extract_all(sources, config_for(tmp_path, tmp_path / "out", max_failures=2, workers=1))
    assert [o.skip for o in outcomes] == ["unreadable", "", "unreadable"]


def test_embedding_runs_across_videos_and_only_once(
    extracted: tuple[BuildConfig, tuple[Outcome, ...], list[Outcome]],
) -> None:
    config, outcomes, _ = extracted
    bank = Bank(config.bank_folder, config.extract_hash())
    ids = sorted({o.video_id for o in outcomes if not o.skip})
    entries = [bank.read(video_id) for video_id in ids]
    counts = {entry.video_id: len(entry.usable) for entry in entries}
    embedder, done = Averages(), []
    embed_all(bank, entries, embedder, done.append)
    assert sum(done) == sum(counts.values())
    assert embedder.batches[:-1] == [64] * (len(embedder.batches) - 1), "full batches, whatever the videos' lengths"
    for video_id in ids:
        if counts[video_id]:
            vectors = bank.read_vectors(video_id, embedder.encoder, rows=counts[video_id])
            assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    embed_all(bank, entries, embedder, done.append)
    assert sum(done) == sum(counts.values())


def started(films: Path, tinyvit: str, folder: Path) -> "subprocess.Popen[str]":
    """Start a build in its own process group, as a terminal does; return when the first video is in its bank."""
    command = [sys.executable, "-m", "mvp_data.cli.main", "build", "--src", str(films), "--embedder", tinyvit]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
    running = subprocess.Popen(
        [*command, "--out", str(folder / "out")], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)
    while running.poll() is None and not list((folder / "out.bank").rglob("*.parquet")):
        time.sleep(0.02)
    return running


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_after_a_signal_the_running_videos_finish(
    films: Path, tinyvit: str, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    running = started(films, tinyvit, tmp_path)
    os.killpg(running.pid, number)  # the workers get it too
    _, err = running.communicate(timeout=30)
    assert running.returncode == code
    lines = [line for line in err.splitlines() if not line.startswith("decoding:")]  # a bar, on a slow machine
    assert lines == ["", STOPPING, "mvp-data: stopped; run the same command again to resume"]
    assert not (tmp_path / "out" / "index.json").exists()
    assert read_status(tmp_path / "out").state == "stopped"
    assert not list((tmp_path / "out.bank" / "tmp").iterdir())


def test_after_a_second_signal_it_stops_at_once(tmp_path: Path) -> None:
    """A running job that would take a minute."""
    script = tmp_path / "script.py"
    script.write_text(
        "import time\n"
        "from mvp_data.system.signals import Interrupts\n"
        "from mvp_data.engines.base import Limits\n"
        "from mvp_data.engines.local import run_all\n"
        "from tests.engines.local_jobs import act\n"
        "if __name__ == '__main__':\n"
        "    with Interrupts() as signals:\n"
        "        jobs = [('a', 0), ('hang', 1), ('b', 2)]\n"
        "        for job, _ in run_all(act, jobs, workers=1, limits=Limits(timeout_s=90), stop=signals.came):\n"
        "            print(job, flush=True)\n"
    )
    root = Path(__file__).resolve().parents[2]
    running = subprocess.Popen(
        [sys.executable, script],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "('a', 0)\n"
    assert running.stderr is not None
    os.killpg(running.pid, signal.SIGINT)
    assert running.stderr.readline() + running.stderr.readline() != ""
    assert running.poll() is None, "one signal does not stop a running video"
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=20)
    assert out == ""
    assert err.rstrip().endswith("mvp_data.system.signals.Stopped")
