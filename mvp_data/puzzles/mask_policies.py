"""The mask policies: which frames of a video may be hidden together.

Adding a policy means one line in `POLICIES`, and functions for what is new about it. `MASK_POLICIES` of the
configuration lists the names; a test compares the two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.types import Places

REACH = 4  # the key frames of a segment are among at most this many times K kept frames

Segment: TypeAlias = tuple[Places, int]  # the hidden key frames, and the place after the last hidden frame
Choose: TypeAlias = Callable[[KeptVideo, int, int, int, Thresholds], Segment | None]
Allows: TypeAlias = Callable[[KeptVideo, Sequence[int], Sequence[int], Thresholds], bool]


@dataclass(frozen=True, slots=True)
class MaskPolicy:
    """`choose` proposes the segment that begins at a frame; `allows` accepts or refuses it in its context."""

    choose: Choose  # (video, start, end, k, thresholds): at most one segment within the places start..end - 1
    allows: Allows  # (video, hidden, visible, thresholds)


def _key_frames(video: KeptVideo, start: int, end: int, k: int, thresholds: Thresholds) -> Segment | None:
    """Up to K key frames from `start` on, each clearly different from the one before.

    The frames between key frames are hidden too. Key frames differ by more than de-duplication asks for: similarity
    that makes a distractor ambiguous also makes the order of two hidden frames ambiguous.
    """
    if start + k > end:
        return None
    chosen = [start]
    for place in range(start + 1, min(start + REACH * k, end)):
        if len(chosen) == k:
            break
        if float(video.vectors[place] @ video.vectors[chosen[-1]]) < thresholds.distinct:
            chosen.append(place)
    return tuple(chosen), chosen[-1] + 1


def _whole_shot(video: KeptVideo, start: int, end: int, k: int, thresholds: Thresholds) -> Segment | None:
    """A whole shot, if one begins at `start`. K frames of it are the key frames, evenly spaced."""
    shot = video.shot(start)
    if start and video.shot(start - 1) == shot:
        return None
    after = next((place for place in range(start, len(video.kept)) if video.shot(place) != shot), len(video.kept))
    if after - start < k or after > end:
        return None
    return tuple(np.linspace(start, after - 1, k).round().astype(int).tolist()), after


def _anywhere(video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], thresholds: Thresholds) -> bool:
    return True


def _one_shot(video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], thresholds: Thresholds) -> bool:
    """The frames before and after the gap belong to one shot."""
    before, after = beside(hidden, visible)
    return video.shot(before) == video.shot(after)


def _anchored(video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], thresholds: Thresholds) -> bool:
    """Every hidden shot is also visible, or the frames before and after the gap show one scene."""
    if {video.shot(h) for h in hidden} <= {video.shot(v) for v in visible}:
        return True
    before, after = beside(hidden, visible)
    return float(video.vectors[before] @ video.vectors[after]) >= thresholds.scene


POLICIES = {
    "anchored": MaskPolicy(_key_frames, _anchored),
    "within_shot": MaskPolicy(_key_frames, _one_shot),
    "whole_shot": MaskPolicy(_whole_shot, _anywhere),
    "free": MaskPolicy(_key_frames, _anywhere),
}


def beside(hidden: Sequence[int], visible: Sequence[int]) -> tuple[int, int]:
    """The visible frames before and after the gap; the outermost hidden frame on a side without context."""
    before = max((v for v in visible if v < hidden[0]), default=hidden[0])
    after = min((v for v in visible if v > hidden[-1]), default=hidden[-1])
    return before, after
