"""Pictures to vectors: the one seam, and the built-in encoders on ONNX Runtime.

    >>> embedder = load_embedder("builtin")  # doctest: +SKIP
    >>> embedder.embed([picture, other]).shape  # doctest: +SKIP
    (2, 320)

docs/embedders.md has the measurements behind the default and the preparation of the pictures.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from mvp_data.core.errors import WeightsError
from mvp_data.core.types import Encoder, Picture, Vectors
from mvp_data.system.signals import held_back


class Embedder(Protocol):
    """The seam: RGB pictures of any sizes in, [N, D] rows of length 1 out, each independent of its batch."""

    encoder: Encoder

    def embed(self, pictures: Sequence[Picture]) -> Vectors:
        """One row for each picture, in order."""
        ...


def side_by_side(
    pictures: Sequence[Picture],
    side_px: int,
    run: Callable[[Sequence[npt.NDArray[np.uint8]]], npt.NDArray[np.float32]],
    *,
    batch: int,
    threads: int,
    at_once: bool,
) -> npt.NDArray[np.float32]:
    """What `run` makes of the pictures, shrunk and cut into batches, as one matrix [N, D] in their order; N > 0.

    Pictures are shrunk on `threads` threads. So are batches run if `at_once`, else one after another on this thread,
    which fits a GPU: it works while the next pictures are shrunk. Ctrl-C counts when all are done.
    """
    with held_back(), ThreadPoolExecutor(threads, thread_name_prefix="embed") as pool:
        try:
            # By index: a sequence that decodes its pictures when asked for them does so on these threads as well.
            squares = pool.map(lambda i: shrink(pictures[i], side_px), range(len(pictures)))
            batches = iter(lambda: list(islice(squares, batch)), [])
            return np.concatenate(list(pool.map(run, batches) if at_once else map(run, batches)))
        finally:
            pool.shutdown(cancel_futures=True)


def shrink(picture: Picture, side_px: int) -> npt.NDArray[np.uint8]:
    """The whole picture squeezed into a square [side_px, side_px, 3].

    Not the usual centre crop: that hides 44 % of a 16:9 frame, and with it what tells two frames apart.
    """
    size = (side_px, side_px)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def value_table(mean: npt.NDArray[np.float32], std: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What a network is given for each of 256 levels, by colour [3, 256]: looked up, not computed for every pixel."""
    levels = np.arange(256, dtype=np.uint8)[:, None] / np.float32(255)
    return np.ascontiguousarray(((levels - mean) / std).T)


def network_input(
    squares: Sequence[npt.NDArray[np.uint8]], table: npt.NDArray[np.float32], batch: int
) -> npt.NDArray[np.float32]:
    """Pictures [side, side, 3] as the input [batch, 3, side, side] of a network; zeros fill it up."""
    side_px = len(squares[0])
    values = np.zeros((batch, 3, side_px, side_px), np.float32)
    for place, square in zip(values, squares, strict=False):
        for channel in range(3):
            # "clip" only keeps NumPy from a copy: no level is out of bounds.
            table[channel].take(square[..., channel], out=place[channel], mode="clip")
    return values


def normalise(rows: npt.NDArray[np.float32], name: str) -> Vectors:
    """Rows scaled to length 1. Raises WeightsError for a row without a direction: damaged weights."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    if not np.all(np.isfinite(lengths) & (lengths > 0)):
        raise WeightsError(f"{name} gives vectors that are zero or not a number: its weights are damaged")
    unit: Vectors = rows / lengths[:, None]
    return unit
