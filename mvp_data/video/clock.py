"""Finds running clocks that are burnt into a video: match clocks, counters, time stamps of cameras.

A clock gives the order of frames away. Its digits have one level (ink), and all pixels of a cell but those of the
digits keep their level or do not reach that of the ink. The last digit changes once a second and at no other time: this
is tested with two samples or more a second. At lower rates every sample shows another digit, and the one of ten
seconds ago returns. Moving objects do neither. A score board, which changes rarely, and subtitles are not clocks.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import Box, Luma
from mvp_data.video.cells import CELL_PX, Cells, pixels
from mvp_data.video.ink import LEAST_NOISE, NOISE, STEP, Bools, Floats, Ink, differences, inks

BLOCK = 64  # samples examined together: 16 s at 4 frames a second, 64 s at 1
PRESENT = 0.6  # share of a block's samples that show it: close-ups, replays and graphics may hide it
LEAST_SUM, LEAST_CHANGES = 48, 4  # two pixels by half a step, in most of LEAST_TICKS: digits may have equal sums
LEAST_TICKS = 7  # fewer may be chance
# Least share of seconds in which a cell changes (some digits differ by little), and most of the other samples in which
# it does. Of 40 clips, the cells of six came near .65 and .15, by chance.
HIT, FALSE = 0.7, 0.12
RETURNS = 0.75  # at slow rates: least share of samples that look like those of ten seconds before; motion has below .3
FAST_FPS = 1.9  # with at least this rate there are samples within a second to compare
RETURN_STEP = 0.3  # of the contrast: the same digit after ten seconds, on another ground
SAME_S = 0.3  # accepted error of these ten seconds
PHASES = np.arange(0, 1, 0.125)  # of a second: when the digit may change
MOST_SEEDS = 0.03  # of the frame: where more of it changes once a second, it is a slide show
REACH_LEFT, REACH_RIGHT = 6, 3  # heights of a digit: hours and minutes to the left, fractions to the right
MARGIN_PX = 3  # around the cells


class ClockFinder:
    """Takes the samples of a video in order; `boxes` returns the parts that a clock was found in."""

    def __init__(self) -> None:
        """Start a video, or a chunk of one."""
        self._times_s: deque[float] = deque(maxlen=BLOCK)
        self._lumas: deque[Luma] = deque(maxlen=BLOCK)
        self._extremes: deque[tuple[Luma, Luma]] = deque(maxlen=BLOCK)
        self._new = 0  # samples that were not examined yet
        self._found: set[Box] = set()

    def add(self, time_s: float, luma: Luma, cells: Cells) -> None:
        """Take the next sample [H, W]."""
        self._times_s.append(time_s)
        self._lumas.append(luma)
        self._extremes.append((cells.high, cells.low))
        self._new += 1
        if self._new == BLOCK:
            self._examine()

    def boxes(self) -> tuple[Box, ...]:
        """Examine the last samples, and return the boxes to blank, without overlaps."""
        if self._new:
            self._examine()
        return _merged(self._found)

    def _examine(self) -> None:
        self._new = 0
        if len(self._lumas) > LEAST_TICKS:
            high, low = (np.stack(side) for side in zip(*self._extremes, strict=True))
            self._found.update(find_clocks(self._lumas, high, low, np.array(self._times_s)))


def find_clocks(lumas: Sequence[Luma], high: Luma, low: Luma, times_s: Floats) -> tuple[Box, ...]:
    """Return the boxes of the clocks in n samples [H, W], with the extremes of their cells [n, rows, columns]."""
    if not high.size:  # a frame smaller than a cell
        return ()
    seeds = np.zeros(high.shape[1:], bool)
    text = seeds.copy()
    for ink in inks(high, low, present=PRESENT):
        text |= ink.steady
        places = np.argwhere(ink.steady)
        if not len(places):
            continue
        levels = pixels(lumas, places)
        may_tick = _changes_often(levels)
        if not may_tick.any():
            continue
        steady = ink.steady.copy()
        steady[tuple(places[~may_tick].T)] = False
        ticking = replace(ink, steady=steady)
        seeds |= _ticking(ticking.flatten(levels[:, may_tick]), ticking, times_s)
    if not seeds.any() or seeds.mean() > MOST_SEEDS:
        return ()
    height, width = lumas[0].shape
    return tuple(_box(seeds, text, part, (width, height)) for part in _parts(seeds))


def _changes_often(levels: Luma) -> Bools:
    """Whether the mean of each cell of [n, m, 64] changes between enough samples: [m]; most cells fail."""
    sums = levels.sum(axis=2, dtype=np.uint16).astype(np.int32)
    often: Bools = np.count_nonzero(np.abs(np.diff(sums, axis=0)) >= LEAST_SUM, axis=0) >= LEAST_CHANGES
    return often


def _ticking(values: Luma, ink: Ink, times_s: Floats) -> Bools:
    """Return the cells that change like the last digit of a clock, alone or with a neighbour: [rows, columns]."""

    def changes(before: npt.NDArray[np.intp], after: npt.NDArray[np.intp], limits: Floats) -> tuple[Bools, Bools]:
        """Which cells changed between the samples, and in which both show ink: [pairs, rows, columns] each."""
        moved = np.zeros((len(before), *ink.steady.shape), bool)
        moved[:, ink.steady] = differences(values[before], values[after], limits)
        return moved, ink.shown[before] & ink.shown[after] & ink.steady

    order = np.arange(len(times_s))
    contrast = ink.contrast
    steps, noise = STEP * contrast, np.maximum(NOISE * contrast, LEAST_NOISE)
    ticked, shown = changes(order[:-1], order[1:], steps)
    if 1 / float(np.median(np.diff(times_s))) >= FAST_FPS:
        seconds = np.floor(times_s[:, None] + PHASES)
        is_tick: Bools = np.diff(seconds, axis=0).T != 0  # [phases, pairs]
        moved, _ = changes(order[:-1], order[1:], noise)
        return _with_neighbours(_Pairs(ticked=ticked, moved=moved, shown=shown, is_tick=is_tick), FALSE)
    tens: npt.NDArray[np.intp] = np.searchsorted(times_s, times_s + 10 - SAME_S)
    has_ten: Bools = np.asarray(tens < len(times_s))
    has_ten[has_ten] = np.abs(times_s[tens[has_ten]] - times_s[has_ten] - 10) < SAME_S
    moved, ten_shown = changes(order[has_ten], tens[has_ten], RETURN_STEP * contrast)
    ticked, moved = np.concatenate([ticked, np.zeros_like(moved)]), np.concatenate([np.zeros_like(ticked), moved])
    shown = np.concatenate([shown, ten_shown])
    is_tick = (np.arange(len(shown)) < len(order) - 1)[None]
    return _with_neighbours(_Pairs(ticked=ticked, moved=moved, shown=shown, is_tick=is_tick), 1 - RETURNS)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pairs:
    """Pairs of samples: those with a tick between them, and those that must be equal."""

    ticked: Bools  # [pairs, rows, columns]: the cell changed much
    moved: Bools  # [pairs, rows, columns]: it changed at all
    shown: Bools  # [pairs, rows, columns]: it shows ink in both
    is_tick: Bools  # [phases, pairs]


def _with_neighbours(pairs: _Pairs, most_false: float) -> Bools:
    """Apply `_agrees` to each cell, and to each with the one to the right, below, or both, for digits between cells."""
    rows, columns = pairs.shown.shape[1:]
    seeds = np.zeros((rows, columns), bool)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        first = slice(0, rows - down), slice(0, columns - right)
        second = slice(down, rows), slice(right, columns)
        shown: Bools = np.asarray(pairs.shown[:, *first] & pairs.shown[:, *second])
        places: Bools = np.asarray(shown.any(axis=0))
        ticked: Bools = (pairs.ticked[:, *first] | pairs.ticked[:, *second])[:, places]
        moved: Bools = (pairs.moved[:, *first] | pairs.moved[:, *second])[:, places]
        good = np.zeros(places.shape, bool)
        good[places] = _agrees(ticked, moved, shown[:, places], pairs.is_tick, most_false)
        seeds[first] |= good
        seeds[second] |= good
    return seeds


def _agrees(ticked: Bools, moved: Bools, shown: Bools, is_tick: Bools, most_false: float) -> Bools:
    """Whether the cells [pairs, m] change at the ticks of one of the phases [phases, pairs], and not elsewhere: [m]."""
    ticks, others, visible = (m.astype(np.float32) for m in (is_tick, ~is_tick, shown))
    count, rest = ticks @ visible, others @ visible
    hit = (ticks @ (ticked * visible)) / np.maximum(count, 1)
    false = (others @ (moved * visible)) / np.maximum(rest, 1)
    good = (count >= LEAST_TICKS) & (rest >= LEAST_TICKS) & (hit >= HIT) & (false <= most_false)
    agrees: Bools = good.any(axis=0)
    return agrees


def _parts(seeds: Bools) -> Iterable[Bools]:
    """Separate the seeds into groups whose cells touch."""
    left = seeds.copy()
    while left.any():
        part = np.zeros_like(left)
        part[tuple(np.argwhere(left)[0])] = True
        while True:
            grown = _grown(part) & left
            if (grown == part).all():
                break
            part = grown
        left &= ~part
        yield part


def _grown(part: Bools) -> Bools:
    padded = np.pad(part, 1)
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    grown: Bools = np.asarray(around.any(axis=(2, 3)))
    return grown


def _box(seeds: Bools, text: Bools, part: Bools, size: tuple[int, int]) -> Box:
    """Return the box of one group and of the text on both sides of it; a gap of one cell is bridged."""
    rows, columns = np.flatnonzero(np.asarray(part.any(axis=1))), np.flatnonzero(np.asarray(part.any(axis=0)))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    printed: Bools = np.asarray((text | seeds)[top:bottom].any(axis=0))
    tall = bottom - top
    first, last = max(0, left - REACH_LEFT * tall), min(len(printed), right + REACH_RIGHT * tall)
    while left > first and printed[max(first, left - 2) : left].any():
        left -= 1
    while right < last and printed[right : min(last, right + 2)].any():
        right += 1
    return (
        max(0, left * CELL_PX - MARGIN_PX),
        max(0, top * CELL_PX - MARGIN_PX),
        min(size[0], right * CELL_PX + MARGIN_PX),
        min(size[1], bottom * CELL_PX + MARGIN_PX),
    )


def _merged(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """Unite boxes that overlap until none do."""
    done: list[Box] = []
    for part in sorted(boxes):
        box = part
        while (other := next((b for b in done if _overlap(b, box)), None)) is not None:
            done.remove(other)
            box = min(box[0], other[0]), min(box[1], other[1]), max(box[2], other[2]), max(box[3], other[3])
        done.append(box)
    return tuple(sorted(done))


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def blank(image: npt.NDArray[np.uint8], boxes: Sequence[Box]) -> npt.NDArray[np.uint8]:
    """Return an image [H, W] or [H, W, 3] with each box filled with its median level or colour."""
    filled = image.copy()
    for left, top, right, bottom in boxes:
        inside = filled[top:bottom, left:right]
        inside[:] = np.median(inside, axis=(0, 1)).astype(np.uint8)
    return filled
