"""Decides whether two frames show the same. Three judges: the encoder, the pixels, and motion in the scene.

Two frames are alike if the encoder calls them similar or their pixels hardly differ, unless something in the scene
clearly moved: people who move before a fixed camera change little for either judge.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

import numpy as np

from mvp_data.core.types import Vectors
from mvp_data.puzzles.corpus import KeptVideo
from mvp_data.puzzles.motion import clear_motion, clearly_moves
from mvp_data.puzzles.thumbnails import differ
from mvp_data.puzzles.types import Places

BLOCK = 8  # places: motion is judged for blocks of 8 x 8 pairs of one video, since neighbouring pairs are asked next


def alike(cosine: float, first: bytes, second: bytes, threshold: float) -> bool:
    """Whether two frames with this similarity and these thumbnails show the same."""
    return alike_pairs([cosine], [(first, second)], threshold)[0]


def alike_pairs(cosines: Sequence[float], pairs: Sequence[tuple[bytes, bytes]], threshold: float) -> list[bool]:
    """`alike` for many pairs of thumbnails and their similarities at once, which is faster."""
    similar = [cosine >= threshold or not differ(*pair) for cosine, pair in zip(cosines, pairs, strict=True)]
    moving = iter(clear_motion([pair for pair, asked in zip(pairs, similar, strict=True) if asked]))
    return [asked and not next(moving) for asked in similar]


def alike_in(video: KeptVideo, first: int, second: int, threshold: float) -> bool:
    """Whether two kept frames of a video, given by place, show the same."""
    return _alike_in(video, first, second, threshold) if first < second else _alike_in(video, second, first, threshold)


@lru_cache(maxsize=1 << 18)  # the same pairs recur in all segments and contexts of a video
def _alike_in(video: KeptVideo, first: int, second: int, threshold: float) -> bool:
    cosine = round(float(video.vectors[first] @ video.vectors[second]), 5)
    pair = video.thumbnail(first), video.thumbnail(second)
    if cosine < threshold:
        return not differ(*pair) and not clearly_moves(*pair)
    _judge_block(video, first // BLOCK, second // BLOCK, threshold)
    return not clearly_moves(*pair)


@lru_cache(maxsize=1 << 14)
def _judge_block(video: KeptVideo, row: int, column: int, threshold: float) -> None:
    """Judge motion between the similar frames of two blocks at once; `clearly_moves` then knows the answer."""
    starts = row * BLOCK, column * BLOCK
    first, second = (video.vectors[start : start + BLOCK] for start in starts)
    similar = np.argwhere(np.round(first @ second.T, 5) >= threshold) + starts
    clear_motion([(video.thumbnail(a), video.thumbnail(b)) for a, b in similar.tolist() if a < b])


@lru_cache(maxsize=1 << 16)
def repeats_any(video: KeptVideo, place: int, run: Places, threshold: float) -> bool:
    """Whether a kept frame of a video shows the same as a frame of a run, both given by place."""
    return any(alike_in(video, place, other, threshold) for other in run)


def any_alike(
    vectors: Vectors, thumbnails: Sequence[bytes], others: Vectors, other_thumbnails: Sequence[bytes], threshold: float
) -> bool:
    """Whether a frame of the one list [n, D] shows the same as a frame of the other [m, D]."""
    cosines = np.round(vectors @ others.T, 5).ravel().tolist()
    return any(alike_pairs(cosines, list(product(thumbnails, other_thumbnails)), threshold))


def moves(video: KeptVideo, first: int, second: int) -> bool:
    """Whether two kept frames of a video differ by pixels, or something in the scene clearly moved."""
    pair = video.thumbnail(first), video.thumbnail(second)
    return differ(*pair) or clearly_moves(*pair)


def clear_caches() -> None:
    """Clear the caches. A cached video keeps the vectors of the whole corpus in memory."""
    _alike_in.cache_clear()
    _judge_block.cache_clear()
    repeats_any.cache_clear()
