"""Solvers for pools of two runs and their context: gap-blind solvers, the joint fit of both runs, and others.

A gap-blind solver sees the candidates and the context, but not the place of the gap. Same-strip twins show the same of
both, so it gives both the same answer.
"""

import numpy as np

from mvp_data.audit.distances import Distances
from mvp_data.puzzles.shortest_path import Floats, Places, shortest_path


def context_bag(found: Distances, k: int) -> Places:
    """The K candidates nearest to any context frame, wherever it is, as the shortest chain. Gap-blind."""
    return _ordered(found, np.argsort(found.context.min(axis=1), kind="stable")[:k].tolist(), gap=False)


def other_bag(found: Distances, k: int) -> Places:
    """The candidates that `context_bag` leaves, as the shortest chain."""
    return _ordered(found, rest(found, context_bag(found, k)), gap=False)


def two_runs(found: Distances) -> tuple[Places, Places]:
    """Both runs of the pool, the one nearer to the start of the context first. Gap-blind.

    The pool is split into the two shortest chains. Both are put where they fit best between context frames, in
    different places.
    """
    fits = found.fits
    first = int((fits.chains + fits.chains[::-1])[: len(fits.chains) // 2].argmin())
    added = fits.costs[:, 1:-1] - found.steps
    both = added[first][:, None] + added[-1 - first]
    if len(both) > 1:
        np.fill_diagonal(both, np.inf)
    here, there = (int(place) for place in np.unravel_index(both.argmin(), both.shape))
    runs = fits.order(first, here + 1), fits.order(-1 - first, there + 1)
    return runs if here <= there else runs[::-1]


def split_runs(found: Distances) -> Places:
    """The run nearer to the start of the context. Gap-blind: right on one of two twins, whichever it names."""
    return two_runs(found)[0]


def joint(found: Distances) -> Places:
    """The best fit of both runs: one into the gap, the other into the best place between two visible frames."""
    fits = found.fits
    added = fits.costs[:, 1:-1] - found.steps
    if 0 < found.at < len(found.steps) + 1:
        added = np.delete(added, found.at - 1, axis=1)
    elsewhere = added.min(axis=1) if added.shape[1] else np.zeros(len(added))
    return fits.order(int((fits.costs[:, found.at] + elsewhere[::-1]).argmin()), found.at)


def one_side(found: Distances, k: int) -> Places:
    """The candidates that are left without the K that resemble one side of the context most.

    The wrong run of twins is on one side of the gap, and the hidden run is between both.
    """
    before, after = found.context[:, : found.at], found.context[:, found.at :]
    if not before.size or not after.size:
        return shortest_path(found.pool, found.gap.before, found.gap.after, k)
    lean = before.min(axis=1) - after.min(axis=1)
    ranks = np.argsort(lean, kind="stable")
    first, last = ranks[:k], ranks[-k:]
    wrong = first if abs(lean[first].sum()) > abs(lean[last].sum()) else last
    return _ordered(found, rest(found, wrong.tolist()))


def colours(found: Distances, k: int) -> Places:
    """The K candidates nearest to the mean of the four frames around the gap; for distances between histograms."""
    around = found.context[:, max(0, found.at - 2) : found.at + 2]
    return _ordered(found, np.argsort(around.mean(axis=1), kind="stable")[:k].tolist())


def inverted(found: Distances, answer: Places) -> Places:
    """The candidates that another solver leaves, as the shortest path through the gap."""
    return _ordered(found, rest(found, answer))


def rest(found: Distances, answer: Places | list[int]) -> list[int]:
    """The places of the pool that an answer leaves."""
    return [place for place in range(len(found.pool)) if place not in answer]


def _ordered(found: Distances, chosen: list[int], *, gap: bool = True) -> Places:
    """These candidates as the shortest path through the gap, or as the shortest chain."""
    start, end = (_of(side, chosen) if gap else None for side in (found.gap.before, found.gap.after))
    order = shortest_path(found.pool[np.ix_(chosen, chosen)], start, end, len(chosen))
    return tuple(chosen[place] for place in order)


def _of(side: Floats | None, chosen: list[int]) -> Floats | None:
    return None if side is None else side[chosen]
