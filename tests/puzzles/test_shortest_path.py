"""The exact searches, compared with a brute force over all answers."""

from itertools import combinations, pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.puzzles.shortest_path import Floats, best_subset, searchable, shortest_path

SHAPES = [(n, k) for n in range(1, 8) for k in range(1, n + 1)]


def cost(order: tuple[int, ...], inside: Floats, start: Floats | None, end: Floats | None) -> float:
    steps = sum(inside[a, b] for a, b in pairwise(order))
    return steps + (0 if start is None else start[order[0]]) + (0 if end is None else end[order[-1]])


@settings(max_examples=60, deadline=None)
@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 999), ends=st.tuples(st.booleans(), st.booleans()))
def test_shortest_path_finds_the_minimum(shape: tuple[int, int], seed: int, ends: tuple[bool, bool]) -> None:
    n, k = shape
    rng = np.random.default_rng(seed)
    inside = rng.uniform(size=(n, n))  # symmetric or not
    start, end = (rng.uniform(size=n) if there else None for there in ends)
    found = shortest_path(inside, start, end, k)
    assert sorted(set(found)) == sorted(found)
    best = min(cost(order, inside, start, end) for order in permutations(range(n), k))
    assert cost(found, inside, start, end) == pytest.approx(best)


@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_best_subset_finds_the_minimum(n: int, k: int) -> None:
    value = np.random.default_rng(n * 10 + k).uniform(-1, 1, size=(n, n))
    found = best_subset(value, k)
    best = min(value[np.ix_(chosen, chosen)].sum() for chosen in map(list, combinations(range(n), k)))
    assert value[np.ix_(found, found)].sum() == pytest.approx(best)
    assert len(found) == k


def test_pools_of_a_build_can_be_searched() -> None:
    assert all(searchable(n, k) for n in range(1, 17) for k in range(1, min(n, 8) + 1))
    assert not searchable(26, 12)
