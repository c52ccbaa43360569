"""What is learned, and that it is learned on other videos."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from mvp_data.audit.probes import Learned, by_label, by_position, by_probe, folds, relative
from mvp_data.core.errors import MissingDependencyError
from mvp_data.tasks.task import Question


@pytest.mark.parametrize("groups", [2, 3, 7, 40])
def test_folds_hold_whole_groups(groups: int) -> None:
    codes = np.random.default_rng(groups).integers(groups, size=200)
    codes[:groups] = np.arange(groups)
    asked = np.zeros(200, int)
    for learn, ask in folds(codes):
        assert not set(codes[learn]) & set(codes[ask])
        asked[ask] += 1
    assert (asked == 1).all()
    assert len(list(folds(codes))) == min(5, groups)


def test_folds_are_about_equally_large() -> None:
    codes = np.repeat(np.arange(30), np.arange(1, 31))
    sizes = [len(ask) for _, ask in folds(codes)]
    assert max(sizes) - min(sizes) <= 15


def test_one_group_has_no_folds() -> None:
    assert list(folds(np.zeros(9, np.intp))) == []


def test_features_are_relative_to_the_pool() -> None:
    made = [relative(np.array(pool)) for pool in ([[1.0, 7], [3, 7]], [[101.0, 7], [103, 7]])]
    assert made[0].tolist() == made[1].tolist() == [[-1, 0], [1, 0]]


def facts(samples: int, right: list[list[int]] | None = None, *, ordered: bool = True) -> Learned:
    """Two slots, five choices, three samples of each group."""
    rng = np.random.default_rng(0)
    made = np.array(right) if right else np.stack([rng.permutation([0, 1, -1, -1, -1]) for _ in range(samples)])
    question = Question(slots=2, choices=5, ordered=ordered)
    return Learned(question=question, clusters=np.arange(samples) // 3, right=made)


def share(right: np.ndarray, answers: np.ndarray) -> float:
    """The share of slots that are right."""
    return float((np.take_along_axis(right, answers, axis=1) == np.arange(2)).mean())


def test_a_fixed_answer_is_learned() -> None:
    made = facts(30, [[-1, 1, -1, 0, -1]] * 30)
    assert share(made.right, by_label(made)) == share(made.right, by_position(made)) == 1


def test_where_order_does_not_count_the_slots_say_nothing() -> None:
    """Label 4 is always right, now first and now second; 1 and 2 take turns beside it, each in one slot alone."""
    turns = ([-1, 0, -1, -1, 1], [-1, -1, 1, -1, 0], [-1, 0, -1, -1, 1])
    made = facts(60, [turns[i % 3] for i in range(60)], ordered=False)
    assert {frozenset(answer) for answer in by_label(made).tolist()} == {frozenset({4, 1})}


def test_what_is_right_together_is_learned() -> None:
    """Label 0 comes with 1, 2 or 3 and is the most frequent; but 3 and 4 come together more often than any two."""
    kinds = ([0, 1, -1, -1, -1], [0, -1, 1, -1, -1], [0, -1, -1, 1, -1], [-1, -1, -1, 0, 1], [-1, -1, -1, 0, 1])
    made = facts(75, [kinds[i % 5] for i in range(75)])
    assert by_position(made).tolist() == [[3, 4]] * 75
    assert by_label(made)[0, 0] == 0


def test_nothing_is_learned_from_the_videos_asked() -> None:
    """The truth of one group, made unlike all others, changes no answer to itself."""
    made = facts(30)
    features = np.random.default_rng(5).normal(size=(30, 5, 2))
    last = made.clusters == made.clusters[-1]
    other = replace(made, right=np.where(last[:, None], made.right[:, ::-1], made.right))
    probe = lambda facts: by_probe(facts.clusters, features, facts.right, 2)  # noqa: E731
    for learner in (by_label, by_position, probe):
        before, after = learner(made), learner(other)
        assert before[last].tolist() == after[last].tolist()


def test_the_probe_learns_choice_and_order() -> None:
    made = facts(60)
    right, rng = made.right, np.random.default_rng(3)
    shown = np.where(right >= 0, 2.0, 0.0) + rng.normal(size=right.shape) * 0.1
    when = np.where(right >= 0, right, 0.5) + rng.normal(size=right.shape) * 0.1
    assert share(right, by_probe(made.clusters, np.stack([shown, when], axis=2), right, 2)) > 0.95
    guessed = share(right, by_probe(made.clusters, rng.normal(size=(60, 5, 2)), right, 2))
    assert guessed < 0.4  # 1 in 5 by chance


def test_useless_features_are_no_error() -> None:
    """Constant columns, and a pool in which every candidate is right, as in a jigsaw."""
    made = facts(30)
    every = np.tile(np.arange(5), (30, 1))
    for orders, k in ((made.right, 2), (every, 5)):
        answers = by_probe(made.clusters, np.zeros((30, 5, 3), np.float16), orders, k)
        assert all(len(set(answer)) == k for answer in answers.tolist())


def test_the_probe_gives_the_same_answers_each_time() -> None:
    made, rng = facts(60), np.random.default_rng(7)
    features = rng.normal(size=(60, 5, 4))
    first, second = (by_probe(made.clusters, features, made.right, 2) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    made = facts(9)
    with pytest.raises(MissingDependencyError, match=r"pip install 'masked-video-prediction\[audit\]'"):
        by_probe(made.clusters, np.zeros((9, 5, 1)), made.right, 2)


def test_how_far_off_is_told_of_unsigned_features_alone() -> None:
    """The right ones lie off on either side, so that which side says nothing."""
    made = facts(60)
    side = np.random.default_rng(6).choice([-1.0, 1.0], size=(60, 5, 1))
    off = np.where(made.right >= 0, 2.0, 0.1)[:, :, None] * side
    hits = [
        (np.take_along_axis(made.right, by_probe(made.clusters, off, made.right, 2, unsigned), axis=1) >= 0).mean()
        for unsigned in (slice(None), slice(0, 0))
    ]
    assert hits[0] == 1
    assert hits[1] < 0.6
