"""What the trainer's tests of the same statistics leave out: other levels than 95 %, and few degrees of freedom."""

import numpy as np
import pytest

from mvp_data.core.seeds import stable_hash
from mvp_data.core.statistics import intervals

ZERO, ONE = np.zeros(1), np.ones(1)


def width(groups: int, level: float) -> float:
    values = np.random.default_rng(stable_hash("width", groups)).uniform(size=(groups, 1))
    low, high = intervals(values, np.arange(groups), 0, least=ZERO, most=ONE, level=level)
    return float(high[0] - low[0])


@pytest.mark.parametrize("groups", [2, 3, 4, 5, 6, 50, 2000])
def test_a_higher_level_is_wider(groups: int) -> None:
    widths = [width(groups, level) for level in (0.5, 0.9, 0.95, 0.99, 0.999)]
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
def test_no_hit_gives_wilsons_upper_end(groups: int, level: float, t: float) -> None:
    """t² / (n + t²), with t for n - 1 degrees of freedom, widened by n / (n - 1)."""
    square = t**2 * groups / (groups - 1)
    low, high = intervals(np.zeros((groups, 1)), np.arange(groups), 0, least=ZERO, most=ONE, level=level)
    assert low[0] == 0
    assert high[0] == pytest.approx(square / (groups + square), rel=0.02)


def test_coverage_at_the_level_asked_for() -> None:
    for level in (0.8, 0.99):
        held = 0
        for trial in range(300):
            values = np.random.default_rng(stable_hash("coverage", trial)).uniform(size=(30, 1))
            low, high = intervals(values, np.arange(30), trial, least=ZERO, most=ONE, level=level)
            held += bool(low[0] <= 0.5 <= high[0])
        assert held / 300 == pytest.approx(level, abs=0.05)
