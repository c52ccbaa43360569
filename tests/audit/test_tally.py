"""What belongs together, and that little is kept."""

import numpy as np
import pytest

from mvp_data.audit.tally import WINDOW, Tally, merged, twins
from tests.audit_plants import PLANTS, plant_sample


def pairs(rows: list[list[int]], least: int) -> set[tuple[int, int]]:
    return {(min(pair), max(pair)) for pair in twins(np.array(rows, np.uint64), least).tolist()}


def test_pools_with_a_run_in_common() -> None:
    rows = [[1, 2, 3, 4], [4, 3, 2, 1], [1, 5, 6, 7], [8, 9, 5, 6], [10, 11, 12, 13]]
    assert pairs(rows, 4) == {(0, 1)}
    assert pairs(rows, 2) == {(0, 1), (2, 3)}
    assert pairs(rows, 1) >= {(0, 1), (0, 2), (2, 3)}
    assert pairs(rows[4:], 1) == set()


def test_a_picture_twice_in_one_pool_is_no_pair() -> None:
    assert pairs([[1, 1, 1], [1, 2, 3]], 2) <= {(0, 1)}
    assert pairs([[7, 7, 7]], 1) == set()


def test_a_picture_of_all_pools_costs_little_and_holds_all_together() -> None:
    rows = [[1, 100 + n] for n in range(500)]
    found = twins(np.array(rows, np.uint64), 1)
    assert len(found) <= 500 * WINDOW
    assert merged(500, found).max() == 0


@pytest.mark.parametrize("seed", range(5))
def test_merged_is_what_can_be_reached(seed: int) -> None:
    rng = np.random.default_rng(seed)
    links = rng.integers(30, size=(20, 2))
    numbers = merged(30, links)
    reach = np.eye(30, dtype=bool)
    reach[links[:, 0], links[:, 1]] = reach[links[:, 1], links[:, 0]] = True
    for _ in range(5):
        reach = reach @ reach
    assert ((numbers[:, None] == numbers[None]) == reach).all()
    assert sorted(set(numbers.tolist())) == list(range(int(numbers.max()) + 1))


def test_less_than_a_kilobyte_is_kept_of_a_sample() -> None:
    tally = Tally(plant_sample(0, PLANTS["control"]).record, embedding=False)
    for number in range(3):
        tally.add(plant_sample(number, PLANTS["control"]), None)
    kept = [*tally._answers.values(), tally._features, tally._labels]
    arrays = [tally._right, tally._orders, tally._groups, tally._pictures]
    assert sum(map(len, kept)) + sum(a.itemsize * len(a) for a in arrays) < 3 * 1000
    assert len(tally) == 3
