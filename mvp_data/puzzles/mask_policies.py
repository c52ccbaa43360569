"""The mask policies: which frames of a video may be hidden together.

To add a policy, write a class here, add it to `POLICIES`, and add its name to `MASK_POLICIES` of the configuration. A
test compares the two.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.likeness import alike_in
from mvp_data.puzzles.types import Places

REACH = 4  # times K: the number of consecutive kept frames from which the K key frames of a segment are taken

Segment: TypeAlias = tuple[Places, int]  # the hidden key frames, and the place after the last hidden frame


class MaskPolicy:
    """The policy `free`: key frames may be hidden anywhere. The other policies override what differs."""

    def choose(self, video: KeptVideo, start: int, end: int, k: int, thresholds: Thresholds) -> Segment | None:
        """The segment that begins at `start` and ends before `end`, if there is one.

        It has up to K key frames, each clearly different from all before it. The frames between key frames are hidden
        too. Key frames differ by more than de-duplication requires: similarity that makes a distractor ambiguous also
        makes the order of two hidden frames ambiguous.
        """
        if start + k > end:
            return None
        chosen = [start]
        for place in range(start + 1, min(start + REACH * k, end)):
            if len(chosen) == k:
                break
            if not any(alike_in(video, place, earlier, thresholds.distinct) for earlier in reversed(chosen)):
                chosen.append(place)
        return tuple(chosen), chosen[-1] + 1

    def allows(self, video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], thresholds: Thresholds) -> bool:
        """Whether these frames may be hidden while those are visible."""
        return True


class _WithinShot(MaskPolicy):
    """The frames before and after the gap belong to one shot."""

    def allows(self, video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], thresholds: Thresholds) -> bool:
        before, after = around_gap(hidden, visible)
        return video.shot(before) == video.shot(after)


class _Anchored(MaskPolicy):
    """Every hidden shot is also visible, or the frames before and after the gap show one scene."""

    def allows(self, video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], thresholds: Thresholds) -> bool:
        if {video.shot(h) for h in hidden} <= {video.shot(v) for v in visible}:
            return True
        before, after = around_gap(hidden, visible)
        return float(video.vectors[before] @ video.vectors[after]) >= thresholds.scene


class _WholeShot(MaskPolicy):
    """A segment is one whole shot. K frames of it, evenly spaced, are the key frames."""

    def choose(self, video: KeptVideo, start: int, end: int, k: int, thresholds: Thresholds) -> Segment | None:
        shot = video.shot(start)
        if start and video.shot(start - 1) == shot:
            return None
        after = next((place for place in range(start, len(video.kept)) if video.shot(place) != shot), len(video.kept))
        if after - start < k or after > end:
            return None
        return tuple(np.linspace(start, after - 1, k).round().astype(int).tolist()), after


POLICIES = {"anchored": _Anchored(), "within_shot": _WithinShot(), "whole_shot": _WholeShot(), "free": MaskPolicy()}


def around_gap(hidden: Sequence[int], visible: Sequence[int]) -> tuple[int, int]:
    """The visible frames before and after the gap; the outermost hidden frame on a side without context."""
    before = max((v for v in visible if v < hidden[0]), default=hidden[0])
    after = min((v for v in visible if v > hidden[-1]), default=hidden[-1])
    return before, after
