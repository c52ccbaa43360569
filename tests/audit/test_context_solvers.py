"""The solvers that use the whole context, on frames that are points on a line."""

import numpy as np
import pytest

from mvp_data.audit import context_solvers as solvers
from mvp_data.audit.distances import Distances, distances

# A strip of 20 frames: context, run A (4 to 7), two bridge frames, run B (10 to 13), context.
A, B = [4, 5, 6, 7], [10, 11, 12, 13]
CONTEXT = [0, 1, 2, 3, 8, 9, 14, 15, 16, 17, 18, 19]
POOL = [12, 5, 7, 10, 4, 13, 11, 6]


def strip(at: int, pool: list[int] = POOL, context: list[int] = CONTEXT) -> Distances:
    """The frames with their gap after `at` context frames; frames next to each other have the distance 1."""
    return distances(np.array([*pool, *context], float)[:, None], len(pool), at)


def frames(answer: tuple[int, ...], pool: list[int] = POOL) -> list[int]:
    return [pool[place] for place in answer]


def test_the_joint_fit_solves_both_twins() -> None:
    assert frames(solvers.joint(strip(4))) == A
    assert frames(solvers.joint(strip(6))) == B


def test_gap_blind_solvers_give_both_twins_the_same_answer() -> None:
    for solve in (solvers.split_runs, lambda found: solvers.context_bag(found, 4)):
        assert solve(strip(4)) == solve(strip(6))
    assert frames(solvers.split_runs(strip(4))) == A
    assert [frames(run) for run in solvers.two_runs(strip(6))] == [A, B]


def test_the_bag_takes_the_candidates_nearest_to_any_context_frame() -> None:
    pool = [30, 40, 50, 60, 70, 3, 1, 19]
    bag = solvers.context_bag(strip(4, pool), 4)
    assert sorted(frames(bag, pool)) == [1, 3, 19, 30]
    assert sorted(frames(solvers.other_bag(strip(4, pool), 4), pool)) == [40, 50, 60, 70]


def test_the_rest_of_one_side_is_the_answer() -> None:
    assert frames(solvers.one_side(strip(4), 4)) == A
    assert frames(solvers.one_side(strip(6), 4)) == B


@pytest.mark.parametrize("at", [0, 12])
def test_a_gap_at_an_edge(at: int) -> None:
    for answer in (solvers.one_side(strip(at), 4), solvers.joint(strip(at)), solvers.colours(strip(at), 4)):
        assert len(set(answer)) == 4


def test_two_context_frames_leave_no_place_for_the_other_run() -> None:
    found = strip(1, [2, 3, 20, 21], [1, 4])
    assert frames(solvers.joint(found), [2, 3, 20, 21]) == [2, 3]
    assert len(solvers.split_runs(found)) == 2


def test_colours_compare_with_the_four_frames_around_the_gap() -> None:
    pool, context = [30, 31, 5, 6], [4, 5, 7, 8, 90, 29, 32]
    assert frames(solvers.colours(strip(2, pool, context), 2), pool) == [5, 6]
    assert frames(solvers.colours(strip(6, pool, context), 2), pool) == [30, 31]


def test_an_inverted_solver_takes_the_rest() -> None:
    found = strip(4)
    answer = solvers.joint(found)
    assert sorted(frames(solvers.inverted(found, answer))) == B
    assert sorted(solvers.rest(found, answer) + list(answer)) == list(range(8))
