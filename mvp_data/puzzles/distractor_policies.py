"""The distractor policies: which scattered distractors a puzzle gets.

*Scattered* distractors are chosen one by one, unlike the consecutive frames of a decoy run (`decoys`).

To add a policy, write a class here, add it to `POLICIES`, and add its name to `MINE_ORDERS` of the configuration. A
test compares the two.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mvp_data.core.seeds import shuffled
from mvp_data.core.types import Vectors
from mvp_data.puzzles.similarity_solvers import Features, Gap, features_of, path_gains, success
from mvp_data.puzzles.types import Distractor

TRIED = 32  # candidates that `adversarial` tries for one puzzle

Pools: TypeAlias = Mapping[str, Sequence[Distractor]]  # by origin, the most similar distractor first
# Fill the puzzle from these pools: each place gets the one of the next N distractors with which the solvers do worst.
Fill: TypeAlias = Callable[[Pools, int], tuple[Distractor, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """An episode as the distractor search sees it: the hidden frames and all visible frames."""

    gap: Gap
    visible: Vectors  # of the context
    shown: tuple[bytes, ...]  # their thumbnails
    span: Vectors  # of all frames in the gap, key frames or not
    hidden: tuple[bytes, ...]  # their thumbnails

    def success(self, distractors: Sequence[Distractor]) -> float:
        """How well the similarity solvers do with these distractors, in [0, 1]."""
        return success(self.gap, self._features(distractors))

    def most_misleading_first(self, pool: Sequence[Distractor]) -> list[Distractor]:
        """The pool, sorted by how much each distractor shortens the path of the solvers."""
        if not pool:
            return []
        gains = np.round(path_gains(self.gap, self._features(pool)), 5)
        return [pool[i] for i in np.argsort(-gains, kind="stable")]

    def _features(self, distractors: Sequence[Distractor]) -> Features:
        return features_of(distractors, self.visible.shape[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """The values from which a policy chooses the scattered distractors of one episode."""

    pools: Pools
    fill: Fill
    view: View
    count: int  # distractors of the puzzle
    decoys: int  # distractors already taken from a decoy run
    key: tuple[int | str, ...]  # seed and name of the hidden segment, for random draws


class DistractorPolicy:
    """The policy `band`: the most similar first."""

    def scattered(self, search: Search) -> tuple[Distractor, ...]:
        """The distractors of a puzzle, chosen from the pools."""
        return search.fill(search.pools, 1)


class _Random(DistractorPolicy):
    """Any admissible distractors."""

    def scattered(self, search: Search) -> tuple[Distractor, ...]:
        pools = {origin: shuffled(pool, "mine", origin, *search.key) for origin, pool in search.pools.items()}
        return search.fill(pools, 1)


class _Adversarial(DistractorPolicy):
    """The distractors with which the similarity solvers do worst."""

    def scattered(self, search: Search) -> tuple[Distractor, ...]:
        chosen = search.fill(search.pools, 1)
        if len(chosen) == search.decoys:
            return chosen
        pools = {origin: search.view.most_misleading_first(pool) for origin, pool in search.pools.items()}
        misleading = search.fill(pools, max(2, TRIED // search.count))
        # A misleading distractor may exclude others, and two of them together may mislead less than each alone.
        worse = len(misleading) < len(chosen) or search.view.success(misleading) > search.view.success(chosen)
        return chosen if worse else misleading


POLICIES = {"band": DistractorPolicy(), "random": _Random(), "adversarial": _Adversarial()}
