"""Pass 1 against what goes wrong in worker processes, and the encoder's side of it."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mvp_data.bank import Bank
from mvp_data.config import BuildConfig, from_options
from mvp_data.embed import Encoder
from mvp_data.errors import SkipReason
from mvp_data.pass1 import Outcome, embed_all, extract_all
from mvp_data.scan import scan
from mvp_data.types import Picture, Vectors


def config_for(src: Path, out: Path, **options: object) -> BuildConfig:
    return from_options({"src": str(src), "out": out, **options})


class Averages:
    """An embedder of its own kind: mean colours. Counts its calls."""

    encoder = Encoder(name="test:averages", weights_sha256="0" * 64, dimension=3, engine="numpy")

    def __init__(self) -> None:
        self.batches: list[int] = []

    def embed(self, pictures: Sequence[Picture]) -> Vectors:
        self.batches.append(len(pictures))
        rows = np.array([p.reshape(-1, 3).mean(axis=0) + 1 for p in pictures], np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def test_outcomes_come_in_the_order_of_the_sources(films: Path, tmp_path: Path) -> None:
    sources = scan([str(films)]).sources
    done: list[Outcome] = []
    outcomes = extract_all(sources, config_for(films, tmp_path / "out", workers=2), done.append)
    assert [o.source for o in outcomes] == list(sources)
    assert sorted(map(repr, done)) == sorted(map(repr, outcomes))


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


def test_a_video_out_of_time_is_tried_again_when_asked(corpus: Path, tmp_path: Path) -> None:
    clips = [str(corpus / "clips" / name) for name in ("video2dataset__test_video.mp4", "ST-LLM__monkey.mp4")]
    config = config_for(corpus, tmp_path / "out", workers=1, video_timeout_s=1.0)
    sources = scan(clips).sources
    slow, quick = sorted(extract_all(sources, config), key=lambda o: o.source.path, reverse=True)
    assert (slow.skip, "--retry timeout" in slow.detail) == (SkipReason.TIMEOUT, True)
    assert quick.skip in ("", SkipReason.TIMEOUT)  # a very busy machine
    more = replace(config, video_timeout_s=100.0)
    assert slow in extract_all(sources, more), "what took too long once is not waited for again"
    assert slow in extract_all(sources, replace(more, retry="crash"))
    mended = extract_all(sources, replace(more, retry="crash,timeout"))
    assert [o.skip for o in mended] == ["", ""]
    assert extract_all(sources, more) == mended


def test_a_reason_to_skip_is_kept_and_not_found_out_again(films: Path, tmp_path: Path) -> None:
    config = config_for(films, tmp_path / "out", workers=1)
    sources = scan([str(films / "text.mp4")]).sources
    (first,) = extract_all(sources, config)
    entry = Bank(config.bank_folder, config.extract_hash()).read(first.video_id)
    assert (entry.skip, entry.detail) == (first.skip, first.detail) == ("not_a_video", first.detail)
    assert extract_all(sources, config) == (first,)


def test_embedding_runs_across_videos_and_only_once(films: Path, tmp_path: Path) -> None:
    config = config_for(films, tmp_path / "out", workers=2)
    outcomes = extract_all(scan([str(films)]).sources, config)
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


def test_ctrl_c_lets_the_videos_in_hand_end_and_says_how_to_go_on(films: Path, tinyvit: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mvp_data.cli",
        "build",
        "--src",
        str(films),
        "--out",
        str(tmp_path / "out"),
    ]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
    running = subprocess.Popen(
        [*command, "--embedder", tinyvit], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)
    bank = tmp_path / "out.bank"
    while running.poll() is None and not list(bank.rglob("*.parquet")):
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does it: to the workers too
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert err.splitlines() == [
        "",
        "stopping: the videos in hand are finished first; Ctrl-C again stops at once",
        "mvp-data: stopped; the same command goes on where this one ended",
    ]
    assert not (tmp_path / "out" / "index.json").exists()
