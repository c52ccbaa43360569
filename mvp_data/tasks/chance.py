"""Chance levels: mean and variance of every metric when a valid answer is drawn at random.

A valid answer is an ordered choice of K different labels out of n = K + l, all equally likely. The K labels of the
right answer are the *positives*. Five counts describe an answer: **h** positives chosen, **c** concordant pairs among
them, **m** slots exactly right, **s** = 1 for the right set, **x** = 1 for the right answer. Every metric is one of
these counts, scaled and shifted. So its mean and variance follow from the means of the counts and of their products,
which all have short closed forms (docs/reward.md). They are computed in exact fractions.

Where order does not count (`select`), the chosen positives are put into their right slots before grading: then
m = h, c = h (h - 1) / 2 and x = s, so every metric is a function of h alone. K and l count labels of the answer, not
frames: K is `slots` and l is `choices - slots` of a `Question`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import comb, perm
from typing import TypeAlias

from mvp_data.core.errors import ConfigError

METRICS = ("exact", "set", "recall", "selection", "position", "order")
Affine: TypeAlias = tuple[str, Fraction, Fraction]  # count, scale, shift


@dataclass(frozen=True, kw_only=True, slots=True)
class Chance:
    """Mean and variance of one metric over all valid answers of one puzzle."""

    mean: float
    variance: float


def chance(metric: str, k: int, l: int, *, ordered: bool = True) -> Chance:  # noqa: E741 - the name of the paper
    """The chance level of one of `METRICS` on a puzzle with `k` positives and `l` distractors.

    >>> chance("exact", 4, 4).mean == 1 / (8 * 7 * 6 * 5)
    True
    >>> chance("exact", 4, 4, ordered=False).mean == 1 / 70
    True

    Raises:
        ConfigError: the metric is unknown, `k` is below 1 or `l` is below 0.
    """
    return reward_chance(k, l, {metric: 1.0}, ordered=ordered)


def reward_chance(k: int, l: int, weights: Mapping[str, float], *, ordered: bool = True) -> Chance:  # noqa: E741
    """The chance level of a weighted sum of `METRICS`; `format` is 1 for every valid answer.

    Raises:
        ConfigError: a metric is unknown, `k` is below 1 or `l` is below 0.
    """
    unknown = sorted(weights.keys() - {*METRICS, "format"})
    if unknown:
        raise ConfigError(f"unknown metric: {', '.join(unknown)}; use format, {', '.join(METRICS)}")
    if k < 1 or l < 0:
        raise ConfigError(f"a puzzle cannot have {k} positives and {l} distractors")
    moments, metrics = _moments(k, k + l, ordered=ordered), _metrics(k, l, ordered=ordered)
    mean = Fraction(weights.get("format", 0))
    scales: dict[str, Fraction] = {}
    for name, weight in weights.items():
        if name != "format":
            count, scale, shift = metrics[name]
            mean += Fraction(weight) * (scale * moments[count] + shift)
            scales[count] = scales.get(count, Fraction(0)) + Fraction(weight) * scale
    variance = sum(
        scales[a] * scales[b] * (moments["".join(sorted(a + b))] - moments[a] * moments[b])
        for a in scales
        for b in scales
    )
    return Chance(mean=float(mean), variance=float(variance))


def _metrics(k: int, l: int, *, ordered: bool) -> dict[str, Affine]:  # noqa: E741
    """Each metric as (count, scale, shift). Without pairs (K = 1) order is exact; with l = 0 selection is 0."""
    zero, one = Fraction(0), Fraction(1)
    right, placed = ("x", "m") if ordered else ("s", "h")
    return {
        "exact": (right, one, zero),
        "set": ("s", one, zero),
        "recall": ("h", Fraction(1, k), zero),
        "selection": ("h", Fraction(k + l, k * l), Fraction(-k, l)) if l else ("h", zero, zero),
        "position": (placed, Fraction(1, k), zero),
        "order": ("c", Fraction(2, k * (k - 1)), zero) if k > 1 else (right, one, zero),
    }


def _moments(k: int, n: int, *, ordered: bool) -> dict[str, Fraction]:
    """Means of the counts ("h") and of their products ("ch": E[c h], letters sorted)."""
    held = [Fraction(1, perm(n, r)) if r <= n else Fraction(0) for r in range(5)]  # P(r given labels in r given slots)
    h1, h2, h3, h4 = (perm(k, r) ** 2 * held[r] for r in range(1, 5))  # E[h (h - 1) ...], r factors: hypergeometric
    whole, right = Fraction(1, perm(n, k)), Fraction(1, comb(n, k))
    if not ordered:
        return {
            "h": h1,
            "c": h2 / 2,
            "s": right,
            "hh": h2 + h1,
            "cc": h4 / 4 + h3 + h2 / 2,  # (h (h - 1))^2 = h (h - 1) ((h - 2) (h - 3) + 4 (h - 2) + 2)
            "ss": right,
            "ch": h3 / 2 + h2,
            "hs": k * right,
            "cs": Fraction(k * (k - 1), 2) * right,
        }
    # Given h, the chosen positives are in random order: c has mean h(h-1)/4 and variance h(h-1)(2h+5)/72.
    # E[c m], summed over the slots: a right slot and a pair without it, or a pair that includes it.
    apart = Fraction(k * (k - 1) ** 2 * (k - 2) ** 2, 4) * held[3]
    within = Fraction(k * (k - 1) * (2 * k - 1), 3) * held[2]
    return {
        "h": h1,
        "c": h2 / 4,
        "m": k * held[1],
        "s": right,
        "x": whole,
        "hh": h2 + h1,
        "cc": h4 / 16 + 5 * h3 / 18 + h2 / 4,
        "mm": k * held[1] + k * (k - 1) * held[2],
        "ss": right,
        "xx": whole,
        "ch": (h3 + 2 * h2) / 4,
        "hm": k * held[1] + k * (k - 1) ** 2 * held[2],
        "cm": apart + within,
        "hs": k * right,
        "cs": Fraction(k * (k - 1), 4) * right,
        "ms": right,  # a random permutation has one fixed point on average
        "hx": k * whole,
        "cx": Fraction(k * (k - 1), 2) * whole,
        "mx": k * whole,
        "sx": whole,
    }
