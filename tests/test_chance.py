"""The closed forms against all valid answers of every puzzle with up to seven candidates."""

from fractions import Fraction
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.chance import METRICS, Chance, chance, reward_chance
from mvp_data.errors import ConfigError

SIZES = [(k, n - k) for n in range(1, 8) for k in range(1, n + 1)]


def grade(answer: tuple[int, ...], others: int) -> dict[str, Fraction]:
    """All metrics of an answer, from their words. Labels 0 .. K-1 are the positives in their order."""
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


def enumerated(k: int, others: int, weights: dict[str, Fraction]) -> Chance:
    values = []
    for answer in permutations(range(k + others), k):
        graded = grade(answer, others)
        values.append(sum(weight * graded[name] for name, weight in weights.items()))
    mean = sum(values, Fraction(0)) / len(values)
    return Chance(mean=float(mean), variance=float(sum((v - mean) ** 2 for v in values) / len(values)))


def same(a: Chance, b: Chance) -> bool:
    return (a.mean, a.variance) == pytest.approx((b.mean, b.variance), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("k", "others"), SIZES)
def test_each_metric_against_all_answers(k: int, others: int) -> None:
    graded = [grade(answer, others) for answer in permutations(range(k + others), k)]
    for metric in METRICS:
        values = [g[metric] for g in graded]
        mean = sum(values) / len(values)
        assert chance(metric, k, others) == Chance(  # to the last bit: both are one rounding of one fraction
            mean=float(mean), variance=float(sum((v - mean) ** 2 for v in values) / len(values))
        )


@pytest.mark.parametrize(("k", "others"), [size for size in SIZES if sum(size) <= 6])
def test_covariances_against_all_answers(k: int, others: int) -> None:
    graded = [grade(answer, others) for answer in permutations(range(k + others), k)]
    for a, b in combinations(METRICS, 2):
        values = [g[a] + g[b] for g in graded]
        mean = sum(values) / len(values)
        variance = float(sum((v - mean) ** 2 for v in values) / len(values))
        assert same(reward_chance(k, others, {a: 1, b: 1}), Chance(mean=float(mean), variance=variance)), (a, b)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([size for size in SIZES if sum(size) <= 6 or size in ((3, 4), (4, 3))]),
    st.dictionaries(st.sampled_from(["format", *METRICS]), st.integers(-64, 64), max_size=7),
)
def test_any_weights_against_all_answers(size: tuple[int, int], parts: dict[str, int]) -> None:
    weights = {name: part / 64 for name, part in parts.items()}
    assert same(reward_chance(*size, weights), enumerated(*size, {n: Fraction(w) for n, w in weights.items()}))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 100), st.integers(0, 100))
def test_known_values_at_any_size(k: int, others: int) -> None:
    n = k + others
    assert chance("selection", k, others).mean == 0
    assert chance("recall", k, others).mean == pytest.approx(k / n)
    assert chance("position", k, others).mean == pytest.approx(1 / n)
    assert chance("order", k, others).mean == pytest.approx(k * (k - 1) / (2 * n * (n - 1)) if k > 1 else 1 / n)
    assert all(chance(metric, k, others).variance >= 0 for metric in METRICS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("recal", 4, 4), "'recal': no metric; there are format, exact, set"),
        (("exact", 0, 4), "no puzzle has 0 positives and 4 distractors"),
        (("exact", 4, -1), "no puzzle has 4 positives and -1 distractors"),
    ],
)
def test_bad_arguments(arguments: tuple[str, int, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chance(*arguments)
