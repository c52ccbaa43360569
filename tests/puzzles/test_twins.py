"""Same-strip twins on made-up videos: one context, one pool, and two gaps that each fit one run alone."""

from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.config.options import MaskConfig
from mvp_data.core.seeds import shuffled
from mvp_data.puzzles.ambiguity import swap_evidence
from mvp_data.puzzles.corpus import KeptVideo
from mvp_data.puzzles.decoys import SWAP_EVIDENCE, Pair
from mvp_data.puzzles.likeness import alike_in
from mvp_data.puzzles.make import PuzzleSet, make_puzzles
from mvp_data.puzzles.rules import refuse
from mvp_data.puzzles.twins import BRIDGES, _Option, best_disjoint, twins_within
from mvp_data.puzzles.types import Episode
from tests.builders import THRESHOLDS, config, films, kept_video, noise, rng, walk

K = 3
SMALL: dict[str, Any] = {"hidden_frames": K, "distractors": K, "context_frames": 6}
MASK = MaskConfig(hidden_frames=K, context_frames=8, reversible="keep")


def made_up(number: int) -> KeptVideo:
    """Frames that recur some places later by vector or by pixels, in shots of a random length.

    In every third video no frame is similar to another one, so that little shows which run belongs where.
    """
    random, count = rng("twins", number), 50
    vectors = walk(count, "twins", number, step=4.0 if number % 3 == 0 else 0.45)
    thumbnails = [noise("twins", number, place) for place in range(count)]
    for place in random.integers(0, count - 12, 8).tolist():
        copy = place + int(random.integers(2, 12))
        if number % 2:
            vectors[copy] = vectors[place]
        else:
            thumbnails[copy] = thumbnails[place]
    shots = (random.random(count) < 0.08).cumsum().tolist()
    return kept_video(vectors, name=f"v{number}", thumbnails=thumbnails, shots=shots)


VIDEOS = [made_up(number) for number in range(6)]


def twins_of(video: KeptVideo, mask: MaskConfig = MASK, **changed: Any) -> list[Pair]:
    return twins_within(video, mask, THRESHOLDS, lambda pair: 0.0, lambda place: "mvp", **{"seed": 0, **changed})


@pytest.fixture(scope="module")
def found() -> list[tuple[KeptVideo, Pair]]:
    pairs = [(video, pair) for video in VIDEOS for pair in twins_of(video, replace(MASK, frame_reuse=3))]
    assert len(pairs) > 30
    return pairs


def test_only_the_gap_moves(found: list[tuple[KeptVideo, Pair]]) -> None:
    bridges = Counter()
    for _, (first, second) in found:
        one, other = first.episode, second.episode
        assert one.context == other.context
        assert (first.other, second.other) == (second.run, first.run)
        assert (first.run.segment.hidden, second.run.segment.hidden) == (one.hidden, other.hidden)
        assert first.twins
        assert second.twins
        bridge = one.context[one.mask_start : other.mask_start]
        bridges[len(bridge)] += 1
        assert one.hidden[-1] < bridge[0] <= bridge[-1] < other.hidden[0]
        assert min(one.mask_start, len(one.context) - other.mask_start) >= 2, "visible frames on both sides"
        assert len(one.context) == MASK.context_frames
    assert set(bridges) == set(BRIDGES)


def test_each_run_fits_its_own_gap_alone(found: list[tuple[KeptVideo, Pair]]) -> None:
    for video, pair in found:
        runs = pair[0].run.places, pair[1].run.places
        visible = video.rows(pair[0].episode.context)
        assert not any(alike_in(video, h, v, THRESHOLDS.repeat) for h in (*runs[0], *runs[1]) for v in visible)
        gaps = [around(video, half.episode) for half in pair]
        for run, (before, after) in zip(runs[::-1], gaps, strict=True):
            inside = range(before + 1, after)
            assert not any(alike_in(video, h, place, THRESHOLDS.distinct) for h in run for place in inside)
        assert max(swap_evidence(video, runs, (gaps[0], gaps[1]), THRESHOLDS)) >= SWAP_EVIDENCE
        assert [refuse(video, run, visible, MASK, THRESHOLDS) for run in runs] == [None, None]


def around(video: KeptVideo, episode: Episode) -> tuple[int, int]:
    assert episode.before is not None
    assert episode.after is not None
    return video.kept.index(episode.before), video.kept.index(episode.after)


@pytest.mark.parametrize(("split", "reuse", "most"), [("train", 1, 1), ("train", 3, 3), ("val", 3, 1)])
def test_a_frame_is_hidden_in_few_pairs(split: str, reuse: int, most: int) -> None:
    highest = 0
    for video in VIDEOS[1:3]:
        pairs = twins_of(replace(video, split=split), replace(MASK, frame_reuse=reuse))
        spans = [range(a.episode.hidden[0], b.episode.hidden[-1] + 1) for a, b in pairs]
        highest = max([highest, *Counter(frame for span in spans for frame in span).values()])
        first = [half.episode.hidden[0] for pair in pairs for half in pair]
        assert len(set(first)) == len(first), "the first hidden frame names the sample"
    assert highest == most


def test_hard_pairs_are_preferred() -> None:
    """`solved` is 1 for pairs with one number of bridge frames and 0 for the others."""

    def bridge(pair: Pair) -> int:
        return pair[1].episode.mask_start - pair[0].episode.mask_start

    for easy in BRIDGES:
        args = MASK, THRESHOLDS, lambda pair, easy=easy: float(bridge(pair) == easy), lambda place: "mvp"
        pairs = [bridge(pair) for video in VIDEOS[1:3] for pair in twins_within(video, *args, seed=0)]
        assert pairs.count(easy) < len(pairs) / 4


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6), st.integers(1, 30)), max_size=9))
def test_the_best_disjoint_options(made: list[tuple[int, int, int]]) -> None:
    options = [_Option(pair=None, first=a, last=a + n, worth=worth / 20) for a, n, worth in made]  # type: ignore[arg-type]
    chosen = best_disjoint(options)
    assert all(a.last < b.first for a, b in pairwise(chosen))
    sets = (some for size in range(len(options) + 1) for some in combinations(options, size))
    disjoint = (some for some in sets if all(a.last < b.first or b.last < a.first for a, b in combinations(some, 2)))
    best = max(sum(option.worth for option in some) for some in disjoint)
    assert sum(option.worth for option in chosen) == pytest.approx(best)


def test_the_seed_decides() -> None:
    def contexts(video: KeptVideo, seed: int) -> list[tuple[int, ...]]:
        return [pair[0].episode.context for pair in twins_of(video, seed=seed)]

    assert contexts(VIDEOS[1], 0) == contexts(VIDEOS[1], 0) != contexts(VIDEOS[1], 1)


def same_strip(made: PuzzleSet) -> dict[str, list[Any]]:
    """The twins, by `pair_id`."""
    found: dict[str, list[Any]] = {}
    for puzzle in made.puzzles:
        if any(c.origin == "same_strip" for c in puzzle.candidates):
            found.setdefault(puzzle.pair_id, []).append(puzzle)
    return found


@pytest.fixture(scope="module")
def some() -> list[KeptVideo]:
    return films(3, frames=30)


@pytest.fixture(scope="module")
def made(some: list[KeptVideo]) -> PuzzleSet:
    return make_puzzles(some, config(**SMALL, frame_reuse=2).puzzle_options, THRESHOLDS)


def test_a_solver_that_ignores_the_gap_gets_nothing(made: PuzzleSet) -> None:
    """Any function of the context and the candidates: over a pair its selection is 0, and it is never right on both."""
    assert len({p.key for p in made.puzzles}) == len(made.puzzles) > 8
    assert len(same_strip(made)) > 3
    for pair_id, (one, other) in same_strip(made).items():
        pool = sorted(c.frame.index for c in one.candidates)
        assert pool == sorted(c.frame.index for c in other.candidates)
        assert one.episode.context == other.episode.context
        assert pair_id == min(one.key, other.key)
        right = [puzzle.episode.hidden for puzzle in (one, other)]
        for puzzle, hidden in zip((one, other), right, strict=True):
            by_label = {c.label: c.frame.index for c in puzzle.candidates}
            assert tuple(by_label[label] for label in puzzle.answer) == hidden
        for rule in range(20):
            answer = tuple(shuffled(pool, "rule", rule, pair_id)[:K])
            assert sum(2 * len({*answer} & {*hidden}) / K - 1 for hidden in right) == pytest.approx(0)
        for answer in right:
            assert [hidden == answer for hidden in right].count(True) == 1


def test_the_order_of_videos_does_not_matter(some: list[KeptVideo], made: PuzzleSet) -> None:
    assert make_puzzles(some[::-1], config(**SMALL, frame_reuse=2).puzzle_options, THRESHOLDS) == made


@pytest.mark.parametrize(
    "options", [{"tasks": "next"}, {"distractors": K - 1}, {"distractors": K + 1}, {"decoy_share": 0.0}], ids=str
)
def test_no_twins(some: list[KeptVideo], options: dict[str, Any]) -> None:
    """They need a gap with frames on both sides, and the whole other run as distractors."""
    found = make_puzzles(some, config(**{**SMALL, **options}).puzzle_options, THRESHOLDS)
    assert found.puzzles
    assert not same_strip(found)


@pytest.mark.parametrize(("most", "expected"), [(1, {0, 1}), (3, {2, 3})])
def test_samples_per_video_leaves_no_half_of_a_pair(some: list[KeptVideo], most: int, expected: set[int]) -> None:
    found = make_puzzles(some, config(**SMALL, samples_per_video=most).puzzle_options, THRESHOLDS)
    counts = Counter(puzzle.episode.strip.video_id for puzzle in found.puzzles)
    assert {counts[video.entry.video_id] for video in some} <= expected
    assert all(size == 2 for size in Counter(p.pair_id for p in found.puzzles if p.pair_id).values())
