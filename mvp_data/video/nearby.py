"""Judges samples by the frames around them: fades at the ends of a video, and cards that do not move.

It sees the tiny frame of every decoded frame and keeps those of a few seconds.
"""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import Luma, Tiny

Floats = npt.NDArray[np.floating[Any]]

# Fades. At the start or end of a video the shot detector sees no shot on the other side, and reports nothing.
FADE_S = 3.5  # longest fade and the frames after it
FADED = 0.85  # of the level at the end of the fade: below it a frame is faded
DEEP = 0.6  # the level must begin at this share at most: people who enter the image change it less
COLOUR_SHARE = 0.1  # below this share of the level, a frame shows only the colour faded from
LEAST_CONTRAST = 8.0  # at the end of the fade, standard deviation; a scene has more
LEAST_FRAMES = 4  # a fade of fewer frames is a cut
LARGEST_STEP = 0.4  # of the way: a larger one is a cut or a light that is switched on
DIP = 0.02  # the level may fall by this share from one frame to the next, by noise or motion
AFTER_S, SLOWER = 0.2, 0.35  # where it rises slower than this share of its pace, the fade ends
SHAPE_RATIO = 1.6  # largest ratio of contrast to level, of the smallest one: motion changes it a little, shadows much
FIT_SLACK = 12.0  # levels: largest distance of the mean from a straight line
LIMITED_BLACK = 16  # black of limited range in a video marked as full range
BAR_LUMA = 30  # rows and columns that stay darker are letterbox bars

# Cards.
STILL_S = 0.25  # a card does not move this long before or after a sample: the other side may be a cut
STILL_LEVELS = 8  # largest difference of a pixel of tiny frames: compression moves edges by less
APART_S, APART_LEVELS = 0.6, 40.0  # both sides of a graphic between two shots differ this much on average


@dataclass(frozen=True, kw_only=True, slots=True)
class Around:
    """The frames around a sample."""

    still: bool  # nothing moves for STILL_S before or after it
    apart: bool  # the frames APART_S before and after show something else


class Nearby:
    """Takes every frame of a pass in order, and the times of the samples."""

    def __init__(self, *, from_start: bool) -> None:
        """`from_start`: the pass begins at the first frame of the video."""
        self._from_start = from_start
        self._first: list[tuple[float, Luma]] = []
        self._times_s: list[float] = []  # of the last frames, at least those of FADE_S
        self._lumas: list[Luma] = []
        self._open: deque[float] = deque()  # samples whose later frames are not here yet
        self.around: dict[float, Around] = {}  # by time of the sample

    def push(self, pts_s: float, tiny: Tiny, *, sampled: bool) -> None:
        """Take the next frame."""
        luma = tiny[..., 0]
        if self._from_start and pts_s <= FADE_S:
            self._first.append((pts_s, luma))
        self._times_s.append(pts_s)
        self._lumas.append(luma)
        if self._times_s[0] < pts_s - 2 * FADE_S:
            old = bisect_left(self._times_s, pts_s - FADE_S)
            del self._times_s[:old], self._lumas[:old]
        if sampled:
            self._open.append(pts_s)
        while self._open and pts_s >= self._open[0] + APART_S:
            self._judge(self._open.popleft())

    def finish(self, *, at_end: bool) -> tuple[float, float]:
        """Judge the last samples; return the time when the fade-in ends and that when the fade-out begins.

        `at_end`: the pass reached the last frame of the video. Without a fade the times are 0 and infinity.
        """
        while self._open:
            self._judge(self._open.popleft())
        begin_s, end_s = fade_in_end(self._first) if self._first else 0.0, math.inf
        if at_end and self._times_s:
            last_s = self._times_s[-1]
            old = bisect_left(self._times_s, last_s - FADE_S)
            back = [(last_s - t, luma) for t, luma in zip(self._times_s[old:], self._lumas[old:], strict=True)]
            length_s = fade_in_end(back[::-1])
            end_s = last_s - length_s if length_s else math.inf
        return begin_s, end_s

    def _judge(self, time_s: float) -> None:
        def frame(at_s: float) -> Luma:
            place = bisect_left(self._times_s, at_s - 1e-6)
            return self._lumas[min(place, len(self._lumas) - 1)]

        def difference(at_s: float) -> Luma:
            there = frame(at_s)
            return np.maximum(here, there) - np.minimum(here, there)

        here = frame(time_s)
        still = any(difference(time_s + s).max() <= STILL_LEVELS for s in (-STILL_S, STILL_S))
        far = [int(difference(time_s + s).sum(dtype=np.uint32)) for s in (-APART_S, APART_S)]
        self.around[time_s] = Around(still=still, apart=min(far) >= APART_LEVELS * here.size)


def fade_in_end(frames: Sequence[tuple[float, Luma]]) -> float:
    """Return the time when a fade that begins with the first frames leaves them faded no more; 0 without a fade."""
    times_s = np.array([time_s for time_s, _ in frames])
    lumas = np.stack([luma for _, luma in frames])
    brightest = lumas.max(axis=0) > BAR_LUMA
    rows, columns = brightest.any(axis=1), brightest.any(axis=0)
    if not rows.any():
        return 0.0
    inside = lumas[:, rows][:, :, columns].astype(np.float32).reshape(len(frames), -1)
    contrast, mean = inside.std(axis=1), inside.mean(axis=1)
    ends = []
    for level in (0, LIMITED_BLACK, 255):
        distance = np.abs(mean - level)
        gain = np.hypot(distance, contrast)
        ends.append(_end_of_rise(times_s, gain, contrast, distance, _is_scaled))
    ends.append(_end_of_rise(times_s, contrast, contrast, mean, _is_blended))
    return max(ends)


def _end_of_rise(
    times_s: Floats, gain: Floats, contrast: Floats, level: Floats, is_fade: Callable[[Floats, Floats], bool]
) -> float:
    """Return the time from which on `gain` has at least FADED of the level to which it rises from the first frames.

    Return 0 if it does not rise so far, or if the rise is not a fade.
    """
    first = max(0, int(np.argmax(gain >= COLOUR_SHARE * gain.max())) - 1)
    falls = np.flatnonzero(gain[first + 1 :] < (1 - DIP) * gain[first:-1])
    highest = first + int(falls[0]) if len(falls) else len(gain) - 1
    for top in range(highest, first + LEAST_FRAMES - 2, -1):
        if gain[first] > DEEP * gain[top]:
            break
        ramp = slice(first, top + 1)
        is_steep = np.diff(gain[ramp]).max() > LARGEST_STEP * (gain[top] - gain[first])
        if not is_steep and _levels_off(times_s, gain, first, top) and is_fade(contrast[ramp], level[ramp]):
            return float(times_s[np.flatnonzero(gain[ramp] < FADED * gain[top])[-1] + first + 1])
    return 0.0


def _levels_off(times_s: Floats, gain: Floats, first: int, top: int) -> bool:
    """Return whether `gain` rises much more slowly after `top` than since `first`."""
    later = min(len(gain) - 1, int(np.searchsorted(times_s, times_s[top] + AFTER_S)))
    if later == top:
        return True
    pace = (gain[top] - gain[first]) / (times_s[top] - times_s[first])
    return bool(gain[later] - gain[top] < SLOWER * pace * (times_s[later] - times_s[top]))


def _is_scaled(contrast: Floats, distance: Floats) -> bool:
    """Return whether a rise of the mean's distance from black or white multiplies all levels, as a fade does."""
    seen = distance >= COLOUR_SHARE * distance[-1]
    shape = contrast[seen] / np.maximum(distance[seen], 1)
    return bool(contrast[-1] >= LEAST_CONTRAST and shape.max() <= SHAPE_RATIO * shape.min())


def _is_blended(contrast: Floats, mean: Floats) -> bool:
    """Return whether frames of rising contrast are a fade from a frame of any colour.

    A fade shows (1 - a) colour + a frame, so the mean is a straight line over the contrast.
    """
    if contrast[-1] < LEAST_CONTRAST or contrast[0] > COLOUR_SHARE * contrast[-1]:
        return False
    slope, level = np.polyfit(contrast, mean, 1)
    return bool(np.abs(slope * contrast + level - mean).max() <= FIT_SLACK)
