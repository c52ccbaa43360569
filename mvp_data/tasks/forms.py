"""The forms of an answer: the hidden frames, the distractors, or the direction of time."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

from mvp_data.core.seeds import unit
from mvp_data.tasks.task import Labelled, Question


@dataclass(frozen=True, kw_only=True, slots=True)
class HiddenFrames:
    """The labels of the hidden frames, in their original order or in any order."""

    ordered: bool = True
    words: tuple[str, ...] = ()

    def question(self, k: int, l: int) -> Question:  # noqa: E741 - the name of the paper
        """K labels out of all candidates."""
        return Question(slots=k, choices=k + l, ordered=self.ordered)

    def right(self, pool: Sequence[Labelled]) -> tuple[str, ...]:
        """The hidden frames in their original order, or in alphabetical order where any order is right."""
        labels = [candidate.label for candidate in hidden_frames(pool)]
        return tuple(labels if self.ordered else sorted(labels))

    def from_chosen(self, chosen: Sequence[int], choices: int, key: str) -> tuple[int, ...]:
        """The chosen candidates themselves.

        >>> HiddenFrames().from_chosen((5, 0, 3), 8, "")
        (5, 0, 3)
        """
        return tuple(chosen)


@dataclass(frozen=True, kw_only=True, slots=True)
class Distractors:
    """The labels of the candidates that do not belong in the gap."""

    words: tuple[str, ...] = ()

    def question(self, k: int, l: int) -> Question:  # noqa: E741
        """As many labels as there are distractors."""
        return Question(slots=l, choices=k + l, ordered=True)

    def right(self, pool: Sequence[Labelled]) -> tuple[str, ...]:
        """The distractors, in alphabetical order."""
        return tuple(candidate.label for candidate in pool if candidate.order < 0)

    def from_chosen(self, chosen: Sequence[int], choices: int, key: str) -> tuple[int, ...]:
        """The candidates that were not chosen.

        >>> Distractors().from_chosen((2, 0, 1), 4, "")
        (3,)
        """
        return tuple(sorted(set(range(choices)) - set(chosen)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Direction:
    """One of two labels: A if the pool runs forwards in time, B if it runs backwards."""

    words: tuple[str, ...] = ("forwards", "backwards")

    def question(self, k: int, l: int) -> Question:  # noqa: E741
        """One label out of two for any size of the pool.

        >>> Direction().question(4, 0)
        Question(slots=1, choices=2, ordered=True)
        """
        return Question(slots=1, choices=len(self.words), ordered=True)

    def right(self, pool: Sequence[Labelled]) -> tuple[str, ...]:
        """B if the last hidden frame comes first in the pool."""
        hidden = hidden_frames(pool)
        return (string.ascii_uppercase[hidden[0].label > hidden[-1].label],)

    def from_chosen(self, chosen: Sequence[int], choices: int, key: str) -> tuple[int, ...]:
        """The direction of most pairs of the chosen candidates in the pool; a tie is decided by a draw from `key`.

        >>> Direction().from_chosen((2, 3, 1, 0), 2, "")
        (1,)
        """
        rising = sum(a < b for i, a in enumerate(chosen) for b in chosen[i + 1 :])
        lead = 2 * rising - comb(len(chosen), 2)
        return (int(lead < 0 or (lead == 0 and unit("audit", "arrow", key) < 0.5)),)


def hidden_frames(pool: Sequence[Labelled]) -> list[Labelled]:
    """The candidates from the hidden segment, in their original order."""
    return sorted((c for c in pool if c.order >= 0), key=lambda c: c.order)
