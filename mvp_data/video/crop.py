"""Chooses the crop and the size of a video's frames: no letterbox bars, and a whole number of patches."""

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import Picture
from mvp_data.video.quality import is_black

# Levels are 0..255 after conversion to RGB. A row or column is part of a letterbox bar if at most BAR_SHARE of its
# pixels reach BAR_LUMA in every image.
BAR_LUMA, BAR_SHARE = 28, 0.02
BAR_MOST = 0.6  # if bars would take a larger share of a side, the video is dark and has none


def letterbox(images: Iterable[Picture]) -> tuple[float, float, float, float]:
    """Return the area inside black bars as shares (left, top, right, bottom) of width and height.

    A bar must be in every image that is not black itself. Without bars the result is `(0, 0, 1, 1)`; reading stops as
    soon as that is certain.
    """
    height = width = 0
    for image in images:
        if not height:
            height, width = image.shape[:2]
            lit_rows, lit_columns = np.zeros(height, bool), np.zeros(width, bool)
        brightest = np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])
        if brightest.shape == (height, width) and not is_black(brightest):
            lit = brightest >= BAR_LUMA
            lit_rows |= np.count_nonzero(lit, axis=1) > BAR_SHARE * width
            lit_columns |= np.count_nonzero(lit, axis=0) > BAR_SHARE * height
            if lit_rows[0] and lit_rows[-1] and lit_columns[0] and lit_columns[-1]:
                break  # no side has a bar
    top, bottom = _inside(lit_rows)
    left, right = _inside(lit_columns)
    return left, top, right, bottom


def _inside(lit: npt.NDArray[np.bool_]) -> tuple[float, float]:
    size, places = len(lit), np.flatnonzero(lit)
    if not len(places) or len(places) < (1 - BAR_MOST) * size:
        return 0.0, 1.0
    first, end = int(places[0]), int(places[-1]) + 1
    if end - first < 3:  # a tiny image: nothing would be left
        return 0.0, 1.0
    # One more pixel on a side with a bar: its edge is blended with the image.
    return (first + 1) / size if first else 0.0, (end - 1) / size if end < size else 1.0


def target_size(width_px: int, height_px: int, *, multiple: int, max_pixels: int) -> tuple[int, int]:
    """Return the output size (width, height): multiples of `multiple`, at most `max_pixels`, nearest in shape.

    target_size(1280, 720, multiple=28, max_pixels=112_896) -> (448, 252)
    target_size(320, 240, multiple=28, max_pixels=112_896) -> (336, 252)

    An image is never enlarged by more than the rounding to the next multiple.
    """
    scale = min(1.0, (max_pixels / (width_px * height_px)) ** 0.5)
    widths = _nearest_multiples(width_px * scale, multiple)
    heights = _nearest_multiples(height_px * scale, multiple)
    options = [(w, h) for w in widths for h in heights if w * h <= max_pixels]
    if not options:  # a long and narrow image: one multiple on the short side, as many as fit on the other
        longest = max_pixels // multiple // multiple * multiple
        return (longest, multiple) if width_px > height_px else (multiple, longest)
    ideal = width_px * height_px * scale**2

    def badness(size: tuple[int, int]) -> float:
        # An error of shape loses part of the image, an error of area only resolution: shape weighs four times as much.
        shape_error = abs(math.log(size[0] / size[1] * height_px / width_px))
        return 4 * shape_error + abs(math.log(size[0] * size[1] / ideal))

    return min(options, key=lambda size: (badness(size), size))


def _nearest_multiples(length_px: float, multiple: int) -> tuple[int, int]:
    low = max(1, int(length_px // multiple))
    return low * multiple, (low + 1) * multiple


def cover_box(
    width: float, height: float, crop: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Return the largest centred box (left, top, right, bottom; pixels) inside `crop` with the shape of `size`.

    Rounding to multiples changes the aspect ratio by a few per cent. That part of the longer side is cut off, and
    nothing is stretched.
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
    """Return the size to scale a whole image to, and the corner (x, y) of the part of exactly `size` to cut from it.

    placed(1280, 720, (0, 0, 1, 1), (448, 252)) -> ((448, 252), (0, 0))
    placed(320, 240, (0, 0, 1, 1), (336, 252)) -> ((336, 252), (0, 0))

    The part is `cover_box` in integers, so the image may become up to a pixel larger. Nothing outside `crop` is in it.
    """
    box = cover_box(width, height, crop, size)
    whole_width, left = _placed(width, (box[0], box[2]), (crop[0], crop[2]), size[0])
    whole_height, top = _placed(height, (box[1], box[3]), (crop[1], crop[3]), size[1])
    return (whole_width, whole_height), (left, top)


def _placed(length: int, box: tuple[float, float], crop: tuple[float, float], part: int) -> tuple[int, int]:
    """Return the scaled length and the corner for one side."""
    whole = math.ceil(length * part / (box[1] - box[0]) - 1e-6)
    while (first := math.ceil(crop[0] * whole - 1e-6)) > (last := math.floor(crop[1] * whole + 1e-6) - part):
        whole += 1
    return whole, min(max(round(box[0] * whole / length), first), last)
