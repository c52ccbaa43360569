"""Finds the cells of a video that show lettering: ink of one level on a ground that does not reach it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import Luma

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating[Any]]

LEAST_CONTRAST = 60  # between ink and ground; lettering is made to be read
MOST_DRIFT = 30  # of the ink, in the frames that show it
STEP = 0.2  # of the contrast: a pixel that changes by more belongs to a digit that changed
NOISE, LEAST_NOISE = 0.12, 12  # of the contrast, and levels: where nothing moves, a pixel changes by at most this much
LEAST_PIXELS = 2  # of a cell: 6 and 8 differ by two in the smallest font that can be read


@dataclass(frozen=True, kw_only=True, slots=True)
class Ink:
    """The cells that show ink of a steady level in most of n frames."""

    bright: bool
    shown: Bools  # [n, rows, columns]
    steady: Bools  # [rows, columns]
    top: Floats  # [rows, columns]: median of the highest level
    bottom: Floats

    @property
    def contrast(self) -> Floats:
        """Of the steady cells: [m]."""
        return (self.top - self.bottom)[self.steady]

    def flatten(self, levels: Luma) -> Luma:
        """Level the ground of the steady cells [n, m, 64]: all that is farther from the ink than from the ground."""
        limit = 0.6 * self.contrast
        limits = self.top[self.steady] - limit if self.bright else self.bottom[self.steady] + limit
        each = limits.astype(np.uint8)[None, :, None]
        return np.maximum(levels, each) if self.bright else np.minimum(levels, each)


def inks(high: Luma, low: Luma, *, present: float) -> Iterator[Ink]:
    """Yield the cells with bright ink, then those with dark ink, from the extremes [n, rows, columns].

    `present`: the least share of frames that must show it.
    """
    top, bottom = np.median(high, axis=0), np.median(low, axis=0)
    contrast = top - bottom
    for bright in (True, False):
        drift = np.abs(high - top) if bright else np.abs(low - bottom)
        shown = (drift <= MOST_DRIFT) & (high - low >= 0.6 * contrast)
        steady = (contrast >= LEAST_CONTRAST) & (shown.mean(axis=0) >= present)
        yield Ink(bright=bright, shown=shown, steady=steady, top=top, bottom=bottom)


def differences(a: Luma, b: Luma, limits: Floats) -> Bools:
    """Whether more than noise differs in each cell of [pairs, m, 64]: LEAST_PIXELS by more than `limits` [m]."""
    distance = np.maximum(a, b) - np.minimum(a, b)
    differs: Bools = np.count_nonzero(distance > limits.astype(np.uint8)[None, :, None], axis=2) >= LEAST_PIXELS
    return differs
