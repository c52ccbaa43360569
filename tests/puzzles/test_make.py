"""Puzzle sets with scattered distractors: keys, labels, counts, and independence of the rest of the corpus."""

import re
from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from mvp_data.puzzles import ambiguity, repeats, rules
from mvp_data.puzzles.corpus import KeptVideo
from mvp_data.puzzles.make import PuzzleSet, make_puzzles
from mvp_data.puzzles.types import Puzzle
from mvp_data.shards.record import LABELS
from tests.builders import THRESHOLDS, config, films, kept_video, walk

SMALL = {"hidden_frames": 3, "distractors": 3, "context_frames": 6, "decoy_share": 0.0}


@pytest.fixture(scope="module")
def videos() -> list[KeptVideo]:
    return films(16)


@pytest.fixture(scope="module")
def made(videos: list[KeptVideo]) -> PuzzleSet:
    return make_puzzles(videos, config(**SMALL).puzzle_options, THRESHOLDS)


def test_candidates_and_answers(videos: list[KeptVideo], made: PuzzleSet) -> None:
    by_id = {v.entry.video_id: v for v in videos}
    assert len(made.puzzles) > 60
    for puzzle in made.puzzles:
        assert [c.label for c in puzzle.candidates] == list(LABELS[:6])
        hidden = sorted((c for c in puzzle.candidates if c.order >= 0), key=lambda c: c.order)
        assert tuple(c.frame.index for c in hidden) == puzzle.episode.hidden
        assert {c.origin for c in hidden} == {"hidden"}
        assert {c.frame.video_id for c in hidden} == {puzzle.episode.strip.video_id}
        wrong = [c for c in puzzle.candidates if c.order < 0]
        assert len(wrong) == 3
        assert not {c.frame for c in wrong} & {c.frame for c in hidden}
        assert not {c.frame.index for c in wrong if c.origin != "corpus"} & set(puzzle.episode.strip.frames)
        first, last = puzzle.episode.hidden[0], puzzle.episode.hidden[-1]
        assert not [c for c in wrong if c.origin != "corpus" and first < c.frame.index < last], (
            "no distractor is from the gap"
        )
        assert 0 <= puzzle.difficulty <= 1
        assert [next(c for c in puzzle.candidates if c.label == a).order for a in puzzle.answer] == [0, 1, 2]
        vectors = by_id[puzzle.episode.strip.video_id]
        rows = vectors.vectors[[vectors.kept.index(f) for f in puzzle.episode.hidden]]
        to_others = (rows @ rows.T - 2 * np.eye(3)).max(axis=1)
        places = vectors.rows(puzzle.episode.hidden)
        pairs = combinations(places, 2)
        assert not any(repeats.alike_in(vectors, a, b, THRESHOLDS.distinct) for a, b in pairs), (
            "the hidden frames differ"
        )
        assert [c.similarity for c in hidden] == pytest.approx(to_others.tolist(), abs=2e-5)


def test_the_test_videos_have_unused_frames_and_most_refusals(made: PuzzleSet) -> None:
    """So the tests on these videos cover segments with and without frames between key frames."""
    spans = Counter((p.episode.hidden[-1] - p.episode.hidden[0]) // 2 + 1 for p in made.puzzles)
    assert spans[3] > 10
    assert sum(count for span, count in spans.items() if span > 3) > 30
    assert {"repeated_hidden", "little_context", "reversible"} <= set(made.drops)


def test_keys_are_unique_and_sorted(made: PuzzleSet) -> None:
    keys = [p.key for p in made.puzzles]
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys), "by video, then by time"
    assert all(re.fullmatch(r"[a-z0-9_-]+", key) for key in keys)
    times = [(p.episode.strip.video_id, p.episode.hidden) for p in made.puzzles]
    assert times == sorted(times)


def test_keys_differ_for_frames_a_few_milliseconds_apart() -> None:
    video = kept_video(walk(60, "fast"), times_s=[i / 120 for i in range(60)])
    found = make_puzzles([video], config(**SMALL | {"hidden_frames": 2}).puzzle_options, THRESHOLDS).puzzles
    assert len({p.key for p in found}) == len(found) > 4


def test_labels_of_the_right_answer_are_uniform(videos: list[KeptVideo]) -> None:
    """Over many seeds each label is right in K/(K+l) of the puzzles, and first in 1/(K+l) of them."""
    right: Counter[str] = Counter()
    firsts: Counter[str] = Counter()
    total = 0
    for seed in range(7):
        for puzzle in make_puzzles(videos[:6], config(**SMALL, seed=seed).puzzle_options, THRESHOLDS).puzzles:
            right.update(puzzle.answer)
            firsts[puzzle.answer[0]] += 1
            total += 1
    assert total > 200
    # Drawn without replacement: that makes the statistic smaller by the factor l/(K+l) * 6/5.
    chi = sum((right[label] - total / 2) ** 2 / (total / 2) for label in LABELS[:6]) / (0.5 * 6 / 5)
    assert chi < 20.5  # 5 degrees, p = .001
    assert sum((firsts[label] - total / 6) ** 2 / (total / 6) for label in LABELS[:6]) < 20.5


def test_order_of_videos_does_not_matter(videos: list[KeptVideo], made: PuzzleSet) -> None:
    again = make_puzzles(videos[7::-1] + videos[:7:-1], config(**SMALL).puzzle_options, THRESHOLDS)
    assert again == made
    assert list(again.video_drops) == list(made.video_drops)


def test_seed_changes_labels_and_strips(videos: list[KeptVideo], made: PuzzleSet) -> None:
    other = make_puzzles(videos, config(**SMALL, seed=1).puzzle_options, THRESHOLDS)
    same = {p.key: p for p in other.puzzles}
    pairs = [(p, same[p.key]) for p in made.puzzles if p.key in same]
    assert len(pairs) > 20
    assert sum(a.answer == b.answer for a, b in pairs) < len(pairs) / 4


def test_labels_do_not_depend_on_the_rest_of_the_corpus(videos: list[KeptVideo], made: PuzzleSet) -> None:
    """Puzzles with the same distractors have the same labels."""

    def identity(puzzle: Puzzle) -> object:
        return puzzle.key, frozenset(c.frame for c in puzzle.candidates)

    before = {identity(p): p for p in made.puzzles}
    fewer = make_puzzles(videos[:13], config(**SMALL).puzzle_options, THRESHOLDS).puzzles
    shared = [p for p in fewer if identity(p) in before]
    assert len(shared) > 20
    for puzzle in shared:
        assert {c.frame: c.label for c in puzzle.candidates if c.order >= 0} == {
            c.frame: c.label for c in before[identity(puzzle)].candidates if c.order >= 0
        }


@pytest.mark.parametrize("most", [1, 2, 3, 0])
def test_samples_per_video(videos: list[KeptVideo], made: PuzzleSet, most: int) -> None:
    found = make_puzzles(videos, config(**SMALL, samples_per_video=most).puzzle_options, THRESHOLDS)
    counts = Counter(p.episode.strip.video_id for p in found.puzzles)
    unlimited = Counter(p.episode.strip.video_id for p in made.puzzles)  # 16 are more than any of them has
    assert counts == {v: min(n, most or n) for v, n in unlimited.items()}
    assert {p.key for p in found.puzzles} <= {p.key for p in made.puzzles}


def test_the_chosen_samples_are_spread_over_the_video(videos: list[KeptVideo]) -> None:
    found = make_puzzles(videos, config(**SMALL, samples_per_video=1).puzzle_options, THRESHOLDS).puzzles
    starts = [p.episode.hidden[0] for p in found]
    assert min(starts) < 25
    assert max(starts) > 50


def test_counts_add_up(videos: list[KeptVideo], made: PuzzleSet) -> None:
    assert set(made.video_drops) == {v.entry.video_id for v in videos}
    assert made.drops == dict(sum((Counter(d) for d in made.video_drops.values()), Counter()))
    assert sum(made.origins.values()) == 3 * len(made.puzzles)
    listed = Counter(c.origin for p in made.puzzles for c in p.candidates if c.order < 0)
    assert made.origins == dict(listed)
    missing: Counter[str] = Counter()
    for puzzle in made.puzzles:
        given = {c.origin for c in puzzle.candidates}
        missing.update(o for o in ("neighbourhood", "same_video", "corpus") if o not in given)  # each quota is 1
    assert made.shortfalls == dict(missing)
    assert made.indexes == {"train 56x28": {"kind": "exact", "recall": 1.0}}


def test_too_few_distractors_drop_the_puzzle_and_are_counted() -> None:
    video = kept_video(walk(9, "short"))
    only = config(
        hidden_frames=3, distractors=3, context_frames=6, mask_policy="free", decoy_share=0.0, reversible="keep"
    )
    found = make_puzzles([video], only.puzzle_options, THRESHOLDS)
    assert found.puzzles == ()
    assert found.drops["few_distractors"] >= 1
    assert found.video_drops == {"v0": found.drops}
    assert (found.origins, found.shortfalls) == ({}, {})


def test_a_dropped_puzzle_does_not_use_up_the_limit() -> None:
    """With one sample for each video, the next segment replaces one without distractors."""
    shots = films(1, frames=60)[0]
    far = replace(THRESHOLDS, low=0.55)
    every = make_puzzles([shots], config(**SMALL, samples_per_video=0).puzzle_options, far)
    assert every.drops.get("few_distractors", 0) > 0
    assert len(every.puzzles) > 0
    for seed in range(8):
        one = make_puzzles([shots], config(**SMALL, samples_per_video=1, seed=seed).puzzle_options, far)
        several = make_puzzles([shots], config(**SMALL, samples_per_video=0, seed=seed).puzzle_options, far)
        assert len(one.puzzles) == min(1, len(several.puzzles))


def test_progress_is_reported_for_every_video(videos: list[KeptVideo]) -> None:
    calls: list[None] = []
    make_puzzles(videos[:5], config(**SMALL).puzzle_options, THRESHOLDS, lambda: calls.append(None))
    assert len(calls) == 5


def test_no_videos() -> None:
    assert make_puzzles([], config().puzzle_options, THRESHOLDS) == PuzzleSet(
        puzzles=(), video_drops={}, shortfalls={}, indexes={}
    )


def test_caches_are_cleared() -> None:
    """A cached video keeps the vectors of the whole corpus in memory, and their file."""
    make_puzzles(films(2), config(**SMALL).puzzle_options, THRESHOLDS)
    for cached in (ambiguity._direction_evidence, ambiguity._loops, rules._recurs_between, repeats._alike_in):
        assert cached.cache_info().currsize == 0
