"""Solvers that look at one sample at a time. Each takes what was measured of it and answers with K places of the pool.

Where several answers are equally good, the first one is taken; the pool is shuffled by the sample's key, so that is a
choice by chance. `audit_tasks.kind` says which of them must not win.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from mvp_data.audit.features import Look
from mvp_data.puzzles import similarity_solvers
from mvp_data.puzzles.shortest_path import Floats, Places, best_subset, searchable, shortest_path

Solver = Callable[[Look], Places]


def solvers(k: int, l: int, *, embedding: bool) -> Mapping[str, Solver]:  # noqa: E741
    """Each by name; those that search all answers only where that is feasible, `alike` only where some are left out."""
    found: dict[str, Solver] = {"random": random}
    searched = searchable(k + l, k)
    if searched:
        found["overlay"] = overlay
    for name in ("pixels", "embedding") if embedding else ("pixels",):
        if searched and l:
            found[f"alike-{name}"] = partial(alike, name=name)
        if searched:
            found[f"chain-{name}"] = partial(chain, name=name)
            found[f"path-{name}"] = partial(path, name=name)
        found[f"nearest-{name}"] = partial(nearest, name=name)
    return found


def random(look: Look) -> Places:
    """The first K of the shuffled pool."""
    return tuple(range(look.k))


def alike(look: Look, name: str) -> Places:
    """The K candidates most like each other, as the shortest chain."""
    pool = look.spaces[name].pool
    chosen = best_subset(pool, look.k)
    return tuple(chosen[i] for i in shortest_path(pool[np.ix_(chosen, chosen)], None, None, look.k))


def chain(look: Look, name: str) -> Places:
    """The K candidates that make the shortest chain: the most coherent run, whatever the context."""
    return shortest_path(look.spaces[name].pool, None, None, look.k)


def nearest(look: Look, name: str) -> Places:
    """The K candidates nearest to either frame by the gap, each next one the nearest to the one before."""
    return similarity_solvers.nearest(look.spaces[name], look.k)


def path(look: Look, name: str) -> Places:
    """The shortest path through K candidates from the frame before the gap to the frame after it."""
    return similarity_solvers.path(look.spaces[name], look.k)


def overlay(look: Look) -> Places:
    """The shortest path inside the region of a clock or counter; a guess where there is none."""
    return random(look) if look.overlay is None else similarity_solvers.path(look.overlay, look.k)


def pool_features(look: Look) -> Floats:
    """How each candidate lies among the others: its sorted distances to them in every space, [n, spaces * (n - 1)]."""
    rows = [np.log(np.sort(space.pool, axis=1)[:, 1:] + 1e-6) for space in look.spaces.values()]
    return np.concatenate(rows, axis=1)
