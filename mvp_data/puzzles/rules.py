"""When a hidden segment may be asked for: the answer must be one, and the context must lead to it."""

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from mvp_data.config import MaskConfig
from mvp_data.puzzles import ambiguity
from mvp_data.puzzles.ambiguity import BLUR_SUM, REMEMBERED, Places, blurred, leaning, loops, middle
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.types import Vectors

# A block of a thumbnail is 1/32 by 1/18 of the picture; sensor noise and compression average out in it.
MOVED_LUMA = 8  # levels of 255 by which a block must change to count as moved
MOVED_SHARE = 0.02  # of all blocks: a hand, a ball, a face that turns

Luma = npt.NDArray[np.int16]


class Drop(StrEnum):
    """Why a hidden segment gives no puzzle; counted in the report."""

    POLICY = "policy"  # the mask policy does not allow it
    LITTLE_CONTEXT = "little_context"  # too few visible frames are left around it
    NO_MOTION = "no_motion"  # two hidden frames in a row differ by noise alone
    REPEATED_HIDDEN = "repeated_hidden"  # too few hidden frames that clearly differ: no order to see
    REPEATED_CONTEXT = "repeated_context"  # a hidden frame is already visible in the context
    RECURRING = "recurring"  # most hidden frames have a closer twin elsewhere than beside them, and no clear order
    LOOPING = "looping"  # the run comes again elsewhere in the video, in the same order or backwards
    REVERSIBLE = "reversible"  # the run is as plausible backwards, to both judges
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
    """The rule that a strip breaks, if any.

    Frames that must differ do so to two judges, the encoder and the pixels: either one's word is enough to refuse.
    """
    if not _allowed(video, hidden, visible, config.mask_policy, thresholds):
        return Drop.POLICY
    if not all(moves(video, a, b) for a, b in pairwise(hidden)):
        return Drop.NO_MOTION
    hidden_vectors, visible_vectors = video.vectors[list(hidden)], video.vectors[list(visible)]
    among_hidden = hidden_vectors @ hidden_vectors.T - 2 * np.eye(len(hidden))
    if len(hidden) < config.hidden_frames or among_hidden.max() >= thresholds.distinct:
        return Drop.REPEATED_HIDDEN
    if not all(moves(video, a, b) for a, b in combinations(hidden, 2)):
        return Drop.REPEATED_HIDDEN
    repeated = (hidden_vectors @ visible_vectors.T).max() >= thresholds.repeat
    if repeated or not all(moves(video, h, v) for h in hidden for v in visible):
        return Drop.REPEATED_CONTEXT
    return _two_ways(video, hidden, visible, config, thresholds)


def _two_ways(
    video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], config: MaskConfig, thresholds: Thresholds
) -> Drop | None:
    """Why another order, or another choice, could be defended; each step asks for less and less."""
    if min(leaning(video, hidden, visible, thresholds)) <= 1 and _recurs(video, hidden, visible):
        return Drop.RECURRING
    return doubt(video, hidden, visible, thresholds) if config.reversible == "drop" else None


def doubt(video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], thresholds: Thresholds) -> Drop | None:
    """Why the order of a run may be argued about: it reads as well backwards, or comes again."""
    if max(leaning(video, hidden, visible, thresholds)) <= 1:
        return Drop.REVERSIBLE
    return Drop.LOOPING if loops(video, hidden, thresholds) else None


def _recurs(video: KeptVideo, hidden: Sequence[int], visible: Sequence[int]) -> bool:
    """Whether most hidden frames are more like some far frame of the video than like those shown next to them.

    Juggling, dancing, a wagging tail, an empty road: such moments come again and again, and nothing says which of
    them belongs in the gap.
    """
    return _recurs_between(video, tuple(hidden), *_beside(hidden, visible))


@lru_cache(maxsize=REMEMBERED)
def _recurs_between(video: KeptVideo, hidden: Places, before: int, after: int) -> bool:
    twins = 0
    for previous, place, following in zip((before, *hidden), hidden, (*hidden[1:], after), strict=False):
        likeness = np.round(video.vectors @ video.vectors[place], 5)  # a tie must not hang on the last bit
        far = np.concatenate([likeness[:previous], likeness[following + 1 :]])
        twins += bool(len(far) and far.max() > max(likeness[previous], likeness[following]))
    return 2 * twins > len(hidden)


def forget() -> None:
    """Let go of the videos for which answers are remembered, here and in `unique`."""
    _recurs_between.cache_clear()
    ambiguity.forget()


def _allowed(
    video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], policy: str, thresholds: Thresholds
) -> bool:
    """Whether the policy lets this segment be hidden in this context."""
    if policy in ("free", "whole_shot"):  # whole shots were chosen as segments
        return True
    before, after = _beside(hidden, visible)
    if policy == "within_shot":
        return video.shot(before) == video.shot(after)
    if {video.shot(h) for h in hidden} <= {video.shot(v) for v in visible}:
        return True
    # Not every hidden shot is visible; the segment still belongs here if both sides show one scene.
    return float(video.vectors[before] @ video.vectors[after]) >= thresholds.scene


def _beside(hidden: Sequence[int], visible: Sequence[int]) -> tuple[int, int]:
    """The visible frames next to the gap; the hidden frame at an edge where the context ends there."""
    before = max((v for v in visible if v < hidden[0]), default=hidden[0])
    after = min((v for v in visible if v > hidden[-1]), default=hidden[-1])
    return before, after


def fits_the_gap(
    video: KeptVideo, hidden: Sequence[int], vectors: Vectors, thumbnails: Sequence[bytes], thresholds: Thresholds
) -> bool:
    """Whether one of these frames could pass for one of the hidden span, asked for or not: by vector or by pixels.

    Frames between the key frames are hidden too; a distractor like one of them would be as right as a key frame.
    """
    span = range(hidden[0], hidden[-1] + 1)
    if np.round(video.vectors[span.start : span.stop] @ vectors.T, 5).max() >= thresholds.distinct:
        return True
    own = [video.thumbnail(place) for place in span]
    return not all(differ(a, b) for a in own for b in thumbnails)


def moves(video: KeptVideo, first: int, second: int) -> bool:
    """Whether something visible moved between two kept frames of a video; see `differ`."""
    return differ(video.thumbnail(first), video.thumbnail(second))


@lru_cache(maxsize=1 << 14)  # the same pairs come up for every way to show a segment, and for the next segments
def differ(first: bytes, second: bytes) -> bool:
    """Whether two thumbnails show different pictures, apart from noise, light and a shake of the camera.

    Independent of the encoder: its vectors drift apart by noise alone where there is little to see. A block counts
    where its luma is found neither at its place in the other picture nor in the eight blocks around it: an edge that
    the camera moved by less than a block is no change. docs/embedders.md has this judge's own noise floor.
    """
    a, b = blurred(first), blurred(second)
    (low_a, high_a), (low_b, high_b) = _around(first), _around(second)
    light = middle((a - b).ravel())  # light that changes everywhere is no motion
    outside_b = np.maximum(a - light - high_b, low_b - a + light)
    outside_a = np.maximum(b + light - high_a, low_a - b - light)
    changed = np.maximum(outside_a, outside_b) >= MOVED_LUMA * BLUR_SUM
    return bool(np.count_nonzero(changed) >= MOVED_SHARE * changed.size)


@lru_cache(maxsize=8192)
def _around(thumbnail: bytes) -> tuple[Luma, Luma]:
    """The least and the most luma of each block and the eight around it."""
    wide = np.pad(blurred(thumbnail), 1, mode="edge")
    low, high = (
        f(f(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
        for f in (np.minimum, np.maximum)
        for rows in [f(f(wide[:-2], wide[1:-1]), wide[2:])]
    )
    return low, high
