"""Confidence intervals at levels other than 95 % and with few degrees of freedom; the trainer tests the others."""

from typing import Any

import numpy as np
import pytest

from mvp_data.core.seeds import stable_hash
from mvp_data.core.statistics import intervals, ratio_intervals

ZERO, ONE = np.zeros(1), np.ones(1)


def bounds(values: "np.ndarray[Any, Any]", seed: int, levels: tuple[float, ...]) -> list[tuple[float, float]]:
    """Both ends of the interval of the mean at each level."""
    found = ratio_intervals(values, np.ones_like(values), seed, least=ZERO, most=ONE, levels=levels)
    return [(float(low[0]), float(high[0])) for low, high in found]


@pytest.mark.parametrize("groups", [2, 3, 4, 5, 6, 50, 2000])
def test_a_higher_level_is_wider(groups: int) -> None:
    values = np.random.default_rng(stable_hash("width", groups)).uniform(size=(groups, 1))
    widths = [high - low for low, high in bounds(values, 0, (0.5, 0.9, 0.95, 0.99, 0.999))]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


@pytest.mark.parametrize(
    ("groups", "level", "t"),
    [  # two-sided points of Student's t from printed tables
        (2, 0.95, 12.706),
        (3, 0.99, 9.925),
        (4, 0.999, 12.924),
        (5, 0.99, 4.604),
        (5, 0.999, 8.610),
        (6, 0.99, 4.032),
        (11, 0.99, 3.169),
        (31, 0.999, 3.646),
    ],
)
def test_no_hit_gives_the_upper_end_of_the_score_interval(groups: int, level: float, t: float) -> None:
    """t² / (n + t²), with t for n - 1 degrees of freedom, widened by n / (n - 1)."""
    square = t**2 * groups / (groups - 1)
    low, high = intervals(np.zeros((groups, 1)), np.arange(groups), 0, least=ZERO, most=ONE, level=level)
    assert low[0] == 0
    assert high[0] == pytest.approx(square / (groups + square), rel=0.02)


def test_coverage_equals_the_level() -> None:
    levels, trials = (0.8, 0.99), 300
    held = [0, 0]
    for trial in range(trials):
        values = np.random.default_rng(stable_hash("coverage", trial)).uniform(size=(30, 1))
        for i, (low, high) in enumerate(bounds(values, trial, levels)):
            held[i] += low <= 0.5 <= high
    assert [count / trials for count in held] == pytest.approx(levels, abs=0.05)
