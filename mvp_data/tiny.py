"""Tiny frames: what shot detection sees of every frame, so they must cost next to nothing.

Of each of the 36 bands of a large picture only a few lines are read, but those in full: the mean of 2 of 20 lines is
within a few levels of the mean of all, at an eighth of the cost. Single pixels would be cheaper still, but on fine
grain they flicker, and flicker is taken for cuts.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mvp_data.types import TINY_HEIGHT_PX, TINY_WIDTH_PX, Tiny

Plane = npt.NDArray[np.uint8]  # [H, W]
BAND_LINES = 2  # read of each band: one of each field of interlaced video
MORE_FROM_PX = 30  # height of a band from which more lines are read
ALL_BELOW_PX = 8  # and below which all are: to find them again costs as much


def lines_read(height_px: int) -> int:
    """How many lines of a picture are read."""
    band_px = height_px // TINY_HEIGHT_PX
    if band_px < ALL_BELOW_PX:
        return height_px
    return BAND_LINES * max(1, band_px // MORE_FROM_PX) * TINY_HEIGHT_PX


@lru_cache(maxsize=16)
def chosen_lines(height_px: int, count: int) -> npt.NDArray[np.intp]:
    """So many lines of a plane, evenly spread and of both fields in turn."""
    number = np.arange(count)
    lines = (2 * number + 1) * height_px // (2 * count)
    in_turn: npt.NDArray[np.intp] = np.minimum(lines // 2 * 2 + number % 2, height_px - 1)
    return in_turn


def tiny_of_planes(luma: Plane, *colours: Plane) -> Tiny:
    """A tiny frame from its planes as 4:2:0 video in full range, Y [36, >= 64], U and V [18, >= 32]."""
    tiny = np.empty((3, TINY_HEIGHT_PX, TINY_WIDTH_PX), np.uint8)
    tiny[0] = luma[:, :TINY_WIDTH_PX]
    pairs = tiny[1:].reshape(2, TINY_HEIGHT_PX // 2, 2, TINY_WIDTH_PX)
    for pair, colour in zip(pairs, colours, strict=True):
        pair[:] = colour[:, : TINY_WIDTH_PX // 2].repeat(2, axis=1)[:, None]
    return tiny.transpose(1, 2, 0)
