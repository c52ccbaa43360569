"""The similarity solvers: against a search of all answers, on points of a line, and on identical frames."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.core.types import THUMBNAIL_BYTES
from mvp_data.puzzles.shortest_path import Space
from mvp_data.puzzles.similarity_solvers import (
    Features,
    Gap,
    features,
    gap_of,
    graded,
    nearest,
    path,
    path_gains,
    success,
)
from mvp_data.puzzles.thumbnails import coarse
from mvp_data.puzzles.types import Episode, Strip
from tests.builders import kept_video, rng

NONE = features(np.empty((0, 3), np.float32), [])


def at(*places: float) -> Features:
    """Frames on a line, with the same distances in both spaces."""
    thumbnails = np.zeros((len(places), 576), np.float32)
    thumbnails[:, 0] = places
    return Features(
        vectors=np.stack([places, *np.zeros((2, len(places)))], axis=1).astype(np.float32), thumbnails=thumbnails
    )


def gap(hidden: Features, before: Features | None, after: Features | None) -> Gap:
    return Gap(hidden=hidden, before=before, after=after)


def rows(seen: Features, places: slice | list[int]) -> Features:
    return Features(vectors=seen.vectors[places], thumbnails=seen.thumbnails[places])


def points(count: int, *parts: str | int) -> Features:
    random = rng("points", *parts)
    return Features(
        vectors=random.normal(size=(count, 3)).astype(np.float32),
        thumbnails=random.integers(0, 256, size=(count, 576)).astype(np.float32),
    )


def test_features_are_luma_row_by_row() -> None:
    seen = features(np.zeros((2, 3), np.float32), [bytes(THUMBNAIL_BYTES), bytes([7]) * THUMBNAIL_BYTES])
    assert seen.thumbnails.shape == (2, 576)
    assert seen.thumbnails[:, 5].tolist() == [0, 7]
    assert NONE.thumbnails.shape == (0, 576)
    with pytest.raises(ValueError, match="2 vectors and 1 thumbnails"):
        features(np.zeros((2, 3), np.float32), [bytes(THUMBNAIL_BYTES)])


@pytest.mark.parametrize(
    ("hidden", "others", "before", "after", "expected"),
    [
        ((1, 2, 3, 4), (50, 60, 70, 80), 0, 5, 1.0),  # a smooth run, and nothing else near
        ((1, 2, 3, 4), (), 0, 5, 1.0),
        ((1, 2, 3, 4), (), 0, None, 1.0),
        ((1, 2, 3, 4), (), None, 5, 1.0),
        ((4, 3, 2, 1), (), 0, 5, 0.0),  # as smooth, the wrong way
        ((50, 60, 70, 80), (1, 2, 3, 4), 0, 5, 0.0),  # the distractors are the smooth run
        ((1,), (9,), 0, 2, 1.0),
        ((9,), (1,), 0, 2, 0.0),
        ((1,), (), 0, 2, 0.0),  # every answer is right, so nothing is solved
    ],
)
def test_points_on_a_line(
    hidden: tuple[int, ...], others: tuple[int, ...], before: int, after: int, expected: float
) -> None:
    ends = [None if end is None else at(end) for end in (before, after)]
    assert success(gap(at(*hidden), *ends), at(*others) if others else NONE) == expected


def test_a_gap_without_context_is_refused() -> None:
    with pytest.raises(ValueError, match="no frame before the gap and none after"):
        gap(at(1, 2, 3), None, None)


def test_only_the_frames_next_to_the_gap_count() -> None:
    video = kept_video(np.eye(12, 16, dtype=np.float32))
    strip = Strip(video_id="v0", frames=video.kept, shots=video.shots)
    found = gap_of(video, Episode(strip=strip, mask_start=4, k=3))
    assert found.before is not None
    assert found.after is not None
    parts = (found.before, found.hidden, found.after)
    assert [part.vectors.argmax(axis=1).tolist() for part in parts] == [[3], [4, 5, 6], [7]]
    assert bytes(found.after.thumbnails.astype(np.uint8)) == coarse([video.thumbnail(7)]).tobytes()
    assert gap_of(video, Episode(strip=strip, mask_start=0, k=3)).before is None
    assert gap_of(video, Episode(strip=strip, mask_start=9, k=3)).after is None


def test_success_without_order() -> None:
    assert success(gap(at(3, 2, 1), at(0), at(4)), at(7, 8, 9), ordered=False) == 1.0
    assert success(gap(at(3, 2, 1), at(0), at(4)), at(7, 8, 9)) < 0.5
    assert graded((0, 1, 4, 5), 4, ordered=False) == 0.0
    assert 0 < graded((0, 1, 2, 5), 4, ordered=False) < 0.3


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 3), st.sampled_from([(1, 1), (1, 0), (0, 1)]))
def test_path_and_nearest_against_all_answers(seed: int, k: int, l: int, sides: tuple[int, int]) -> None:  # noqa: E741
    distance = rng("search", seed).random((k + l + 2, k + l + 2))
    distance += distance.T
    n = k + l
    before, after = (distance[n + end, :n] if sides[end] else None for end in (0, 1))
    space = Space(pool=distance[:n, :n], before=before, after=after)

    def cost(answer: tuple[int, ...]) -> float:
        ends = (before[answer[0]] if before is not None else 0) + (after[answer[-1]] if after is not None else 0)
        return float(ends + sum(distance[a, b] for a, b in pairwise(answer)))

    assert cost(path(space, k)) == pytest.approx(min(cost(answer) for answer in permutations(range(n), k)))
    near = np.minimum.reduce([end for end in (before, after) if end is not None])
    chain = nearest(space, k) if before is not None else nearest(space, k)[::-1]
    assert set(chain) == set(np.argsort(near)[:k])
    assert chain[0] == min(chain, key=lambda i: (before if before is not None else after)[i])
    for step, place in enumerate(chain[:-1]):
        assert chain[step + 1] == min(chain[step + 1 :], key=lambda i: distance[place, i])


@pytest.mark.parametrize(("k", "l"), [(3, 0), (3, 3), (2, 4)])
def test_on_identical_frames_the_solvers_score_chance(k: int, l: int) -> None:  # noqa: E741
    same = np.zeros((k + l, 3), np.float32)
    found = []
    for grey in range(250):
        shown = features(same, [bytes([grey]) * THUMBNAIL_BYTES] * (k + l))
        found.append(success(gap(rows(shown, np.s_[:k]), rows(shown, np.s_[:1]), None), rows(shown, np.s_[k:])))
    guesses = [graded(answer, l) for answer in permutations(range(k + l), k)]
    assert np.mean(found) == pytest.approx(np.mean(guesses), abs=4 * np.std(guesses) / 250**0.5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(0, 5), st.randoms(use_true_random=False))
def test_success_is_in_range_and_ignores_the_order_of_distractors(seed: int, k: int, l: int, random) -> None:  # type: ignore[no-untyped-def]  # noqa: E741
    hidden, others, ends = points(k, seed, "h"), points(l, seed, "o"), points(2, seed, "e")
    puzzle = gap(hidden, rows(ends, [0]), rows(ends, [1]))
    found = success(puzzle, others)
    assert 0 <= found <= 1
    assert success(puzzle, rows(others, random.sample(range(l), l))) == found


def test_large_pools_use_the_nearest_alone() -> None:
    """Twelve of 26 have too many answers to search for a path."""
    hidden, others = at(*range(1, 13)), at(*range(100, 114))
    assert success(gap(hidden, at(0), None), others) == 1.0


def test_path_gains_on_a_line() -> None:
    """In the path 0, 1, 9, 3, 4 the candidate 2 in place of 9 shortens it; 50 lengthens it in any place."""
    found = path_gains(gap(at(1, 9, 3), at(0), at(4)), at(2, 50, 9))
    right = 1 + 8**2 + 6**2 + 1
    shortest = [1 + 1 + 1 + 1, 1 + 8**2 + 41**2 + 46**2, 1 + 8**2 + 0 + 5**2]  # with 2 for 9, 50 for 3, 9 for 3
    assert found == pytest.approx([2 * (right - length) / right for length in shortest])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(1, 1), (1, 0), (0, 1)]))
def test_path_gains_against_every_replacement(seed: int, sides: tuple[int, int]) -> None:
    hidden, others, ends = points(3, seed, "h"), points(4, seed, "o"), points(2, seed, "e")
    before, after = (rows(ends, [i]) if sides[i] else None for i in (0, 1))
    expected = np.zeros(4)
    for name in ("vectors", "thumbnails"):
        chain = [getattr(part, name) for part in (before, hidden, after) if part is not None]
        right = np.concatenate(chain).astype(np.float64)
        for number, other in enumerate(getattr(others, name)):
            lengths = []
            for place in range(sides[0], sides[0] + 3):
                changed = right.copy()
                changed[place] = other
                lengths.append((np.diff(changed, axis=0) ** 2).sum())
            whole = (np.diff(right, axis=0) ** 2).sum()
            expected[number] += (whole - min(lengths)) / whole
    assert path_gains(gap(hidden, before, after), others) == pytest.approx(expected)
