"""Facts about pairs."""

import numpy as np
import pytest

from mvp_data.audit.pairs import compared, floor, rows, told_first
from mvp_data.audit.scoring import Answers
from mvp_data.tasks.catalogue import JIGSAW, MVP


def gaps(bridges: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The places of both gaps of twins with these bridges, at each of eight places in turn."""
    starts = np.array([(2 + n % (9 - b), 2 + n % (9 - b) + b) for n, b in enumerate(bridges)])
    return starts.ravel(), np.arange(starts.size).reshape(-1, 2)


def test_the_floor_is_the_mean_bridge_over_the_places() -> None:
    starts, pairs = gaps([1, 2, 3] * 40)
    assert floor(starts, pairs) == pytest.approx(2 / 8)
    assert floor(starts, pairs[:0]) == floor(np.array([3, 3]), np.array([[0, 1]])) == 0


def test_a_learned_threshold_is_near_the_floor_where_the_gap_is_anywhere() -> None:
    starts, pairs = gaps([1, 2, 3] * 80)
    found = told_first(starts, pairs, np.repeat(np.arange(60), 8))
    assert found is not None
    assert found.chance == pytest.approx(0.5 + 2 / 16)
    assert found.mean == pytest.approx(found.chance, abs=0.06)


def test_a_place_that_tells_more_is_above_the_floor() -> None:
    starts = np.tile([3, 4], 60)
    starts[:20] += 5
    pairs = np.arange(120).reshape(-1, 2)
    found = told_first(starts, pairs, np.arange(120) // 4)
    assert found is not None
    assert found.low > found.chance
    assert told_first(starts, pairs, np.zeros(120, int)) is None
    assert told_first(starts, pairs[:0], np.arange(120) // 4) is None


def answers(**right: list[list[int]]) -> Answers:
    named = {name.replace("_", "-"): np.array(rows) for name, rows in right.items()}
    count = len(next(iter(named.values())))
    return Answers(
        task=MVP,
        question=MVP.question(2, 2),
        right=named,
        clusters=np.arange(count) // 2,
        pairs=np.arange(count).reshape(-1, 2),
    )


def test_rows_by_kind_and_by_shots() -> None:
    good, swapped, bad = [0, 1], [1, 0], [-1, -1]
    found = answers(
        nearest_embedding=[swapped, good, bad, bad],
        path_pixels=[good, bad, bad, bad],
        path_hog=[good, good, bad, bad],
        joint_all=[good, good, good, bad],
        context_bag_hog=[bad, bad, bad, bad],
        split_runs=[good, bad, good, bad],
    )
    assert compared(found) == {
        "blind": "split-runs",
        "nearest": "nearest-embedding",
        "path": "path-hog",
        "joint": "joint-all",
    }
    strip, scattered, one, many = rows(found, np.array([0, 0, 3, 3]), np.array([1, 3, 3, 3]))
    assert [row.name for row in (strip, scattered, one, many)] == [
        "same strip",
        "scattered",
        "1 shot",
        "3+ shots",
    ]
    assert strip.single == {"blind": 0, "nearest": 1, "path": 1, "joint": 1}
    assert strip.both == {"blind": 0, "nearest": 1, "path": 1, "joint": 1}
    assert (scattered.single["joint"], scattered.both["joint"]) == (0.5, 0)
    assert (one.samples, one.pairs, one.both) == (1, 0, {})  # the other sample of its pair has more shots
    assert (many.samples, many.pairs) == (3, 1)


def test_a_task_without_a_set_to_find_has_no_rows() -> None:
    asked = JIGSAW.question(2, 0)
    found = Answers(task=JIGSAW, question=asked, right={"path-pixels": np.array([[0, 1]])}, clusters=np.zeros(1, int))
    assert rows(found, np.array([3]), np.array([1])) == ()
