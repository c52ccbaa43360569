"""Large matrices are in files that a killed run does not leave behind."""

from pathlib import Path

import numpy as np
import pytest

from mvp_data.puzzles import vector_files
from mvp_data.puzzles.vector_files import RowBuffer, allocate


@pytest.mark.parametrize("limit", [vector_files.IN_MEMORY_BYTES, 0])
def test_a_large_matrix_is_an_unlinked_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(vector_files, "IN_MEMORY_BYTES", limit)
    rows = allocate(10, 3, tmp_path)
    rows[:] = np.arange(30, dtype=np.float32).reshape(10, 3)
    assert rows[2:].tolist() == np.arange(6, 30).reshape(8, 3).tolist()
    assert isinstance(rows.base, np.memmap) == (limit == 0)
    assert list(tmp_path.iterdir()) == [], "a killed run leaves no file"


def test_a_row_buffer_keeps_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six rows fit in memory and ten in a file; a video with more rows gets a file of its own."""
    monkeypatch.setattr(vector_files, "IN_MEMORY_BYTES", 24)
    monkeypatch.setattr(vector_files, "FILE_BYTES", 40)
    parts = [np.full((count, 4), number, np.uint8) for number, count in enumerate((2, 0, 4, 3, 30, 7, 1))]
    buffer = RowBuffer(tmp_path)
    copies = [buffer.add(part) for part in parts]
    assert [copy.tolist() for copy in copies] == [part.tolist() for part in parts]
    assert not any(np.shares_memory(copy, part) for copy, part in zip(copies, parts, strict=True))
    assert copies[0].base is copies[2].base
    assert isinstance(copies[3].base.base, np.memmap)
    assert list(tmp_path.iterdir()) == []
