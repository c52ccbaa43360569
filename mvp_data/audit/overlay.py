"""Finds a burnt-in clock or counter in the visible frames of a sample.

Such a region is small. It has strong edges, and its darkest and brightest levels are constant: digits of one colour on
a background of one colour. Only a part of it changes from one frame to the next, because the background around and
between the digits is constant. Leaves and water also change in every frame, but in all of their area.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from mvp_data.puzzles.shortest_path import Space, space

Luma = npt.NDArray[np.uint8]  # [images, height, width]
Cells = npt.NDArray[np.uint8]  # [images, cells, 8 * 8]
Levels = npt.NDArray[np.uint8]  # [images, cells]
Mask = npt.NDArray[np.bool_]

CELL_PX = 8
LEAST_FRAMES = 6  # with fewer, too many moving regions would look like a counter
LEAST_CONTRAST = 90  # between the darkest and the brightest pixel of a cell, in every frame
MOST_DRIFT = 30  # of either over all frames: ink and ground are constant, except for JPEG errors
LEAST_CHANGE = 6.0  # mean difference of a cell between consecutive frames
STILL_RANGE, STILL_SHARE = 20, 0.2  # at least this share of a cell's pixels stays within this range
MOST_SHARE = 0.03  # of the frame


def overlay(
    pool: Iterable[npt.NDArray[np.uint8]], near: Luma, rest: Iterable[npt.NDArray[np.uint8]], *, k: int, at: int
) -> Space | None:
    """Distances inside the region, among the candidates `pool` and the two context frames `near` at the gap.

    `at` of those two frames are before the gap. Returns None if there is no such region. The pool and `rest`, the other
    context frames [H, W], are read only as far as needed. Usually that is not at all, because the two frames must share
    a region with each other, and with `k` candidates.
    """
    frames = [*near]
    ends = _extremes(near)
    seeds = np.flatnonzero(_steady(*ends))
    seeds = seeds[_counting(_cells(near, seeds))]
    if not len(seeds):
        return None  # without decoding another frame
    luma = np.concatenate([np.stack([*pool]), near])
    n = len(luma) - 2
    seeds = seeds[_shared_by(_cells(luma[:n], seeds), _cells(near, seeds)) >= k]
    if not len(seeds):
        return None
    for frame in rest:
        frames.append(frame)
        high, low = _extremes(frame[None])
        ends = np.concatenate([ends[0], high]), np.concatenate([ends[1], low])
        seeds = seeds[_counting(np.concatenate([_cells(image[None], seeds) for image in frames]))]
        if not len(seeds):
            return None
    rows, columns = luma.shape[1] // CELL_PX, luma.shape[2] // CELL_PX
    if len(frames) < LEAST_FRAMES or len(seeds) > max(1, MOST_SHARE * rows * columns):
        return None
    near = np.zeros((rows, columns), bool)
    for row, column in zip(*np.divmod(seeds, columns), strict=True):  # include the digits that change less often
        near[row, max(0, column - columns // 4) : column + columns // 4 + 1] = True
    inside = _cells(luma, np.flatnonzero(near.ravel() & _steady(*ends)))
    return space(inside.reshape(len(luma), -1).astype(np.float64), n, at)


def _counting(cells: Cells) -> Mask:
    """Whether each cell of [frames, m, 64] looks like a counter: [m].

    Its darkest and brightest levels are constant, and a part of it, but not all, changes in each frame.
    """
    still: Mask = np.count_nonzero(np.ptp(cells, axis=0) <= STILL_RANGE, axis=1) >= STILL_SHARE * cells.shape[2]
    steps = np.maximum(cells[1:], cells[:-1]) - np.minimum(cells[1:], cells[:-1])
    still &= (steps.mean(axis=2) >= LEAST_CHANGE).all(axis=0)
    return still & _steady(cells.max(axis=2), cells.min(axis=2))


def _steady(high: Levels, low: Levels) -> Mask:
    """Whether each cell has strong edges between the same two levels in every frame, from both [frames, cells]."""
    steady: Mask = (high - low).min(axis=0) >= LEAST_CONTRAST
    steady &= np.maximum(np.ptp(high, axis=0), np.ptp(low, axis=0)) <= MOST_DRIFT
    return steady


def _extremes(images: Luma) -> tuple[Levels, Levels]:
    """The brightest and the darkest level of each cell: [images, cells] each."""
    rows, columns = images.shape[1] // CELL_PX, images.shape[2] // CELL_PX
    bands = images[:, : rows * CELL_PX, : columns * CELL_PX].reshape(len(images), rows, CELL_PX, columns * CELL_PX)
    shape = (len(images), rows * columns, CELL_PX)  # rows first, which is faster
    return bands.max(axis=2).reshape(shape).max(axis=2), bands.min(axis=2).reshape(shape).min(axis=2)


def _shared_by(pool: Cells, near: Cells) -> npt.NDArray[np.intp]:
    """The number of candidates [n, m, 64] that share each cell with both frames at the gap [2, m, 64]: [m]."""
    n, m, size = pool.shape
    flat = pool.reshape(1, n * m, size)
    alike = np.ones(n * m, bool)
    for frame in near:
        alike &= _counting(np.concatenate([flat, np.tile(frame, (n, 1))[None]]))
    shared: npt.NDArray[np.intp] = alike.reshape(n, m).sum(axis=0)
    return shared


def _cells(images: Luma, numbers: npt.NDArray[np.intp]) -> Cells:
    """The cells with these numbers, counted row by row, of images [c, H, W]: [c, m, 64]."""
    rows, columns = images.shape[1] // CELL_PX, images.shape[2] // CELL_PX
    whole = images[:, : rows * CELL_PX, : columns * CELL_PX]
    squares = whole.reshape(len(images), rows, CELL_PX, columns, CELL_PX).swapaxes(2, 3)
    return squares[:, numbers // columns, numbers % columns].reshape(len(images), len(numbers), CELL_PX**2)
