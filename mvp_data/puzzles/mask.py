"""Finds the segments of a video to hide, and the contexts in which they may be shown."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mvp_data.config.options import MaskConfig
from mvp_data.core.seeds import shuffled, unit
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.mask_policies import POLICIES
from mvp_data.puzzles.repeats import repeats_any
from mvp_data.puzzles.rules import refuse
from mvp_data.puzzles.types import Drop, Episode, HiddenSegment, Places, Strip
from mvp_data.tasks.catalogue import TASKS

LEFT_OUT = 4  # most frames beside a gap that are left out because they repeat a hidden frame
STRETCH = 16  # places: neighbouring segments get the same task, so that twins find room


@dataclass(frozen=True, slots=True)
class _Proposal:
    """The key frames of a possible hidden segment, and the place after its last frame."""

    task: str
    hidden: Places
    end: int


def hidden_segments(
    video: KeptVideo,
    config: MaskConfig,
    thresholds: Thresholds,
    seed: int,
    task_at: Callable[[int], str],
    free: Callable[[range], bool] = lambda places: True,
) -> Iterator[HiddenSegment | Drop]:
    """Hidden segments of a video that do not overlap, in time order, and a reason for each refused segment.

    `task_at` gives the task of a segment that begins at a place, `free` tells whether a range of places may be hidden.
    The contexts of a segment differ in the number of frames before the gap; the seed draws their order. A refused
    segment counts once, with the first reason.
    """
    free_from = 0
    for proposal in _proposals(video, config, thresholds, task_at):
        if proposal.hidden[0] < free_from or not free(range(proposal.hidden[0], proposal.end)):
            continue
        outcome = _with_contexts(video, proposal, config, thresholds, seed)
        if not isinstance(outcome, Drop):
            free_from = proposal.end
        yield outcome


def task_of(video: KeptVideo, place: int, seed: int, shares: Sequence[tuple[str, float]]) -> str:
    """The task of a segment that begins at `place`, drawn for each stretch of the video; `shares` add up to 1."""
    draw = unit("task", seed, video.entry.video_id, place // STRETCH)
    for task, share in shares:
        draw -= share
        if draw < 0:
            return task
    return shares[-1][0]  # rounding may leave the sum of the shares below 1


def visible_beside(
    video: KeptVideo, runs: Sequence[Places], places: range, count: int, thresholds: Thresholds
) -> Places | None:
    """The first `count` of these places (or fewer), those that repeat a frame of these hidden runs left out.

    `places` go away from the gap. None if more than `LEFT_OUT` frames beside the gap would be left out.
    """
    found: list[int] = []
    for number, place in enumerate(places):
        if len(found) == count or (not found and number > LEFT_OUT):
            break
        if not any(repeats_any(video, place, run, thresholds.repeat) for run in runs):
            found.append(place)
    return tuple(found) if found or not places or not count else None


def episode_of(video: KeptVideo, before: Sequence[int], hidden: Sequence[int], after: Sequence[int]) -> Episode:
    """The episode with these places visible before the gap, hidden, and visible after it."""
    places = (*before, *hidden, *after)
    strip = Strip(
        video_id=video.entry.video_id,
        frames=tuple(video.kept[p] for p in places),
        shots=tuple(video.shot(p) for p in places),
    )
    return Episode(strip=strip, mask_start=len(before), k=len(hidden))


def _proposals(
    video: KeptVideo, config: MaskConfig, thresholds: Thresholds, task_at: Callable[[int], str]
) -> Iterator[_Proposal]:
    """Every segment that leaves room for the context, in time order."""
    k, size, choose = config.hidden_frames, len(video.kept), POLICIES[config.mask_policy].choose
    for start in range(size - k + 1):
        task = task_at(start)
        before, after = least_context(task, config)
        found = choose(video, start, size - after, k, thresholds) if before <= start else None
        if found is not None:
            yield _Proposal(task, *found)


def least_context(task: str, config: MaskConfig) -> tuple[int, int]:
    """The fewest visible frames before and after the gap. Two frames on a side show motion."""
    if TASKS[task].gap_at_end:
        return config.context_frames, 0
    edge = min(2, config.context_frames // 2)
    return edge, edge


def _with_contexts(
    video: KeptVideo, proposal: _Proposal, config: MaskConfig, thresholds: Thresholds, seed: int
) -> HiddenSegment | Drop:
    """The segment with every context that breaks no rule, or the reason why there is none."""
    hidden, context = proposal.hidden, config.context_frames
    if len(hidden) < config.hidden_frames:
        return Drop.REPEATED_HIDDEN
    before_least, after_least = least_context(proposal.task, config)
    if not TASKS[proposal.task].needs_order:
        config = replace(config, reversible="keep")
    left = visible_beside(video, [hidden], range(hidden[0] - 1, -1, -1), context - after_least, thresholds)
    right_places = range(proposal.end, len(video.kept))
    right = visible_beside(video, [hidden], right_places, context - before_least, thresholds)
    if left is None or right is None:
        return Drop.REPEATED_CONTEXT
    splits = range(max(before_least, context - len(right)), min(context - after_least, len(left)) + 1)
    found: list[Episode] = []
    first_reason: Drop | None = None
    for before in shuffled(splits, "mask", seed, video.entry.video_id, video.kept[hidden[0]]):
        seen = left[:before][::-1], right[: context - before]
        reason = refuse(video, hidden, (*seen[0], *seen[1]), config, thresholds)
        if reason is None:
            found.append(episode_of(video, seen[0], hidden, seen[1]))
        first_reason = first_reason or reason
    if found:
        return HiddenSegment(task=proposal.task, episodes=tuple(found))
    return first_reason or Drop.LITTLE_CONTEXT
