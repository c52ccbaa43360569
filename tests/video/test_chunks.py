"""Chunks against one pass over the whole video: all results must be equal, on files of awkward kinds."""

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvp_data.config.options import DecodeConfig, FramesConfig
from mvp_data.core.errors import Skip
from mvp_data.core.types import Picture, VideoEntry
from mvp_data.video import chunks
from mvp_data.video import extract as extract_module
from mvp_data.video.chunks import merge, plan_chunks, settled
from mvp_data.video.decode import pyav
from mvp_data.video.extract import Chunk, extract, extract_chunk
from tests.clips import render
from tests.scenes import journey

COUNT, FPS = 180, 20
OPTIONS = FramesConfig(fps=4.0, max_fps=8.0, min_frames=2)
TICKS_A_SECOND = 10_240  # of the MP4
OPEN_GOP = {"bf": "3", "g": "12", "keyint_min": "12", "x264-params": "open-gop=1:scenecut=0:b-pyramid=normal"}
QUICK = {"cpu-used": "8", "deadline": "realtime", "g": "12"}


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 2 s and more instead of 20 minutes."""
    monkeypatch.setattr(extract_module, "CHUNK_S", 2.0)
    monkeypatch.setattr(chunks, "ROLL_S", 2.0)


def paint(n: int, width: int, height: int) -> Picture:
    """Shots with cuts, and with frames that do not change across the borders of chunks."""
    return _WORLD(n // 40 * 97 % COUNT + (n % 40 // 15), width, height)


_WORLD = journey(1, COUNT)


def film(path: Path, **options: Any) -> Path:
    options = {"options": OPEN_GOP, "frames": COUNT, "fps": FPS, "size": (128, 72), "paint": paint} | options
    return render(path, **options)


def in_one_pass(path: Path, options: FramesConfig = OPTIONS) -> tuple[VideoEntry, bytes]:
    blob = io.BytesIO()
    found = extract(path, video_id="v", decode=DecodeConfig(), frames=options, seed=0, blob=blob)
    return found, blob.getvalue()


def in_chunks(path: Path, options: FramesConfig = OPTIONS) -> tuple[VideoEntry, bytes, tuple[Chunk, ...]]:
    """The merged result of the chunks, extracted from the last to the first, because their order must not matter."""
    plan = plan_chunks(path, video_id="v", decode=DecodeConfig(), frames=options)
    assert len(plan) > 2, "else nothing is tested"
    first, jpegs = work(path, plan[0], options)
    found = {0: (first, jpegs)}
    plan = settled(plan, first)
    for number in range(len(plan) - 1, 0, -1):
        found[number] = work(path, plan[number], options)
    ordered = [found[number] for number in range(len(plan))]
    return merge([extract for extract, _ in ordered], options.trim_s), b"".join(blob for _, blob in ordered), plan


def work(path: Path, chunk: Chunk, options: FramesConfig = OPTIONS) -> tuple[VideoEntry, bytes]:
    blob = io.BytesIO()
    found = extract_chunk(path, chunk, decode=DecodeConfig(), frames=options, seed=0, blob=blob)
    return found, blob.getvalue()


def differences(path: Path) -> list[str]:
    """The fields of `VideoEntry` that differ between chunks and one pass."""
    whole, jpegs = in_one_pass(path)
    joined, joined_jpegs, _ = in_chunks(path)
    assert whole.boundaries, "else nothing is tested"
    assert {"", "frozen"} <= {frame.reject for frame in whole.frames}, "else nothing is tested"
    names = [name for name in VideoEntry.__dataclass_fields__ if getattr(whole, name) != getattr(joined, name)]
    return names + ["jpegs"] * (jpegs != joined_jpegs)


KINDS: dict[str, dict[str, Any]] = {
    "open_gop.mp4": {},
    "start_7300ms.mkv": {"pts": range(7300, 7300 + 50 * COUNT, 50), "time_base": Fraction(1, 1000)},
    "edit_list.mp4": {"pts": range(-7, COUNT - 7), "container_options": {"avoid_negative_ts": "disabled"}},
    "start_100s.ts": {"pts": range(2000, 2000 + COUNT)},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}, "fps": 25},
    "vp9.webm": {"codec": "libvpx-vp9", "options": QUICK},
    "only_keys.mkv": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "options": {}},
}


@pytest.mark.parametrize("name", KINDS)
def test_chunks_give_what_one_pass_gives(name: str, tmp_path: Path) -> None:
    assert differences(film(tmp_path / name, **KINDS[name])) == []


def test_a_seek_beyond_the_packet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some containers cannot seek exactly; then the file is read from its beginning."""
    path = film(tmp_path / "a.ts")
    monkeypatch.setattr(pyav, "SEEK_EARLY_S", -30)
    assert differences(path) == []


def test_damage_is_marked_where_one_pass_marks_it(tmp_path: Path) -> None:
    path = film(tmp_path / "a.ts")
    assert in_one_pass(path)[0].left_out_frames > COUNT / 8
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for place in rng.integers(len(data) * 2 // 5, len(data) * 3 // 5, 40):
        data[place] ^= 0xFF
    path.write_bytes(data)
    assert differences(path) == ["left_out_frames"]  # only the damaged chunks are decoded in full
    whole, _ = in_one_pass(path)
    assert whole.damaged_packets > 3
    assert {"damaged"} < {frame.reject for frame in whole.frames}


def test_chunks_begin_at_key_packets_and_tile_the_video(tmp_path: Path) -> None:
    *_, plan = in_chunks(film(tmp_path / "a.mp4"))
    assert [chunk.first_s for chunk in plan] == pytest.approx([0, 2.4, 4.8, 7.2]), "12 frames are 0.6 s"
    assert [chunk.end_s for chunk in plan[:-1]] == [chunk.first_s for chunk in plan[1:]]
    starts = [chunk.start.ticks - chunk.start.origin for chunk in plan[1:] if chunk.start]
    assert starts == [0, round(2.4 * TICKS_A_SECOND), round(4.8 * TICKS_A_SECOND)], "the last key packet 2 s before"
    assert (plan[0].start, plan[-1].end_s) == (None, float("inf"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("short.mp4", {"frames": 55}),
        ("one_key.mp4", {"options": {"g": "9999", "x264-params": "scenecut=0"}}),
        ("no_times.m2v", {"codec": "mpeg2video", "fps": 25}),
        ("counted.avi", {"codec": "mpeg4"}),
    ],
)
def test_videos_of_one_pass(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    path = film(tmp_path / name, **options)
    assert plan_chunks(path, video_id="v", decode=DecodeConfig(), frames=OPTIONS) == ()


def test_other_back_ends_decode_in_one_pass(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    assert plan_chunks(path, video_id="v", decode=DecodeConfig(decoder="ffmpeg"), frames=OPTIONS) == ()


def test_a_first_chunk_with_too_few_samples_continues_to_the_end(tmp_path: Path) -> None:
    """A slide show: size and crop depend on frames after the first chunk."""
    path = film(tmp_path / "a.mkv", frames=120, pts=range(0, 360, 3), time_base=Fraction(1), options={"g": "1"})
    options = FramesConfig(fps=1.0, max_fps=1.0, min_frames=20)
    plan = plan_chunks(path, video_id="v", decode=DecodeConfig(), frames=options)
    first, jpegs = work(path, plan[0], options)
    assert len(plan) > 2
    assert settled(plan, first) == plan[:1]
    assert (merge([first], options.trim_s), jpegs) == in_one_pass(path, options)


def test_a_changed_file_is_skipped(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv")
    *_, plan = in_chunks(path)
    film(path, options={"g": "17"})
    with pytest.raises(Skip, match="did the file change"):
        work(path, replace(plan[2], size=(56, 28)))


def test_progress_is_reported_after_every_chunk_length_of_samples(tmp_path: Path) -> None:
    reports: list[int] = []
    path = film(tmp_path / "a.mp4")
    found = extract(
        path,
        video_id="v",
        decode=DecodeConfig(),
        frames=OPTIONS,
        seed=0,
        blob=io.BytesIO(),
        on_progress=lambda: reports.append(1),
    )
    assert len(reports) == len(found.frames) // 8 > 3, "2 s at 4 frames a second"
