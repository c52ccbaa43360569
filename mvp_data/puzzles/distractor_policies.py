"""The distractor policies: which of the admissible distractors, and which partner of a decoy run, to take first.

Adding a policy means one line in `POLICIES`, and its functions. `MINE_ORDERS` of the configuration lists the names; a
test compares the two.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np

from mvp_data.core.seeds import shuffled, stable_hash
from mvp_data.core.types import Vectors
from mvp_data.puzzles.decoys import Pair
from mvp_data.puzzles.similarity_solvers import Sights, lures, sights, success
from mvp_data.puzzles.types import Distractor

TRIED = 32  # candidates that `adversarial` tries for one puzzle
PARTNERS = 12  # pairs that `adversarial` tries for one run

Pools: TypeAlias = Mapping[str, Sequence[Distractor]]  # by origin, the most similar distractor first
# Fill the puzzle from these pools: each place gets the one of the next N distractors that the solvers get least from.
Fill: TypeAlias = Callable[[Pools, int], tuple[Distractor, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """An episode as the distractor search sees it: the hidden frames and all frames shown."""

    hidden: Sights
    before: Sights | None  # the frame before the gap, if there is one
    after: Sights | None
    visible: Vectors
    span: Vectors  # of all frames from the first hidden one to the last, key frames or not
    shown: tuple[bytes, ...]  # thumbnails of the context and of the span

    def success(self, others: Sequence[Distractor]) -> float:
        """How well the similarity solvers do with these distractors, in [0, 1]."""
        return success(self.hidden, _sights(others), self.before, self.after)

    def most_misleading_first(self, pool: Sequence[Distractor]) -> list[Distractor]:
        """The pool, sorted by how much each distractor would shorten the path of the solvers."""
        if not pool:
            return []
        gains = np.round(lures(self.hidden, _sights(pool), self.before, self.after), 5)
        return [pool[i] for i in np.argsort(-gains, kind="stable")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """What a policy may use to choose the scattered distractors of one episode."""

    pools: Pools
    fill: Fill
    view: View
    count: int  # distractors of the puzzle
    decoys: int  # of these, already taken from a decoy run
    key: tuple[int | str, ...]  # seed and name of the hidden segment, for random draws


@dataclass(frozen=True, slots=True)
class DistractorPolicy:
    """`scattered` takes distractors from the pools; `partner` takes one of the admissible pairs of decoy runs."""

    scattered: Callable[[Search], tuple[Distractor, ...]]
    # The pairs come most similar first; the second argument is the success of the solvers on both puzzles of a pair.
    partner: Callable[[Iterator[Pair], Callable[[Pair], float], int], Pair | None]


def _most_similar(search: Search) -> tuple[Distractor, ...]:
    return search.fill(search.pools, 1)


def _any(search: Search) -> tuple[Distractor, ...]:
    pools = {origin: shuffled(pool, "mine", origin, *search.key) for origin, pool in search.pools.items()}
    return search.fill(pools, 1)


def _most_misleading(search: Search) -> tuple[Distractor, ...]:
    """The distractors that leave the similarity solvers the least success, or the most similar ones if that is less."""
    chosen = _most_similar(search)
    if len(chosen) == search.decoys:
        return chosen
    pools = {origin: search.view.most_misleading_first(pool) for origin, pool in search.pools.items()}
    misleading = search.fill(pools, max(2, TRIED // search.count))
    # A misleading distractor may exclude others, and two of them together may mislead less than each alone.
    worse = len(misleading) < len(chosen) or search.view.success(misleading) > search.view.success(chosen)
    return chosen if worse else misleading


def _most_similar_pair(pairs: Iterator[Pair], solved: Callable[[Pair], float], seed: int) -> Pair | None:
    return next(pairs, None)


def _any_pair(pairs: Iterator[Pair], solved: Callable[[Pair], float], seed: int) -> Pair | None:
    found = list(pairs)
    if not found:
        return None
    run = found[0][0].run
    return found[stable_hash("mine", seed, run.video.entry.video_id, run.opening.hidden[0]) % len(found)]


def _least_solved_pair(pairs: Iterator[Pair], solved: Callable[[Pair], float], seed: int) -> Pair | None:
    return min(islice(pairs, PARTNERS), key=solved, default=None)


POLICIES = {
    "band": DistractorPolicy(_most_similar, _most_similar_pair),
    "random": DistractorPolicy(_any, _any_pair),
    "adversarial": DistractorPolicy(_most_misleading, _least_solved_pair),
}


def _sights(pool: Sequence[Distractor]) -> Sights:
    return sights(np.stack([d.vector for d in pool]), [d.thumbnail for d in pool])
