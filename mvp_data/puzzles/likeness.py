"""Decides whether two frames show the same. Three judges: the encoder, the pixels, and motion in the scene.

Two frames are alike if the encoder calls them similar or their pixels hardly differ, unless something in the scene
clearly moved: people who move before a fixed camera change little for either judge.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from mvp_data.core.types import Vectors
from mvp_data.puzzles.corpus import KeptVideo
from mvp_data.puzzles.motion import clearly_moves
from mvp_data.puzzles.thumbnails import differ


def alike(cosine: float, first: bytes, second: bytes, threshold: float) -> bool:
    """Whether two frames with this similarity and these thumbnails show the same."""
    return (cosine >= threshold or not differ(first, second)) and not clearly_moves(first, second)


def alike_in(video: KeptVideo, first: int, second: int, threshold: float) -> bool:
    """Whether two kept frames of a video, given by place, show the same."""
    return _alike_in(video, min(first, second), max(first, second), threshold)


@lru_cache(maxsize=1 << 18)  # the same pairs recur in all segments and contexts of a video
def _alike_in(video: KeptVideo, first: int, second: int, threshold: float) -> bool:
    cosine = round(float(video.vectors[first] @ video.vectors[second]), 5)
    return alike(cosine, video.thumbnail(first), video.thumbnail(second), threshold)


def any_alike(
    vectors: Vectors, thumbnails: Sequence[bytes], others: Vectors, other_thumbnails: Sequence[bytes], threshold: float
) -> bool:
    """Whether a frame of the one list [n, D] shows the same as a frame of the other [m, D]."""
    cosines = np.round(vectors @ others.T, 5).tolist()
    return any(
        alike(cosine, first, second, threshold)
        for row, first in zip(cosines, thumbnails, strict=True)
        for cosine, second in zip(row, other_thumbnails, strict=True)
    )


def moves(video: KeptVideo, first: int, second: int) -> bool:
    """Whether two kept frames of a video differ by pixels, or something in the scene clearly moved."""
    pair = video.thumbnail(first), video.thumbnail(second)
    return differ(*pair) or clearly_moves(*pair)


def clear_cache() -> None:
    """Clear the cache. A cached video keeps the vectors of the whole corpus in memory."""
    _alike_in.cache_clear()
