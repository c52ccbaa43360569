"""Comparison of frames by their thumbnails, independent of the encoder; `motion` finds motion of small things.

It works on blocks of 2 x 2 blocks of a thumbnail, in which noise and compression average out.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX
from mvp_data.puzzles.corpus import KeptVideo

Numbers = npt.NDArray[np.floating]
Luma = npt.NDArray[np.int16]

COARSE_BLOCKS = THUMBNAIL_HEIGHT_PX // 2 * (THUMBNAIL_WIDTH_PX // 2)  # 18 rows of 32
BLUR_SUM = 16  # sum of the weights of `blurred`
# A block is 1/32 by 1/18 of the frame here.
MOVED_LUMA = 8  # levels of 255 by which a block must change to count as moved
MOVED_SHARE = 0.02  # of all blocks: a hand, a ball, a face that turns


@lru_cache(maxsize=1 << 14)  # pairs recur with every context of a segment
def differ(first: bytes, second: bytes) -> bool:
    """Whether two thumbnails differ by more than noise, brightness and camera shake.

    This rule complements the encoder: where a frame shows little, noise alone makes vectors differ. A block counts
    as changed if the other thumbnail has its luma neither in the same block nor in the eight blocks around it. So an
    edge that a shaking camera moves by less than a block is not a change. docs/embedders.md has the noise floor.
    """
    a, b = blurred(first), blurred(second)
    (low_a, high_a), (low_b, high_b) = _around(first), _around(second)
    light = middle((a - b).ravel())  # a change of brightness everywhere is not motion
    outside_b = np.maximum(a - light - high_b, low_b - a + light)
    outside_a = np.maximum(b + light - high_a, low_a - b - light)
    changed = np.maximum(outside_a, outside_b) >= MOVED_LUMA * BLUR_SUM
    return bool(np.count_nonzero(changed) >= MOVED_SHARE * changed.size)


@lru_cache(maxsize=8192)
def _around(thumbnail: bytes) -> tuple[Luma, Luma]:
    """The lowest and the highest luma among each block and the eight blocks around it."""
    wide = np.pad(blurred(thumbnail), 1, mode="edge")
    low, high = (
        f(f(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
        for f in (np.minimum, np.maximum)
        for rows in [f(f(wide[:-2], wide[1:-1]), wide[2:])]
    )
    return low, high


def distances(video: KeptVideo, first: Sequence[int], second: Sequence[int] | npt.NDArray[np.intp]) -> Numbers:
    """Mean differences [first, second] of blurred thumbnails, corrected for brightness, in levels of 255."""
    if not len(first) or not len(second):
        return np.zeros((len(first), len(second)))
    a, b = (np.stack([blurred(video.thumbnail(place)).ravel() for place in places]) for places in (first, second))
    difference = a[:, None] - b[None]
    difference -= middle(difference)
    mean: Numbers = np.abs(difference).mean(axis=2) / BLUR_SUM
    return np.round(mean, 3)  # so that a tie does not depend on the last bit


def middle(values: Luma) -> Luma:
    """The median of an even number of values along the last axis, rounded towards zero; faster than `np.median`."""
    half = values.shape[-1] // 2
    two = np.partition(values, (half - 1, half), axis=-1)[..., half - 1 : half + 1]
    sums: npt.NDArray[np.int32] = two.sum(axis=-1, keepdims=True, dtype=np.int32)
    return np.trunc(sums / 2).astype(np.int16)


@lru_cache(maxsize=8192)
def blurred(thumbnail: bytes) -> Luma:
    """Luma [18, 32] times BLUR_SUM, blurred with the kernel (1 2 1) in both directions.

    Without the blur the luma of a block jumps when a slight camera shake moves an edge across its border.
    """
    wide = np.pad(coarse([thumbnail])[0].astype(np.int16), 1, mode="edge")
    rows = wide[:-2] + 2 * wide[1:-1] + wide[2:]
    result: Luma = rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]
    result.setflags(write=False)
    return result


def coarse(thumbnails: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    """Thumbnails as luma [n, 18, 32]: the mean of each 2 x 2 blocks."""
    pixels = np.frombuffer(b"".join(thumbnails), np.uint8).astype(np.uint16)
    blocks = pixels.reshape(-1, THUMBNAIL_HEIGHT_PX // 2, 2, THUMBNAIL_WIDTH_PX // 2, 2)
    sums: npt.NDArray[np.uint16] = blocks.sum(axis=(2, 4), dtype=np.uint16)
    return ((sums + 2) // 4).astype(np.uint8)
