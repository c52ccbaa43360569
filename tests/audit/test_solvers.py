"""The searches against all answers tried one by one; the solvers on puzzles whose solution is plain."""

from itertools import combinations, pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.audit.features import ARTEFACTS, Look
from mvp_data.audit.solvers import alike, chain, nearest, overlay, path, pool_features, random, solvers
from mvp_data.puzzles.shortest_path import Floats, Space, best_subset, searchable, shortest_path, space

SHAPES = [(n, k) for n in range(1, 8) for k in range(1, n + 1)]


def cost(order: tuple[int, ...], inside: Floats, start: Floats | None, end: Floats | None) -> float:
    steps = sum(inside[a, b] for a, b in pairwise(order))
    return steps + (0 if start is None else start[order[0]]) + (0 if end is None else end[order[-1]])


@settings(max_examples=60, deadline=None)
@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 999), ends=st.tuples(st.booleans(), st.booleans()))
def test_the_shortest_path_of_all(shape: tuple[int, int], seed: int, ends: tuple[bool, bool]) -> None:
    n, k = shape
    rng = np.random.default_rng(seed)
    inside = rng.uniform(size=(n, n))  # symmetric or not
    start, end = (rng.uniform(size=n) if there else None for there in ends)
    found = shortest_path(inside, start, end, k)
    assert sorted(set(found)) == sorted(found)
    best = min(cost(order, inside, start, end) for order in permutations(range(n), k))
    assert cost(found, inside, start, end) == pytest.approx(best)


@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_the_best_subset_of_all(n: int, k: int) -> None:
    value = np.random.default_rng(n * 10 + k).uniform(-1, 1, size=(n, n))
    found = best_subset(value, k)
    best = min(value[np.ix_(chosen, chosen)].sum() for chosen in map(list, combinations(range(n), k)))
    assert value[np.ix_(found, found)].sum() == pytest.approx(best)
    assert len(found) == k


def test_what_can_be_searched() -> None:
    assert all(searchable(n, k) for n in range(1, 17) for k in range(1, min(n, 8) + 1))
    assert not searchable(26, 12)


def line(places: list[float], before: float | None, after: float | None) -> Look:
    """A look at pictures that are points on a line."""
    known = [end for end in (before, after) if end is not None]
    made = space(np.array([*places, *known])[:, None], len(places), int(before is not None))
    return Look(k=3, artefacts=np.zeros((len(places), len(ARTEFACTS))), spaces={"pixels": made}, overlay=made)


def test_distances_are_those_of_points() -> None:
    made = line([1, 4, 9], 0, 10).spaces["pixels"]
    assert made.pool.tolist() == [[0, 9, 64], [9, 0, 25], [64, 25, 0]]
    assert made.before is not None
    assert made.after is not None
    assert (made.before.tolist(), made.after.tolist()) == ([1, 16, 81], [81, 36, 1])
    assert line([1, 4], None, 10).spaces["pixels"].before is None
    assert line([1, 4], 0, None).spaces["pixels"].after is None


POOL = [30.0, 3, 50, 1, 2]  # the right ones are 1, 2, 3 at places 3, 4, 1


def test_paths_and_chains_on_a_line() -> None:
    assert path(line(POOL, 0, 4), "pixels") == (3, 4, 1)
    assert path(line(POOL, 4, 0), "pixels") == (1, 4, 3)
    assert path(line(POOL, 0, None), "pixels") == (3, 4, 1)
    assert path(line(POOL, None, 0), "pixels") == (1, 4, 3)
    assert overlay(line(POOL, 0, 4)) == (3, 4, 1)
    assert chain(line(POOL, 90, 90), "pixels") in [(3, 4, 1), (1, 4, 3)]
    assert alike(line(POOL, 90, 90), "pixels") in [(3, 4, 1), (1, 4, 3)]


def test_the_nearest_in_a_greedy_chain() -> None:
    assert nearest(line(POOL, 0, 4), "pixels") == (3, 4, 1)
    assert nearest(line(POOL, 4, 0), "pixels") == (1, 4, 3)
    assert nearest(line(POOL, None, 4), "pixels") == (3, 4, 1)
    assert nearest(line(POOL, 4, None), "pixels") == (1, 4, 3)
    assert nearest(line([10, 1, 29, 11, 5], 0, 30), "pixels") == (1, 4, 2)  # 1 and 5 from one side, 29 from the other


def test_without_a_clock_the_overlay_guesses() -> None:
    look = line(POOL, 0, 4)
    blind = Look(k=3, artefacts=look.artefacts, spaces=look.spaces, overlay=None)
    assert overlay(blind) == random(blind) == (0, 1, 2)


def test_pool_features_do_not_depend_on_the_context() -> None:
    first, second = (pool_features(line(POOL, before, 4)) for before in (0, 70))
    assert np.array_equal(first, second)
    assert first.shape == (5, 4)
    assert np.all(np.diff(first, axis=1) >= 0)


def test_which_solvers_there_are() -> None:
    names = {f"{what}-{where}" for what in ("alike", "chain", "path", "nearest") for where in ("pixels", "embedding")}
    assert set(solvers(4, 4, embedding=True)) == {"random", "overlay", *names}
    assert set(solvers(4, 4, embedding=False)) == {"random", "overlay", *(n for n in names if n.endswith("pixels"))}
    assert set(solvers(4, 0, embedding=False)) == {"random", "overlay", "chain-pixels", "path-pixels", "nearest-pixels"}
    assert set(solvers(12, 14, embedding=False)) == {"random", "nearest-pixels"}
    assert isinstance(line(POOL, 0, 4).spaces["pixels"], Space)
