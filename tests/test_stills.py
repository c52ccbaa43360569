"""Pictures of a pass: kept, shrunk, cut to a place and a size, with their luma; on rendered clips."""

from pathlib import Path

import numpy as np
import pytest

from mvp_data.decode import open_video
from mvp_data.types import Picture
from tests.builders import rng
from tests.clips import VARIANTS, read_counter, render, render_variant

MANY_PX = 10**9
NAMES = ["plain.mp4", "h264_10_bit.mp4", "full_range.mp4", "aspect_4_3.mkv", "rotate_90.mp4", "odd_size.mp4"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("area_px", [MANY_PX, 4000])
def test_a_picture_may_be_kept_and_cut_at_any_size(name: str, area_px: int, tmp_path: Path) -> None:
    """The counter is read from pictures asked for during the pass and used after it."""
    variant = next(v for v in VARIANTS if v.name == name)
    with open_video(render_variant(variant, tmp_path)) as video:
        stills = [frame.picture(area_px) for frame in video.frames()]
    for n, still in zip(variant.counters, stills, strict=True):
        width, height = still.size
        assert width * height <= area_px
        assert still.rgb().shape == (height, width, 3)
        assert read_counter(still.rgb()) == n
        for whole in ((width, height), (width + 7, height - 3), (2 * width, 2 * height)):
            picture, luma = still.cut(whole, (0, 0), whole)
            assert picture.shape == (*whole[::-1], 3)
            assert luma.shape == whole[::-1]
            assert read_counter(picture) == n
            assert np.abs(picture.mean(axis=2) - luma).mean() < 4, "the counter is grey"
            part, grey = still.cut(whole, (5, 3), (20, 10))
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
        still = next(video.frames()).picture(MANY_PX)
    whole, (cut, _) = still.rgb(), still.cut((320, 180), (0, 0), (320, 180))
    assert np.abs(whole.astype(int) - cut).mean() < 3
    middle = [(a.reshape(6, 30, 8, 40, 3)[:, 10:20, :, 10:30].mean(axis=(1, 3))) for a in (whole, cut)]
    assert np.abs(middle[0] - middle[1]).max() < 4
