"""The look of an image in the spaces that the audit computes itself: thumbnails, gradients, colours.

No build uses gradients or colours, so a build that avoids similar frames in its own spaces cannot avoid them here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mvp_data.core.types import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX

Images = npt.NDArray[np.float32]

SMALL = (THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX)  # px
CELL_PX, TURNS = 4, 8  # a histogram of 8 orientations in each cell of the small image
FLAT = 4.0  # levels: in an area with weaker edges than this, noise decides their orientation
LUMA_BINS, CHROMA_BINS = 6, 12
CHROMA_RANGE = 64  # nearly all colours of real video are this close to grey, so the bins cover 128 - 64 to 128 + 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """An image in each space, in 14 kB."""

    pixels: npt.NDArray[np.uint8]  # the small colour image, flat
    gradients: npt.NDArray[np.float16]  # histograms of oriented gradients, of length 1
    colours: npt.NDArray[np.float16]  # roots of the shares of a colour histogram, of length 1
    thumbnail: bytes  # luma of 64 x 36 blocks, like `Frame.thumbnail`

    @property
    def hog(self) -> npt.NDArray[np.float16]:
        """Gradients and colours, of length sqrt(2)."""
        return np.concatenate([self.gradients, self.colours])


def looks(images: Sequence[Any]) -> list[Look]:
    """The look of each of these Pillow images in YCbCr, which have one size."""
    small = np.stack([np.asarray(image.resize(SMALL, Image.Resampling.BOX)) for image in images])
    luma = small[..., 0].astype(np.float32)
    rows = zip(small, gradients(luma), colours(small), strict=True)
    return [
        Look(
            pixels=pixels.ravel(),
            gradients=turns.astype(np.float16),
            colours=shares.astype(np.float16),
            thumbnail=pixels[..., 0].tobytes(),
        )
        for pixels, turns, shares in rows
    ]


def gradients(luma: Images) -> Images:
    """Histograms of oriented gradients of images [N, H, W]: [N, cells * TURNS], rows of length 1 (0 if all is flat).

    Each pixel votes for an orientation with the strength of its edge. A cell is divided by the strength of the edges in
    the 3 x 3 cells around it, so that light and contrast matter little (Dalal and Triggs 2005).
    """
    count, height, width = luma.shape
    wide = np.pad(luma, [(0, 0), (1, 1), (1, 1)], mode="edge")
    down, across = wide[:, 2:, 1:-1] - wide[:, :-2, 1:-1], wide[:, 1:-1, 2:] - wide[:, 1:-1, :-2]
    turn = (np.arctan2(down, across) * np.float32(TURNS / np.pi)).astype(np.int32) % TURNS
    rows, columns = height // CELL_PX, width // CELL_PX
    cell = (np.arange(height) // CELL_PX)[:, None] * columns + np.arange(width) // CELL_PX
    number = (np.arange(count)[:, None, None] * (rows * columns) + cell) * TURNS + turn
    votes = np.bincount(number.ravel(), np.hypot(down, across).ravel(), count * rows * columns * TURNS)
    cells = (votes.reshape(count, rows, columns, TURNS) / CELL_PX**2).astype(np.float32)
    energy = np.pad((cells**2).sum(axis=3), [(0, 0), (1, 1), (1, 1)], mode="edge")
    around = sum(energy[:, r : r + rows, c : c + columns] for r in range(3) for c in range(3)) / 9
    return _unit((cells / np.sqrt(around + FLAT**2)[..., None]).reshape(count, -1))


def colours(small: npt.NDArray[np.uint8]) -> Images:
    """Roots of the shares of colours in YCbCr images [N, H, W, 3]: [N, bins], rows of length 1."""
    level = np.arange(256)
    luma = (level * LUMA_BINS // 256).astype(np.int32) * CHROMA_BINS**2
    chroma = np.clip(level - 128 + CHROMA_RANGE, 0, 2 * CHROMA_RANGE - 1) * CHROMA_BINS // (2 * CHROMA_RANGE)
    bins = LUMA_BINS * CHROMA_BINS**2
    number = luma[small[..., 0]] + (chroma * CHROMA_BINS)[small[..., 1]] + chroma[small[..., 2]]
    counts = np.stack([np.bincount(one.ravel(), minlength=bins) for one in number])
    return _unit(np.sqrt(counts))


def _unit(rows: npt.NDArray[np.floating]) -> Images:
    lengths = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    unit: Images = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0).astype(np.float32)
    return unit
