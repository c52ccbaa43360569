"""Exact searches over all answers, by the distances among candidates and to the frames next to the gap.

Shortest paths are found by dynamic programming over subsets (Held and Karp 1962). The tables depend only on n and K and
are cached, so a search is a few array operations.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]
Places = tuple[int, ...]  # in the pool
Step = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]

MOST_STATES = 2_000_000  # entries of one table, 16 MB each: K = 8 of 16 fits, K = 10 of 20 does not


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """Squared distances in one space; `before` and `after` are the frames next to the gap, where there are any."""

    pool: Floats  # [n, n]
    before: Floats | None  # [n]
    after: Floats | None


def space(vectors: Floats, n: int, at: int) -> Space:
    """Mean squared differences among vectors [n + context, D]; the first `at` context vectors are before the gap."""
    norms = np.einsum("id,id->i", vectors, vectors)
    squared = np.maximum(norms[:n, None] + norms[None, :] - 2 * (vectors[:n] @ vectors.T), 0) / vectors.shape[1]
    return Space(
        pool=squared[:, :n],
        before=squared[:, n + at - 1] if at else None,
        after=squared[:, n + at] if n + at < len(vectors) else None,
    )


def searchable(n: int, k: int) -> bool:
    """Whether the searches below are feasible for K of n."""
    return max(comb(n, size) * size * max(1, size - 1) for size in range(1, k + 1)) <= MOST_STATES


def shortest_path(inside: Floats, start: Floats | None, end: Floats | None, k: int) -> Places:
    """The cheapest path through `k` of the n places, including the steps from `start` and to `end` where given.

    >>> line = np.array([[0.0, 1, 4, 9], [1, 0, 1, 4], [4, 1, 0, 1], [9, 4, 1, 0]])
    >>> shortest_path(line, line[3], None, 3)
    (3, 2, 1)
    """
    n = len(inside)
    cost = np.zeros(n) if start is None else start
    chosen = []
    for before, previous, last in _steps(n, k):
        costs = cost[before] + inside[previous, last[:, None]]
        best = costs.argmin(axis=1)
        cost = costs[np.arange(len(best)), best]
        chosen.append(best)
    lasts = _steps(n, k)[-1][2] if k > 1 else np.arange(n)
    at = int((cost if end is None else cost + end[lasts]).argmin())
    path = [int(lasts[at])]
    for (before, previous, _), best in zip(reversed(_steps(n, k)), reversed(chosen), strict=True):
        path.append(int(previous[at, best[at]]))
        at = int(before[at, best[at]])
    return tuple(reversed(path))


def best_subset(value: Floats, k: int) -> Places:
    """The `k` places with the smallest sum of `value` [n, n] over all of their pairs, including the diagonal.

    >>> best_subset(np.array([[0.0, 9, 1], [9, 0, 9], [1, 9, 0]]), 2)
    (0, 2)
    """
    members = _members(len(value), k)
    least = int(((members @ value) * members).sum(axis=1).argmin())
    return tuple(int(i) for i in np.flatnonzero(members[least]))


@lru_cache(maxsize=8)
def _members(n: int, k: int) -> Floats:
    """All sets of `k` of n as rows of zeros and ones."""
    rows = np.zeros((comb(n, k), n))
    for row, chosen in zip(rows, combinations(range(n), k), strict=True):
        row[list(chosen)] = 1
    return rows


@lru_cache(maxsize=8)
def _steps(n: int, k: int) -> tuple[Step, ...]:
    """One table for each size 2, 3 ... k of a set of places; a row is a state (set, last place).

    A table has three arrays: the row of each predecessor (set without last, previous) in the table before and its
    previous place, [states, size - 1] each, and the last place [states].
    """
    rows = {(1 << i, i): i for i in range(n)}
    steps = []
    for size in range(2, k + 1):
        before, previous, lasts = [], [], []
        found: dict[tuple[int, int], int] = {}
        for chosen in combinations(range(n), size):
            bits = sum(1 << i for i in chosen)
            for last in chosen:
                others = [i for i in chosen if i != last]
                before.append([rows[bits ^ 1 << last, i] for i in others])
                previous.append(others)
                lasts.append(last)
                found[bits, last] = len(found)
        rows = found
        steps.append((np.array(before), np.array(previous), np.array(lasts)))
    return tuple(steps)
