"""Large matrices in files that a killed run does not leave behind."""

from pathlib import Path

import numpy as np
import pytest

from mvp_data.puzzles import vector_files
from mvp_data.puzzles.vector_files import Gathered, allocate


@pytest.mark.parametrize("limit", [vector_files.IN_MEMORY_BYTES, 0])
def test_a_large_matrix_is_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(vector_files, "IN_MEMORY_BYTES", limit)
    rows = allocate(10, 3, tmp_path)
    rows[:] = np.arange(30, dtype=np.float32).reshape(10, 3)
    assert rows[2:].tolist() == np.arange(6, 30).reshape(8, 3).tolist()
    assert isinstance(rows.base, np.memmap) == (limit == 0)
    assert list(tmp_path.iterdir()) == [], "a killed run would leave a file"


def test_gathered_rows_stay_what_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six rows fit the memory and ten a file; a video of more rows than either gets a place of its own."""
    monkeypatch.setattr(vector_files, "IN_MEMORY_BYTES", 24)
    monkeypatch.setattr(vector_files, "FILE_BYTES", 40)
    parts = [np.full((count, 4), number, np.uint8) for number, count in enumerate((2, 0, 4, 3, 30, 7, 1))]
    gathered = Gathered(tmp_path)
    places = [gathered.put(part) for part in parts]
    assert [place.tolist() for place in places] == [part.tolist() for part in parts]
    assert not any(np.shares_memory(place, part) for place, part in zip(places, parts, strict=True))
    assert places[0].base is places[2].base
    assert isinstance(places[3].base.base, np.memmap)
    assert list(tmp_path.iterdir()) == []
