"""Large matrices: on disk rather than in memory, and joined without a copy where they lie side by side."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.types import Vectors

Bytes = npt.NDArray[np.uint8]

IN_MEMORY_BYTES = 64 << 20  # what fits is not worth a file
FILE_BYTES = 256 << 20


def allocate(rows: int, dimension: int, folder: Path) -> Vectors:
    """A float32 matrix [rows, dimension] to fill; a large one lies in a file of `folder`, so pages may leave memory.

    The file has no name from the start (on Windows: until the process ends), so a killed run leaves nothing.
    """
    if rows * dimension * 4 <= IN_MEMORY_BYTES:
        return np.empty((rows, dimension), np.float32)
    matrix: Vectors = _on_disk(rows, dimension, folder, np.float32)
    return matrix


class Gathered:
    """Rows of bytes of many videos; all but the first ones in files, so that their pages may leave memory."""

    def __init__(self, folder: Path) -> None:
        """`folder` is for files without a name, as of `allocate`."""
        self._folder = folder
        self._free: Bytes | None = None

    def put(self, rows: Bytes) -> Bytes:
        """The rows [N, W] as they lie here; all have one width."""
        count, width = rows.shape
        if self._free is None:
            self._free = np.empty((max(count, IN_MEMORY_BYTES // width), width), np.uint8)
        elif count > len(self._free):
            self._free = _on_disk(max(count, FILE_BYTES // width), width, self._folder, np.uint8)
        place, self._free = self._free[:count], self._free[count:]
        place[:] = rows
        return place


def _on_disk(rows: int, width: int, folder: Path, kind: type[Any]) -> Any:
    with tempfile.TemporaryFile(dir=folder, prefix="matrix-") as file:
        # Parts of a memmap weigh half a kilobyte each, those of a plain array a fifth of it.
        return np.memmap(file, kind, "w+", shape=(rows, width)).view(np.ndarray)


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
