"""Large matrices of vectors: on disk rather than in memory, and joined without a copy where they lie side by side."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mvp_data.types import Vectors

IN_MEMORY_BYTES = 64 << 20  # what fits is not worth a file


def allocate(rows: int, dimension: int, folder: Path) -> Vectors:
    """A float32 matrix [rows, dimension] to fill; a large one lies in a file of `folder`, so pages may leave memory.

    The file has no name from the start (on Windows: until the process ends), so a killed run leaves nothing.
    """
    if rows * dimension * 4 <= IN_MEMORY_BYTES:
        return np.empty((rows, dimension), np.float32)
    with tempfile.TemporaryFile(dir=folder, prefix="vectors-") as file:
        return np.memmap(file, np.float32, "w+", shape=(rows, dimension))


def joined(parts: Sequence[Vectors]) -> Vectors:
    """All rows of matrices [N_i, D] as one; a view of the matrix they were cut from, where they lie there in order."""
    full = [part for part in parts if len(part)]
    if len(full) < 2:
        return full[0] if full else parts[0]
    base = full[0].base
    if not isinstance(base, np.ndarray) or base.ndim != 2:
        return np.concatenate(full)
    start = at = _address(full[0])
    for part in full:
        alike = part.base is base and part.shape[1] == base.shape[1] and part.strides == base.strides
        if not alike or _address(part) != at:
            return np.concatenate(full)
        at += len(part) * base.strides[0]
    first = (start - _address(base)) // base.strides[0]
    rows: Vectors = base[first : first + sum(map(len, full))]
    return rows


def _address(matrix: Vectors) -> int:
    return int(matrix.__array_interface__["data"][0])
