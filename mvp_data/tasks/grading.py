"""Grades answers. The reward, the audit, the solvers of a build and the quiz all use these metrics.

An answer is graded by its *slots*: for each of its labels, the slot of that label in the right answer (from 0), or -1
if the right answer does not contain it. The metrics (docs/reward.md):

* `exact`: 1 for the right answer. `set`: 1 for the right labels in any order.
* `recall`: share of the right labels that were chosen. `selection`: the same, scaled so that a guess scores 0 on
  average.
* `order`: share of all pairs of right labels that were chosen and are in the right order. `position`: share of slots
  that hold their right label. With one slot, `order` equals `exact`.
* `given`: share in the right order among the pairs of right labels that were chosen; 0 if there is no pair.
* `whole`: 1 for the right set, -1 for a set without any right label, else 0.

Where order does not count, the right labels are put into their right slots before grading.
"""

from collections.abc import Sequence
from itertools import combinations, starmap
from operator import eq, lt
from typing import TYPE_CHECKING, Any

from mvp_data.tasks.task import Question

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def right_slots(answer: Sequence[str], right: Sequence[str]) -> tuple[int, ...]:
    """For each label of an answer, its slot in the right answer, or -1.

    >>> right_slots("ACFH", "CAFB")
    (1, 0, 2, -1)
    """
    slots = {label: slot for slot, label in enumerate(right)}
    return tuple(slots.get(label, -1) for label in answer)


def grade(slots: Sequence[int], choices: int, *, ordered: bool = True) -> dict[str, float]:
    """All metrics of one answer out of `choices` labels.

    >>> scores = grade((1, 0, 2, -1), 8)
    >>> scores["recall"], scores["selection"], scores["position"], scores["whole"]
    (0.75, 0.5, 0.25, 0.0)
    """
    k = len(slots)
    hits = in_place = k - slots.count(-1)
    rising = hits * (hits - 1) // 2
    if ordered:
        in_place = sum(map(eq, slots, range(k)))
        rising = sum(starmap(lt, combinations([slot for slot in slots if slot >= 0], 2)))
    return _metrics(hits, in_place, rising, k, choices)


def grade_all(slots: "NDArray[np.intp]", choices: int, *, ordered: bool = True) -> "dict[str, NDArray[np.float64]]":
    """Grade many answers, given their `slots` [answers, k]; each metric is an array [answers]."""
    import numpy as np

    k = slots.shape[1]
    hits = in_place = (slots >= 0).sum(axis=1)
    rising = hits * (hits - 1) // 2
    if ordered:
        in_place = (slots == np.arange(k)).sum(axis=1)
        rising = np.zeros_like(hits)
        for first in range(k):
            earlier = slots[:, [first]]
            rising += ((earlier >= 0) & (earlier < slots[:, first + 1 :])).sum(axis=1)
    return _metrics(hits, in_place, rising, k, choices)


def _metrics(hits: Any, in_place: Any, rising: Any, k: int, choices: int) -> dict[str, Any]:
    """The metrics of these counts, which are integers or arrays of integers.

    `hits` are right labels, `in_place` labels in their right slot, `rising` pairs of right labels in the right order.
    """
    others = choices - k
    exact, pairs = (in_place == k) * 1.0, hits * (hits - 1) / 2
    return {
        "exact": exact,
        "set": (hits == k) * 1.0,
        "recall": hits / k,
        "selection": (hits * choices - k * k) / (k * others) if others else hits * 0.0,
        "order": rising / (k * (k - 1) / 2) if k > 1 else exact,
        "position": in_place / k,
        "given": rising / (pairs + (pairs == 0)),  # without a pair, 0 / 1
        "whole": (hits == k) * 1.0 - (hits == 0),
    }


def lowest(metric: str, asked: Question) -> float:
    """The lowest possible score of a metric; the highest is 1 for all of them.

    >>> lowest("selection", Question(slots=4, choices=6, ordered=True))
    -0.5
    """
    k, others = asked.slots, asked.choices - asked.slots
    if metric == "whole":
        return -1.0
    return -min(k / others, others / k) if metric == "selection" and others else 0.0
