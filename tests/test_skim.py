"""Sparse decoding against full decoding: the same frames at the same times with the same bytes, and what falls back."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvp_data import frames, skim
from mvp_data.config import DecodeConfig, FramesConfig
from mvp_data.decode import DecodedFrame, open_video
from mvp_data.errors import Unskimmable
from mvp_data.frames import Extract, extract
from mvp_data.skim import Skim, Skimmer, blended
from mvp_data.types import Picture
from tests.clips import render
from tests.scenes import journey

COUNT, FPS = 150, 25
OPTIONS = FramesConfig(fps=2.0, max_fps=4.0, min_frames=4)
PYRAMID = {"bf": "3", "g": "40", "b-pyramid": "normal"}
COST = {"left_out_frames"}  # what the two ways may differ in
_WORLD = journey(2, COUNT)


def paint(n: int, width: int, height: int) -> Picture:
    """Slow motion with a cut every three seconds."""
    return _WORLD(n // 75 * 61 % COUNT + n // 5, width, height)


def film(path: Path, **options: Any) -> Path:
    return render(path, **({"options": PYRAMID, "frames": COUNT, "size": (192, 108), "paint": paint} | options))


def passed(path: Path, way: str, shots: str = "adaptive") -> tuple[Extract, bytes]:
    blob = io.BytesIO()
    blob.write(b"others")
    config = DecodeConfig(decode=way, shots=shots)
    found = extract(path, video_id="v", decode=config, frames=OPTIONS, seed=0, blob=blob)
    return found, blob.getvalue()


def share_left_out(path: Path, shots: str = "adaptive") -> float:
    """Checks that the two ways find the same; returns how much was left out."""
    (full, full_jpegs), (sparse, sparse_jpegs) = passed(path, "full", shots), passed(path, "sparse", shots)
    names = {f.name for f in fields(Extract) if getattr(full, f.name) != getattr(sparse, f.name)}
    assert names <= COST
    assert full_jpegs == sparse_jpegs
    assert full.left_out_frames == 0
    assert len(full.frames) > 8, "else nothing is tested"
    return sparse.left_out_frames / sparse.decoded_frames


SKIMMED: dict[str, dict[str, Any]] = {
    "pyramid.mp4": {},
    "pyramid.mkv": {},
    "by_start_codes.ts": {},
    "one_b.mp4": {"options": {"bf": "1"}},
    "open_gop.mp4": {"options": PYRAMID | {"x264-params": "open-gop=1:scenecut=0"}},
    "edit_list.mp4": {"pts": range(-7, COUNT - 7), "container_options": {"avoid_negative_ts": "disabled"}},
    "uneven.mkv": {"pts": [40 * n + n * n % 17 for n in range(COUNT)], "time_base": Fraction(1, 1000)},
    "10_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=50"}},
    "hevc.ts": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=50"}},
    "mpeg1.mpg": {"codec": "mpeg1video", "options": {"bf": "2"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2"}},
}
NEEDED_WHOLE: dict[str, dict[str, Any]] = {
    "no_b.mp4": {"options": {"bf": "0"}},
    "all_intra.mp4": {"options": {"g": "1"}},
    "interlaced.mp4": {"options": PYRAMID | {"x264-params": "interlaced=1"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}},
}


@pytest.mark.parametrize("name", SKIMMED)
def test_the_same_with_less(name: str, tmp_path: Path) -> None:
    assert 0.1 < share_left_out(film(tmp_path / name, **SKIMMED[name]))


@pytest.mark.parametrize("name", NEEDED_WHOLE)
def test_what_is_needed_whole(name: str, tmp_path: Path) -> None:
    assert share_left_out(film(tmp_path / name, **NEEDED_WHOLE[name])) == 0


def test_without_shots_all_that_can_be_is_left_out(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    assert share_left_out(path, "none") > share_left_out(path)


def test_a_network_for_shots_sees_every_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "shot_detector", lambda _: frames_seen())
    assert share_left_out(film(tmp_path / "a.mp4"), "transnetv2") == 0


class frames_seen:  # noqa: N801
    def push(self, pts_s: float, tiny: object) -> None: ...
    def finish(self) -> tuple[()]:
        return ()
