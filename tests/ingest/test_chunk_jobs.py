"""A long video in pass 1: its chunks are separate jobs, here with their real length of 20 minutes."""

import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mvp_data import build
from mvp_data.bank.bank import Bank
from mvp_data.config.options import BuildConfig, from_options
from mvp_data.core.errors import OutputError, SkipReason
from mvp_data.core.types import Picture, VideoEntry
from mvp_data.engines import local
from mvp_data.engines.base import Lost
from mvp_data.ingest.chunk_jobs import chunk_name
from mvp_data.ingest.scheduler import extract_all
from mvp_data.sources.fetch import fingerprint
from mvp_data.sources.scan import scan
from mvp_data.video import extract
from tests.clips import render
from tests.scenes import film, journey

ROOT = Path(__file__).resolve().parents[2]
MINUTES = 62
EXPECTED = [("again.mkv", ""), ("long.mkv", ""), ("short.mp4", "too_short")]
Piece = tuple[BuildConfig, dict[str, bytes]]
SLOW = {"fps": 1 / 30, "max_fps": 1 / 30, "min_frames": 2}  # all frames of such a film are sampled


@pytest.fixture(scope="module")
def long_films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of an hour with a frame each half minute, its copy, and a short video."""
    folder = tmp_path_factory.mktemp("long")
    slide_show(folder / "long.mkv")
    shutil.copy(folder / "long.mkv", folder / "again.mkv")
    film(folder / "short.mp4", seed=2, seconds=3)
    return folder


def slide_show(path: Path) -> None:
    """Make a video of an hour with a frame each half minute."""
    count = 2 * MINUTES
    world = journey(1, count // 3)

    def slides(n: int, width: int, height: int) -> Picture:
        return world(n // 3, width, height)

    render(
        path,
        frames=count,
        fps=1,
        pts=range(0, 30 * count, 30),
        size=(224, 126),
        paint=slides,
        options={"g": "4", "x264-params": "scenecut=0"},
    )


def config_for(src: Path, out: Path, **options: object) -> BuildConfig:
    return from_options({"src": str(src), "out": out, **SLOW, **options})


def stored(config: BuildConfig) -> dict[str, bytes]:
    """Return the content of the bank after pass 1, without the list of known files."""
    return all_of(config.bank_folder)


def all_of(root: Path) -> dict[str, bytes]:
    """Return the content of a folder, without the list of known files."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != "seen.txt"}


def here(work: Callable[[Any], Any], jobs: Iterator[Any], **_: object) -> Iterator[tuple[Any, Any]]:
    """Run the jobs in this process, in place of `run_all`."""
    yield from ((job, work(job)) for job in jobs)


@pytest.fixture(scope="module")
def in_one_piece(long_films: Path, tmp_path_factory: pytest.TempPathFactory) -> Piece:
    """The bank after one pass over the whole video."""
    config = config_for(long_films, tmp_path_factory.mktemp("one") / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extract, "CHUNK_S", 1e9)
        patch.setattr(local, "run_all", here)
        extract_all(scan([str(long_films)]).sources, config)
    return config, stored(config)


@pytest.fixture
def extracted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The start times of the chunks that are extracted; the jobs run in this process."""
    begun: list[float] = []
    extract_chunk = extract.extract_chunk

    def watched(path: Path, part: extract.Chunk, **options: Any) -> VideoEntry:
        begun.append(part.first_s)
        return extract_chunk(path, part, **options)

    monkeypatch.setattr(extract, "extract_chunk", watched)
    monkeypatch.setattr(local, "run_all", here)
    return begun


def test_chunks_are_decoded_once_and_the_last_job_joins_them(
    long_films: Path, in_one_piece: Piece, extracted: list[float], tmp_path: Path
) -> None:
    config = config_for(long_films, tmp_path / "out")
    outcomes = extract_all(scan([str(long_films)]).sources, config)
    assert [(o.source.path, o.skip) for o in outcomes] == EXPECTED
    assert extracted == [0, 1200, 2400, 0, 0], "the last two are the short video, which gives nothing"
    assert stored(config) == in_one_piece[1]


def test_chunks_pass_through_a_store(
    long_films: Path, in_one_piece: Piece, extracted: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job has its own bank; also after a run whose driver lost everything."""
    config = config_for(long_films, tmp_path / "out", engine="ray", store=f"file://{tmp_path / 'store'}")
    sources = scan([str(long_films)]).sources
    with monkeypatch.context() as patch:
        extract_chunk = extract.extract_chunk

        def fails_later(path: Path, part: extract.Chunk, **options: Any) -> VideoEntry:
            if part.first_s == 2400:
                raise OutputError("no room")
            return extract_chunk(path, part, **options)

        patch.setattr(extract, "extract_chunk", fails_later)
        with pytest.raises(OutputError, match="no room"):
            extract_all(sources, config)
    assert extracted == [0, 1200]
    assert {path.parent.parent.name for path in (tmp_path / "store").rglob("*.*")} == {"parts"}
    shutil.rmtree(config.bank_folder)
    outcomes = extract_all(sources, config)
    assert [(o.source.path, o.skip) for o in outcomes] == EXPECTED
    assert extracted == [0, 1200, 2400, 0, 0], "what was finished is not worked again"
    assert stored(config) == in_one_piece[1]
    assert all_of(tmp_path / "store") == stored(config), "no part is left"


def test_chunks_change_no_byte(long_films: Path, in_one_piece: Piece, tinyvit: str, tmp_path: Path) -> None:
    """Three workers process the video and its copy, and their chunks, at the same time."""
    options = {"embedder": tinyvit, "val_share": 0.0}
    in_parts = build(config_for(long_films, tmp_path / "parts", workers=3, **options))
    kept = stored(config_for(long_films, tmp_path / "parts"))
    assert {name: kept.get(name) for name in in_one_piece[1]} == in_one_piece[1]
    whole = build(config_for(long_films, tmp_path / "whole", bank=in_one_piece[0].bank_folder, **options))
    assert (in_parts.refused, in_parts.rejected_frames) == (whole.refused, whole.rejected_frames)
    assert in_parts.refused, "pass 2 has frames to work on"


KILLED = """
import os, signal, sys
from pathlib import Path
from mvp_data.engines import local
from mvp_data.ingest import scheduler
from mvp_data.video import extract
from tests.ingest.test_chunk_jobs import config_for, here, scan

extract_chunk, begun = extract.extract_chunk, []

def killed_at_the_third(path, part, **options):
    begun.append(part)
    if len(begun) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return extract_chunk(path, part, **options)

extract.extract_chunk, local.run_all = killed_at_the_third, here
films, out = map(Path, sys.argv[1:])
scheduler.extract_all(scan([str(films)]).sources, config_for(films, out))
"""


def test_a_killed_run_loses_one_chunk_at_most(
    long_films: Path, in_one_piece: Piece, extracted: list[float], tmp_path: Path
) -> None:
    config = config_for(long_films, tmp_path / "out")
    command = [sys.executable, "-c", KILLED, str(long_films), str(config.out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Bank(config.bank_folder, config.extract_hash()).held():
        extract_all(scan([str(long_films)]).sources, config)
    assert extracted == [2400, 0, 0]
    assert stored(config) == in_one_piece[1]


def test_chunks_that_remain_after_their_video_is_done_are_removed(
    long_films: Path, extracted: list[float], tmp_path: Path
) -> None:
    """A run may be killed between the last step of a video and the removal of its chunks."""
    config = config_for(long_films, tmp_path / "out")
    extract_all(scan([str(long_films)]).sources, config)
    before = stored(config)
    bank = Bank(config.bank_folder, config.extract_hash(), "parts")
    bank.write_facts(VideoEntry(video_id=chunk_name(fingerprint(long_films / "long.mkv"), 1)))
    bank.write_facts(VideoEntry(video_id=chunk_name("ab" * 10, 1)))
    with Bank(config.bank_folder, config.extract_hash()).held():
        pass
    bank.remove(chunk_name("ab" * 10, 1))  # of a video that is not done: it stays
    assert stored(config) == before


def test_a_lost_part_is_a_lost_video(
    long_films: Path, monkeypatch: pytest.MonkeyPatch, extracted: list[float], tmp_path: Path
) -> None:
    def lossy(work: Callable[[Any], Any], jobs: Iterator[Any], **_: object) -> Iterator[tuple[Any, Any]]:
        for job in jobs:
            video = fingerprint(long_films / "long.mkv")
            yield job, Lost("timeout", "not done after 1 s", video) if job.number == 1 else work(job)

    monkeypatch.setattr(local, "run_all", lossy)
    config = config_for(long_films, tmp_path / "out")
    outcomes = extract_all(scan([str(long_films)]).sources, config)
    assert {o.source.path: o.skip for o in outcomes} == dict(EXPECTED) | {"long.mkv": "timeout", "again.mkv": "timeout"}
    assert extracted == [0, 0, 0], "no other part is begun"
    assert not [name for name in stored(config) if "/parts/" in name]
    monkeypatch.setattr(local, "run_all", here)
    again = extract_all(scan([str(long_films)]).sources, config_for(long_films, tmp_path / "out", retry="timeout"))
    assert [(o.source.path, o.skip) for o in again] == EXPECTED


def test_a_file_that_changes_between_parts(
    long_films: Path, monkeypatch: pytest.MonkeyPatch, extracted: list[float], tmp_path: Path
) -> None:
    path = tmp_path / "films" / "long.mkv"
    path.parent.mkdir()
    shutil.copy(long_films / "long.mkv", path)

    def touched(work: Callable[[Any], Any], jobs: Iterator[Any], **_: object) -> Iterator[tuple[Any, Any]]:
        for job in jobs:
            if job.number == 2:
                path.touch()
            yield job, work(job)

    monkeypatch.setattr(local, "run_all", touched)
    config = config_for(path.parent, tmp_path / "out")
    (outcome,) = extract_all(scan([str(path)]).sources, config)
    assert outcome.skip == SkipReason.CHANGED
    assert stored(config) == {}


def test_a_member_of_a_tar_is_copied_once_and_worked_by_one(
    long_films: Path, in_one_piece: Piece, extracted: list[float], tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "films.tar", "w") as tar:
        tar.add(long_films / "long.mkv", "long.mkv")
    config = config_for(tmp_path / "films.tar", tmp_path / "out")
    (outcome,) = extract_all(scan([str(tmp_path / "films.tar")]).sources, config)
    assert (outcome.skip, extracted) == ("", [0, 1200, 2400])
    assert {name: in_one_piece[1][name] for name in stored(config)} == stored(config)
