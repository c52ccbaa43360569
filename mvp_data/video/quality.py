"""What a sampled picture is worth on its own: its light, contrast and sharpness, and why it is no key frame.

Everything is a sum of whole numbers over luma, so it is the same on every machine.
"""

from dataclasses import dataclass

import numpy as np

from mvp_data.core.types import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX, Luma

# Luma levels are full range, 0..255. A picture with less than this share of pixels above this level is black: film
# black with its noise stays below, a night scene with one lamp does not.
BLACK_LUMA, BLACK_SHARE = 40, 0.01
FLAT_CONTRAST = 5.0  # standard deviation of luma; a plain colour with compression noise has 1..3
FROZEN_DIFFERENCE = 0.35  # mean absolute luma difference to the sample before; re-encoded stills stay below


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The numbers that `types.Frame` keeps of a picture."""

    reject: str  # black | flat | frozen, or "" where nothing is wrong
    luma: float
    contrast: float
    sharpness: float
    thumbnail: bytes


def judge(luma: Luma, before: Luma | None) -> Verdict:
    """Look at a picture [H, W], and at the sample before of the same size."""
    from PIL import Image

    height, width = luma.shape
    grey = Image.frombuffer("L", (width, height), luma, "raw", "L", 0, 1)
    counts = np.array(grey.histogram())
    levels = np.arange(256)
    mean = float(counts @ levels) / luma.size
    contrast = max(0.0, float(counts @ levels**2) / luma.size - mean**2) ** 0.5
    reject = ""
    if counts[BLACK_LUMA:].sum() < BLACK_SHARE * luma.size:
        reject = "black"
    elif contrast < FLAT_CONTRAST:
        reject = "flat"
    elif before is not None and _difference(luma, before) < FROZEN_DIFFERENCE:
        reject = "frozen"
    small = grey.resize((THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX), Image.Resampling.BOX)
    return Verdict(reject=reject, luma=mean, contrast=contrast, sharpness=sharpness(luma), thumbnail=small.tobytes())


def is_black(levels: Luma) -> bool:
    """Whether a picture of luma levels [H, W] shows nothing."""
    return bool(np.count_nonzero(levels >= BLACK_LUMA) < BLACK_SHARE * levels.size)


def sharpness(luma: Luma) -> float:
    """Variance of the 4-neighbour Laplacian of a picture [H, W], a common focus measure (Pech-Pacheco et al., 2000).

    Of every second line, which tells as much at half the cost.
    """
    if min(luma.shape) < 3:
        return 0.0
    levels = luma.astype(np.int16)
    inner = np.ascontiguousarray(levels[1:-1:2])
    around = levels[:-2:2] + levels[2::2]
    around -= 4 * inner
    along, beside = around.ravel(), inner.ravel()  # in one run; what meets the next line is left out below
    along[1:] += beside[:-1]
    along[:-1] += beside[1:]
    laplacian = around[:, 1:-1]
    squares = np.square(laplacian, dtype=np.int32)  # not by BLAS, whose threads cost more than the sum
    mean = float(laplacian.sum(dtype=np.int64)) / laplacian.size
    return float(squares.sum(dtype=np.int64)) / laplacian.size - mean**2


def _difference(a: Luma, b: Luma) -> float:
    """Mean absolute difference, 0..255."""
    return float((np.maximum(a, b) - np.minimum(a, b)).sum(dtype=np.uint32)) / a.size
