"""Judges samples by the frames around them: fades at the ends of a video, and cards that do not move.

It sees the tiny frame of every decoded frame and keeps those of a few seconds.
"""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import Luma, Tiny

# Fades. At the start or end of a video the shot detector sees no shot on the other side, and reports nothing.
FADE_S = 3.5  # longest fade and the frames after it
FADED = 0.85  # of the contrast at the end of the fade: below it a frame is faded
DEEP = 0.6  # the contrast must fall to this share at least; people who enter the image change it less
LEAST_CONTRAST = 8.0  # at the end of the fade, standard deviation; a scene has more
LEAST_FRAMES = 4  # a fade of fewer frames is a cut
LARGEST_STEP = 0.4  # of the way: a larger one is a cut or a light that is switched on
NO_GAIN = 0.02  # of the contrast in NO_GAIN_S: a slower rise is the end of the fade
NO_GAIN_S = 0.2
COLOUR_SLACK, FIT_SLACK = 25.0, 8.0  # levels: of the colour faded from, and of the frames from the line, see `_is_fade`
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
        def frame(at_s: float) -> npt.NDArray[np.int16]:
            place = bisect_left(self._times_s, at_s - 1e-6)
            return self._lumas[min(place, len(self._lumas) - 1)].astype(np.int16)

        here = frame(time_s)
        near = [np.abs(frame(time_s + s) - here).max() for s in (-STILL_S, STILL_S)]
        far = [np.abs(frame(time_s + s) - here).mean() for s in (-APART_S, APART_S)]
        self.around[time_s] = Around(still=min(near) <= STILL_LEVELS, apart=min(far) >= APART_LEVELS)


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
    top = _top(times_s, contrast)
    ramp = slice(_bottom(contrast, top), top + 1)
    if not _is_fade(contrast[ramp], mean[ramp]):
        return 0.0
    return float(times_s[np.flatnonzero(contrast[: top + 1] < FADED * contrast[top])[-1] + 1])


def _top(times_s: npt.NDArray[np.float64], contrast: npt.NDArray[np.float32]) -> int:
    """Return the frame at which the contrast rises no more; before it rises, it may stay low."""
    for place in range(len(contrast)):
        later = int(np.searchsorted(times_s, times_s[place] + NO_GAIN_S))
        if later >= len(contrast):
            return int(np.argmax(contrast))
        if contrast[place] >= LEAST_CONTRAST and contrast[later] < (1 + NO_GAIN) * contrast[place]:
            return place
    return len(contrast) - 1


def _bottom(contrast: npt.NDArray[np.float32], top: int) -> int:
    """Return the frame before `top` from which on the contrast rises."""
    place = top
    while place and contrast[place - 1] <= contrast[place] + 0.1:
        place -= 1
    return place


def _is_fade(contrast: npt.NDArray[np.float32], mean: npt.NDArray[np.float32]) -> bool:
    """Return whether frames of rising contrast are a fade from one colour.

    A fade shows (1 - a) colour + a frame: contrast and distance from the colour's level rise together, so the mean is
    a straight line over the contrast, and at contrast 0 it is the colour. Black and white are told by this; for other
    colours the fade must begin with a frame of that colour.
    """
    rise = contrast[-1] - contrast[0]
    if len(contrast) < LEAST_FRAMES or contrast[-1] < LEAST_CONTRAST or contrast[0] > DEEP * contrast[-1]:
        return False
    if np.diff(contrast).max() > LARGEST_STEP * rise:
        return False
    slope, colour = np.polyfit(contrast, mean, 1)
    if np.abs(slope * contrast + colour - mean).max() > FIT_SLACK:
        return False
    from_flat = contrast[0] < 0.1 * contrast[-1]
    return bool(from_flat or colour < COLOUR_SLACK or colour > 255 - COLOUR_SLACK)
