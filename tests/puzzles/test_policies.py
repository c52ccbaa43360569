"""The policies: their names in the configuration, and the segments that each mask policy chooses and allows."""

import pytest

from mvp_data.config.options import MASK_POLICIES, MINE_ORDERS
from mvp_data.puzzles import distractor_policies, mask_policies
from mvp_data.puzzles.mask_policies import around_gap
from tests.builders import THRESHOLDS, kept_video, walk


def test_the_configuration_lists_every_policy() -> None:
    assert tuple(mask_policies.POLICIES) == MASK_POLICIES
    assert tuple(distractor_policies.POLICIES) == MINE_ORDERS


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 12, None),  # a shot of two frames, K is three
        (2, 12, ((2, 4, 6), 7)),  # five frames, three of them evenly spaced
        (3, 12, None),  # inside a shot
        (2, 6, None),  # ends too late
        (7, 12, ((7, 9, 11), 12)),  # the last shot
    ],
)
def test_whole_shot_chooses_whole_shots(start: int, end: int, expected: tuple[tuple[int, ...], int] | None) -> None:
    video = kept_video(walk(12), shots=[0] * 2 + [1] * 5 + [2] * 5)
    assert mask_policies.POLICIES["whole_shot"].choose(video, start, end, 3, THRESHOLDS) == expected


@pytest.mark.parametrize(
    ("policy", "shots", "allowed"),
    [
        ("free", [0, 0, 1, 1, 2, 2], True),
        ("within_shot", [0, 0, 0, 0, 0, 0], True),
        ("within_shot", [0, 0, 1, 1, 2, 2], False),
        ("within_shot", [0, 0, 1, 1, 0, 0], True),
        ("anchored", [0, 0, 0, 1, 1, 1], True),
    ],
)
def test_policies_allow_a_segment_by_its_shots(policy: str, shots: list[int], allowed: bool) -> None:
    video = kept_video(walk(6), shots=shots)
    assert mask_policies.POLICIES[policy].allows(video, (2, 3), (0, 1, 4, 5), THRESHOLDS) is allowed


def test_around_gap_takes_a_hidden_frame_on_a_side_without_context() -> None:
    assert around_gap((2, 3), (0, 1, 4, 5)) == (1, 4)
    assert around_gap((2, 3), (0, 1)) == (1, 3)
    assert around_gap((2, 3), (4, 5)) == (2, 4)
