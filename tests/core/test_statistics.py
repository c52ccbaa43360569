"""Confidence intervals: levels, few degrees of freedom, and samples of a video that are not independent."""

from typing import Any

import numpy as np
import pytest

from mvp_data.core.seeds import stable_hash, unit
from mvp_data.core.statistics import group_sums, intervals, ratio_intervals

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


def test_samples_of_a_video_are_not_independent() -> None:
    """If all samples of a video share their result, intervals over samples are too narrow."""
    groups, size, trials = 20, 10, 60
    alone, together = np.arange(groups * size), np.repeat(np.arange(groups), size)
    held = {"groups": 0, "samples": 0}
    for trial in range(trials):
        luck = np.array([unit("luck", trial, g) < 0.5 for g in range(groups)], dtype=float)
        for name, codes in (("groups", together), ("samples", alone)):
            low, high = intervals(np.repeat(luck, size)[:, None], codes, trial, least=ZERO, most=ONE)
            held[name] += bool(low[0] <= 0.5 <= high[0])
    assert held["groups"] > 0.9 * trials
    assert held["samples"] < 0.6 * trials


def test_many_samples_give_the_textbook_interval() -> None:
    rng = np.random.default_rng(stable_hash("normal"))
    values = rng.uniform(0.2, 0.5, size=(3000, 1))
    low, high = intervals(values, np.arange(3000), 0, least=ZERO, most=ONE)
    half = 1.96 * values.std() / 3000**0.5
    assert (low[0], high[0]) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 10)


def test_equal_values_still_have_an_interval() -> None:
    """Twenty videos without a hit: Wilson's upper end t² / (n + t²) for t = 2.093 * sqrt(20 / 19), not 0."""
    together = np.repeat(np.arange(20), 2)
    upper = (2.093**2 * 20 / 19) / (20 + 2.093**2 * 20 / 19)
    for value, ends in ((0.0, (0, upper)), (1.0, (1 - upper, 1))):
        low, high = intervals(np.full((40, 1), value), together, 0, least=ZERO, most=ONE)
        assert (low[0], high[0]) == pytest.approx(ends, abs=1e-3)
    low, high = intervals(np.zeros((40, 1)), together, 0, least=-ONE, most=ONE)  # a difference: both signs may be
    assert low[0] == pytest.approx(-high[0])
    assert high[0] > 0.3


def test_groups_weigh_by_their_samples() -> None:
    values = np.array([[1.0], [1.0], [1.0], [0.0]])
    sums, counts = group_sums(values, np.array([0, 0, 0, 1]))
    assert sums.tolist() == [[3.0], [0.0]]
    assert counts.tolist() == [3.0, 1.0]
