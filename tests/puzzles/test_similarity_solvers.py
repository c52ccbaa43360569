"""The solvers of a build: against a search of all answers, on lines with known ends, and where all looks the same."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.puzzles.shortest_path import Space
from mvp_data.puzzles.similarity_solvers import Sights, graded, lures, nearest, path, sights, success
from tests.builders import rng

NONE = sights(np.empty((0, 3), np.float32), [])


def at(*places: float) -> Sights:
    """Pictures on a line, of the same distances in both spaces."""
    thumbnails = np.zeros((len(places), 576), np.float32)
    thumbnails[:, 0] = places
    return Sights(
        vectors=np.stack([places, *np.zeros((2, len(places)))], axis=1).astype(np.float32), thumbnails=thumbnails
    )


def points(count: int, *parts: str | int) -> Sights:
    random = rng("points", *parts)
    return Sights(
        vectors=random.normal(size=(count, 3)).astype(np.float32),
        thumbnails=random.integers(0, 256, size=(count, 576)).astype(np.float32),
    )


def test_sights_are_luma_row_by_row() -> None:
    seen = sights(np.zeros((2, 3), np.float32), [bytes(576), bytes([7]) * 576])
    assert seen.thumbnails.shape == (2, 576)
    assert seen.thumbnails[:, 5].tolist() == [0, 7]
    assert NONE.thumbnails.shape == (0, 576)
    with pytest.raises(ValueError, match="2 vectors and 1 thumbnails"):
        sights(np.zeros((2, 3), np.float32), [bytes(576)])


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
        ((1,), (), 0, 2, 0.0),  # nothing can be got wrong, so nothing is solved
    ],
)
def test_lines(hidden: tuple[int, ...], others: tuple[int, ...], before: int, after: int, expected: float) -> None:
    ends = [None if end is None else at(end) for end in (before, after)]
    assert success(at(*hidden), at(*others) if others else NONE, *ends) == expected


def test_only_the_frames_next_to_the_gap_count() -> None:
    hidden, others = at(1, 2, 3), at(7, 8, 9)
    assert success(hidden, others, at(9, 0), at(4, 9)) == success(hidden, others, at(0), at(4)) == 1.0
    with pytest.raises(ValueError, match="no frame before the gap and none after"):
        success(hidden, others, None, None)


def test_where_order_does_not_count() -> None:
    """The right set in the wrong order; half the right set."""
    assert success(at(3, 2, 1), at(7, 8, 9), at(0), at(4), ordered=False) == 1.0
    assert success(at(3, 2, 1), at(7, 8, 9), at(0), at(4)) < 0.5
    assert graded((0, 1, 4, 5), 4, ordered=False) == 0.0
    assert 0 < graded((0, 1, 2, 5), 4, ordered=False) < 0.3


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 3), st.sampled_from([(1, 1), (1, 0), (0, 1)]))
def test_path_and_nearest_against_a_search(seed: int, k: int, l: int, sides: tuple[int, int]) -> None:  # noqa: E741
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
def test_all_alike_is_a_guess(k: int, l: int) -> None:  # noqa: E741
    """Ties everywhere: on average over many grey puzzles the solvers earn what a random answer does."""
    same = np.zeros((k + l, 3), np.float32)
    found = []
    for grey in range(250):
        shown = sights(same, [bytes([grey]) * 576] * (k + l))
        hidden, others = (
            Sights(vectors=shown.vectors[part], thumbnails=shown.thumbnails[part]) for part in (np.s_[:k], np.s_[k:])
        )
        found.append(success(hidden, others, Sights(vectors=same[:1], thumbnails=shown.thumbnails[:1]), None))
    guesses = [graded(answer, l) for answer in permutations(range(k + l), k)]
    assert np.mean(found) == pytest.approx(np.mean(guesses), abs=4 * np.std(guesses) / 250**0.5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(0, 5), st.randoms(use_true_random=False))
def test_in_range_and_blind_to_the_order_of_distractors(seed: int, k: int, l: int, random) -> None:  # type: ignore[no-untyped-def]  # noqa: E741
    hidden, others, ends = points(k, seed, "h"), points(l, seed, "o"), points(2, seed, "e")
    before, after = (Sights(vectors=ends.vectors[i : i + 1], thumbnails=ends.thumbnails[i : i + 1]) for i in (0, 1))
    found = success(hidden, others, before, after)
    assert 0 <= found <= 1
    order = random.sample(range(l), l)
    mixed = Sights(vectors=others.vectors[order], thumbnails=others.thumbnails[order])
    assert success(hidden, mixed, before, after) == found


def test_pools_too_large_to_search() -> None:
    """Twelve of 26 have more answers than can be searched: the nearest are asked alone."""
    hidden, others = at(*range(1, 13)), at(*range(100, 114))
    assert success(hidden, others, at(0), None) == 1.0


def test_lures_shorten_the_path() -> None:
    """The path 0, 1, 9, 3, 4 goes a long way round by 9; 2 would spare it that, 50 makes every path longer."""
    found = lures(at(1, 9, 3), at(2, 50, 9), at(0), at(4))
    right = 1 + 8**2 + 6**2 + 1
    shortest = [1 + 1 + 1 + 1, 1 + 8**2 + 41**2 + 46**2, 1 + 8**2 + 0 + 5**2]  # with 2 for 9, 50 for 3, 9 for 3
    assert found == pytest.approx([2 * (right - length) / right for length in shortest])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(1, 1), (1, 0), (0, 1)]))
def test_lures_against_every_replacement(seed: int, sides: tuple[int, int]) -> None:
    hidden, others, ends = points(3, seed, "h"), points(4, seed, "o"), points(2, seed, "e")
    before, after = (
        Sights(vectors=ends.vectors[i : i + 1], thumbnails=ends.thumbnails[i : i + 1]) if sides[i] else None
        for i in (0, 1)
    )
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
    assert lures(hidden, others, before, after) == pytest.approx(expected)
