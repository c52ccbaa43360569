"""The rules for hidden segments. A puzzle that breaks none has one right answer, which its context shows."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, pairwise

import numpy as np

from mvp_data.config.options import MaskConfig
from mvp_data.core.types import Vectors
from mvp_data.puzzles import ambiguity
from mvp_data.puzzles.ambiguity import CACHE_SIZE, direction_evidence, loops
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.mask_policies import POLICIES, around_gap
from mvp_data.puzzles.thumbnails import differ
from mvp_data.puzzles.types import Drop, Places


def refuse(
    video: KeptVideo,
    hidden: Sequence[int],
    visible: Sequence[int],
    config: MaskConfig,
    thresholds: Thresholds,
) -> Drop | None:
    """The first rule that a segment breaks in this context, or `None`.

    Frames that must differ have to differ both by vector and by pixels.
    """
    if not POLICIES[config.mask_policy].allows(video, hidden, visible, thresholds):
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
    return _ambiguous(video, hidden, visible, config, thresholds)


def _ambiguous(
    video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], config: MaskConfig, thresholds: Thresholds
) -> Drop | None:
    """The reason why another order or another choice of frames could be right, or `None`."""
    if min(direction_evidence(video, hidden, visible, thresholds)) <= 1 and _recurs(video, hidden, visible):
        return Drop.RECURRING
    return doubt(video, hidden, visible, thresholds) if config.reversible == "drop" else None


def doubt(video: KeptVideo, hidden: Sequence[int], visible: Sequence[int], thresholds: Thresholds) -> Drop | None:
    """The reason why the order of a run is ambiguous: it is reversible, or occurs again in the video."""
    if max(direction_evidence(video, hidden, visible, thresholds)) <= 1:
        return Drop.REVERSIBLE
    return Drop.LOOPING if loops(video, hidden, thresholds) else None


def _recurs(video: KeptVideo, hidden: Sequence[int], visible: Sequence[int]) -> bool:
    """Whether most hidden frames are more similar to some far frame of the video than to their neighbours.

    This happens where moments recur: juggling, dancing, a wagging tail, an empty road. Then the context does not show
    which of them belongs in the gap.
    """
    return _recurs_between(video, tuple(hidden), *around_gap(hidden, visible))


@lru_cache(maxsize=CACHE_SIZE)
def _recurs_between(video: KeptVideo, hidden: Places, before: int, after: int) -> bool:
    twins = 0
    for previous, place, following in zip((before, *hidden), hidden, (*hidden[1:], after), strict=False):
        similarities = np.round(video.vectors @ video.vectors[place], 5)  # a tie must not depend on the last bit
        far = np.concatenate([similarities[:previous], similarities[following + 1 :]])
        twins += bool(len(far) and far.max() > max(similarities[previous], similarities[following]))
    return 2 * twins > len(hidden)


def clear_caches() -> None:
    """Clear the caches of this module and of `ambiguity`."""
    _recurs_between.cache_clear()
    ambiguity.clear_caches()


def fits_the_gap(
    video: KeptVideo, hidden: Sequence[int], vectors: Vectors, thumbnails: Sequence[bytes], thresholds: Thresholds
) -> bool:
    """Whether one of these frames is the same as a frame of the hidden span, by vector or by pixels.

    The span includes the frames between key frames: a distractor like one of them would be as right as a key frame.
    """
    span = range(hidden[0], hidden[-1] + 1)
    if np.round(video.vectors[span.start : span.stop] @ vectors.T, 5).max() >= thresholds.distinct:
        return True
    own = [video.thumbnail(place) for place in span]
    return not all(differ(a, b) for a in own for b in thumbnails)


def moves(video: KeptVideo, first: int, second: int) -> bool:
    """Whether two kept frames of a video differ by pixels; see `differ`."""
    return differ(video.thumbnail(first), video.thumbnail(second))
