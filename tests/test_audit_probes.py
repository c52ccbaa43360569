"""What is learned, and that it is learned on other videos."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from mvp_data.audit_probes import Learned, by_label, by_position, by_probe, folds, logistic, relative, ridge


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


@pytest.mark.parametrize("separable", [False, True])
def test_logistic_regression_is_that_of_scikit_learn(separable: bool) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(300, 6))
    right = rows @ rng.normal(size=6) + (0 if separable else rng.normal(size=300)) > 0.5
    wanted = LogisticRegression(tol=1e-9, max_iter=10_000).fit(rows, right)
    assert logistic(rows, right) == pytest.approx(wanted.coef_[0], abs=1e-4)


def test_logistic_regression_of_useless_columns_is_zero() -> None:
    rows = np.zeros((40, 3))
    assert logistic(rows, np.arange(40) % 2 == 0) == pytest.approx(np.zeros(3))


def test_ridge_regression_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    rows, values = rng.normal(size=(100, 4)), rng.normal(size=100)
    assert ridge(rows, values) == pytest.approx(Ridge(fit_intercept=False).fit(rows, values).coef_)


def test_features_are_relative_to_the_pool() -> None:
    made = relative(np.array([[[1.0, 7], [3, 7]], [[101, 7], [103, 7]]]))
    assert made[0].tolist() == made[1].tolist() == [[-1, 0, 1, 0], [1, 0, 1, 0]]


def facts(samples: int, slots: list[list[int]] | None = None) -> Learned:
    """K = 2 of 5, three samples of each group; labels are shuffled within each pool."""
    rng = np.random.default_rng(0)
    labels = np.stack([rng.permutation(5) for _ in range(samples)])
    by_number = np.array(slots) if slots else np.stack([rng.permutation([0, 1, -1, -1, -1]) for _ in range(samples)])
    pool = np.take_along_axis(by_number, labels, axis=1)
    return Learned(k=2, groups=np.arange(samples) // 3, slots=pool, labels=labels)


def right(made: Learned, answers: list[tuple[int, ...]]) -> float:
    """The share of slots that are right."""
    found = [made.slots[i, list(answer)] == np.arange(2) for i, answer in enumerate(answers)]
    return float(np.mean(found))


def test_a_fixed_answer_is_learned() -> None:
    made = facts(30, [[-1, 1, -1, 0, -1]] * 30)
    assert right(made, by_label(made)) == right(made, by_position(made)) == 1


def test_what_is_right_together_is_learned() -> None:
    """Label 0 comes with 1, 2 or 3 and is the most frequent; but 3 and 4 come together more often than any two."""
    kinds = ([0, 1, -1, -1, -1], [0, -1, 1, -1, -1], [0, -1, -1, 1, -1], [-1, -1, -1, 0, 1], [-1, -1, -1, 0, 1])
    made = facts(75, [kinds[i % 5] for i in range(75)])
    chosen = [made.labels[i, list(answer)].tolist() for i, answer in enumerate(by_position(made))]
    assert chosen == [[3, 4]] * 75
    assert made.labels[0, by_label(made)[0][0]] == 0


def test_nothing_is_learned_from_the_videos_asked() -> None:
    """The truth of one group, made unlike all others, changes no answer to itself."""
    made = facts(30)
    features = np.random.default_rng(5).normal(size=(30, 5, 2))
    last = made.groups == made.groups[-1]
    other = Learned(
        k=2, groups=made.groups, slots=np.where(last[:, None], made.slots[:, ::-1], made.slots), labels=made.labels
    )
    for learner in (by_label, by_position, lambda facts: by_probe(facts, features)):
        before, after = learner(made), learner(other)
        assert [before[i] for i in np.flatnonzero(last)] == [after[i] for i in np.flatnonzero(last)]


def test_the_probe_learns_choice_and_order() -> None:
    made = facts(60)
    rng = np.random.default_rng(3)
    shown = np.where(made.slots >= 0, 2.0, 0.0) + rng.normal(size=made.slots.shape) * 0.1
    when = np.where(made.slots >= 0, made.slots, 0.5) + rng.normal(size=made.slots.shape) * 0.1
    drift = rng.normal(size=(60, 1)) * 100  # only what is relative to the pool counts
    assert right(made, by_probe(made, np.stack([shown + drift, when - drift], axis=2))) > 0.95
    guessed = right(made, by_probe(made, rng.normal(size=(60, 5, 2))))
    assert guessed < 0.4  # 1 in 5 by chance
