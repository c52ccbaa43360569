"""Finds a burnt-in clock or counter in the visible frames of a sample.

Such a region is small, has strong edges whose darkest and brightest levels stay what they are (the same ink on the
same ground), and yet changes from every frame to the next, though not everywhere: around and between the digits the
ground stays. Leaves and water change as steadily, but all over.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from mvp_data.puzzles.shortest_path import Space, space

Luma = npt.NDArray[np.uint8]  # [pictures, height, width]
Cells = npt.NDArray[np.uint8]  # [pictures, cells, 8 * 8]
Levels = npt.NDArray[np.uint8]  # [pictures, cells]
Mask = npt.NDArray[np.bool_]

CELL_PX = 8
LEAST_FRAMES = 6  # with fewer, too much that moves would look like a counter
LEAST_CONTRAST = 90  # between the darkest and the brightest pixel of a cell, in every frame
MOST_DRIFT = 30  # of either, over all frames: ink and ground stay, though JPEG blurs them
LEAST_CHANGE = 6.0  # mean difference in a cell from a frame to the next
STILL_RANGE, STILL_SHARE = 20, 0.2  # at least this share of a cell's pixels stays within this range
MOST_SHARE = 0.03  # of the picture


def overlay(luma: Luma, rest: Iterable[npt.NDArray[np.uint8]], *, k: int, at: int) -> Space | None:
    """Distances inside the region for pictures [n + 2, H, W]: the pool, and two of the context by the gap.

    None where there is no such region. The `rest` of the context, [H, W] each, is looked at only as far as needed: most
    often not at all, since those two must share one with as many of the pool as there are hidden frames.
    """
    n = len(luma) - 2
    frames = [*luma[n:]]
    ends = _extremes(luma[n:])
    seeds = np.flatnonzero(_steady(*ends))
    seeds = seeds[_counting(_cells(luma[n:], seeds))]
    seeds = seeds[_shared_by(_cells(luma[:n], seeds), _cells(luma[n:], seeds)) >= k]
    if not len(seeds):
        return None  # before the next frame is decoded
    for frame in rest:
        frames.append(frame)
        high, low = _extremes(frame[None])
        ends = np.concatenate([ends[0], high]), np.concatenate([ends[1], low])
        seeds = seeds[_counting(np.concatenate([_cells(picture[None], seeds) for picture in frames]))]
        if not len(seeds):
            return None
    rows, columns = luma.shape[1] // CELL_PX, luma.shape[2] // CELL_PX
    if len(frames) < LEAST_FRAMES or len(seeds) > max(1, MOST_SHARE * rows * columns):
        return None
    near = np.zeros((rows, columns), bool)
    for row, column in zip(*np.divmod(seeds, columns), strict=True):  # with the digits that change less often
        near[row, max(0, column - columns // 4) : column + columns // 4 + 1] = True
    inside = _cells(luma, np.flatnonzero(near.ravel() & _steady(*ends)))
    return space(inside.reshape(len(luma), -1).astype(np.float64), n, at)


def _counting(cells: Cells) -> Mask:
    """Which cells of pictures [c, m, 64] keep ink and ground and change from each to the next, but not all over."""
    still: Mask = np.count_nonzero(np.ptp(cells, axis=0) <= STILL_RANGE, axis=1) >= STILL_SHARE * cells.shape[2]
    steps = np.maximum(cells[1:], cells[:-1]) - np.minimum(cells[1:], cells[:-1])
    still &= (steps.mean(axis=2) >= LEAST_CHANGE).all(axis=0)
    return still & _steady(cells.max(axis=2), cells.min(axis=2))


def _steady(high: Levels, low: Levels) -> Mask:
    """Which cells have strong edges in every picture, between the same two levels, from both [pictures, cells]."""
    steady: Mask = (high - low).min(axis=0) >= LEAST_CONTRAST
    steady &= np.maximum(np.ptp(high, axis=0), np.ptp(low, axis=0)) <= MOST_DRIFT
    return steady


def _extremes(pictures: Luma) -> tuple[Levels, Levels]:
    """The brightest and the darkest level of every cell: [pictures, cells] each."""
    rows, columns = pictures.shape[1] // CELL_PX, pictures.shape[2] // CELL_PX
    bands = pictures[:, : rows * CELL_PX, : columns * CELL_PX].reshape(len(pictures), rows, CELL_PX, columns * CELL_PX)
    shape = (len(pictures), rows * columns, CELL_PX)  # down first: that is quick
    return bands.max(axis=2).reshape(shape).max(axis=2), bands.min(axis=2).reshape(shape).min(axis=2)


def _shared_by(pool: Cells, near: Cells) -> npt.NDArray[np.intp]:
    """How many of the pool [n, m, 64] have each cell in common with both pictures next to the gap [2, m, 64]: [m]."""
    n, m, size = pool.shape
    flat = pool.reshape(1, n * m, size)
    alike = np.ones(n * m, bool)
    for picture in near:
        alike &= _counting(np.concatenate([flat, np.tile(picture, (n, 1))[None]]))
    shared: npt.NDArray[np.intp] = alike.reshape(n, m).sum(axis=0)
    return shared


def _cells(pictures: Luma, numbers: npt.NDArray[np.intp]) -> Cells:
    """The squares with these numbers of pictures [c, H, W], counted row by row: [c, m, 64]."""
    rows, columns = pictures.shape[1] // CELL_PX, pictures.shape[2] // CELL_PX
    whole = pictures[:, : rows * CELL_PX, : columns * CELL_PX]
    squares = whole.reshape(len(pictures), rows, CELL_PX, columns, CELL_PX).swapaxes(2, 3)
    return squares[:, numbers // columns, numbers % columns].reshape(len(pictures), len(numbers), CELL_PX**2)
