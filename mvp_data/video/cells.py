"""Divides luma into cells of 8 x 8 px, and finds the brightest and the darkest pixel of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import Luma

CELL_PX = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Cells:
    """The extremes of the cells of one frame [H, W] or more."""

    high_columns: Luma  # [..., rows, W]: of each column of pixels within a row of cells
    low_columns: Luma
    high: Luma  # [..., rows, columns]: of each cell
    low: Luma


def cells(luma: Luma) -> Cells:
    """Return the extremes of the cells of [..., H, W]; pixels that fill no cell do not count."""
    rows = luma.shape[-2] // CELL_PX
    split = luma[..., : rows * CELL_PX, :].reshape(*luma.shape[:-2], rows, CELL_PX, luma.shape[-1])
    high, low = split.max(axis=-2), split.min(axis=-2)
    return Cells(high_columns=high, low_columns=low, high=_across(np.maximum, high), low=_across(np.minimum, low))


def _across(extreme: np.ufunc, levels: Luma) -> Luma:
    """Return the extreme of each CELL_PX neighbours of [..., W]; by halves, because numpy is slow on short axes."""
    found = levels[..., : levels.shape[-1] // CELL_PX * CELL_PX]
    length = CELL_PX
    while length > 1:
        found = extreme(found[..., 0::2], found[..., 1::2])
        length //= 2
    return found


def pixels(images: Sequence[Luma], places: npt.NDArray[np.intp]) -> Luma:
    """Return the pixels of the cells at `places` [m, 2] (row, column) of n images [H, W]: [n, m, 64]."""
    within = np.arange(CELL_PX)
    rows = places[:, 0, None, None] * CELL_PX + within[:, None]
    columns = places[:, 1, None, None] * CELL_PX + within
    numbers = (rows * images[0].shape[1] + columns).reshape(len(places), -1)
    return np.stack([image.ravel().take(numbers) for image in images])
