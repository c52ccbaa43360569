"""Scaling of decoded frames: tiny frames near the mean of the area for any size and format, and images that are cut."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from mvp_data.core.types import Picture, Tiny
from mvp_data.video.decode.facts import UPRIGHT, Facts
from mvp_data.video.decode.open import open_video
from mvp_data.video.decode.scaling import FrameScaler, chosen_lines, lines_read, tiny_of_planes
from tests.builders import rng
from tests.clips import VARIANTS, read_counter, render, render_variant

SIZES = [(1280, 720), (640, 360), (568, 320), (1920, 1080), (641, 361), (204, 360), (3840, 2160), (320, 240), (60, 30)]
JPEG_RANGE, MPEG_RANGE = 2, 1


def frame_scaler() -> FrameScaler:
    facts = Facts(
        codec="none",
        header_duration_s=Fraction(0),
        container="none",
        stream=0,
        moving_streams=1,
        width_px=64,
        height_px=36,
        pixel_aspect=Fraction(1),
        turn=UPRIGHT,
        tick_s=Fraction(1),
    )
    return FrameScaler(facts)


def fill(plane: av.video.plane.VideoPlane, levels: npt.NDArray[np.generic]) -> None:
    """Write samples into a plane, and the largest value into the padding of its lines."""
    lines = np.frombuffer(memoryview(plane), levels.dtype).reshape(plane.height, -1)
    lines[:] = np.iinfo(levels.dtype).max
    lines[:, : plane.width] = levels


def tiny_of(
    luma: npt.NDArray[np.generic], blue: int = 128, red: int = 128, *, full: bool = True, pix_fmt: str = "yuv420p"
) -> Tiny:
    """The tiny frame of a frame that has one colour."""
    height, width = luma.shape
    frame = av.VideoFrame(width, height, pix_fmt)
    frame.color_range = JPEG_RANGE if full else MPEG_RANGE
    fill(frame.planes[0], luma)
    for plane, level in zip(frame.planes[1:], (blue, red), strict=False):
        fill(plane, np.full((plane.height, plane.width), level, luma.dtype))
    return frame_scaler().frame(frame, 0).tiny


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_slope_stays_a_slope(width: int, height: int) -> None:
    """Truth: luma rises by 120 from left to right and by 80 from top to bottom."""
    across, down = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    luma = (20 + 120 * across + 80 * down[:, None]).astype(np.uint8)
    across, down = (np.arange(64) + 0.5) / 64, (np.arange(36) + 0.5) / 36
    exact = 20 + 120 * across + 80 * down[:, None]
    found = tiny_of(luma, 90, 170)
    assert found.shape == (36, 64, 3)
    assert np.abs(found[..., 0] - exact).max() < 2.5
    assert set(found[..., 1].ravel().tolist()) == {90}
    assert set(found[..., 2].ravel().tolist()) == {170}


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv410p", "gray", "yuv420p10le"])
def test_tiny_frames_of_any_pixel_format(pix_fmt: str) -> None:
    """Truth: the upper third is darker."""
    scale, kind = (4, np.uint16) if pix_fmt.endswith("10le") else (1, np.uint8)
    luma = np.where(np.arange(720) < 240, 60, 180)[:, None].repeat(1280, axis=1)
    found = tiny_of((scale * luma).astype(kind), scale * 90, scale * 170, pix_fmt=pix_fmt).astype(int)
    assert np.abs(found[:11, :, 0] - 60).max() <= 2
    assert np.abs(found[13:, :, 0] - 180).max() <= 2
    colours = (128, 128) if pix_fmt == "gray" else (90, 170)
    assert np.abs(found[..., 1:] - colours).max() <= 1


def test_sizes_and_formats_may_change_midway() -> None:
    """Truth: each frame has one level; no part of the frame before may show."""
    scaler = frame_scaler()
    for number, (size, pix_fmt) in enumerate(
        [((1280, 720), "yuv420p"), ((640, 720), "yuv420p"), ((640, 720), "yuv444p"), ((1280, 720), "yuv420p")] * 2
    ):
        frame = av.VideoFrame(*size, pix_fmt)
        frame.color_range = JPEG_RANGE
        for plane in frame.planes:
            fill(plane, np.full((plane.height, plane.width), 20 * number + 10, np.uint8))
        assert set(scaler.frame(frame, 0).tiny.ravel().tolist()) == {20 * number + 10}


@pytest.mark.parametrize(("width", "height"), SIZES[:-1])
def test_grain_averages_out(width: int, height: int) -> None:
    """Truth: grey with grain of 20 levels; no tiny pixel is off by more than the few samples explain."""
    grain = rng("grain", width, height).normal(120, 20, (height, width)).clip(0, 255).astype(np.uint8)
    found = tiny_of(grain)[..., 0].astype(float)
    samples = 2 * (width // 64)
    assert abs(found.mean() - 120) < 1.5
    assert found.std() < 1.5 * 20 / samples**0.5 + 0.5


@pytest.mark.parametrize("period", [2, 3, 4, 8])
def test_fine_columns_do_not_flicker_when_they_move(period: int) -> None:
    """Truth: columns of one width drift sideways; single picked pixels would turn from black to white."""
    columns = np.where(np.arange(1280 + period) % period < period / 2, 40, 200).astype(np.uint8)
    shown = [tiny_of(np.tile(columns[shift : shift + 1280], (720, 1)))[..., 0].astype(int) for shift in range(period)]
    assert max(np.abs(a - shown[0]).max() for a in shown) <= 170 / 20 * period / 2 + 1


@pytest.mark.parametrize("height", [480, 576, 720, 1080])
def test_both_fields_of_interlaced_video_are_read(height: int) -> None:
    """Truth: odd lines are 80 brighter than even ones."""
    lines = np.where(np.arange(height) % 2, 140, 60).astype(np.uint8)
    found = tiny_of(np.tile(lines[:, None], (1, 720)))[..., 0].astype(int)
    assert np.abs(found - 100).max() <= 1


def test_limited_range_is_stretched() -> None:
    for level, full in ((16, 0), (126, 128), (235, 255), (0, 0), (255, 255)):
        found = tiny_of(np.full((360, 640), level, np.uint8), 128, 240, full=False).astype(int)
        for channel, expected in enumerate((full, 128, 255)):
            assert np.abs(found[..., channel] - expected).max() <= 1


def test_samples_are_in_place() -> None:
    luma = rng("y").integers(0, 256, (36, 80), dtype=np.uint8)
    colours = rng("c").integers(0, 256, (2, 18, 48), dtype=np.uint8)
    found = tiny_of_planes(luma, *colours)
    assert (found[..., 0] == luma[:, :64]).all()
    assert all((found[y, x, 1:] == colours[:, y // 2, x // 2]).all() for y in range(36) for x in range(64))


def test_few_lines_of_large_frames_are_read() -> None:
    assert [lines_read(height) for height in (30, 144, 287, 288, 720, 1080, 2160, 4320)] == (
        [30, 144, 287, 72, 72, 72, 144, 288]
    )


@pytest.mark.parametrize("height", [288, 289, 361, 720, 1080, 4320])
def test_lines_are_spread_and_of_both_fields(height: int) -> None:
    count = lines_read(height)
    lines = chosen_lines(height, count)
    assert lines.min() >= 0
    assert lines.max() < height
    assert (np.diff(lines) > 0).all()
    assert np.abs(lines - (np.arange(count) + 0.5) * height / count).max() <= 1.5
    assert set((lines[:-1] % 2 == np.arange(count)[:-1] % 2).tolist()) == {True}


# --- images

MANY_PX = 10**9
NAMES = ["plain.mp4", "h264_10_bit.mp4", "full_range.mp4", "aspect_4_3.mkv", "rotate_90.mp4", "odd_size.mp4"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("area_px", [MANY_PX, 4000])
def test_an_image_may_be_kept_and_cut_at_any_size(name: str, area_px: int, tmp_path: Path) -> None:
    """The counter is read from images that were requested during the pass and are used after it."""
    variant = next(v for v in VARIANTS if v.name == name)
    with open_video(render_variant(variant, tmp_path)) as video:
        images = [frame.image(area_px) for frame in video.frames()]
    for n, image in zip(variant.counters, images, strict=True):
        width, height = image.size
        assert width * height <= area_px
        assert image.rgb().shape == (height, width, 3)
        assert read_counter(image.rgb()) == n
        for whole in ((width, height), (width + 7, height - 3), (2 * width, 2 * height)):
            picture, luma = image.cut(whole, (0, 0), whole)
            assert picture.shape == (*whole[::-1], 3)
            assert luma.shape == whole[::-1]
            assert read_counter(picture) == n
            assert np.abs(picture.mean(axis=2) - luma).mean() < 4, "the counter is grey"
            part, grey = image.cut(whole, (5, 3), (20, 10))
            assert (part == picture[3:13, 5:25]).all()
            assert (grey == luma[3:13, 5:25]).all()
            assert part.flags.c_contiguous
            assert grey.flags.c_contiguous


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("colorspace", ["", "bt709"])
def test_colours_of_a_cut_are_those_of_the_whole(pix_fmt: str, colorspace: str, tmp_path: Path) -> None:
    cells = rng("cells").integers(30, 220, (6, 8, 3), dtype=np.uint8)

    def paint(n: int, width: int, height: int) -> Picture:
        return cells.repeat(height // 6, axis=0).repeat(width // 8, axis=1)

    options = {"x264-params": f"colormatrix={colorspace}"} if colorspace else {}
    clip = render(tmp_path / "a.mp4", frames=2, size=(320, 180), pix_fmt=pix_fmt, paint=paint, options=options)
    with open_video(clip) as video:
        image = next(video.frames()).image(MANY_PX)
    whole, (cut, _) = image.rgb(), image.cut((320, 180), (0, 0), (320, 180))
    assert np.abs(whole.astype(int) - cut).mean() < 3
    middle = [(a.reshape(6, 30, 8, 40, 3)[:, 10:20, :, 10:30].mean(axis=(1, 3))) for a in (whole, cut)]
    assert np.abs(middle[0] - middle[1]).max() < 4
