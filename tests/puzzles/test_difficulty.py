"""The parts of the difficulty, their weights, and the buckets."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.puzzles.corpus import Thresholds
from mvp_data.puzzles.difficulty import BUCKETS, FULL_MOTION, WEIGHTS, Difficulty, bucket, measure
from mvp_data.puzzles.similarity_solvers import Features
from mvp_data.shards.record import ORIGINS
from tests.builders import rng, walk, with_gram

T = Thresholds(repeat=0.9, ambiguous=0.7, scene=0.4, low=0.1)
PARTS = tuple(field.name for field in fields(Difficulty))
EASY = Difficulty(**dict.fromkeys(PARTS, 0.0))
HARD = Difficulty(**dict.fromkeys(PARTS, 1.0))


def hidden(cosine: float, change: float) -> Features:
    """Three frames with this cosine to each other, whose luma changes by `change` from one to the next."""
    gram = np.full((3, 3), cosine) + (1 - cosine) * np.eye(3)
    thumbnails = np.outer(np.arange(3), np.full(576, change)).astype(np.float32)
    return Features(vectors=with_gram(gram.tolist()), thumbnails=thumbnails)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {"margin": 0.0, "spacing": 0.0, "motion": 0.5, "origin": 0.0, "solvers": 0.75}),
        ({"distractors": [("corpus", 0.2), ("corpus", 0.55)]}, {"margin": 0.75}),  # the most similar one decides
        ({"distractors": [("corpus", -0.2)]}, {"margin": 0.0}),
        ({"distractors": []}, {"origin": 0.0, "margin": 0.0}),
        ({"distractors": [("neighbourhood", 0.1), ("same_video", 0.1)]}, {"origin": 0.75}),
        ({"times_s": (1.0, 2.0, 5.0)}, {"spacing": 0.75}),  # 2 s apart, half a second sampled
        ({"times_s": (1.0, 1.4, 1.8)}, {"spacing": 0.0}),  # slightly closer than sampled
        ({"cosine": 0.7}, {"motion": 0.25}),  # at the threshold: motion by pixels alone
        ({"cosine": 0.05}, {"motion": 0.75}),
        ({"change": 2 * FULL_MOTION}, {"motion": 0.75}),
        ({"change": 0}, {"motion": 0.25}),
        ({"success": 0.0}, {"solvers": 1.0}),
    ],
)
def test_parts(change: dict, expected: dict[str, float]) -> None:  # type: ignore[type-arg]
    given_ = {"cosine": 0.4, "change": FULL_MOTION / 2, "distractors": [("corpus", 0.1)], "success": 0.25} | change
    found = measure(
        hidden=hidden(given_["cosine"], given_["change"]),
        distractors=given_["distractors"],
        times_s=given_.get("times_s", (1.0, 1.5, 2.0)),
        step_s=0.5,
        thresholds=T,
        success=given_["success"],
    )
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-4), name


def test_one_hidden_frame_has_no_motion() -> None:
    alone = Features(vectors=np.eye(1, 3, dtype=np.float32), thumbnails=np.zeros((1, 576), np.float32))
    found = measure(alone, [], (1.0,), 1.0, T, 0.5)
    assert found == replace(EASY, solvers=0.5)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from(ORIGINS[1:]), st.floats(-1, 1)), max_size=6),
    st.floats(0, 1),
)
def test_parts_and_score_are_in_range(seed: int, k: int, distractors: list[tuple[str, float]], success: float) -> None:
    thumbnails = rng("difficulty", seed).integers(0, 256, size=(k, 576)).astype(np.float32)
    seen = Features(vectors=walk(k, "difficulty", seed), thumbnails=thumbnails)
    found = measure(seen, distractors, [0.3 * i * i for i in range(k)], 0.5, T, success)
    for name in PARTS:
        assert 0 <= getattr(found, name) <= 1
    assert 0 <= found.score <= 1
    assert found.score == round(found.score, 4)


@pytest.mark.parametrize("part", PARTS)
def test_the_score_is_the_weighted_mean_of_the_parts(part: str) -> None:
    assert (EASY.score, HARD.score) == (0.0, 1.0)
    assert replace(EASY, **{part: 1.0}).score == pytest.approx(WEIGHTS[part])
    scores = [replace(EASY, **{part: value}).score for value in (0, 0.2, 0.9, 1)]
    assert scores == sorted(set(scores)), "harder with every part"
    assert set(WEIGHTS) == set(PARTS)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1))
def test_buckets(difficulty: float) -> None:
    assert 0 <= bucket(difficulty) < BUCKETS
    assert bucket(difficulty) / BUCKETS <= difficulty + 1e-9


def test_a_tenth_begins_a_bucket() -> None:
    assert [bucket(round(tenth / 10, 4)) for tenth in range(11)] == [*range(10), 9]
