"""Distances between the frames of one sample in one space, and the fit of both runs of a pool into its context."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations, permutations
from math import perm

import numpy as np

from mvp_data.puzzles.shortest_path import Floats, Numbers, Places, Space

MOST_ORDERS = 50_000  # of K of n candidates: K = 5 of 10 has 30,240, K = 6 of 12 has 665,280


@dataclass(frozen=True, kw_only=True)  # without slots, for the cached property
class Distances:
    """Squared distances of one sample in one space."""

    pool: Floats  # [n, n] among candidates
    context: Floats  # [n, c] from candidates to context frames
    steps: Floats  # [c - 1] between consecutive context frames
    at: int  # context frames before the gap

    @property
    def gap(self) -> Space:
        """The distances to the frames next to the gap alone."""
        before = self.context[:, self.at - 1] if self.at else None
        after = self.context[:, self.at] if self.at < self.context.shape[1] else None
        return Space(pool=self.pool, before=before, after=after)

    @cached_property
    def fits(self) -> "Fits":
        """The fit of each run of n / 2 candidates into each place of the context."""
        return fit_runs(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fits:
    """The fit of each set of K of 2K candidates, in its best order, into each place of the context.

    `places` are the c + 1 places before, between and after the context frames; a cost is the length of the path from
    the frame before the place through the run to the frame after it. The set in row s and the one in row -1 - s share
    no candidate.
    """

    chains: Floats  # [sets] length of the shortest chain of each set alone
    costs: Floats  # [sets, places]
    orders: Numbers  # [sets, places, K] the best order

    def order(self, run: int, place: int) -> Places:
        """The best order of a set at a place."""
        return tuple(self.orders[run, place].tolist())


def distances(vectors: Floats, n: int, at: int) -> Distances:
    """Mean squared differences among vectors [n + context, D]; the first `at` context vectors are before the gap."""
    norms = np.einsum("id,id->i", vectors, vectors)
    squared = np.maximum(norms[:, None] + norms[None, :] - 2 * (vectors @ vectors.T), 0) / vectors.shape[1]
    return Distances(pool=squared[:n, :n], context=squared[:n, n:], steps=np.diagonal(squared[n:, n:], 1).copy(), at=at)


def combined(spaces: Sequence[Distances]) -> Distances:
    """The mean over several spaces, each in units of its mean distance among the candidates."""
    n = len(spaces[0].pool)
    means = [max(float(one.pool.sum()) / max(1, n * (n - 1)), 1e-12) for one in spaces]
    return Distances(
        pool=sum((one.pool / mean for one, mean in zip(spaces, means, strict=True)), np.zeros(1)),
        context=sum((one.context / mean for one, mean in zip(spaces, means, strict=True)), np.zeros(1)),
        steps=sum((one.steps / mean for one, mean in zip(spaces, means, strict=True)), np.zeros(1)),
        at=spaces[0].at,
    )


def can_fit(n: int, k: int) -> bool:
    """Whether a pool may hold two runs of K, and all of their orders can be searched."""
    return n == 2 * k and k > 1 and perm(n, k) <= MOST_ORDERS


def fit_runs(found: Distances) -> Fits:
    """See `Fits`. Of the orders with one first and one last frame, the shortest is the best at every place."""
    n = len(found.pool)
    orders = _orders(n, n // 2)  # [sets, ends, inner orders, K]
    chain = found.pool[orders[..., :-1], orders[..., 1:]].sum(axis=-1)
    best = chain.argmin(axis=2)[..., None]
    chain = np.take_along_axis(chain, best, axis=2)[..., 0]  # [sets, ends]
    inner = np.take_along_axis(orders, best[..., None], axis=2)[:, :, 0]  # [sets, ends, K]
    none = np.zeros((n, 1))
    before = np.concatenate([none, found.context], axis=1)[inner[..., 0]]  # [sets, ends, places]
    after = np.concatenate([found.context, none], axis=1)[inner[..., -1]]
    costs = chain[..., None] + before + after
    ends = costs.argmin(axis=1)  # [sets, places]
    return Fits(
        chains=chain.min(axis=1),
        costs=np.take_along_axis(costs, ends[:, None], axis=1)[:, 0],
        orders=inner[np.arange(len(inner))[:, None], ends],
    )


@lru_cache(maxsize=8)
def _orders(n: int, k: int) -> Numbers:
    """All orders of all sets of K of n, [sets, K * (K - 1) ends, (K - 2)! inner orders, K]; sets are in lexical order.

    In lexical order the last set is the complement of the first, and so on inwards, if n = 2K.
    """
    rows = []
    for chosen in combinations(range(n), k):
        for first, last in permutations(chosen, 2):
            others = [i for i in chosen if i not in (first, last)]
            rows += [(first, *inner, last) for inner in permutations(others)]
    return np.array(rows).reshape(len(list(combinations(range(n), k))), k * (k - 1), -1, k)
