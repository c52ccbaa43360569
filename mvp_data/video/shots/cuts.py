"""Finds cuts while the frames arrive: changes that are prominent, affect most of the frame, and last.

A frame is a candidate if its difference to the frame before is large compared with those of its neighbours (the idea of
PySceneDetect's AdaptiveDetector). Four tests reject the candidates that only resemble a cut. The frames around must
differ too (else: one bad frame), most of the frame must change (else: subtitle, pop-up), the structure must differ at
every shift (else: pan, shake, exposure), and the old content must not return soon (else: flash, lightning).
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mvp_data.video.shots.compare import CHANGED, SAME_STRUCTURE, Half, difference, inside_bars, structure
from mvp_data.video.shots.low_rate import SLOW_S, is_other_content

# The results hardly depend on the exact thresholds; docs/shots.md has the table.
CUT_MIN = 5.0  # mean difference, 0..255; a smaller one is not a cut even in a dark scene
CUT_RATIO = 1.6  # times the largest neighbouring differences
CUT_SHARE = 0.45  # least share of the frame that changed
RETURNED = 0.5  # of the cut's own difference: a frame closer to the old shot shows it again
HOLD_S = 0.4  # the old content must not return within this time
RADIUS = 3  # neighbours on each side, frames
MIXED_MAX = 2  # frames that blend both shots (frame-rate conversion, interlacing); with more it is a dissolve
LOOK_AHEAD = RADIUS + MIXED_MAX
STRAIGHT = 0.8  # least difference of the ends, as a share of the sum of the steps between them
NOISE = 1.0  # keeps the ratio finite in still video
HISTORY_FRAMES = 64  # bounds the memory, whatever the frame rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """`index` is the first frame that does not show the old shot alone; `mixed` frames from there show both shots."""

    index: int
    mixed: int
    strength: float  # difference of the shots, 0..255


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pending:
    """A cut that is confirmed if `before` does not return for HOLD_S."""

    cut: Cut
    until_s: float
    before: Half
    limit: float  # the old content has returned if a frame is closer to `before` than this


def differs_everywhere(a: Half, b: Half) -> bool:
    """Return whether two frames show different content: most of the area changed, and no shift explains it."""
    a, b = inside_bars(a, b)
    if (np.abs(a - b).mean(axis=0) > CHANGED).mean() < CUT_SHARE:
        return False
    return structure(a, b) < SAME_STRUCTURE


@dataclass(frozen=True, kw_only=True, slots=True)
class _Recent:
    """A recent frame: its time, its half-size image, and its difference to the frame before."""

    pts_s: float
    half: Half
    step: float


class CutFinder:
    """Takes half-size frames in order, any number at once; `finish` returns the cuts."""

    def __init__(self) -> None:
        """Start a video."""
        self._cuts: list[Cut] = []
        self._pending: list[_Pending] = []
        self._recent: deque[_Recent] = deque(maxlen=HISTORY_FRAMES)
        self._count = 0

    def push(self, times_s: Iterable[float], halves: npt.NDArray[np.int16]) -> None:
        """Take the next frames. Each is the last neighbour of the frame LOOK_AHEAD before it, which is judged then."""
        before = self._recent[-1].half if self._recent else halves[0]
        changes = np.abs(np.diff(halves, axis=0, prepend=before[None])).reshape(len(halves), -1)
        steps = changes.sum(axis=1, dtype=np.int32) / changes.shape[1]
        for pts_s, half, step in zip(times_s, halves, steps.tolist(), strict=True):
            self._recent.append(_Recent(pts_s=pts_s, half=half, step=step))
            self._count += 1
            if self._pending:
                self._confirm(pts_s, half)
            self._judge(LOOK_AHEAD)

    def finish(self) -> list[Cut]:
        """Judge the last frames with fewer neighbours, and return the cuts; a shot has at least two frames."""
        for ahead in range(LOOK_AHEAD - 1, 0, -1):
            self._judge(ahead)
        cuts = self._cuts + [pending.cut for pending in self._pending]
        self._cuts, self._pending = [], []
        return sorted(cuts, key=lambda cut: cut.index)

    def _judge(self, ahead: int) -> None:
        """Test whether the frame with `ahead` frames after it is the first that does not show the old shot alone."""
        place = len(self._recent) - 1 - ahead
        if place < 1 or not self._may_be_prominent(place):
            return
        recent = list(self._recent)
        find = _slow_strength if _is_slow(recent, place) else _strength
        for mixed in range(min(MIXED_MAX, ahead - 1), -1, -1):
            strength = find(recent, place, mixed)
            if strength == 0.0:
                continue
            cut = Cut(index=self._count - 1 - ahead, mixed=mixed, strength=strength)
            old, new = recent[place - 1].half, recent[place + mixed].half
            start_s, limit = recent[place].pts_s, RETURNED * difference(old, new)
            earlier = [frame for frame in recent[: place - 1] if frame.pts_s > start_s - HOLD_S]
            later = [frame for frame in recent[place + mixed + 1 :] if frame.pts_s < start_s + HOLD_S]
            if all(difference(frame.half, new) >= limit for frame in earlier) and all(
                difference(frame.half, old) >= limit for frame in later
            ):
                pending = _Pending(cut=cut, until_s=start_s + HOLD_S, before=old, limit=limit)
                self._pending.append(pending)
            return

    def _may_be_prominent(self, place: int) -> bool:
        """Return whether `_prominence` can be above 0; cheap, because it is called for every frame."""
        step = self._recent[place].step
        if step < CUT_MIN / (MIXED_MAX + 1):
            return False
        if self._recent[place].pts_s - self._recent[place - 1].pts_s > SLOW_S:
            return True
        before = [self._recent[i].step for i in range(max(1, place - RADIUS), place)]
        return step >= CUT_RATIO * (_two_largest(before) / 2 + NOISE)

    def _confirm(self, pts_s: float, half: Half) -> None:
        """Drop the waiting cuts whose old content returned; accept those that have waited long enough."""
        waiting = []
        for pending in self._pending:
            if pts_s >= pending.until_s:
                self._cuts.append(pending.cut)
            elif difference(pending.before, half) >= pending.limit:
                waiting.append(pending)
        self._pending = waiting


def _two_largest(steps: list[float]) -> float:
    return sum(sorted(steps)[-2:])


def _is_slow(recent: list[_Recent], place: int) -> bool:
    """Return whether the frames around are so far apart that motion between them may be as large as a cut."""
    first, last = max(0, place - RADIUS), min(len(recent) - 1, place + RADIUS)
    return (recent[last].pts_s - recent[first].pts_s) > SLOW_S * (last - first)


def _slow_strength(recent: list[_Recent], place: int, mixed: int) -> float:
    """Return the difference across a cut with `mixed` mixed frames at a low frame rate, or 0.0 if it is not a cut."""
    steps = [frame.step for frame in recent[place : place + mixed + 1]]
    sides = recent[max(1, place - RADIUS) : place], recent[place + mixed + 1 : place + mixed + 1 + RADIUS]
    around = sum(_second_largest([frame.step for frame in side]) for side in sides) / 2
    if mixed and min(steps) < CUT_RATIO * (around + NOISE):
        return 0.0
    old, new = recent[place - 1].half, recent[place + mixed].half
    strength = difference(old, new) if mixed else steps[0]
    if strength < max(CUT_MIN, STRAIGHT * sum(steps) if mixed else 0.0):
        return 0.0
    before, after = recent[max(0, place - 2) : place], recent[place + mixed : place + mixed + 2]
    kept = min(difference(b.half, a.half) for b in before for a in after) / strength
    return strength if kept > RETURNED and is_other_content(old, new, kept=kept, around=around) else 0.0


def _second_largest(steps: list[float]) -> float:
    return sorted(steps)[-2] if len(steps) > 1 else 0.0


def _strength(recent: list[_Recent], place: int, mixed: int) -> float:
    """Return the difference across a cut with `mixed` mixed frames, or 0.0 if it is not a cut."""
    strength = _prominence(recent, place, mixed)
    return strength if strength and differs_everywhere(recent[place - 1].half, recent[place + mixed].half) else 0.0


def _prominence(recent: list[_Recent], place: int, mixed: int) -> float:
    """Return the difference across a cut with `mixed` mixed frames, or 0.0 if the cut is not prominent.

    It is prominent if each of its steps is large compared with the steps around, if its path is straight (the steps add
    up to the difference of the ends, unlike those of motion), and if the frames around differ as much as the ends.
    """
    new = place + mixed
    steps = [frame.step for frame in recent[place : new + 1]]
    around = recent[max(1, place - RADIUS) : place] + recent[new + 1 : new + 1 + RADIUS]
    bar = CUT_RATIO * (_two_largest([frame.step for frame in around]) / 2 + NOISE)
    if min(steps) < bar:
        return 0.0
    before, after = recent[max(0, place - 2) : place], recent[new : new + RADIUS]
    strength = min(difference(b.half, a.half) for b in before for a in after)
    straight = STRAIGHT * sum(steps) if mixed else bar
    return strength if strength >= max(CUT_MIN, straight) else 0.0
