"""Finds the segments of a video to hide, and the contexts in which they may be shown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mvp_data.config.options import MaskConfig
from mvp_data.core.seeds import shuffled, unit
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.mask_policies import POLICIES
from mvp_data.puzzles.rules import refuse
from mvp_data.puzzles.types import Drop, Episode, Opening, Places, Strip
from mvp_data.tasks.catalogue import TASKS

MVP_ALONE = (("mvp", 1.0),)


@dataclass(frozen=True, slots=True)
class _Segment:
    """The key frames of a hidden segment, and the place where the visible frames resume."""

    task: str
    hidden: Places
    end: int


def openings(
    video: KeptVideo,
    config: MaskConfig,
    thresholds: Thresholds,
    seed: int,
    shares: Sequence[tuple[str, float]] = MVP_ALONE,
) -> Iterator[Opening | Drop]:
    """Hidden segments of a video that do not overlap, in time order, and a reason for each refused segment.

    The seed draws a task for each place where a segment may begin. It also draws the order of the contexts of a
    segment, which differ in the number of frames before the gap. A refused segment counts once, with the first reason.
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
    k, size, choose = config.hidden_frames, len(video.kept), POLICIES[config.mask_policy].choose
    for start in range(size - k + 1):
        task = _task(shares, unit("task", seed, video.entry.video_id, video.kept[start]))
        before, after = _least(task, config)
        found = choose(video, start, size - after, k, thresholds) if before <= start else None
        if found is not None:
            yield _Segment(task, *found)


def _task(shares: Sequence[tuple[str, float]], draw: float) -> str:
    """The task whose share of [0, 1) contains the draw."""
    for task, share in shares:
        draw -= share
        if draw < 0:
            return task
    return shares[-1][0]  # rounding may leave the sum of the shares below 1


def _least(task: str, config: MaskConfig) -> tuple[int, int]:
    """Fewest visible frames before and after the gap: two where there are enough, so that motion enters and leaves."""
    if TASKS[task].gap_at_end:
        return config.context_frames, 0
    edge = min(2, config.context_frames // 2)
    return edge, edge


def _place(
    video: KeptVideo, segment: _Segment, config: MaskConfig, thresholds: Thresholds, seed: int
) -> Opening | Drop:
    """The segment with every context that keeps the rules, or the reason why there is none."""
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
