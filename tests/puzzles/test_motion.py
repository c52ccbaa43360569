"""Clear motion on pairs of rendered frames whose truth is known; benchmarks/motion.py runs more of them, encoded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.core.types import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX
from mvp_data.puzzles.motion import clearly_moves
from tests.builders import noise
from tests.people import FIXED, STILL, Moment, Stage, View
from tests.puzzles.test_rules import thumbnail

SEEDS = range(8)


def moves(stage: Stage, moment: Moment = STILL, view: View = FIXED, *, grain: float = 4.0) -> bool:
    """Whether somebody moves from the first moment of a stage to this one, as the judge sees it."""
    first, second = stage.picture(noise=grain), stage.picture(moment, view, noise=grain, frame=1)
    found = clearly_moves(thumbnail(first), thumbnail(second))
    assert found == clearly_moves(thumbnail(second), thumbnail(first))
    return found


def count(height: float, moment: Moment, view: View = FIXED, *, people: int = 2, grain: float = 4.0) -> int:
    """The number of stages on which somebody moves, of 8."""
    stages = [Stage(seed=seed, people=people, height=height) for seed in SEEDS]
    return sum(moves(stage, moment, view, grain=grain) for stage in stages)


@pytest.mark.parametrize(
    ("height", "step", "least"), [(0.3, 0.05, 8), (0.3, 0.2, 8), (0.2, 0.05, 7), (0.2, 0.2, 7), (0.12, 0.1, 4)]
)
def test_people_who_walk_before_a_fixed_camera(height: float, step: float, least: int) -> None:
    assert count(height, Moment(step=step, stride=0.4)) >= least


def test_people_who_walk_before_a_hand_held_camera() -> None:
    assert count(0.3, Moment(step=0.1, stride=0.4), View(x=0.012, y=-0.01, roll_deg=0.3)) >= 6


@pytest.mark.parametrize(
    "view",
    [
        FIXED,
        View(x=0.01, y=0.01),
        View(x=-0.02, y=0.01, roll_deg=0.4),
        View(x=0.03, y=-0.03, roll_deg=-0.6),
        View(x=0.1),
        View(x=0.1, depth=0.3),
        View(zoom=1.02),
        View(zoom=1.1, x=0.01),
        View(gain=0.7),
        View(gain=1.3),
        View(lamp=40),
        View(blur_px=2.5),
        View(x=0.01, gain=1.1, zoom=1.02, blur_px=1),
    ],
    ids=str,
)
def test_camera_and_light_do_not_count(view: View) -> None:
    assert count(0.2, STILL, view, people=3) == 0


@pytest.mark.parametrize("grain", [0, 10, 25])
def test_noise_does_not_count(grain: float) -> None:
    assert count(0.2, STILL, grain=grain) == 0


def test_another_picture_is_not_motion() -> None:
    pairs = [(thumbnail(Stage(seed=s).picture()), thumbnail(Stage(seed=s + 100).picture())) for s in SEEDS]
    assert not any(clearly_moves(*pair) for pair in pairs)
    assert not clearly_moves(noise(1), noise(2))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 1000))
def test_flat_and_extreme_frames(first: int, second: int, seed: int) -> None:
    flat = [bytes([level]) * (THUMBNAIL_WIDTH_PX * THUMBNAIL_HEIGHT_PX) for level in (first, second)]
    assert not clearly_moves(*flat)
    dots = np.random.default_rng(seed).random(THUMBNAIL_WIDTH_PX * THUMBNAIL_HEIGHT_PX) < 0.01
    salted = np.where(dots, 255, np.frombuffer(flat[0], np.uint8)).astype(np.uint8).tobytes()
    assert clearly_moves(flat[0], salted) == clearly_moves(salted, flat[0])
