"""Detects hidden runs whose order or place is ambiguous, such as a swing, a dance, or a walk there and back.

A *run* is the K hidden key frames of a puzzle in their original order. Vectors and thumbnails are judged separately.
Both must see the direction of a run. For the order of two neighbours, and for the places of two runs, one of them is
enough: such a puzzle is hard but fair, and without it a solver could sort by similarity alone.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.motion import clear_motion
from mvp_data.puzzles.thumbnails import Numbers, distances
from mvp_data.puzzles.types import Places

Ends: TypeAlias = tuple[int, int]  # the visible places before and after a gap

CACHE_SIZE = 64  # results; a run is judged in each possible context, mostly against the same frames

# A camera shake of 3 % of the frame changes the evidence by this much (root mean square over runs of real clips).
# For vectors it is 0.033, which is about (1 - `repeat`) / 2; `direction_evidence` uses that expression as the unit.
NOISE_LUMA = 1.5  # levels of 255


def direction_evidence(
    video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], thresholds: Thresholds
) -> tuple[float, float, float, float]:
    """How much more plausible the run is forwards than backwards, in units of noise; negative if less plausible.

    Returns ends and trend by vectors, then ends and trend by pixels. *Ends*: the first hidden frame should be more
    similar to the frame before the gap than the last one is, and the last one more similar to the frame after it.
    *Trend*: the same for all hidden frames, as the slope of a line through them. Frames farther from the gap may show
    another motion, and similarity within the run is the same in both directions, so neither is used.
    """
    before = tuple(v for v in visible if v < hidden[0])[-1:]
    after = tuple(v for v in visible if v > hidden[-1])[:1]
    return _direction_evidence(video, tuple(hidden), before, after, thresholds)


@lru_cache(maxsize=CACHE_SIZE)
def _direction_evidence(
    video: KeptVideo, hidden: Places, before: Places, after: Places, thresholds: Thresholds
) -> tuple[float, float, float, float]:
    sides = [(-1, place) for place in before] + [(1, place) for place in after]
    by_vectors = [sign * (video.vectors[list(hidden)] @ video.vectors[place]) for sign, place in sides]
    by_pixels = [-sign * distances(video, hidden, [place])[:, 0] for sign, place in sides]
    noise = max((1 - thresholds.repeat) / 2, 1e-3)  # not 0, even with --dedup-threshold 1
    ends, trend = _evidence(by_vectors)
    pixel_ends, pixel_trend = _evidence(by_pixels)
    return ends / noise, trend / noise, pixel_ends / NOISE_LUMA, pixel_trend / NOISE_LUMA


def _evidence(rising: Sequence[Numbers]) -> tuple[float, float]:
    """Ends and trend of series that should rise along the K hidden frames.

    [0.5, 0.7, 0.6] -> 0.1 and 0.1: the ends differ by 0.1, and so do those of the line through all three.
    """
    mean = np.asarray(rising, np.float64).mean(axis=0)
    line = np.linspace(-1, 1, len(mean))
    # Rounded, so that a tie does not depend on the last bit.
    return round(float(mean[-1] - mean[0]), 5), round(float(2 * (line @ mean) / (line @ line)), 5)


def order_evidence(video: KeptVideo, hidden: Sequence[int], ends: Ends, thresholds: Thresholds) -> float:
    """How much better the order is than with two neighbours exchanged, for the pair that is most easily exchanged.

    In units of noise, by the better of vectors and pixels; negative if both find the exchanged order more plausible.
    """
    return _order_evidence(video, tuple(hidden), ends, thresholds)


@lru_cache(maxsize=CACHE_SIZE)
def _order_evidence(video: KeptVideo, hidden: Places, ends: Ends, thresholds: Thresholds) -> float:
    chain = [ends[0], *hidden, ends[1]]
    noise = max((1 - thresholds.repeat) / 2, 1e-3)
    judges = (1 - video.vectors[chain] @ video.vectors[chain].T) / noise, distances(video, chain, chain) / NOISE_LUMA
    gains = [
        max(far[n - 1, n + 1] + far[n, n + 2] - far[n - 1, n] - far[n + 1, n + 2] for far in judges)
        for n in range(1, len(hidden))
    ]
    return round(float(min(gains, default=np.inf)) / 2, 5)


def swap_evidence(
    video: KeptVideo, runs: tuple[Places, Places], gaps: tuple[Ends, Ends], thresholds: Thresholds
) -> tuple[float, float]:
    """How much better each of two runs fits its own gap than the other one's: by vectors and by pixels, in noise units.

    A gap is given by the visible frames before and after it. The steps into and out of both runs are compared with
    those of the exchanged runs, each in its better direction; half of the difference counts, so that it is a mean per
    gap, as in `direction_evidence`.
    """
    ends = [place for gap in gaps for place in gap]
    frames = [runs[0][0], runs[0][-1], runs[1][0], runs[1][-1]]
    by_vectors = 1 - video.vectors[ends] @ video.vectors[frames].T
    noise = max((1 - thresholds.repeat) / 2, 1e-3)
    return _advantage(by_vectors) / noise, _advantage(distances(video, ends, frames)) / NOISE_LUMA


def exchange_evidence(
    video: KeptVideo, runs: tuple[Places, Places], gaps: tuple[Ends, Ends], thresholds: Thresholds
) -> float:
    """How much better two runs are than with one frame of each exchanged, for the two that are most easily exchanged.

    In units of noise, by the better of vectors and pixels, as in `order_evidence`.
    """
    first, second = ([gap[0], *run, gap[1]] for run, gap in zip(runs, gaps, strict=True))
    chain, start = [*first, *second], len(first)
    noise = max((1 - thresholds.repeat) / 2, 1e-3)
    judges = (1 - video.vectors[chain] @ video.vectors[chain].T) / noise, distances(video, chain, chain) / NOISE_LUMA
    pairs = [(a, b) for a in range(1, start - 1) for b in range(start + 1, len(chain) - 1)]
    gains = [
        max(
            far[b, [a - 1, a + 1]].sum()
            + far[a, [b - 1, b + 1]].sum()
            - far[a, [a - 1, a + 1]].sum()
            - far[b, [b - 1, b + 1]].sum()
            for far in judges
        )
        for a, b in pairs
    ]
    return round(float(min(gains)) / 2, 5)


def _advantage(steps: Numbers) -> float:
    """Half of how much longer the exchanged assignment is; `steps` [4, 4]: gap ends by the ends of both runs.

    The ends are before and after the first gap, then the second one; the runs are those of the first and second gap.
    """
    own = steps[0, 0] + steps[1, 1] + steps[2, 2] + steps[3, 3]
    second_in_first = min(steps[0, 2] + steps[1, 3], steps[0, 3] + steps[1, 2])
    first_in_second = min(steps[2, 0] + steps[3, 1], steps[2, 1] + steps[3, 0])
    return round(float(second_in_first + first_in_second - own) / 2, 5)


def loops(video: KeptVideo, hidden: Sequence[int], thresholds: Thresholds) -> bool:
    """Whether most of the run occurs again elsewhere in the video, forwards or backwards.

    The frames of the other occurrence would also fit the gap, and occurrences in both directions make both orders
    right. A hidden frame occurs again if some frame outside the run shows the same (`repeats` at `ambiguous`), and is
    more similar to it by pixels than the hidden frames next to it.
    """
    return _loops(video, tuple(hidden), thresholds)


@lru_cache(maxsize=CACHE_SIZE)
def _loops(video: KeptVideo, hidden: Places, thresholds: Thresholds) -> bool:
    similarities = np.round(video.vectors[list(hidden)] @ video.vectors.T, 5)
    similarities[:, hidden[0] : hidden[-1] + 1] = -1
    among_hidden = distances(video, hidden, hidden)
    closer: list[list[int]] = []  # by vectors and pixels; motion is judged last, since it costs most
    for number, place in enumerate(hidden):
        found = np.flatnonzero(similarities[number] >= thresholds.ambiguous)
        near = [among_hidden[number, n] for n in (number - 1, number + 1) if 0 <= n < len(hidden)]
        closer.append(found[distances(video, [place], found)[0] < min(near)].tolist())
    if not _most_recur(closer):
        return False
    pairs = [(place, far) for place, row in zip(hidden, closer, strict=True) for far in row]
    moving = iter(clear_motion([(video.thumbnail(place), video.thumbnail(far)) for place, far in pairs]))
    return _most_recur([[far for far in row if not next(moving)] for row in closer])


def _most_recur(twins: Sequence[Sequence[int]]) -> bool:
    """Whether a chain through the similar places of each hidden frame has more than half of the hidden frames."""
    return 2 * max(_longest(twins), _longest(twins[::-1])) > len(twins)


def _longest(places: Sequence[Sequence[int]]) -> int:
    """The length of the longest rising sequence with at most one place of each row: [[5], [2, 9], [7]] -> 2."""
    ends: list[tuple[int, int]] = []  # (rows in a chain, its last place)
    for row in places:
        ends += [(1 + max((rows for rows, last in ends if last < place), default=0), place) for place in row]
    return max((rows for rows, _ in ends), default=0)


def clear_caches() -> None:
    """Clear the caches. A cached video keeps the vectors of the whole corpus in memory."""
    _direction_evidence.cache_clear()
    _order_evidence.cache_clear()
    _loops.cache_clear()
