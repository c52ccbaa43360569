"""The closed forms against all valid answers of every puzzle with up to seven candidates, in order and in any order."""

from fractions import Fraction
from functools import cache
from itertools import combinations, permutations
from math import comb, perm

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.core.errors import ConfigError
from mvp_data.tasks.catalogue import TASKS
from mvp_data.tasks.chance import METRICS, Chance, chance, reward_chance

SIZES = [(k, n - k) for n in range(1, 8) for k in range(1, n + 1)]


def grade(answer: tuple[int, ...], others: int) -> dict[str, Fraction]:
    """All metrics of an answer, by their definitions. Labels 0 .. K-1 are the positives in their order."""
    k = len(answer)
    chosen = [label for label in answer if label < k]
    pairs = [(a, b) for a, b in combinations(answer, 2) if a < k and b < k]
    exact = answer == tuple(range(k))
    return {
        "format": Fraction(1),
        "exact": Fraction(exact),
        "set": Fraction(set(answer) == set(range(k))),
        "recall": Fraction(len(chosen), k),
        "selection": Fraction(len(chosen) * (k + others) - k * k, k * others) if others else Fraction(0),
        "position": Fraction(sum(label == slot for slot, label in enumerate(answer)), k),
        "order": Fraction(sum(a < b for a, b in pairs), k * (k - 1) // 2) if k > 1 else Fraction(exact),
    }


@cache
def all_graded(k: int, others: int, ordered: bool) -> list[dict[str, Fraction]]:
    """The metrics of every valid answer. Without order, each metric is that of the best order of the labels."""
    if ordered:
        return [grade(answer, others) for answer in permutations(range(k + others), k)]
    found = []
    for labels in combinations(range(k + others), k):
        orders = [grade(answer, others) for answer in permutations(labels)]
        found.append({name: max(graded[name] for graded in orders) for name in orders[0]})
    return found


def enumerated(k: int, others: int, weights: dict[str, Fraction], *, ordered: bool) -> Chance:
    """The exact mean and variance, rounded once."""
    values = [
        sum((weight * graded[name] for name, weight in weights.items()), Fraction(0))
        for graded in all_graded(k, others, ordered)
    ]
    mean = sum(values, Fraction(0)) / len(values)
    return Chance(mean=float(mean), variance=float(sum((v - mean) ** 2 for v in values) / len(values)))


def same(a: Chance, b: Chance) -> bool:
    return (a.mean, a.variance) == pytest.approx((b.mean, b.variance), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(("k", "others"), SIZES)
def test_each_metric_against_all_answers(k: int, others: int, ordered: bool) -> None:
    for metric in METRICS:
        wanted = enumerated(k, others, {metric: Fraction(1)}, ordered=ordered)
        assert chance(metric, k, others, ordered=ordered) == wanted, metric


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(("k", "others"), SIZES)
def test_the_shipped_reward_against_all_answers(k: int, others: int, ordered: bool) -> None:
    weights = {"format": 0.2, "selection": 0.2, "order": 0.1, "position": 0.25, "exact": 0.25}
    wanted = enumerated(k, others, {name: Fraction(weight) for name, weight in weights.items()}, ordered=ordered)
    assert reward_chance(k, others, weights, ordered=ordered) == wanted


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(("k", "others"), [size for size in SIZES if sum(size) <= 6])
def test_covariances_against_all_answers(k: int, others: int, ordered: bool) -> None:
    for a, b in combinations(METRICS, 2):
        wanted = enumerated(k, others, {a: Fraction(1), b: Fraction(1)}, ordered=ordered)
        assert same(reward_chance(k, others, {a: 1, b: 1}, ordered=ordered), wanted), (a, b)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([size for size in SIZES if sum(size) <= 6 or size in ((3, 4), (4, 3))]),
    st.dictionaries(st.sampled_from(["format", *METRICS]), st.integers(-64, 64), max_size=7),
    st.booleans(),
)
def test_any_weights_against_all_answers(size: tuple[int, int], parts: dict[str, int], ordered: bool) -> None:
    weights = {name: part / 64 for name, part in parts.items()}
    wanted = enumerated(*size, {n: Fraction(w) for n, w in weights.items()}, ordered=ordered)
    assert same(reward_chance(*size, weights, ordered=ordered), wanted)


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_the_chance_of_its_question(task: str) -> None:
    asked = TASKS[task].question(4, TASKS[task].pool_size(4))
    level = chance("exact", asked.slots, asked.choices - asked.slots, ordered=asked.ordered)
    assert level.mean == 1 / (perm if asked.ordered else comb)(asked.choices, asked.slots)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 100), st.integers(0, 100))
def test_known_values_at_any_size(k: int, others: int) -> None:
    n = k + others
    assert chance("selection", k, others).mean == 0
    assert chance("recall", k, others).mean == pytest.approx(k / n)
    assert chance("position", k, others).mean == pytest.approx(1 / n)
    assert chance("order", k, others).mean == pytest.approx(k * (k - 1) / (2 * n * (n - 1)) if k > 1 else 1 / n)
    assert all(
        chance(metric, k, others, ordered=ordered).variance >= 0 for metric in METRICS for ordered in (True, False)
    )
    assert chance("position", k, others, ordered=False) == chance("recall", k, others)
    assert chance("exact", k, others, ordered=False) == chance("set", k, others)
    order = (k - 1) / (n - 1) * k / n if k > 1 else 1 / n  # a pair of the answer is chosen
    assert chance("order", k, others, ordered=False).mean == pytest.approx(order)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("recal", 4, 4), "unknown metric: recal; use format, exact, set"),
        (("exact", 0, 4), "a puzzle cannot have 0 positives and 4 distractors"),
        (("exact", 4, -1), "a puzzle cannot have 4 positives and -1 distractors"),
    ],
)
def test_bad_arguments(arguments: tuple[str, int, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chance(*arguments)
