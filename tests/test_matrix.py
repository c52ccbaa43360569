"""Vectors on disk, and matrices joined with and without a copy."""

from pathlib import Path

import numpy as np
import pytest

from mvp_data import matrix
from mvp_data.matrix import Gathered, allocate, joined


@pytest.fixture(params=["memory", "disk"])
def whole(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    if request.param == "disk":
        monkeypatch.setattr(matrix, "IN_MEMORY_BYTES", 0)
    rows = allocate(10, 3, tmp_path)
    rows[:] = np.arange(30, dtype=np.float32).reshape(10, 3)
    assert isinstance(rows.base, np.memmap) == (request.param == "disk")
    assert list(tmp_path.iterdir()) == [], "nothing that a killed run could leave"
    return rows


def test_neighbours_are_joined_without_a_copy(whole: np.ndarray) -> None:
    parts = [whole[2:5], whole[5:5], whole[5:9]]
    assert np.shares_memory(joined(parts), whole)
    assert joined(parts).tolist() == whole[2:9].tolist()
    assert joined(parts[:1]) is parts[0]
    whole[3] = 7
    assert joined(parts)[1].tolist() == [7, 7, 7]


@pytest.mark.parametrize("cuts", [[(2, 5), (6, 9)], [(5, 9), (2, 5)], [(0, 3), (2, 5)], [(0, 3), (0, 3)]])
def test_others_are_copied(whole: np.ndarray, cuts: list[tuple[int, int]]) -> None:
    parts = [whole[start:stop] for start, stop in cuts]
    assert joined(parts).tolist() == np.concatenate(parts).tolist()
    assert not np.shares_memory(joined(parts), whole)


def test_rows_of_different_matrices_and_columns(whole: np.ndarray) -> None:
    for parts in (
        [whole[:3], whole[3:].copy()],
        [whole[:3, :2], whole[3:, :2]],
        [whole[:4:2], whole[4:]],
        [whole, whole],
    ):
        assert joined(parts).tolist() == np.concatenate(parts).tolist()


def test_gathered_rows_stay_what_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six rows fit the memory and ten a file; a video of more rows than either gets a place of its own."""
    monkeypatch.setattr(matrix, "IN_MEMORY_BYTES", 24)
    monkeypatch.setattr(matrix, "FILE_BYTES", 40)
    parts = [np.full((count, 4), number, np.uint8) for number, count in enumerate((2, 0, 4, 3, 30, 7, 1))]
    gathered = Gathered(tmp_path)
    places = [gathered.put(part) for part in parts]
    assert [place.tolist() for place in places] == [part.tolist() for part in parts]
    assert not any(np.shares_memory(place, part) for place, part in zip(places, parts, strict=True))
    assert places[0].base is places[2].base
    assert isinstance(places[3].base.base, np.memmap)
    assert list(tmp_path.iterdir()) == []
