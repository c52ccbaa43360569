"""Distances in one space, and the fit of runs against a search of all orders."""

from itertools import combinations, pairwise, permutations

import numpy as np
import pytest

from mvp_data.audit.distances import can_fit, combined, distances


@pytest.mark.parametrize(("k", "c", "at"), [(2, 3, 0), (3, 4, 2), (4, 5, 5), (4, 2, 1)])
def test_fits_are_the_best_of_all_orders(k: int, c: int, at: int) -> None:
    vectors = np.random.default_rng(k).normal(size=(2 * k + c, 3))
    found = distances(vectors, 2 * k, at)
    pool, context = vectors[: 2 * k], vectors[2 * k :]

    def cost(order: tuple[int, ...], place: int) -> float:
        frames = [*context[max(0, place - 1) : place], *pool[list(order)], *context[place : place + 1]]
        return float(sum(((a - b) ** 2).mean() for a, b in pairwise(frames)))

    for row, chosen in enumerate(combinations(range(2 * k), k)):
        for place in range(c + 1):
            best = min(permutations(chosen), key=lambda order: cost(order, place))
            assert found.fits.costs[row, place] == pytest.approx(cost(best, place))
            assert found.fits.order(row, place) == best
        alone = min(sum(found.pool[a, b] for a, b in pairwise(o)) for o in permutations(chosen))
        assert found.fits.chains[row] == pytest.approx(alone)
        assert not set(chosen) & set(found.fits.order(-1 - row, 0))
    assert found.steps == pytest.approx([((a - b) ** 2).mean() for a, b in pairwise(context)])


def test_which_pools_can_be_fitted() -> None:
    assert [can_fit(n, k) for n, k in ((8, 4), (10, 5), (12, 6), (8, 3), (2, 1))] == [True, True, False, False, False]


def test_each_space_has_the_same_weight() -> None:
    rng = np.random.default_rng(1)
    small, large = (distances(rng.normal(size=(7, 4)) * scale, 4, 2) for scale in (1, 100))
    both = combined([small, large])
    alone = [combined([one]) for one in (small, large)]
    assert both.context == pytest.approx(alone[0].context + alone[1].context)
    assert combined([small]).pool.sum() == pytest.approx(12)
    same = combined([distances(np.ones((5, 2)), 3, 1)])
    assert np.isfinite(same.context).all()
