"""Ambiguous order in small tables and on synthetic videos with known truth; benchmarks/unique.py runs more of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.unique import FILMS, Counts, count_all, default_thresholds
from mvp_data.core.types import THUMBNAIL_BYTES, Vectors
from mvp_data.embedding.load import load_embedder
from mvp_data.puzzles.ambiguity import direction_evidence, loops, order_evidence, swap_evidence
from mvp_data.puzzles.corpus import KeptVideo
from mvp_data.puzzles.dedup import deduplicate
from mvp_data.puzzles.make import make_puzzles
from mvp_data.puzzles.rules import ORDER_EVIDENCE
from mvp_data.puzzles.thumbnails import BLUR_SUM, blurred, distances, middle
from tests.builders import THRESHOLDS, config, kept_video, noise, thumbnail_from, walk, with_gram
from tests.known_truth import FPS, SIZE, Asked, Film, apart
from tests.puzzles.test_rules import scene, thumbnail

SECONDS = 30
Known = list[tuple[Film, KeptVideo]]


def on_a_line(*places: float) -> KeptVideo:
    """Frames whose similarity falls with their distance on a line, by vector and by pixels."""
    angle = np.array(places) / 10
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    return kept_video(vectors, thumbnails=[scene((4 + place, 9, 3.5)) for place in places])


@pytest.mark.parametrize(
    ("places", "forwards"),
    [
        ((0, 3, 6, 9, 12), 1),
        ((0, 9, 6, 3, 12), -1),  # the run is backwards
        ((6, 3, 6, 9, 6), 0),  # from one place and back to it
        ((6, 0, 12, 3, 6), 0),
    ],
)
def test_direction_of_a_run(places: tuple[float, ...], forwards: int) -> None:
    evidence = direction_evidence(on_a_line(*places), [1, 2, 3], [0, 4], THRESHOLDS)
    if forwards:
        assert min(forwards * x for x in evidence) > 1
    else:
        assert max(evidence) <= 1


@pytest.mark.parametrize(
    ("places", "clear"),
    [
        ((0, 3, 6, 9, 12), True),
        ((0, 6, 3, 9, 12), False),  # two neighbours are exchanged
        ((0, 3, 6.1, 6, 12), False),  # so are two that hardly differ
    ],
)
def test_the_order_of_neighbours(places: tuple[float, ...], clear: bool) -> None:
    video = on_a_line(*places)
    assert (order_evidence(video, [1, 2, 3], (0, 4), THRESHOLDS) >= ORDER_EVIDENCE) == clear


def test_runs_in_each_other_s_gaps() -> None:
    video = on_a_line(0, 1, 2, 3, 6, 7, 8, 9)
    gaps = (0, 3), (4, 7)
    right, exchanged = (swap_evidence(video, runs, gaps, THRESHOLDS) for runs in (((1, 2), (5, 6)), ((5, 6), (1, 2))))
    assert min(right) > 1
    assert max(exchanged) < -1


def test_only_the_frames_next_to_the_gap_count() -> None:
    video = on_a_line(12, 0, 3, 6, 9, 12, 0)
    assert direction_evidence(video, [2, 3, 4], [0, 1, 5, 6], THRESHOLDS) == direction_evidence(
        video, [2, 3, 4], [1, 5], THRESHOLDS
    )


@given(st.integers(0, 10**6), st.integers(2, 5), st.sampled_from([(0,), (6,), (0, 6)]))
def test_a_reversed_run_has_negative_evidence(seed: int, k: int, visible: tuple[int, ...]) -> None:
    vectors, thumbnails = walk(7, seed), [noise(seed, place) for place in range(7)]
    hidden = list(range(1, 1 + k))
    reversed_places = [0, *hidden[::-1], *range(1 + k, 7)]
    forwards = direction_evidence(kept_video(vectors, thumbnails=thumbnails), hidden, visible, THRESHOLDS)
    backwards = direction_evidence(
        kept_video(vectors[reversed_places], thumbnails=[thumbnails[p] for p in reversed_places]),
        hidden,
        visible,
        THRESHOLDS,
    )
    np.testing.assert_allclose(forwards, np.negative(backwards), atol=1e-3)


@pytest.mark.parametrize(
    ("again", "found"),
    [
        ((10, 11, 12), True),
        ((12, 11, 10), True),  # backwards
        ((10, 16, 12), True),  # two of three, in order: more than half
        ((10, None, None), False),
        ((11, None, None), False),
        ((None, None, None), False),
    ],
)
def test_a_run_that_occurs_again(again: tuple[int | None, ...], found: bool) -> None:
    """The hidden frames are 3, 4 and 5. `again` names the place of a copy of each, by vector and by pixels."""
    gram, thumbnails = np.eye(18), [noise("loop", place) for place in range(18)]
    for place, twin in zip((3, 4, 5), again, strict=True):
        if twin is not None:
            gram[place, twin] = gram[twin, place] = 0.95
            thumbnails[twin] = thumbnails[place]
    assert loops(kept_video(with_gram(gram), thumbnails=thumbnails), [3, 4, 5], THRESHOLDS) == found
    other = [noise("other", place) if place > 5 else thumbnails[place] for place in range(18)]
    by_vectors = gram.copy()
    by_vectors[by_vectors == 0.95] = 0.89  # just below the threshold
    assert not loops(kept_video(with_gram(by_vectors), thumbnails=thumbnails), [3, 4, 5], THRESHOLDS)
    assert found or not loops(kept_video(with_gram(gram), thumbnails=other), [3, 4, 5], THRESHOLDS)


def test_blur_and_distance() -> None:
    dot = np.zeros((18, 32), np.uint8)
    dot[5, 7] = 16
    assert blurred(thumbnail_from(dot))[4:7, 6:9].tolist() == [[16, 32, 16], [32, 64, 32], [16, 32, 16]]
    assert int(blurred(bytes([200]) * THUMBNAIL_BYTES).max()) == 200 * BLUR_SUM
    video = kept_video(walk(3), thumbnails=[noise(0), noise(0), thumbnail_from(dot)])
    assert distances(video, [0, 1], [0, 1, 2])[:, :2].max() == 0
    assert distances(video, [0], [2]).item() > 10
    assert distances(video, [0, 1], []).shape == (2, 0)


@pytest.fixture(scope="module")
def known(tinyvit: str) -> Known:
    """One video of each kind, at one frame per second. It is not encoded, so this takes seconds."""
    embedder, found = load_embedder(tinyvit, threads=1), []
    for kind in FILMS:
        if kind == "montage":  # its order needs the rule on the number of hidden shots
            continue
        film = Film(kind=kind, seed=1, seconds=SECONDS)
        frames = [film.paint(number, *SIZE) for number in range(1, SECONDS * FPS, FPS)]
        vectors: Vectors = embedder.embed(frames)
        rows = deduplicate(vectors, default_thresholds().repeat)
        video = kept_video(
            vectors[list(rows)],
            name=film.name.removesuffix(".mp4"),
            times_s=[row + 1 / FPS for row in rows],
            thumbnails=[thumbnail(frames[row]) for row in rows],
        )
        found.append((film, video))
    return found


def test_the_known_truth_of_each_kind(known: Known) -> None:
    twins = Film(kind="twins", seed=1, seconds=SECONDS)
    for start, back in twins.planted:
        assert apart(twins.state(start), twins.state(start - back)) == 0
    assert apart(twins.state(3), twins.state(5)) > 1
    orbit = Film(kind="orbit", seed=1, seconds=SECONDS)
    rest, around = [7.0, 12.0], [8.0, 9.0, 10.0, 11.0]
    assert "reversible" in Asked.of(orbit, around, rest).ambiguities()
    assert Asked.of(orbit, around, [1.0, *rest], [2.0]).ambiguities() == {"reversible"}
    story = Film(kind="story", seed=1, seconds=SECONDS)
    assert Asked.of(story, [8, 10, 12, 14], [4, 6, 16, 18], [24]).ambiguities() == set()
    assert Asked.of(story, [8, 10, 12, 14], [4, 6, 16, 18], [10.25]).ambiguities() == {"fits_the_gap"}
    start, back = twins.planted[0]
    hidden, again = [start - 1, start, start + 2], start - back
    assert Asked.of(twins, hidden, [start - 3, again, start + 3]).ambiguities() == {"twin_context"}
    assert Asked.of(twins, hidden, [start - 3, start + 3], [again]).ambiguities() == {"twin_distractor", "fits_the_gap"}


@pytest.mark.parametrize(
    ("hidden", "before", "after", "unordered"),
    [
        ([10, 11], 8.5, 12, True),  # scenes 1 and 0 between two views of scene 2
        ([10, 11], 9.25, 12, False),  # the first one continues the shot before the gap
        ([10, 11], 8.5, 11.5, False),  # the last one continues in the shot after it
        ([5.5, 6.25, 7.25], 5, 9.25, False),  # scene 1 is on both sides, and the first one nearer to the one before
        ([6.25, 7.25, 8.5], 5.5, 9.25, False),  # one scene
    ],
)
def test_the_known_truth_of_a_montage(hidden: list[float], before: float, after: float, unordered: bool) -> None:
    film = Film(kind="montage", seed=1, seconds=SECONDS)
    scenes = {5.5: 1, 6.25: 2, 8.5: 2, 9.25: 1, 10.25: 1, 10.5: 0, 11.5: 0, 12: 2}
    assert {time_s: film.shot(time_s)[1] for time_s in scenes} == scenes
    assert ("unordered" in Asked.of(film, hidden, [before, after]).ambiguities()) == unordered


def test_no_puzzle_of_known_truth_is_ambiguous(known: Known) -> None:
    films = {video.entry.video_id: (film, video) for film, video in known}
    asked = 0
    for share in (0.0, 1.0):
        options = config(decoy_share=share, hidden_frames=3, context_frames=6, mask_policy="free")
        for puzzle in make_puzzles([video for _, video in known], options.puzzle_options, default_thresholds()).puzzles:
            film, video = films[puzzle.episode.strip.video_id]

            def time_s(frame: int, video: KeptVideo = video) -> float:
                return video.entry.frames[frame].time_s

            own = [c.frame.index for c in puzzle.candidates if c.order < 0 and c.frame.video_id == video.entry.video_id]
            truth = Asked.of(
                film,
                [time_s(f) for f in puzzle.episode.hidden],
                [time_s(f) for f in puzzle.episode.context],
                [time_s(f) for f in own],
            )
            assert truth.ambiguities() == set(), puzzle.key
            asked += 1
    assert asked >= 8


def test_planted_repeats_and_loops_are_found(known: Known) -> None:
    counts: Counts = count_all(known)
    assert counts.twins > 60
    assert counts.twins_found >= 0.99 * counts.twins
    assert sum(n for (ambiguous, _), n in counts.segments.items() if ambiguous) > 100
    assert counts.recall >= 0.99
    assert counts.different_refused < 0.4 * counts.different, "clear segments are not refused"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-4080, 4080), min_size=2, max_size=40).filter(lambda values: len(values) % 2 == 0))
def test_middle_is_the_median_rounded_towards_zero(values: list[int]) -> None:
    rows = np.array([values, values[::-1], sorted(values)], np.int16)
    assert middle(rows).tolist() == np.median(rows, axis=1, keepdims=True).astype(np.int16).tolist()
    assert middle(rows[0]).tolist() == [int(np.median(values))]
