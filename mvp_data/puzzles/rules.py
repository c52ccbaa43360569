"""The rules for hidden segments. A puzzle that breaks none has one right answer, which its context shows."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, pairwise

import numpy as np

from mvp_data.config.options import MaskConfig
from mvp_data.puzzles import ambiguity, repeats
from mvp_data.puzzles.ambiguity import CACHE_SIZE, direction_evidence, loops, order_evidence
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.mask_policies import POLICIES, around_gap
from mvp_data.puzzles.repeats import alike_in, moves, repeats_any
from mvp_data.puzzles.thumbnails import distances
from mvp_data.puzzles.types import Drop, Places

# Least noise units by which the order of two neighbours must be better than the exchanged one. Of 34 answers of readers
# to puzzles above it, 28 were exact; of 26 to puzzles below it, or whose direction one judge did not see, 17.
ORDER_EVIDENCE = 0.75


def refuse(
    video: KeptVideo,
    hidden: Sequence[int],
    visible: Sequence[int],
    config: MaskConfig,
    thresholds: Thresholds,
) -> Drop | None:
    """The first rule that a segment breaks in this context, or `None`; `repeats` decides which frames differ."""
    if not POLICIES[config.mask_policy].allows(video, hidden, visible, thresholds):
        return Drop.POLICY
    if is_montage(video, hidden, visible, config.max_hidden_shots):
        return Drop.MONTAGE
    if reason := refuse_run(video, hidden, config, thresholds):
        return reason
    if any(repeats_any(video, place, tuple(hidden), thresholds.repeat) for place in visible):
        return Drop.REPEATED_CONTEXT
    return ambiguous(video, hidden, visible, config, thresholds)


def refuse_run(video: KeptVideo, hidden: Sequence[int], config: MaskConfig, thresholds: Thresholds) -> Drop | None:
    """The first rule that a segment breaks in every context, or `None`."""
    if not all(moves(video, a, b) for a, b in pairwise(hidden)):
        return Drop.NO_MOTION
    repeated = any(alike_in(video, a, b, thresholds.distinct) for a, b in combinations(hidden, 2))
    return Drop.REPEATED_HIDDEN if repeated or len(hidden) < config.hidden_frames else None


def is_montage(video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], most_shots: int) -> bool:
    """Whether a run has too many shots, or several and neither frame next to the gap continues one.

    Nothing would show the order of such shots.
    """
    shots = {video.shot(place) for place in hidden}
    before, after = around_gap(hidden, visible)  # on a side without context a hidden frame, which continues nothing
    from_before = before < hidden[0] and video.shot(before) == video.shot(hidden[0])
    continued = from_before or (after > hidden[-1] and video.shot(after) == video.shot(hidden[-1]))
    return len(shots) > most_shots or (len(shots) > 1 and not continued)


def ambiguous(
    video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], config: MaskConfig, thresholds: Thresholds
) -> Drop | None:
    """The reason why another order or another choice of frames could be right, or `None`.

    Of the visible frames only the two next to the gap count.
    """
    if min(direction_evidence(video, hidden, visible, thresholds)) <= 1 and _recurs(video, hidden, visible):
        return Drop.RECURRING
    return doubt(video, hidden, visible, thresholds) if config.reversible == "drop" else None


def doubt(video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], thresholds: Thresholds) -> Drop | None:
    """The reason why the order of a run is ambiguous: backwards or with two frames exchanged, or it occurs again."""
    evidence = direction_evidence(video, hidden, visible, thresholds)
    if min(max(evidence[:2]), max(evidence[2:])) <= 1:
        return Drop.REVERSIBLE
    before, after = around_gap(hidden, visible)
    two_sided = before < hidden[0] and hidden[-1] < after
    if two_sided and order_evidence(video, hidden, (before, after), thresholds) < ORDER_EVIDENCE:
        return Drop.EXCHANGEABLE
    return Drop.LOOPING if loops(video, hidden, thresholds) else None


def _recurs(video: KeptVideo, hidden: Sequence[int], visible: Sequence[int]) -> bool:
    """Whether most hidden frames are more similar to some far frame of the video than to their neighbours.

    This happens where moments recur: juggling, dancing, a wagging tail, an empty road. Then the context does not show
    which of them belongs in the gap. The far frame must be more similar by vector and by pixels: before a fixed camera
    vectors hardly differ, so their order is noise.
    """
    return _recurs_between(video, tuple(hidden), *around_gap(hidden, visible))


@lru_cache(maxsize=CACHE_SIZE)
def _recurs_between(video: KeptVideo, hidden: Places, before: int, after: int) -> bool:
    twins = 0
    for previous, place, following in zip((before, *hidden), hidden, (*hidden[1:], after), strict=False):
        similarities = np.round(video.vectors @ video.vectors[place], 5)  # a tie must not depend on the last bit
        closer = np.flatnonzero(similarities > max(similarities[previous], similarities[following]))
        far = closer[(closer < previous) | (closer > following)]
        near = distances(video, [place], [previous, following])[0].min()
        twins += bool(len(far) and distances(video, [place], far)[0].min() < near)
    return 2 * twins > len(hidden)


def clear_caches() -> None:
    """Clear the caches of this module, of `ambiguity` and of `repeats`."""
    _recurs_between.cache_clear()
    ambiguity.clear_caches()
    repeats.clear_caches()
