"""Which segments of a video may be hidden: from kept frames to episodes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from mvp_data.config import MaskConfig
from mvp_data.corpus import KeptVideo, Thresholds
from mvp_data.rules import Drop, refuse
from mvp_data.seeds import shuffled, unit
from mvp_data.tasks.catalogue import TASKS
from mvp_data.types import Episode, Strip

REACH = 4  # a hidden segment holds at most this many times K kept frames


MVP_ALONE = (("mvp", 1.0),)


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """A hidden segment for a task, in every way it may be shown; at least one."""

    task: str
    episodes: tuple[Episode, ...]

    @property
    def hidden(self) -> tuple[int, ...]:
        """Frame indices of the hidden segment, in order."""
        return self.episodes[0].hidden


@dataclass(frozen=True, slots=True)
class _Segment:
    """Positions among the kept frames: the key frames of the hidden segment, and where the visible frames resume."""

    task: str
    hidden: tuple[int, ...]
    end: int


def openings(
    video: KeptVideo,
    config: MaskConfig,
    thresholds: Thresholds,
    seed: int,
    shares: Sequence[tuple[str, float]] = MVP_ALONE,
) -> Iterator[Opening | Drop]:
    """Hidden segments of a video that do not overlap, in time order, and a reason for each segment refused.

    The seed draws a task for each place where a segment may begin, and the order in which the ways to show it are
    listed: all numbers of context frames before it that keep the rules. A refused segment counts once, with the first
    reason found.
    """
    free_from = 0
    for segment in _segments(video, config, thresholds, seed, shares):
        if segment.hidden[0] < free_from:
            continue
        outcome = _place(video, segment, config, thresholds, seed)
        if not isinstance(outcome, Drop):
            free_from = segment.end
        yield outcome


def _segments(
    video: KeptVideo, config: MaskConfig, thresholds: Thresholds, seed: int, shares: Sequence[tuple[str, float]]
) -> Iterator[_Segment]:
    """Every segment that leaves room for the context, in time order."""
    k, size = config.hidden_frames, len(video.kept)
    if config.mask_policy != "whole_shot":
        for start in range(size - k + 1):
            task = _task(shares, unit("task", seed, video.entry.video_id, video.kept[start]))
            before, after = _least(task, config)
            if before <= start <= size - k - after:
                hidden = _key_frames(video, start, k, min(start + REACH * k, size - after), thresholds)
                yield _Segment(task, hidden, hidden[-1] + 1)
        return
    shots = np.array(video.shots)
    starts = [0, *(np.flatnonzero(np.diff(shots)) + 1).tolist(), size]
    for start, end in pairwise(starts):
        task = _task(shares, unit("task", seed, video.entry.video_id, video.kept[start]))
        before, after = _least(task, config)
        if end - start >= k and before <= start and end <= size - after:
            # A long shot is hidden whole and shown by K of its frames, evenly spread.
            spread = np.linspace(start, end - 1, k).round().astype(int)
            yield _Segment(task, tuple(spread.tolist()), end)


def _task(shares: Sequence[tuple[str, float]], draw: float) -> str:
    """The task whose share of [0, 1) a draw falls into."""
    for task, share in shares:
        draw -= share
        if draw < 0:
            return task
    return shares[-1][0]  # shares add up to a little less than 1


def _key_frames(video: KeptVideo, start: int, k: int, end: int, thresholds: Thresholds) -> tuple[int, ...]:
    """Up to `k` frames from `start` on, each clearly another picture than the one before; frames between stay hidden.

    What makes a distractor ambiguous makes two hidden frames ambiguous too: whoever cannot tell them apart cannot
    order them. So they differ by more than de-duplication asks for.
    """
    chosen = [start]
    for place in range(start + 1, end):
        if len(chosen) == k:
            break
        if float(video.vectors[place] @ video.vectors[chosen[-1]]) < thresholds.distinct:
            chosen.append(place)
    return tuple(chosen)


def _least(task: str, config: MaskConfig) -> tuple[int, int]:
    """Fewest visible frames before and after the gap: two where there are enough, so that motion enters and leaves."""
    if TASKS[task].gap_at_end:
        return config.context_frames, 0
    edge = min(2, config.context_frames // 2)
    return edge, edge


def _place(
    video: KeptVideo, segment: _Segment, config: MaskConfig, thresholds: Thresholds, seed: int
) -> Opening | Drop:
    """The segment between as many frames before and after as the video allows, each way that keeps the rules."""
    context, size = config.context_frames, len(video.kept)
    start, end = segment.hidden[0], segment.end
    before_least, after_least = _least(segment.task, config)
    if not TASKS[segment.task].needs_order:
        config = replace(config, reversible="keep")
    places = range(max(before_least, context - (size - end)), min(context - after_least, start) + 1)
    found: list[Episode] = []
    first_reason: Drop | None = None
    for before in shuffled(places, "mask", seed, video.entry.video_id, video.kept[start]):
        visible = (*range(start - before, start), *range(end, end + context - before))
        reason = refuse(video, segment.hidden, visible, config, thresholds)
        if reason is None:
            positions = (*visible[:before], *segment.hidden, *visible[before:])
            strip = Strip(
                video_id=video.entry.video_id,
                frames=tuple(video.kept[p] for p in positions),
                shots=tuple(video.shot(p) for p in positions),
            )
            found.append(Episode(strip=strip, mask_start=before, k=config.hidden_frames))
        first_reason = first_reason or reason
    if found:
        return Opening(task=segment.task, episodes=tuple(found))
    return first_reason or Drop.LITTLE_CONTEXT
