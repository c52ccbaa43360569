"""Finds the segments of a video to hide, and the contexts in which they may be shown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mvp_data.config.options import MaskConfig
from mvp_data.core.seeds import shuffled, unit
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.mask_policies import POLICIES
from mvp_data.puzzles.rules import refuse
from mvp_data.puzzles.types import Drop, Episode, HiddenSegment, Places, Strip
from mvp_data.tasks.catalogue import TASKS


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
    shares: Sequence[tuple[str, float]],
) -> Iterator[HiddenSegment | Drop]:
    """Hidden segments of a video that do not overlap, in time order, and a reason for each refused segment.

    The seed draws a task for each place where a segment may begin. It also draws the order of the contexts of a
    segment, which differ in the number of frames before the gap. A refused segment counts once, with the first reason.
    `shares` are those of the tasks and add up to 1.
    """
    free_from = 0
    for proposal in _proposals(video, config, thresholds, seed, shares):
        if proposal.hidden[0] < free_from:
            continue
        outcome = _with_contexts(video, proposal, config, thresholds, seed)
        if not isinstance(outcome, Drop):
            free_from = proposal.end
        yield outcome


def _proposals(
    video: KeptVideo, config: MaskConfig, thresholds: Thresholds, seed: int, shares: Sequence[tuple[str, float]]
) -> Iterator[_Proposal]:
    """Every segment that leaves room for the context, in time order."""
    k, size, choose = config.hidden_frames, len(video.kept), POLICIES[config.mask_policy].choose
    for start in range(size - k + 1):
        task = _task(shares, unit("task", seed, video.entry.video_id, video.kept[start]))
        before, after = _least_context(task, config)
        found = choose(video, start, size - after, k, thresholds) if before <= start else None
        if found is not None:
            yield _Proposal(task, *found)


def _task(shares: Sequence[tuple[str, float]], draw: float) -> str:
    """The task whose share of [0, 1) contains the draw."""
    for task, share in shares:
        draw -= share
        if draw < 0:
            return task
    return shares[-1][0]  # rounding may leave the sum of the shares below 1


def _least_context(task: str, config: MaskConfig) -> tuple[int, int]:
    """The fewest visible frames before and after the gap. Two frames on a side show motion."""
    if TASKS[task].gap_at_end:
        return config.context_frames, 0
    edge = min(2, config.context_frames // 2)
    return edge, edge


def _with_contexts(
    video: KeptVideo, proposal: _Proposal, config: MaskConfig, thresholds: Thresholds, seed: int
) -> HiddenSegment | Drop:
    """The segment with every context that breaks no rule, or the reason why there is none."""
    context, size = config.context_frames, len(video.kept)
    start, end = proposal.hidden[0], proposal.end
    before_least, after_least = _least_context(proposal.task, config)
    if not TASKS[proposal.task].needs_order:
        config = replace(config, reversible="keep")
    places = range(max(before_least, context - (size - end)), min(context - after_least, start) + 1)
    found: list[Episode] = []
    first_reason: Drop | None = None
    for before in shuffled(places, "mask", seed, video.entry.video_id, video.kept[start]):
        visible = (*range(start - before, start), *range(end, end + context - before))
        reason = refuse(video, proposal.hidden, visible, config, thresholds)
        if reason is None:
            positions = (*visible[:before], *proposal.hidden, *visible[before:])
            strip = Strip(
                video_id=video.entry.video_id,
                frames=tuple(video.kept[p] for p in positions),
                shots=tuple(video.shot(p) for p in positions),
            )
            found.append(Episode(strip=strip, mask_start=before, k=config.hidden_frames))
        first_reason = first_reason or reason
    if found:
        return HiddenSegment(task=proposal.task, episodes=tuple(found))
    return first_reason or Drop.LITTLE_CONTEXT
