"""Tiny frames: what shot detection sees of every frame, so they must cost next to nothing.

Of each of the 36 bands of a picture only a few lines are read, but those in full: the mean of 2 of 20 lines is within a
few levels of the mean of all, at an eighth of the cost. Single pixels would be cheaper still, but on fine grain they
flicker, and flicker is taken for cuts.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.types import TINY_HEIGHT_PX, TINY_WIDTH_PX, Tiny

Plane = npt.NDArray[np.uint8]  # [H, W]
LUMA_LINES, COLOUR_LINES = 2, 1  # of each band: of luma one of each field of interlaced video
MORE_FROM_PX = 30  # height of a band from which more lines are read


def can_be_picked(width_px: int, height_px: int) -> bool:
    """Whether a picture has enough lines to choose from, and pixels in them."""
    return height_px >= 2 * LUMA_LINES * TINY_HEIGHT_PX and width_px >= 2 * TINY_WIDTH_PX


def tiny_of_planes(planes: Sequence[Plane], width_px: int, *, full_range: bool) -> Tiny:
    """A tiny frame from the planes Y [H, >= W], U and V [H/2, >= W/2]; lines may be longer than the picture is wide."""
    tiny = np.empty((3, TINY_HEIGHT_PX, TINY_WIDTH_PX), np.uint8)
    luma, colour = (_AS_IS, _AS_IS) if full_range else (_LUMA, _COLOUR)
    luma.take(_means(planes[:1], width_px, 1, LUMA_LINES)[0], out=tiny[0], mode="clip")
    return _interleaved(tiny, colour.take(_means(planes[1:], (width_px + 1) // 2, 2, COLOUR_LINES)))


def tiny_of_samples(samples: npt.NDArray[np.uint8]) -> Tiny:
    """A tiny frame from its samples as 4:2:0 video in full range: all of Y, then U, then V."""
    luma_px = TINY_WIDTH_PX * TINY_HEIGHT_PX
    tiny = np.empty((3, TINY_HEIGHT_PX, TINY_WIDTH_PX), np.uint8)
    tiny[0] = samples[:luma_px].reshape(TINY_HEIGHT_PX, TINY_WIDTH_PX)
    return _interleaved(tiny, samples[luma_px:].reshape(2, TINY_HEIGHT_PX // 2, TINY_WIDTH_PX // 2))


def _interleaved(tiny: npt.NDArray[np.uint8], colour: npt.NDArray[np.uint8]) -> Tiny:
    """[3, 36, 64], whose first plane is filled, and colours [2, 18, 32] as [36, 64, 3]."""
    pairs = tiny[1:].reshape(2, TINY_HEIGHT_PX // 2, 2, TINY_WIDTH_PX)
    pairs[...] = colour.repeat(2, axis=2)[:, :, None]
    return tiny.transpose(1, 2, 0)


def _means(planes: Sequence[Plane], width: int, shrunk: int, least_lines: int) -> npt.NDArray[np.uint8]:
    """Means of the blocks of planes of one shape by their chosen lines: [N, 36, 64], half of it where `shrunk` is 2."""
    rows, columns = TINY_HEIGHT_PX // shrunk, TINY_WIDTH_PX // shrunk
    chosen, per_row = _lines(planes[0].shape[0], rows, least_lines)
    lines = np.empty((len(planes), len(chosen), planes[0].shape[1]), np.uint8)
    for plane, picked in zip(planes, lines, strict=True):
        plane.take(chosen, axis=0, out=picked, mode="clip")
    by_row = lines.reshape(len(planes) * rows, per_row, -1)[..., :width]
    sums: npt.NDArray[Any] = by_row[:, 0].astype(np.uint16)
    for line in range(1, per_row):
        sums += by_row[:, line]
    edges, lengths = _columns(width, columns)
    if per_row * lengths.max() >= 1 << 8:  # more than 16 bits hold
        sums = sums.astype(np.float32)  # whole numbers below 2**24: exact in any order
    if width % columns:
        totals = np.add.reduceat(sums, edges, axis=1)
    else:  # not by BLAS, which ends the process where memory is short
        totals = np.einsum("ij->i", sums.reshape(-1, width // columns)).reshape(-1, columns)
    means = (totals / (per_row * lengths) + np.float32(0.5)).astype(np.uint8)
    return means.reshape(len(planes), rows, columns)


@lru_cache(maxsize=16)
def _lines(height: int, rows: int, least: int) -> tuple[npt.NDArray[np.intp], int]:
    """The lines to read, evenly spread and of both fields in turn, and how many for each row."""
    per_row = max(least, height // rows // MORE_FROM_PX * least)
    lines = ((np.arange(rows * per_row) + 0.5) * height / (rows * per_row)).astype(np.intp)
    if per_row > 1:
        lines = lines // 2 * 2 + np.arange(len(lines)) % per_row % 2
    return np.minimum(lines, height - 1), per_row


@lru_cache(maxsize=16)
def _columns(width: int, columns: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Where each column of blocks begins, and how many pixels wide it is."""
    edges = np.arange(columns + 1) * width // columns
    return edges[:-1], np.diff(edges).astype(np.float32)


def _stretched(low: int, high: int, middle: int) -> npt.NDArray[np.uint8]:
    """A table from limited range, [low, high], to full range."""
    levels = (np.arange(256) - middle) * 255 / (high - low) + (128 if middle == 128 else 0)
    return np.asarray(np.clip(np.rint(levels), 0, 255), dtype=np.uint8)


_AS_IS = np.arange(256, dtype=np.uint8)
_LUMA, _COLOUR = _stretched(16, 235, 16), _stretched(16, 240, 128)
