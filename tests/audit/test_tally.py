"""The numbers that the audit keeps of each sample, and the clusters and pairs of samples."""

from dataclasses import replace

import numpy as np
import pytest

from mvp_data.audit.features import Cache
from mvp_data.audit.tally import WINDOW, Measurer, Tally, merged, twins
from mvp_data.audit.visibility import Gallery
from mvp_data.shards.tar import Sample
from tests.audit_plants import PLANTS, of_task, plant_sample, strip_twins
from tests.samples import make_sample


def measurer() -> Measurer:
    return Measurer(embeddings={}, cache=Cache(), gallery=Gallery())


def tally_of(samples: list[Sample]) -> Tally:
    tally = Tally(samples[0].record, measurer())
    for sample in samples:
        tally.add(sample)
    return tally


def test_a_pair_has_both_samples_and_the_smaller_place_of_the_gap_first() -> None:
    (a, b), (c, d), (e, _) = (strip_twins(number) for number in range(3))
    tally = tally_of([a, d, e, b, c])
    found, orphans = tally.pairs()
    assert sorted(found.tolist()) == [[0, 3], [4, 1]]
    assert orphans == 1
    assert (tally.starts[found[:, 0]] < tally.starts[found[:, 1]]).all()
    assert len(set(tally.clusters()[0][[0, 3]].tolist())) == 1


def test_samples_of_their_own_are_not_pairs() -> None:
    tally = tally_of([make_sample(number) for number in range(3)])
    found, orphans = tally.pairs()
    assert (found.shape, orphans) == ((0, 2), 0)


def pairs(rows: list[list[int]], least: int) -> set[tuple[int, int]]:
    return {(min(pair), max(pair)) for pair in twins(np.array(rows, np.uint64), least).tolist()}


def test_twins_share_a_run() -> None:
    rows = [[1, 2, 3, 4], [4, 3, 2, 1], [1, 5, 6, 7], [8, 9, 5, 6], [10, 11, 12, 13]]
    assert pairs(rows, 4) == {(0, 1)}
    assert pairs(rows, 2) == {(0, 1), (2, 3)}
    assert pairs(rows, 1) >= {(0, 1), (0, 2), (2, 3)}
    assert pairs(rows[4:], 1) == set()


def test_an_image_twice_in_one_pool_is_not_a_pair() -> None:
    assert pairs([[1, 1, 1], [1, 2, 3]], 2) <= {(0, 1)}
    assert pairs([[7, 7, 7]], 1) == set()


def test_an_image_of_all_pools_links_all_samples_in_few_pairs() -> None:
    rows = [[1, 100 + n] for n in range(500)]
    found = twins(np.array(rows, np.uint64), 1)
    assert len(found) <= 500 * WINDOW
    assert merged(500, found).max() == 0


@pytest.mark.parametrize("seed", range(5))
def test_merged_numbers_connected_components(seed: int) -> None:
    rng = np.random.default_rng(seed)
    links = rng.integers(30, size=(20, 2))
    numbers = merged(30, links)
    reach = np.eye(30, dtype=bool)
    reach[links[:, 0], links[:, 1]] = reach[links[:, 1], links[:, 0]] = True
    for _ in range(5):
        reach = reach @ reach
    assert ((numbers[:, None] == numbers[None]) == reach).all()
    assert sorted(set(numbers.tolist())) == list(range(int(numbers.max()) + 1))


def test_a_sample_takes_less_than_a_kilobyte() -> None:
    tally = Tally(plant_sample(0, PLANTS["control"]).record, measurer())
    for number in range(3):
        tally.add(plant_sample(number, PLANTS["control"]))
    buffers = [*tally._answers.values(), tally._features, tally._labels]
    arrays = [tally._right, tally._orders, tally._groups, tally._images]
    assert sum(map(len, buffers)) + sum(a.itemsize * len(a) for a in arrays) < 3 * 1000
    assert len(tally) == 3


def test_the_right_slot_of_each_label() -> None:
    def slots(task: str, number: int, others: int) -> tuple[list[int], list[int]]:
        made = make_sample(number, k=4, distractors=others)
        record = of_task(made.record, task)
        tally = Tally(record, measurer())
        tally.add(replace(made, record=record))
        return list(tally._right), [candidate.order for candidate in record.candidates]

    right, orders = slots("mvp", 0, 4)
    assert right == orders
    right, orders = slots("select", 0, 4)
    assert [slot for slot in right if slot >= 0] == [0, 1, 2, 3]
    assert [slot >= 0 for slot in right] == [order >= 0 for order in orders]
    assert {tuple(slots("arrow", number, 0)[0]) for number in range(20)} == {(0, -1), (-1, 0)}
    right, orders = slots("odd-one-out", 3, 1)
    assert right[orders.index(-1)] == 0
