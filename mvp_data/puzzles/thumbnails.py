"""Comparison of frames by their thumbnails, independent of the encoder."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mvp_data.puzzles.corpus import KeptVideo
from mvp_data.types import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX

Numbers = npt.NDArray[np.floating]
Luma = npt.NDArray[np.int16]

BLUR_SUM = 16  # sum of the weights of `blurred`
# A block of a thumbnail is 1/32 by 1/18 of the picture; sensor noise and compression average out in it.
MOVED_LUMA = 8  # levels of 255 by which a block must change to count as moved
MOVED_SHARE = 0.02  # of all blocks: a hand, a ball, a face that turns


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


def distances(video: KeptVideo, first: Sequence[int], second: Sequence[int] | npt.NDArray[np.intp]) -> Numbers:
    """Mean difference of blurred thumbnails, in levels of 255, apart from light: [len(first), len(second)]."""
    if not len(first) or not len(second):
        return np.zeros((len(first), len(second)))
    a, b = (np.stack([_blurred_at(video, place).ravel() for place in places]) for places in (first, second))
    difference = a[:, None] - b[None]
    difference -= middle(difference)
    mean: Numbers = np.abs(difference).mean(axis=2) / BLUR_SUM
    return np.round(mean, 3)  # a tie must not hang on the last bit


def middle(values: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """The median along the last axis, of an even number of values, cut to a whole number; quicker than NumPy's."""
    half = values.shape[-1] // 2
    two = np.partition(values, (half - 1, half), axis=-1)[..., half - 1 : half + 1]
    sums: npt.NDArray[np.int32] = two.sum(axis=-1, keepdims=True, dtype=np.int32)
    return np.trunc(sums / 2).astype(np.int16)


def _blurred_at(video: KeptVideo, place: int) -> npt.NDArray[np.int16]:
    return blurred(video.thumbnail(place))


@lru_cache(maxsize=8192)
def blurred(thumbnail: bytes) -> npt.NDArray[np.int16]:
    """Luma [18, 32] times BLUR_SUM, each block mixed with those around it (1 2 1).

    A block's own luma jumps when the least shake of the camera takes an edge across its border.
    """
    luma = np.frombuffer(thumbnail, np.uint8).reshape(THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX).astype(np.int16)
    wide = np.pad(luma, 1, mode="edge")
    rows = wide[:-2] + 2 * wide[1:-1] + wide[2:]
    result: npt.NDArray[np.int16] = rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]
    result.setflags(write=False)
    return result
