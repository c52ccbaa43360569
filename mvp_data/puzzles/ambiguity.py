"""Is the order of a hidden run the only one? Swings, ways there and back, dances and cut-aways may be read both ways.

Two judges look: the encoder's vectors, and thumbnails. A run is refused only where both agree: a run that one of them
cannot order is a hard puzzle, not an unfair one, and without it puzzles would be left to whoever sorts by likeness.
docs/puzzles.md says what the reasons mean.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.thumbnails import Numbers, distances
from mvp_data.puzzles.types import Places

REMEMBERED = 64  # answers: a hidden run is judged anew for each way to show it, and most of it stays the same

# A camera that shakes by 3 % of the picture moves the evidence by this much, root mean square over runs of real clips.
# For vectors it is 0.033, near half of what the encoder's `repeat` leaves to 1: that is taken as their unit.
NOISE_LUMA = 1.5  # levels of 255


def leaning(
    video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], thresholds: Thresholds
) -> tuple[float, float, float, float]:
    """How much more plausible forwards is than backwards, in units of noise; below 0 backwards is.

    Ends and trend by vectors, ends and trend by pixels. *Ends*: the first hidden frame should be more like the frame
    before the gap than the last one is, and the last one more like the frame after it. *Trend*: the same of all hidden
    frames, the rise of a line through them. Frames further from the gap may show another motion, so they do not count;
    and likeness within the run is the same in both directions.
    """
    before = tuple(v for v in visible if v < hidden[0])[-1:]
    after = tuple(v for v in visible if v > hidden[-1])[:1]
    return _leaning(video, tuple(hidden), before, after, thresholds)


@lru_cache(maxsize=REMEMBERED)
def _leaning(
    video: KeptVideo, hidden: Places, before: Places, after: Places, thresholds: Thresholds
) -> tuple[float, float, float, float]:
    sides = [(-1, place) for place in before] + [(1, place) for place in after]
    by_vectors = [sign * (video.vectors[list(hidden)] @ video.vectors[place]) for sign, place in sides]
    by_pixels = [-sign * distances(video, hidden, [place])[:, 0] for sign, place in sides]
    noise = max((1 - thresholds.repeat) / 2, 1e-3)  # not 0 where the user wants no de-duplication
    ends, trend = _evidence(by_vectors)
    pixel_ends, pixel_trend = _evidence(by_pixels)
    return ends / noise, trend / noise, pixel_ends / NOISE_LUMA, pixel_trend / NOISE_LUMA


def _evidence(rising: Sequence[Numbers]) -> tuple[float, float]:
    """Ends and trend, from likeness that should rise along the K hidden frames: to the frame after, from that before.

    [0.5, 0.7, 0.6] -> 0.1 and 0.1: the ends differ by 0.1, and so do those of the line through all three.
    """
    mean = np.asarray(rising, np.float64).mean(axis=0)
    line = np.linspace(-1, 1, len(mean))
    # Rounded: a tie must not hang on the last bit.
    return round(float(mean[-1] - mean[0]), 5), round(float(2 * (line @ mean) / (line @ line)), 5)


def loops(video: KeptVideo, hidden: Sequence[int], thresholds: Thresholds) -> bool:
    """Whether most of the run comes again elsewhere in the video, in the same order or backwards.

    What lies between the frames of that other pass would fit the gap as well, and passes in both directions make both
    orders right. A frame comes again where a far one cannot be told from it by vector, and is more like it to pixels
    than the hidden frames next to it.
    """
    return _loops(video, tuple(hidden), thresholds)


@lru_cache(maxsize=REMEMBERED)
def _loops(video: KeptVideo, hidden: Places, thresholds: Thresholds) -> bool:
    likeness = np.round(video.vectors[list(hidden)] @ video.vectors.T, 5)
    likeness[:, hidden[0] : hidden[-1] + 1] = -1
    beside = distances(video, hidden, hidden)
    twins: list[list[int]] = []
    for number, place in enumerate(hidden):
        found = np.flatnonzero(likeness[number] >= thresholds.ambiguous)
        near = [beside[number, n] for n in (number - 1, number + 1) if 0 <= n < len(hidden)]
        closer = distances(video, [place], found)[0] < min(near)
        twins.append(found[closer].tolist())
    return 2 * max(_longest(twins), _longest(twins[::-1])) > len(hidden)


def _longest(places: Sequence[Sequence[int]]) -> int:
    """Most rows that can each give a place such that the places rise: [[5], [2, 9], [7]] -> 2."""
    ends: list[tuple[int, int]] = []  # rows of a chain, and its last place
    for row in places:
        ends += [(1 + max((rows for rows, last in ends if last < place), default=0), place) for place in row]
    return max((rows for rows, _ in ends), default=0)


def forget() -> None:
    """Let go of the videos for which answers are remembered: with one, the vectors of all stay in memory or on disk."""
    _leaning.cache_clear()
    _loops.cache_clear()
