"""`grade` and `grade_all` against each other and against the definitions of the metrics, for all small puzzles."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations, permutations

import numpy as np
import pytest

from mvp_data.puzzles.similarity_solvers import graded
from mvp_data.tasks.chance import chance
from mvp_data.tasks.grading import grade, grade_all, lowest, right_slots
from mvp_data.tasks.task import Question

SIZES = [(k, n - k) for n in range(1, 8) for k in range(1, n + 1)]


def answers(k: int, others: int) -> list[tuple[int, ...]]:
    """The slots of every valid answer."""
    return [tuple(c if c < k else -1 for c in chosen) for chosen in permutations(range(k + others), k)]


def defined(slots: tuple[int, ...], others: int) -> dict[str, Fraction]:
    """Every metric of an ordered answer by its definition, without rounding."""
    k, chosen = len(slots), [slot for slot in slots if slot >= 0]
    pairs = list(combinations(chosen, 2))
    exact = Fraction(slots == tuple(range(k)))
    return {
        "exact": exact,
        "set": Fraction(sorted(chosen) == list(range(k))),
        "recall": Fraction(len(chosen), k),
        "selection": Fraction(len(chosen) * (k + others) - k * k, k * others) if others else Fraction(0),
        "order": Fraction(sum(a < b for a, b in pairs) * 2, k * (k - 1)) if k > 1 else exact,
        "position": Fraction(sum(slot == place for place, slot in enumerate(slots)), k),
        "given": Fraction(sum(a < b for a, b in pairs), len(pairs)) if pairs else Fraction(0),
        "whole": Fraction(len(chosen) == k) - Fraction(not chosen),
    }


@pytest.mark.parametrize(("k", "others"), SIZES)
def test_every_answer_against_the_definitions(k: int, others: int) -> None:
    """The results are the exact values, rounded once."""
    for slots in answers(k, others):
        assert grade(slots, k + others) == {name: float(value) for name, value in defined(slots, others).items()}


@pytest.mark.parametrize(("k", "others"), SIZES)
def test_unordered_answers_get_the_grade_of_their_best_order(k: int, others: int) -> None:
    for slots in answers(k, others):
        chosen = [slot for slot in slots if slot >= 0]
        best = tuple(place if place in chosen else -1 for place in range(k))
        wanted = {name: float(value) for name, value in defined(best, others).items()}
        assert grade(slots, k + others, ordered=False) == wanted


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(("k", "others"), SIZES)
def test_grade_all_equals_grade_bit_by_bit(k: int, others: int, ordered: bool) -> None:
    every = answers(k, others)
    found = grade_all(np.array(every), k + others, ordered=ordered)
    assert all(values.shape == (len(every),) and values.dtype == np.float64 for values in found.values())
    for number, slots in enumerate(every):
        assert {name: values[number] for name, values in found.items()} == grade(slots, k + others, ordered=ordered)


def test_grade_all_of_no_answers() -> None:
    assert {values.shape for values in grade_all(np.zeros((0, 4), np.intp), 8).values()} == {(0,)}


@pytest.mark.parametrize(("k", "others"), SIZES)
def test_lowest(k: int, others: int) -> None:
    asked = Question(slots=k, choices=k + others, ordered=True)
    found = grade_all(np.array(answers(k, others)), k + others)
    for metric, values in found.items():
        assert values.min() >= lowest(metric, asked) - 1e-12
        assert values.max() <= 1
    assert found["selection"].min() == pytest.approx(lowest("selection", asked))


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(("k", "others"), [(1, 0), (1, 3), (2, 0), (2, 2), (3, 0), (3, 3), (4, 2)])
def test_the_solvers_of_a_build_are_graded_above_chance(k: int, others: int, ordered: bool) -> None:
    """The mean of the metrics that count, each scaled so that a guess scores 0, and at least 0."""
    names = (["selection"] if others else []) + (["order", "exact"] if ordered else ["set"])
    for chosen in permutations(range(k + others), k):
        values = defined(tuple(c if c < k else -1 for c in chosen), others)
        levels = {name: chance(name, k, others).mean for name in names}
        scaled = [(float(values[n]) - level) / (1 - level) for n, level in levels.items() if level < 1]
        wanted = max(0.0, sum(scaled) / len(scaled)) if scaled else 0.0
        assert graded(chosen, others, ordered=ordered) == wanted


def repairs(slots: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The answer with one more right slot, for each wrong slot; the displaced label takes the vacated slot, if any."""
    for place, slot in enumerate(slots):
        if slot != place:
            better = list(slots)
            if place in slots:
                better[slots.index(place)] = slot
            better[place] = place
            yield tuple(better)


@pytest.mark.parametrize(("k", "others"), SIZES)
def test_a_repair_never_lowers_metrics_of_labels_and_slots(k: int, others: int) -> None:
    for slots in answers(k, others):
        before = grade(slots, k + others)
        for better in repairs(slots):
            after = grade(better, k + others)
            names = ("exact", "set", "recall", "selection", "position", "whole")
            assert all(after[name] >= before[name] for name in names)
            assert after["position"] > before["position"]


def test_right_slots() -> None:
    assert right_slots(("A", "C", "F", "H"), "CAFB") == (1, 0, 2, -1)
    assert right_slots("B", ("A",)) == (-1,)
