"""Which segments of a video may be hidden: from kept frames to episodes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np

from mvp_data.config import MaskConfig
from mvp_data.corpus import KeptVideo, Thresholds
from mvp_data.seeds import shuffled
from mvp_data.types import Episode, Strip

REACH = 4  # a hidden segment holds at most this many times K kept frames

# A block of a thumbnail is 1/32 by 1/18 of the picture; sensor noise and compression average out in it.
MOVED_LUMA = 8  # levels of 255 by which a block must change to count as moved
MOVED_SHARE = 0.02  # of all blocks: a hand, a ball, a face that turns


class Drop(StrEnum):
    """Why a hidden segment gives no puzzle; counted in the report."""

    POLICY = "policy"  # the mask policy does not allow it
    LITTLE_CONTEXT = "little_context"  # too few visible frames are left around it
    NO_MOTION = "no_motion"  # two hidden frames in a row differ by noise alone
    REPEATED_HIDDEN = "repeated_hidden"  # too few hidden frames that clearly differ: no order to see
    REPEATED_CONTEXT = "repeated_context"  # a hidden frame is already visible in the context
    RECURRING = "recurring"  # most hidden frames have a closer twin elsewhere in the video than beside them
    FEW_DISTRACTORS = "few_distractors"  # fewer admissible distractors than asked for


@dataclass(frozen=True, slots=True)
class _Segment:
    """Positions among the kept frames: the key frames of the hidden segment, and where the visible frames resume."""

    hidden: tuple[int, ...]
    end: int


def episodes(video: KeptVideo, config: MaskConfig, thresholds: Thresholds, seed: int) -> Iterator[Episode | Drop]:
    """Episodes of a video whose hidden segments do not overlap, in time order, and a reason for each segment refused.

    A segment is tried with every number of context frames before it that the video allows, in an order drawn from
    the seed; the first strip that passes is taken. A refused segment counts once, with the first reason found.
    """
    free_from = 0
    for segment in _segments(video, config, thresholds):
        if segment.hidden[0] < free_from:
            continue
        outcome = _place(video, segment, config, thresholds, seed)
        if isinstance(outcome, Episode):
            free_from = segment.end
        yield outcome


def _segments(video: KeptVideo, config: MaskConfig, thresholds: Thresholds) -> Iterator[_Segment]:
    """Every segment that leaves room for the context, in time order."""
    k, size = config.hidden_frames, len(video.kept)
    edge = _edge(config)
    if config.mask_policy != "whole_shot":
        for start in range(edge, size - k - edge + 1):
            hidden = _key_frames(video, start, k, min(start + REACH * k, size - edge), thresholds)
            yield _Segment(hidden, hidden[-1] + 1)
        return
    shots = np.array(video.shots)
    starts = [0, *(np.flatnonzero(np.diff(shots)) + 1).tolist(), size]
    for start, end in pairwise(starts):
        if end - start >= k and start >= edge and size - end >= edge:
            # A long shot is hidden whole and shown by K of its frames, evenly spread.
            spread = np.linspace(start, end - 1, k).round().astype(int)
            yield _Segment(tuple(spread.tolist()), end)


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


def _edge(config: MaskConfig) -> int:
    """Fewest visible frames on each side: two where there are enough, so that motion is seen to enter and leave."""
    return min(2, config.context_frames // 2)


def _place(
    video: KeptVideo, segment: _Segment, config: MaskConfig, thresholds: Thresholds, seed: int
) -> Episode | Drop:
    edge, context = _edge(config), config.context_frames
    start, end, size = segment.hidden[0], segment.end, len(video.kept)
    most_before, least_before = min(context - edge, start), max(edge, context - (size - end))
    first_reason: Drop | None = None
    places = range(least_before, most_before + 1)
    for before in shuffled(places, "mask", seed, video.entry.video_id, video.kept[start]):
        visible = (*range(start - before, start), *range(end, end + context - before))
        reason = _refuse(video, segment.hidden, visible, config, thresholds)
        if reason is None:
            positions = (*visible[:before], *segment.hidden, *visible[before:])
            strip = Strip(
                video_id=video.entry.video_id,
                frames=tuple(video.kept[p] for p in positions),
                shots=tuple(video.shots[p] for p in positions),
            )
            return Episode(strip=strip, mask_start=before, k=config.hidden_frames)
        first_reason = first_reason or reason
    return first_reason or Drop.LITTLE_CONTEXT


def _refuse(
    video: KeptVideo,
    hidden: Sequence[int],
    visible: Sequence[int],
    config: MaskConfig,
    thresholds: Thresholds,
) -> Drop | None:
    """The rule that a strip breaks, if any."""
    if not _allowed(video, hidden, visible, config.mask_policy, thresholds):
        return Drop.POLICY
    if not all(moves(video, a, b) for a, b in pairwise(hidden)):
        return Drop.NO_MOTION
    hidden_vectors, visible_vectors = video.vectors[list(hidden)], video.vectors[list(visible)]
    among_hidden = hidden_vectors @ hidden_vectors.T - 2 * np.eye(len(hidden))
    if len(hidden) < config.hidden_frames or among_hidden.max() >= thresholds.distinct:
        return Drop.REPEATED_HIDDEN
    repeated = (hidden_vectors @ visible_vectors.T).max() >= thresholds.repeat
    if repeated or not all(moves(video, h, v) for h in hidden for v in visible):
        return Drop.REPEATED_CONTEXT
    return Drop.RECURRING if _recurs(video, hidden, visible) else None


def _recurs(video: KeptVideo, hidden: Sequence[int], visible: Sequence[int]) -> bool:
    """Whether most hidden frames are more like some far frame of the video than like those shown next to them.

    Juggling, dancing, a wagging tail, an empty road: such moments come again and again, and nothing says which of
    them belongs in the gap.
    """
    before = max(v for v in visible if v < hidden[0])
    after = min(v for v in visible if v > hidden[-1])
    twins = 0
    for previous, place, following in zip((before, *hidden), hidden, (*hidden[1:], after), strict=False):
        likeness = np.round(video.vectors @ video.vectors[place], 5)  # a tie must not hang on the last bit
        far = np.concatenate([likeness[:previous], likeness[following + 1 :]])
        twins += bool(len(far) and far.max() > max(likeness[previous], likeness[following]))
    return 2 * twins > len(hidden)


def _allowed(
    video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], policy: str, thresholds: Thresholds
) -> bool:
    """Whether the policy lets this segment be hidden in this context."""
    if policy in ("free", "whole_shot"):  # whole shots were chosen as segments
        return True
    shots = video.shots
    before = max(v for v in visible if v < hidden[0])
    after = min(v for v in visible if v > hidden[-1])
    if policy == "within_shot":
        return shots[before] == shots[after]
    if {shots[h] for h in hidden} <= {shots[v] for v in visible}:
        return True
    # Not every hidden shot is visible; the segment still belongs here if both sides show one scene.
    return float(video.vectors[before] @ video.vectors[after]) >= thresholds.scene


def moves(video: KeptVideo, first: int, second: int) -> bool:
    """Whether something visible moved between two kept frames of a video; see `differ`."""
    frames = video.entry.frames
    return differ(frames[video.kept[first]].thumbnail, frames[video.kept[second]].thumbnail)


def differ(first: bytes, second: bytes) -> bool:
    """Whether two thumbnails show different pictures, apart from noise and light.

    Independent of the encoder: its vectors drift apart by noise alone where there is little to see.
    """
    a, b = (np.frombuffer(thumbnail, np.uint8).astype(np.int16) for thumbnail in (first, second))
    change = a - b
    change -= np.int16(np.median(change))  # light that changes everywhere is no motion
    return bool(np.count_nonzero(np.abs(change) >= MOVED_LUMA) >= MOVED_SHARE * change.size)
