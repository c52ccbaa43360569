"""The greedy rule by table and by definition, and groups of copies and of other similar videos."""

from collections.abc import Mapping
from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.core.seeds import shuffled
from mvp_data.core.types import Vectors
from mvp_data.puzzles.dedup import Track, deduplicate, group_videos
from tests.builders import rng, walk, with_gram


def turned(*degrees: float) -> Vectors:
    """Unit vectors in a plane, at these angles."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("degrees", "kept"),
    [
        ((), ()),
        ((0,), (0,)),
        ((0, 0, 0), (0,)),
        ((0, 30, 60, 90), (0, 1, 2, 3)),  # cos 30 = .866 < .9
        # Compared with the last kept frame, not with the last frame: slow pans advance.
        ((0, 10, 20, 30, 40), (0, 3)),
        ((0, 60, 0, 60), (0, 1, 2, 3)),  # a repeat of an earlier frame is kept: the rule is local
        ((0, 25, 50, 60), (0, 2)),
        ((0, 180), (0, 1)),
    ],
)
def test_greedy_rule(degrees: tuple[float, ...], kept: tuple[int, ...]) -> None:
    assert deduplicate(turned(*degrees).reshape(-1, 2), 0.9) == kept


def test_a_similarity_at_the_threshold_is_a_repeat() -> None:
    vectors = np.array([[1, 0], [0.5, 0.75**0.5]], np.float32)
    assert deduplicate(vectors, 0.5) == (0,)
    assert deduplicate(vectors, 0.501) == (0, 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.floats(-1, 1), st.integers(0, 10**6))
def test_kept_rows_by_definition(count: int, threshold: float, seed: int) -> None:
    vectors = walk(count, "dedup", seed)
    kept = deduplicate(vectors, threshold)
    assert kept[0] == 0
    for row in range(1, count):
        last = max(k for k in kept if k < row)
        assert (row in kept) == (float(vectors[row] @ vectors[last]) < threshold)
    assert all(type(row) is int for row in kept), "hashes of NumPy integers differ"


def copy_of(vectors: Vectors, noise: float, *parts: str | int) -> Vectors:
    """A re-encode of these frames: cosines of about 1 - noise² / 2."""
    rows = vectors + noise * rng("copy", *parts).normal(size=vectors.shape) / vectors.shape[1] ** 0.5
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def group(videos: Mapping[str, Vectors]) -> dict[str, str]:
    """Groups of videos whose frames are a second apart."""
    return group_at({video: (np.arange(float(len(rows))), rows) for video, rows in videos.items()})


def group_at(videos: Mapping[str, tuple[npt.NDArray[np.float64], Vectors]]) -> dict[str, str]:
    """Groups of videos by the times and vectors of their frames."""
    tracks: dict[str, Track] = {}
    matrix = np.zeros((0, 64), np.float32)
    for video, (times_s, vectors) in videos.items():
        tracks[video] = Track(times_s=times_s, rows=range(len(matrix), len(matrix) + len(vectors)))
        matrix = np.concatenate([matrix, vectors])
    return group_videos(tracks, matrix, T)


FILM = walk(60, "film", dimension=64, step=0.9)
OTHER = walk(60, "other", dimension=64, step=0.9)
CARD = walk(1, "card", dimension=64)
T = 0.92


@pytest.mark.parametrize(
    ("copy", "joined"),
    [
        (copy_of(FILM, 0.25), True),  # a re-encode
        (copy_of(FILM[20:40], 0.25), True),  # a trim
        (FILM[::-1], False),  # the same frames, but the time offsets disagree
        (np.concatenate([OTHER, FILM[:40]]), True),  # a compilation with most of it
        (copy_of(FILM, 0.6), False),  # cosines of 0.86: similar, but not a copy
        (OTHER, False),
        (np.concatenate([CARD, FILM[:1], OTHER]), False),  # one shared frame
        (np.concatenate([FILM[:2], OTHER]), False),
        (np.concatenate([FILM[:5], OTHER]), False),  # a shared intro of a twelfth
        (np.concatenate([FILM[:13], OTHER]), False),  # of a fifth
        (np.concatenate([FILM[:30], OTHER]), True),  # half of the film
    ],
    ids=[
        "noise",
        "trim",
        "reversed",
        "part",
        "similar",
        "other",
        "card",
        "two",
        "intro",
        "long intro",
        "large part",
    ],
)
def test_copies_are_grouped_and_similar_films_are_not(copy: Vectors, joined: bool) -> None:
    for a, b in (("a", "b"), ("b", "a")):
        groups = group({a: FILM, b: copy, "c": walk(60, "third", dimension=64)})
        assert groups == {"a": "a", "b": "a" if joined else "b", "c": "c"}


def test_a_shared_logo_does_not_group_videos() -> None:
    videos = {f"v{n}": np.concatenate([CARD, walk(30, "logo", n, dimension=64, step=0.9), CARD]) for n in range(12)}
    assert group(videos) == {name: name for name in videos}


def test_groups_are_transitive_and_named_by_their_smallest_id() -> None:
    """z is the first two thirds of a video, m the last two thirds, and q a quarter that only z contains."""
    videos = {"z": FILM[:40], "m": copy_of(FILM[20:], 0.2), "q": FILM[:15], "x": OTHER}
    groups = group(videos)
    assert groups == {"z": "m", "m": "m", "q": "m", "x": "x"}


def test_many_copies_are_one_group() -> None:
    videos = {f"v{n:02d}": copy_of(FILM, 0.2, n) for n in range(70)}
    assert set(group(videos).values()) == {"v00"}


def test_videos_of_one_studio_are_not_grouped() -> None:
    """Every frame has matches in the other video, at any time offset."""
    looks = [walk(1, "look", n, dimension=64)[0] for n in range(6)]
    order = [shuffled(looks * 10, "studio", n) for n in range(2)]
    videos = {f"v{n}": copy_of(np.array(rows), 0.2, "studio", n) for n, rows in enumerate(order)}
    assert group(videos) == {"v0": "v0", "v1": "v1"}


def test_time_offsets_decide_not_positions() -> None:
    """The same video, sampled at one and at three frames per second."""
    every, third = (np.arange(60) / 3, FILM), FILM[::3]
    assert group_at({"a": every, "b": (np.arange(20.0), third)}) == {"a": "a", "b": "a"}
    assert group_at({"a": every, "b": (np.arange(20.0) * 7, third)}) == {"a": "a", "b": "b"}


def test_groups_do_not_depend_on_order() -> None:
    videos = {
        "a": FILM,
        "b": copy_of(FILM[10:40], 0.2),
        "c": OTHER,
        "d": copy_of(OTHER, 0.2),
        "e": walk(9, "e", dimension=64),
    }
    wanted = group(videos)
    assert wanted == {"a": "a", "b": "a", "c": "c", "d": "c", "e": "e"}
    for order in list(permutations(videos))[::17]:
        assert group({name: videos[name] for name in order}) == wanted


def test_small_corpora() -> None:
    nothing = np.zeros((0, 64), np.float32)
    assert group({}) == {}
    assert group({"a": FILM}) == {"a": "a"}
    assert group({"a": nothing, "b": nothing, "c": FILM}) == {"a": "a", "b": "b", "c": "c"}
    assert group({"a": FILM[:1], "b": FILM[:1]}) == {"a": "a", "b": "a"}
    three = {"a": OTHER[:1], "b": FILM[:1], "c": FILM[:1]}
    assert group(three) == {"a": "a", "b": "b", "c": "b"}, "a frame belongs to its own video"
    assert group({"a": FILM[:2], "b": FILM[1:3]}) == {"a": "a", "b": "b"}, "one shared frame is too few"


def test_with_gram_is_exact() -> None:
    vectors = with_gram([[1, 0.3], [0.3, 1]])
    assert float(vectors[0] @ vectors[1]) == pytest.approx(0.3)
