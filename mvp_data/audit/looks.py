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

THUMBNAIL_PX = 18  # least short side of the thumbnails that are compared in pixels
SMALL = (2 * THUMBNAIL_WIDTH_PX, 2 * THUMBNAIL_HEIGHT_PX)  # px, for gradients and colours
CELL_PX, TURNS = 4, 8  # a histogram of 8 orientations in each cell of the small image
FLAT = 4.0  # levels: in an area with weaker edges than this, noise decides their orientation
LUMA_BINS, CHROMA_BINS = 6, 12
CHROMA_RANGE = 64  # nearly all colours of real video are this close to grey, so the bins cover 128 - 64 to 128 + 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """An image in each space, in 10 kB."""

    pixels: npt.NDArray[np.uint8]  # a colour thumbnail of at least 18 px, flat
    gradients: npt.NDArray[np.float16]  # histograms of oriented gradients, of length 1
    colours: npt.NDArray[np.float16]  # roots of the shares of a colour histogram, of length 1
    thumbnail: bytes  # luma of 32 x 18 blocks, like `Frame.thumbnail`

    @property
    def hog(self) -> npt.NDArray[np.float16]:
        """Gradients and colours, of length sqrt(2)."""
        return np.concatenate([self.gradients, self.colours])


def looks(images: Sequence[Any]) -> list[Look]:
    """The look of each of these Pillow images in YCbCr, which have one size."""
    side = max(1, min(images[0].size) // THUMBNAIL_PX)
    side = 1 << (side.bit_length() - 1)  # Pillow is quick with powers of two
    small = np.stack([np.asarray(image.resize(SMALL, Image.Resampling.BOX)) for image in images])
    luma = small[..., 0].astype(np.float32)
    height, width = THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX
    blocks = np.rint(luma.reshape(-1, height, 2, width, 2).mean(axis=(2, 4))).astype(np.uint8)
    rows = zip(gradients(luma), colours(small), blocks, images, strict=True)
    return [
        Look(
            pixels=np.asarray(image.reduce(side)).ravel(),
            gradients=turns.astype(np.float16),
            colours=shares.astype(np.float16),
            thumbnail=block.tobytes(),
        )
        for turns, shares, block, image in rows
    ]


def gradients(luma: Images) -> Images:
    """Histograms of oriented gradients of images [N, H, W]: [N, cells * TURNS], rows of length 1 (0 if all is flat).

    Each pixel votes for the two nearest orientations with the strength of its edge. A cell is divided by the strength
    of the edges in the 3 x 3 cells around it, so that light and contrast matter little (Dalal and Triggs 2005).
    """
    count, height, width = luma.shape
    down, across = np.gradient(luma, axis=(1, 2))
    strength = np.hypot(down, across)
    turn = np.arctan2(down, across) * (TURNS / np.pi)
    low = np.floor(turn)
    share, first = turn - low, low.astype(np.intp) % TURNS
    rows, columns = height // CELL_PX, width // CELL_PX
    cell = (np.arange(height) // CELL_PX)[:, None] * columns + np.arange(width) // CELL_PX
    base = (np.arange(count)[:, None, None] * (rows * columns) + cell) * TURNS
    size = count * rows * columns * TURNS
    votes = np.bincount((base + first).ravel(), (strength * (1 - share)).ravel(), size)
    votes += np.bincount((base + (first + 1) % TURNS).ravel(), (strength * share).ravel(), size)
    cells = votes.reshape(count, rows, columns, TURNS) / CELL_PX**2
    energy = np.pad((cells**2).sum(axis=3), [(0, 0), (1, 1), (1, 1)], mode="edge")
    around = sum(energy[:, r : r + rows, c : c + columns] for r in range(3) for c in range(3)) / 9
    return _unit((cells / np.sqrt(around + FLAT**2)[..., None]).reshape(count, -1))


def colours(small: npt.NDArray[np.uint8]) -> Images:
    """Roots of the shares of colours in YCbCr images [N, H, W, 3]: [N, bins], rows of length 1."""
    luma = small[..., 0].astype(np.intp) * LUMA_BINS // 256
    chroma = np.clip(small[..., 1:].astype(np.intp) - 128 + CHROMA_RANGE, 0, 2 * CHROMA_RANGE - 1)
    blue, red = np.moveaxis(chroma * CHROMA_BINS // (2 * CHROMA_RANGE), -1, 0)
    bins = LUMA_BINS * CHROMA_BINS**2
    number = (luma * CHROMA_BINS + blue) * CHROMA_BINS + red + np.arange(len(small))[:, None, None] * bins
    counts = np.bincount(number.ravel(), minlength=len(small) * bins).reshape(len(small), bins)
    return _unit(np.sqrt(counts))


def _unit(rows: npt.NDArray[np.floating]) -> Images:
    lengths = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    unit: Images = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0).astype(np.float32)
    return unit
