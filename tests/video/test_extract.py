"""Sizes and crops of synthetic images; whole clips through `extract`, with their JPEGs."""

import io
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mvp_data.config.options import DecodeConfig, FramesConfig
from mvp_data.core.errors import Skip, SkipReason
from mvp_data.core.types import Picture, VideoEntry
from mvp_data.video.crop import cover_box, letterbox, placed, target_size
from mvp_data.video.extract import extract
from tests.builders import rng
from tests.clips import render

SIDES = st.integers(1, 4096)


@pytest.mark.parametrize(
    ("shown", "multiple", "max_pixels", "expected"),
    [
        ((1280, 720), 28, 112_896, (448, 252)),
        ((1920, 1080), 28, 112_896, (448, 252)),
        ((720, 1280), 28, 112_896, (252, 448)),
        ((320, 240), 28, 112_896, (336, 252)),
        ((1280, 720), 32, 114_688, (448, 256)),
        ((1280, 720), 224, 112_896, (448, 224)),
        ((1000, 1000), 28, 112_896, (336, 336)),
        ((500, 400), 1, 10**7, (500, 400)),
        ((280, 140), 28, 10**7, (280, 140)),
        ((10_000, 10), 28, 112_896, (4032, 28)),
        ((10, 10_000), 28, 112_896, (28, 4032)),
        ((1, 1), 28, 784, (28, 28)),
    ],
)
def test_target_sizes(shown: tuple[int, int], multiple: int, max_pixels: int, expected: tuple[int, int]) -> None:
    assert target_size(*shown, multiple=multiple, max_pixels=max_pixels) == expected


@settings(max_examples=300, deadline=None)
@given(SIDES, SIDES, st.integers(1, 512), st.integers(784, 2_000_000))
def test_target_size_for_every_option(width: int, height: int, multiple: int, max_pixels: int) -> None:
    assume(max_pixels >= multiple**2)  # FramesConfig requires this
    found = target_size(width, height, multiple=multiple, max_pixels=max_pixels)
    assert all(side >= multiple and side % multiple == 0 for side in found)
    assert found[0] * found[1] <= max_pixels
    assert found[0] < max(width, 1) + 2 * multiple
    assert found[1] < height + 2 * multiple, "never enlarged by more than the rounding"


@settings(max_examples=200, deadline=None)
@given(st.integers(300, 4096), st.floats(0.4, 2.5), st.integers(10, 32))
def test_target_size_uses_the_area_and_keeps_the_shape(width: int, shape: float, multiple: int) -> None:
    height = round(width * shape)
    found = target_size(width, height, multiple=multiple, max_pixels=112_896)
    area = min(width * height, 112_896)
    assert found[0] * found[1] > 0.75 * area
    assert 0.8 < found[1] / found[0] / (height / width) < 1.25


@settings(max_examples=400, deadline=None)
@given(st.integers(16, 3000), st.integers(16, 3000), st.data(), st.sampled_from([1, 16, 28, 32]))
def test_cover_box_is_in_the_crop_and_has_the_shape(width: int, height: int, data: Any, multiple: int) -> None:
    left, top = data.draw(st.integers(0, width // 4)), data.draw(st.integers(0, height // 4))
    right, bottom = (data.draw(st.integers(width * 3 // 4, width)), data.draw(st.integers(height * 3 // 4, height)))
    crop = (left / width, top / height, right / width, bottom / height)
    size = target_size(right - left, bottom - top, multiple=multiple, max_pixels=112_896)
    box = cover_box(width, height, crop, size)
    assert 0 <= box[0] < box[2] <= width, "inside the image, to the last bit"
    assert 0 <= box[1] < box[3] <= height
    assert box[0] >= left - 1e-6
    assert box[1] >= top - 1e-6
    assert box[2] <= right + 1e-6
    assert box[3] <= bottom + 1e-6
    assert (box[2] - box[0]) / (box[3] - box[1]) == pytest.approx(size[0] / size[1], rel=1e-9)
    touches = (box[2] - box[0] > right - left - 1e-6) or (box[3] - box[1] > bottom - top - 1e-6)
    assert touches, "as large as can be"
    assert box[0] - left == pytest.approx(right - box[2], abs=1e-6), "centred"
    assert box[1] - top == pytest.approx(bottom - box[3], abs=1e-6)


@settings(max_examples=400, deadline=None)
@given(st.integers(2, 3000), st.integers(2, 3000), st.data(), st.sampled_from([1, 16, 28, 32]))
def test_an_image_is_placed_on_whole_pixels_inside_the_crop(width: int, height: int, data: Any, multiple: int) -> None:
    left, top = data.draw(st.integers(0, width // 4)), data.draw(st.integers(0, height // 4))
    right, bottom = data.draw(st.integers(width // 2, width)), data.draw(st.integers(height // 2, height))
    assume(left < right and top < bottom)
    crop = (left / width, top / height, right / width, bottom / height)
    size = target_size(right - left, bottom - top, multiple=multiple, max_pixels=112_896)
    whole, corner = placed(width, height, crop, size)
    box = cover_box(width, height, crop, size)
    for side, part, length in ((0, size[0], width), (1, size[1], height)):
        assert crop[side] * whole[side] <= corner[side] + 1e-5, "without any of a bar"
        assert corner[side] + part <= crop[side + 2] * whole[side] + 1e-5
        exact = length * part / (box[side + 2] - box[side])
        assert exact - 1e-5 <= whole[side] <= exact + 1 + length / (right - left if side == 0 else bottom - top) + 1e-5
        assert abs(corner[side] - box[side] * whole[side] / length) <= 1.5, "in the middle"


@pytest.mark.parametrize(("shown", "size"), [((1280, 720), (448, 252)), ((320, 240), (336, 252)), ((28, 28), (28, 28))])
def test_an_image_of_the_right_shape_is_placed_as_it_is(shown: tuple[int, int], size: tuple[int, int]) -> None:
    assert placed(*shown, (0.0, 0.0, 1.0, 1.0), size) == (size, (0, 0))


def texture(*parts: str | int, height: int = 90, width: int = 160, low: int = 60, high: int = 200) -> Picture:
    """An image of random soft patches."""
    cells = rng("texture", *parts).integers(low, high, size=(6, 10, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.BILINEAR))


def barred(picture: Picture, top: int, bottom: int, left: int = 0, right: int = 0, noise: int = 0) -> Picture:
    """The image with black bars over its edges, noisy as after encoding."""
    height, width = picture.shape[:2]
    result = rng("bars", top, bottom).integers(0, noise + 1, size=picture.shape, dtype=np.uint8)
    result[top : height - bottom, left : width - right] = picture[top : height - bottom, left : width - right]
    return result


@pytest.mark.parametrize(
    ("top", "bottom", "left", "right"),
    [(12, 12, 0, 0), (0, 0, 20, 20), (10, 14, 0, 0), (0, 9, 0, 0), (8, 8, 16, 16), (20, 20, 0, 0)],
)
@pytest.mark.parametrize("noise", [0, 20])
def test_bars_are_found_to_the_pixel(top: int, bottom: int, left: int, right: int, noise: int) -> None:
    pictures = [barred(texture(i), top, bottom, left, right, noise) for i in range(5)]
    found = letterbox(pictures)
    edge = [x + 1 if x else 0 for x in (left, top, right, bottom)]  # one more: a blended edge
    wanted = (edge[0] / 160, edge[1] / 90, 1 - edge[2] / 160, 1 - edge[3] / 90)
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize(
    "pictures",
    [
        [texture(i) for i in range(4)],
        [np.zeros((90, 160, 3), np.uint8)] * 3,  # nothing but black
        [barred(texture(0), 12, 12), texture(1)],  # one image fills the frame
        [barred(texture(0), 30, 30)],  # more than half dark: a dark scene, not bars
        [barred(texture(0), 0, 0, 60, 60)],
        [np.full((90, 160, 3), 20, np.uint8)],
    ],
    ids=["none", "black", "changing", "huge", "huge pillars", "dark"],
)
def test_no_bars(pictures: list[Picture]) -> None:
    assert letterbox(pictures) == (0.0, 0.0, 1.0, 1.0)


def test_black_images_neither_hide_nor_add_bars() -> None:
    black = np.zeros((90, 160, 3), np.uint8)
    assert letterbox([black, barred(texture(0), 10, 10), black])[1] == pytest.approx(11 / 90)
    assert letterbox([black, texture(0), black]) == (0.0, 0.0, 1.0, 1.0)


def test_a_night_scene_is_not_cropped() -> None:
    """Black sky above a lit street: dark in most images, but a lamp or a face passes through it in one."""
    night = [barred(texture(i), 30, 0, noise=10) for i in range(4)]
    passing = night[0].copy()
    passing[2:20, 70:90] = 150
    assert letterbox([*night, passing])[1] < 4 / 90


def test_images_of_another_size_are_ignored() -> None:
    pictures = [barred(texture(0), 10, 10), texture(1, height=120, width=90)]
    assert letterbox(pictures)[1] == pytest.approx(11 / 90)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.binary(min_size=81, max_size=81))
def test_crop_is_never_empty(height: int, width: int, levels: bytes) -> None:
    grey = np.frombuffer(levels, np.uint8)[: height * width].reshape(height, width, 1)
    left, top, right, bottom = letterbox([np.repeat(grey, 3, axis=2)])
    assert 0 <= left < right <= 1
    assert 0 <= top < bottom <= 1
    assert round((right - left) * width) >= 1
    assert round((bottom - top) * height) >= 1


# Whole clips ------------------------------------------------------------------------------------------------

DECODE = DecodeConfig(shots="none")


def moving(n: int, width: int, height: int) -> Picture:
    """A texture that drifts 3 pixels a frame."""
    return np.roll(texture("moving", height=height, width=width), 3 * n, axis=1)


def run(
    path: Path, *, seed: int = 0, decode: DecodeConfig = DECODE, **options: Any
) -> tuple[VideoEntry, list[Image.Image]]:
    blob = io.BytesIO()
    found = extract(path, video_id="v", decode=decode, frames=FramesConfig(**options), seed=seed, blob=blob)
    images: list[Image.Image] = []
    data, at = blob.getvalue(), 0
    for frame in found.frames:
        if frame.jpeg_bytes:
            images.append(Image.open(io.BytesIO(data[at : at + frame.jpeg_bytes])))
            images[-1].load()
        at += frame.jpeg_bytes
    assert at == len(data), "the blob holds these JPEGs and nothing else"
    return found, images


@pytest.mark.parametrize(("seconds", "rate"), [(5, 4.0), (7, 4.0), (9, 2.0), (15, 2.0), (17, 1.0), (40, 1.0)])
def test_short_videos_are_sampled_faster(tmp_path: Path, seconds: int, rate: float) -> None:
    """With 16 frames wanted at 1 fps: up to 8 s at 4 fps, up to 16 s at 2 fps."""
    clip = render(tmp_path / "a.mp4", frames=8 * seconds, fps=8, paint=moving)
    found, images = run(clip, min_frames=16)
    assert found.rate_fps == rate
    assert abs(len(found.frames) - seconds * rate) <= 1
    assert found.decoded_frames == 8 * seconds
    assert found.duration_s == pytest.approx(seconds - 1 / 8)
    times = [f.time_s for f in found.frames]
    assert all(b - a == pytest.approx(1 / rate) for a, b in pairwise(times))
    assert len(images) == len(found.frames)
    assert {image.size for image in images} == {(found.width_px, found.height_px)}
    assert found.width_px % 28 == found.height_px % 28 == 0


def test_a_slower_rate_samples_a_subset_of_the_frames(tmp_path: Path) -> None:
    clip = render(tmp_path / "a.mp4", frames=160, fps=10, paint=moving)
    slow = run(clip, max_fps=1.0)[0]
    fast = run(clip, max_fps=4.0)[0]
    assert fast.rate_fps == 4.0
    assert {f.time_s for f in slow.frames} <= {f.time_s for f in fast.frames}


def test_extract_is_a_function_of_its_arguments(tmp_path: Path) -> None:
    clip = render(tmp_path / "a.mp4", frames=50, fps=10, paint=moving)
    one, two, other = (run(clip, seed=seed) for seed in (1, 1, 2))
    assert one[0] == two[0]
    assert [i.tobytes() for i in one[1]] == [i.tobytes() for i in two[1]]
    assert [f.time_s for f in one[0].frames] != [f.time_s for f in other[0].frames]


def test_variable_frame_rate(tmp_path: Path) -> None:
    """A slide show at 1 frame in 3 s, then 25 fps: no slide is sampled twice, and every time is that of a frame."""
    pts = [0, 3000, 6000, 9000, *range(12000, 17000, 40)]
    clip = render(tmp_path / "a.mkv", frames=len(pts), pts=pts, time_base=Fraction(1, 1000), paint=moving)
    found = run(clip, max_fps=2.0)[0]
    times = [f.time_s for f in found.frames]
    assert times[:4] in ([0.0, 3.0, 6.0, 9.0], [3.0, 6.0, 9.0, 12.0])
    assert set(times) <= {p / 1000 for p in pts}
    assert len(set(times)) == len(times)
    assert all(0.4 < b - a < 0.6 for a, b in pairwise(t for t in times if t > 12.1))


def test_a_letterboxed_clip_is_cropped_in_every_frame(tmp_path: Path) -> None:
    def paint(n: int, width: int, height: int) -> Picture:
        return barred(moving(n, width, height), 24, 24)

    found, images = run(render(tmp_path / "a.mp4", frames=40, fps=10, size=(160, 120), paint=paint))
    assert found.crop[1] == pytest.approx(0.2, abs=0.03)
    assert found.crop[3] == pytest.approx(0.8, abs=0.03)
    for image in images:
        grey = np.asarray(image.convert("L"))
        assert grey[:3].mean() > 60, "no bar is left at the top"
        assert grey[-3:].mean() > 60


def test_rejected_frames(tmp_path: Path) -> None:
    """One second each: moving, black, plain colour, still, moving, blurred."""
    sharp = rng("checks").integers(0, 256, size=(20, 32, 3), dtype=np.uint8)

    def paint(n: int, width: int, height: int) -> Picture:
        second = n // 8
        if second == 1:
            return np.zeros((height, width, 3), np.uint8)
        if second == 2:
            return np.full((height, width, 3), (40, 120, 200), np.uint8)
        image = Image.fromarray(np.roll(sharp, 0 if second == 3 else n + 16, axis=1)).resize((width, height), 0)
        return np.asarray(image.filter(ImageFilter.GaussianBlur(6)) if second == 5 else image)

    clip = render(tmp_path / "a.mp4", frames=48, fps=8, size=(160, 100), paint=paint)
    found = run(clip, fps=4.0)[0]
    reasons: dict[int, list[str]] = {}
    for frame in found.frames:
        reasons.setdefault(int(frame.time_s), []).append(frame.reject)
    assert set(reasons[0]) == set(reasons[4]) == {""}
    assert set(reasons[1]) == {"black"}
    assert set(reasons[2]) == {"flat"}
    assert reasons[3][-2:] == ["frozen"] * 2, "the first of the equal frames is usable"
    assert set(reasons[5]) == {"blurred"}
    assert set(found.frames.rejections()) == {"black", "flat", "frozen", "blurred"}
    assert sum(found.frames.rejections().values()) == sum(bool(f.reject) for f in found.frames)
    for frame in found.frames:
        if frame.reject in ("black", "flat", "frozen"):
            assert frame.jpeg_bytes == 0


def test_shots_are_numbered_and_their_edges_trimmed(tmp_path: Path) -> None:
    def paint(n: int, width: int, height: int) -> Picture:
        return np.roll(texture("shot", n // 30, height=height, width=width), n, axis=1)

    clip = render(tmp_path / "a.mp4", frames=90, fps=10, paint=paint)
    found = run(clip, fps=4.0, decode=DecodeConfig(shots="adaptive"), trim_s=0.35)[0]
    assert [b.start_s for b in found.boundaries] == pytest.approx([3.0, 6.0])
    assert [f.shot for f in found.frames] == [int(f.time_s // 3) for f in found.frames]
    for frame in found.frames:
        near = min(abs(frame.time_s - 3.0), abs(frame.time_s - 6.0)) < 0.35
        assert frame.reject == ("boundary" if near else "")
    assert found.frames.rejections()["boundary"] >= 4
    untrimmed = run(clip, fps=4.0, decode=DecodeConfig(shots="adaptive"), trim_s=0.0)[0]
    assert untrimmed.frames.rejections() == {}
    assert [replace(f, reject="") for f in found.frames] == list(untrimmed.frames)


def test_a_video_of_a_few_pixels(tmp_path: Path) -> None:
    clip = render(
        tmp_path / "a.mkv", frames=20, fps=10, size=(2, 2), codec="ffv1", pix_fmt="yuv444p", paint=moving_dots
    )
    found, _ = run(clip, patch_multiple=1)
    assert (found.width_px, found.height_px) == (2, 2)
    assert all(np.isfinite(f.sharpness) for f in found.frames)


def moving_dots(n: int, width: int, height: int) -> Picture:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[n % height, n // height % width] = 250
    return picture


def test_nothing_to_sample(tmp_path: Path) -> None:
    """Two frames in 1/25 s end before the first grid point of most seeds, and are sampled for the others."""
    clip = render(tmp_path / "a.mp4", frames=2, paint=moving)
    outcomes: list[int | SkipReason] = []
    for seed in range(12):
        try:
            outcomes.append(len(run(clip, seed=seed)[0].frames))
        except Skip as skip:
            outcomes.append(skip.reason)
    assert set(outcomes) == {1, SkipReason.TOO_SHORT}


def test_a_clock_is_blank_in_every_stored_frame(tmp_path: Path) -> None:
    font = ImageFont.load_default(20)

    def paint(n: int, width: int, height: int) -> Picture:
        left = n % 150
        image = Image.fromarray(texture(7)[:, left : left + 100]).resize((width, height))
        pen = ImageDraw.Draw(image)
        pen.rectangle((4, 4, 70, 30), fill=(10, 10, 10))
        pen.text((8, 6), f"12:{n // 10:02}", font=font, fill=(250, 250, 250))
        return np.asarray(image)

    clip = render(tmp_path / "clock.mp4", frames=150, fps=10, size=(320, 180), paint=paint)
    blob = io.BytesIO()
    frames = FramesConfig()
    entry = extract(clip, video_id="clock", decode=DecodeConfig(), frames=frames, seed=0, blob=blob)
    ((left, top, right, bottom),) = entry.masked
    data, stored = blob.getvalue(), 0
    assert len(data) == sum(f.jpeg_bytes for f in entry.frames), "the first pass left nothing behind"
    for frame in entry.frames:
        if frame.jpeg_bytes:
            picture = np.asarray(Image.open(io.BytesIO(data[stored : stored + frame.jpeg_bytes])))
            assert picture[top + 8 : bottom - 8, left + 8 : right - 8].std(axis=(0, 1)).max() < 4
            stored += frame.jpeg_bytes
    again = extract(clip, video_id="clock", decode=DecodeConfig(), frames=frames, seed=0, blob=io.BytesIO())
    assert again == entry
