"""Divides luma into cells of 8 x 8 px, and finds the brightest and the darkest pixel of each."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import Luma

CELL_PX = 8

Bands = tuple[Luma, Luma]


def bands(luma: Luma) -> Bands:
    """Return the highest and lowest level of each column in each row of cells of [..., H, W]: [..., rows, W] each."""
    rows = luma.shape[-2] // CELL_PX
    split = luma[..., : rows * CELL_PX, :].reshape(*luma.shape[:-2], rows, CELL_PX, luma.shape[-1])
    return split.max(axis=-2), split.min(axis=-2)


def extremes(high: Luma, low: Luma) -> tuple[Luma, Luma]:
    """Return the highest and lowest level of each cell from the `bands` [..., rows, W]: [..., rows, columns] each."""
    columns = high.shape[-1] // CELL_PX
    shape = (*high.shape[:-1], columns, CELL_PX)
    cut = columns * CELL_PX
    return high[..., :cut].reshape(shape).max(axis=-1), low[..., :cut].reshape(shape).min(axis=-1)


def pixels(images: Iterable[Luma], places: npt.NDArray[np.intp]) -> Luma:
    """Return the pixels of the cells at `places` [m, 2] (row, column) of n images [H, W]: [n, m, 64]."""
    within = np.arange(CELL_PX)
    rows = (places[:, 0, None, None] * CELL_PX + within[:, None]).repeat(CELL_PX, axis=2)
    columns = (places[:, 1, None, None] * CELL_PX + within).repeat(CELL_PX, axis=1)
    return np.stack([image[rows, columns].reshape(len(places), -1) for image in images])
