"""Which part of its pictures a video keeps, and in which size: inside the letterbox bars, in whole patches."""

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import Picture
from mvp_data.video.quality import is_black

# Levels are 0..255 after conversion to RGB. A row or column that never, in no picture, has more than this share of
# pixels above this level is a letterbox bar.
BAR_LUMA, BAR_SHARE = 28, 0.02
BAR_MOST = 0.6  # more than this share of a side is not a bar but a dark video


def letterbox(pictures: Iterable[Picture]) -> tuple[float, float, float, float]:
    """The part of the picture inside black bars, as shares (left, top, right, bottom) of the sides.

    Bars must be there in every picture that is not black itself; `(0, 0, 1, 1)` when there are none. No more pictures
    are taken than it needs to know.
    """
    height = width = 0
    for picture in pictures:
        if not height:
            height, width = picture.shape[:2]
            lit_rows, lit_columns = np.zeros(height, bool), np.zeros(width, bool)
        brightest = np.maximum(np.maximum(picture[..., 0], picture[..., 1]), picture[..., 2])
        if brightest.shape == (height, width) and not is_black(brightest):
            lit = brightest >= BAR_LUMA
            lit_rows |= np.count_nonzero(lit, axis=1) > BAR_SHARE * width
            lit_columns |= np.count_nonzero(lit, axis=0) > BAR_SHARE * height
            if lit_rows[0] and lit_rows[-1] and lit_columns[0] and lit_columns[-1]:
                break  # no side has a bar, whatever comes
    top, bottom = _inside(lit_rows)
    left, right = _inside(lit_columns)
    return left, top, right, bottom


def _inside(lit: npt.NDArray[np.bool_]) -> tuple[float, float]:
    size, places = len(lit), np.flatnonzero(lit)
    if not len(places) or len(places) < (1 - BAR_MOST) * size:
        return 0.0, 1.0
    first, end = int(places[0]), int(places[-1]) + 1
    if end - first < 3:  # a picture of a few pixels: nothing would be left of it
        return 0.0, 1.0
    # One more pixel on a side with a bar: its edge is blended with the picture.
    return (first + 1) / size if first else 0.0, (end - 1) / size if end < size else 1.0


def target_size(width_px: int, height_px: int, *, multiple: int, max_pixels: int) -> tuple[int, int]:
    """The size (width, height) that pictures get: multiples of `multiple`, at most `max_pixels`, nearest in shape.

    target_size(1280, 720, multiple=28, max_pixels=112_896) -> (448, 252)
    target_size(320, 240, multiple=28, max_pixels=112_896) -> (336, 252)

    A picture is never enlarged by more than the rounding to the next multiple.
    """
    scale = min(1.0, (max_pixels / (width_px * height_px)) ** 0.5)
    widths = _nearest_multiples(width_px * scale, multiple)
    heights = _nearest_multiples(height_px * scale, multiple)
    options = [(w, h) for w in widths for h in heights if w * h <= max_pixels]
    if not options:  # a very long picture and a large multiple: one multiple on the short side, what fits on the other
        longest = max_pixels // multiple // multiple * multiple
        return (longest, multiple) if width_px > height_px else (multiple, longest)
    ideal = width_px * height_px * scale**2

    def badness(size: tuple[int, int]) -> float:
        # What does not fit the shape is cut off, a few pixels more or less are not: shape weighs four times as much.
        shape_error = abs(math.log(size[0] / size[1] * height_px / width_px))
        return 4 * shape_error + abs(math.log(size[0] * size[1] / ideal))

    return min(options, key=lambda size: (badness(size), size))


def _nearest_multiples(length_px: float, multiple: int) -> tuple[int, int]:
    low = max(1, int(length_px // multiple))
    return low * multiple, (low + 1) * multiple


def cover_box(
    width: float, height: float, crop: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The centred box (left, top, right, bottom; pixels) inside `crop` that has exactly the shape of `size`.

    Rounding the size to multiples changes the shape, by a few per cent for usual sizes: that much is cut off the longer
    side, so that nothing is stretched.
    """
    left, top, right, bottom = crop[0] * width, crop[1] * height, crop[2] * width, crop[3] * height
    scale = min((right - left) / size[0], (bottom - top) / size[1])
    # Never below 0: rounding gives -1e-13 for some sizes.
    spare_x = max(0.0, (right - left) - scale * size[0])
    spare_y = max(0.0, (bottom - top) - scale * size[1])
    return left + spare_x / 2, top + spare_y / 2, right - spare_x / 2, bottom - spare_y / 2


def placed(
    width: int, height: int, crop: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The size to scale a whole picture to, and the corner at which `cover_box` then has exactly `size`.

    placed(1280, 720, (0, 0, 1, 1), (448, 252)) -> ((448, 252), (0, 0))
    placed(320, 240, (0, 0, 1, 1), (336, 252)) -> ((336, 252), (0, 0))

    Sizes and corners are whole, so it is scaled up to a pixel more, and never is anything outside `crop` inside.
    """
    box = cover_box(width, height, crop, size)
    whole_width, left = _placed(width, (box[0], box[2]), (crop[0], crop[2]), size[0])
    whole_height, top = _placed(height, (box[1], box[3]), (crop[1], crop[3]), size[1])
    return (whole_width, whole_height), (left, top)


def _placed(length: int, box: tuple[float, float], crop: tuple[float, float], part: int) -> tuple[int, int]:
    """The same for one side."""
    whole = math.ceil(length * part / (box[1] - box[0]) - 1e-6)
    while (first := math.ceil(crop[0] * whole - 1e-6)) > (last := math.floor(crop[1] * whole + 1e-6) - part):
        whole += 1
    return whole, min(max(round(box[0] * whole / length), first), last)
