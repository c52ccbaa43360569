"""Large matrices in temporary files, so that the operating system can page them out."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import Vectors

Bytes = npt.NDArray[np.uint8]

IN_MEMORY_BYTES = 64 << 20  # a smaller matrix needs no file
FILE_BYTES = 256 << 20


def allocate(rows: int, dimension: int, folder: Path) -> Vectors:
    """An uninitialized float32 matrix [rows, dimension]; a large one is a memory map of a file in `folder`.

    The file is unlinked at once (on Windows: when the process ends), so a killed run leaves nothing behind.
    """
    if rows * dimension * 4 <= IN_MEMORY_BYTES:
        return np.empty((rows, dimension), np.float32)
    matrix: Vectors = _on_disk(rows, dimension, folder, np.float32)
    return matrix


class RowBuffer:
    """Copies of byte rows of many videos: the first ones in memory, the others in unlinked files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._free: Bytes | None = None

    def add(self, rows: Bytes) -> Bytes:
        """Copy the rows [N, W] into the buffer; returns the copy. All calls must use the same width W."""
        count, width = rows.shape
        if self._free is None:
            self._free = np.empty((max(count, IN_MEMORY_BYTES // width), width), np.uint8)
        elif count > len(self._free):
            self._free = _on_disk(max(count, FILE_BYTES // width), width, self._folder, np.uint8)
        copy, self._free = self._free[:count], self._free[count:]
        copy[:] = rows
        return copy


def _on_disk(rows: int, width: int, folder: Path, kind: type[Any]) -> Any:
    with tempfile.TemporaryFile(dir=folder, prefix="matrix-") as file:
        # A slice of a memmap takes half a kilobyte, a slice of a plain array a fifth of that.
        return np.memmap(file, kind, "w+", shape=(rows, width)).view(np.ndarray)
