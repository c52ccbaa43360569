"""The `Embedder` protocol, and the resizing, batching and normalisation that its implementations share.

    >>> embedder = load_embedder("builtin")  # doctest: +SKIP
    >>> embedder.embed([image, other]).shape  # doctest: +SKIP
    (2, 320)

docs/embedders.md has the measurements behind the default encoder and behind the resizing.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from mvp_data.core.errors import WeightsError
from mvp_data.core.types import Encoder, Picture, Vectors
from mvp_data.system.signals import held_back


class Embedder(Protocol):
    """Turns RGB images of any size into rows [N, D] of length 1; a row does not depend on the other images."""

    encoder: Encoder

    def embed(self, images: Sequence[Picture], /) -> Vectors:
        """The unit vectors [N, D] of the images, one row per image, in the same order."""
        ...


class EmbedderKind(Protocol):
    """An entry of the catalogue in `load`: finds and loads the embedders of one runtime.

    A spec is the text that names an embedder, such as `builtin:tinyvit`.
    """

    def specs(self) -> tuple[str, ...]:
        """The specs of this kind, for messages."""
        ...

    def accepts(self, spec: str) -> bool:
        """Whether the spec names an embedder of this kind."""
        ...

    def load(self, spec: str, threads: int) -> Embedder:
        """The embedder, on `threads` CPU threads (0: all cores). Never downloads. Raises WeightsError."""
        ...

    def fetch(self, spec: str) -> Path:
        """Download the weights unless they are on this machine; return their file. Raises WeightsError."""
        ...


def run_batches(
    images: Sequence[Picture],
    side_px: int,
    run: Callable[[Sequence[npt.NDArray[np.uint8]]], npt.NDArray[np.float32]],
    *,
    batch: int,
    threads: int,
    parallel: bool,
) -> npt.NDArray[np.float32]:
    """The rows [N, D] that `run` returns for N > 0 images, which are shrunk and passed to it in batches, in order.

    Images are shrunk on `threads` threads. Batches run on them too if `parallel`. Otherwise they run one after another
    on the calling thread, which suits a GPU: it works while the threads shrink the next images. Ctrl-C takes effect
    after the last batch.
    """
    with held_back(), ThreadPoolExecutor(threads, thread_name_prefix="embed") as pool:
        try:
            # By index, so that a sequence that decodes its images on access also does that on these threads.
            squares = pool.map(lambda i: shrink(images[i], side_px), range(len(images)))
            batches = iter(lambda: list(islice(squares, batch)), [])
            return np.concatenate(list(pool.map(run, batches) if parallel else map(run, batches)))
        finally:
            pool.shutdown(cancel_futures=True)


def shrink(image: Picture, side_px: int) -> npt.NDArray[np.uint8]:
    """The whole image squeezed into a square [side_px, side_px, 3].

    The usual centre crop would hide 44 % of a 16:9 frame, including differences between two frames.
    """
    return np.asarray(Image.fromarray(image).resize((side_px, side_px), Image.Resampling.BICUBIC))


def value_table(mean: npt.NDArray[np.float32], std: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The network's input value for each of 256 levels, by colour [3, 256]; a lookup is faster than arithmetic."""
    levels = np.arange(256, dtype=np.uint8)[:, None] / np.float32(255)
    return np.ascontiguousarray(((levels - mean) / std).T)


def network_input(
    squares: Sequence[npt.NDArray[np.uint8]], table: npt.NDArray[np.float32], batch: int
) -> npt.NDArray[np.float32]:
    """Squares [side, side, 3] as a network's input [batch, 3, side, side], padded with zeros."""
    side_px = len(squares[0])
    values = np.zeros((batch, 3, side_px, side_px), np.float32)
    for place, square in zip(values, squares, strict=False):
        for channel in range(3):
            # mode="clip" avoids a copy in NumPy; no level is out of bounds.
            table[channel].take(square[..., channel], out=place[channel], mode="clip")
    return values


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def normalise(rows: npt.NDArray[np.float32], name: str) -> Vectors:
    """Rows scaled to length 1. Raises WeightsError for a row that is zero or not finite."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    if not np.all(np.isfinite(lengths) & (lengths > 0)):
        raise WeightsError(f"{name} gives vectors that are zero or not a number: its weights are damaged")
    unit: Vectors = rows / lengths[:, None]
    return unit
