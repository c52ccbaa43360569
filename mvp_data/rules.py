"""When a hidden segment may be asked for: the answer must be one, and the context must lead to it."""

from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise

import numpy as np

from mvp_data.config import MaskConfig
from mvp_data.corpus import KeptVideo, Thresholds

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
    NO_DECOY = "no_decoy"  # no other run may stand beside it in a pool
    DIFFICULTY = "difficulty"  # easier or harder than asked for, or the other one of its pair is


def refuse(
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
    before, after = _beside(hidden, visible)
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
    before, after = _beside(hidden, visible)
    if policy == "within_shot":
        return shots[before] == shots[after]
    if {shots[h] for h in hidden} <= {shots[v] for v in visible}:
        return True
    # Not every hidden shot is visible; the segment still belongs here if both sides show one scene.
    return float(video.vectors[before] @ video.vectors[after]) >= thresholds.scene


def _beside(hidden: Sequence[int], visible: Sequence[int]) -> tuple[int, int]:
    """The visible frames next to the gap; the hidden frame at an edge where the context ends there."""
    before = max((v for v in visible if v < hidden[0]), default=hidden[0])
    after = min((v for v in visible if v > hidden[-1]), default=hidden[-1])
    return before, after


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
