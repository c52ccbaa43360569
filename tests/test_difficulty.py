"""The two parts of the difficulty, worked out by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.corpus import Thresholds
from mvp_data.difficulty import difficulty
from tests.builders import walk, with_gram

T = Thresholds(repeat=0.9, ambiguous=0.7, scene=0.4, low=0.1)


@pytest.mark.parametrize(
    ("neighbours", "distractors", "expected"),
    [
        ((0.1, 0.1), (0.1, 0.1), 0.0),
        ((0.7, 0.7), (0.7, 0.7), 1.0),
        ((0.1, 0.1), (0.7,), 0.5),
        ((0.7, 0.7), (0.1,), 0.5),
        ((0.4, 0.25), (0.4, 0.1, 0.7), 0.4375),  # order (.5 + .25) / 2, selection (.5 + 0 + 1) / 3
        ((0.4, 0.4), (0.55,), 0.625),  # order .5, selection .75
        ((0.0, 0.0), (-1.0,), 0.0),  # below `low` is no easier than at it
        ((0.95, 0.95), (0.99,), 1.0),  # above `ambiguous` is no harder
    ],
)
def test_by_hand(neighbours: tuple[float, float], distractors: tuple[float, ...], expected: float) -> None:
    a, b = neighbours
    hidden = with_gram([[1, a, a * b], [a, 1, b], [a * b, b, 1]])
    assert difficulty(hidden, distractors, T) == pytest.approx(expected, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.floats(-1, 1), min_size=1, max_size=6), st.floats(0, 0.3))
def test_between_0_and_1_and_harder_with_more_alike_distractors(seed: int, likeness: list[float], more: float) -> None:
    hidden = walk(4, "difficulty", seed)
    easy = difficulty(hidden, likeness, T)
    hard = difficulty(hidden, [x + more for x in likeness], T)
    assert 0 <= easy <= hard <= 1
    assert easy == round(easy, 4)
