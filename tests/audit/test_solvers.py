"""The solvers on puzzles with a known solution, and learning on answers with a known rule."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from mvp_data.audit.distances import distances
from mvp_data.audit.features import ARTEFACTS, Measurements
from mvp_data.audit.solvers import (
    SOLVERS,
    SPACES,
    Samples,
    alike,
    by_label,
    by_mask_start,
    by_position,
    by_probe,
    chain,
    divide,
    folds,
    nearest,
    overlay,
    path,
    pool_features,
    random,
    relative,
    solvers,
)
from mvp_data.core.errors import MissingDependencyError
from mvp_data.tasks.catalogue import MVP, SELECT, TASKS
from mvp_data.tasks.task import Question


def line(places: list[float], before: float | None, after: float | None) -> Measurements:
    """Measurements of images that are points on a line."""
    known = [end for end in (before, after) if end is not None]
    made = distances(np.array([*places, *known])[:, None], len(places), int(before is not None))
    return Measurements(
        k=3,
        artefacts=np.zeros((len(places), len(ARTEFACTS))),
        spaces={"pixels": made},
        joined=made,
        colours=made,
        overlay=made.gap,
        thumbnails=(),
    )


def test_distances_are_those_of_points() -> None:
    made = line([1, 4, 9], 0, 10).spaces["pixels"].gap
    assert made.pool.tolist() == [[0, 9, 64], [9, 0, 25], [64, 25, 0]]
    assert made.before is not None
    assert made.after is not None
    assert (made.before.tolist(), made.after.tolist()) == ([1, 16, 81], [81, 36, 1])
    assert line([1, 4], None, 10).spaces["pixels"].gap.before is None
    assert line([1, 4], 0, None).spaces["pixels"].gap.after is None


POOL = [30.0, 3, 50, 1, 2]  # the right ones are 1, 2, 3 at places 3, 4, 1


def test_paths_and_chains_on_a_line() -> None:
    assert path(line(POOL, 0, 4), "pixels") == (3, 4, 1)
    assert path(line(POOL, 4, 0), "pixels") == (1, 4, 3)
    assert path(line(POOL, 0, None), "pixels") == (3, 4, 1)
    assert path(line(POOL, None, 0), "pixels") == (1, 4, 3)
    assert overlay(line(POOL, 0, 4)) == (3, 4, 1)
    assert chain(line(POOL, 90, 90), "pixels") in [(3, 4, 1), (1, 4, 3)]
    assert alike(line(POOL, 90, 90), "pixels") in [(3, 4, 1), (1, 4, 3)]


def test_nearest_is_greedy_from_both_sides() -> None:
    assert nearest(line(POOL, 0, 4), "pixels") == (3, 4, 1)
    assert nearest(line(POOL, 4, 0), "pixels") == (1, 4, 3)
    assert nearest(line(POOL, None, 4), "pixels") == (3, 4, 1)
    assert nearest(line(POOL, 4, None), "pixels") == (1, 4, 3)
    assert nearest(line([10, 1, 29, 11, 5], 0, 30), "pixels") == (1, 4, 2)  # 1 and 5 from one side, 29 from the other


def test_overlay_guesses_without_a_clock() -> None:
    found = line(POOL, 0, 4)
    blind = replace(found, overlay=None)
    assert overlay(blind) == random(blind) == (0, 1, 2)


def test_pool_features_do_not_depend_on_the_context() -> None:
    first, second = (pool_features(line(POOL, before, 4)) for before in (0, 70))
    assert np.array_equal(first, second)
    assert first.shape == (5, 4)
    assert np.all(np.diff(first, axis=1) >= 0)


def names(task: str, k: int, others: int, *, spaces: tuple[str, ...] = ("pixels",), context: int = 12) -> set[str]:
    return {solver.name for solver in solvers(TASKS[task], k, others, context=context, spaces=spaces)}


def test_the_shape_of_a_puzzle_decides_which_solvers_run() -> None:
    assert names("mvp", 4, 4, spaces=SPACES) == SOLVERS.keys()
    pixels = {name for name in SOLVERS if not name.endswith(SPACES[1:])}
    assert names("mvp", 4, 4) == pixels
    halves = {"inverted-nearest-pixels", "inverted-path-pixels", "one-side"}
    fits = {"joint-pixels", "joint-all", "split-runs", "mask-start", "mask-start-bag"}
    assert names("mvp", 4, 3) == pixels - halves - fits
    assert names("mvp", 4, 4, context=1) == pixels - fits
    assert names("mvp", 6, 6) == pixels - fits  # too many orders
    assert names("jigsaw", 4, 0) == pixels - halves - fits - {"alike-pixels", "context-bag-pixels", "colour"}
    assert names("odd-one-out", 4, 1) == pixels - halves - fits - {"positions"}
    large = {"random", "nearest-pixels", "cross-sample", "labels", "probe-candidates", "probe-artefacts"}
    assert names("mvp", 12, 14) == large


def test_each_solver_answers_one_sample_or_learns_on_many() -> None:
    assert all((solver.solve is None) != (solver.learn is None) for solver in SOLVERS.values())


def test_comparing_candidates_is_a_leak_only_where_a_pool_can_have_decoys() -> None:
    kinds = {task: {name: solver.kind_in(TASKS[task]) for name, solver in SOLVERS.items()} for task in TASKS}
    for task, found in kinds.items():
        always = (
            "labels",
            "probe-artefacts",
            "overlay",
            "split-runs",
            "cross-sample",
            "inverted-path-hog",
            "mask-start",
        )
        assert {found[name] for name in always} == {"leak"}
        assert {found[name] for name in ("path-pixels", "nearest-embedding", "joint-all", "colour")} == {"content"}
        assert found["random"] == "baseline"
        among = "leak" if TASKS[task].decoys else "content"
        assert {
            found[name] for name in ("alike-pixels", "chain-embedding", "context-bag-second", "probe-candidates")
        } == {among}


@pytest.mark.parametrize("groups", [2, 3, 7, 40])
def test_folds_hold_whole_clusters(groups: int) -> None:
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


def test_one_cluster_has_no_folds() -> None:
    assert list(folds(np.zeros(9, np.intp))) == []


def test_features_are_relative_to_the_pool() -> None:
    made = [relative(np.array(pool)) for pool in ([[1.0, 7], [3, 7]], [[101.0, 7], [103, 7]])]
    assert made[0].tolist() == made[1].tolist() == [[-1, 0], [1, 0]]


def learning(samples: int, right: list[list[int]] | None = None, *, ordered: bool = True) -> Samples:
    """Two slots, five choices, three samples in each cluster."""
    rng = np.random.default_rng(0)
    made = np.array(right) if right else np.stack([rng.permutation([0, 1, -1, -1, -1]) for _ in range(samples)])
    return Samples(
        task=MVP if ordered else SELECT,
        question=Question(slots=2, choices=5, ordered=ordered),
        k=2,
        clusters=np.arange(samples) // 3,
        right=made,
        labels=np.tile(np.arange(5), (samples, 1)),
        orders=made,
        features=np.zeros((samples, 5, 3), np.float16),
        mask_starts=np.arange(samples) % 2,
        halves={},
        elsewhere=made[:, :2],
    )


def share(right: np.ndarray, answers: np.ndarray) -> float:
    """The share of slots that are right."""
    return float((np.take_along_axis(right, answers, axis=1) == np.arange(2)).mean())


def test_learns_a_fixed_answer() -> None:
    made = learning(30, [[-1, 1, -1, 0, -1]] * 30)
    assert share(made.right, by_label(made)) == share(made.right, by_position(made)) == 1


def test_slots_are_ignored_where_order_does_not_count() -> None:
    """Label 4 is always right, in either slot; label 1 is right more often than 2, and each has a slot of its own."""
    turns = ([-1, 0, -1, -1, 1], [-1, -1, 1, -1, 0], [-1, 0, -1, -1, 1])
    made = learning(60, [turns[i % 3] for i in range(60)], ordered=False)
    assert {frozenset(answer) for answer in by_label(made).tolist()} == {frozenset({4, 1})}


def test_learns_which_labels_are_right_together() -> None:
    """Label 0 is right most often, with 1, 2 or 3; but 3 and 4 are right together more often than any other pair."""
    kinds = ([0, 1, -1, -1, -1], [0, -1, 1, -1, -1], [0, -1, -1, 1, -1], [-1, -1, -1, 0, 1], [-1, -1, -1, 0, 1])
    made = learning(75, [kinds[i % 5] for i in range(75)])
    assert by_position(made).tolist() == [[3, 4]] * 75
    assert by_label(made)[0, 0] == 0


def test_learns_only_from_other_videos() -> None:
    """New answers for one cluster do not change the solvers' answers to it."""
    made = learning(30)
    features = np.random.default_rng(5).normal(size=(30, 5, 2))
    last = made.clusters == made.clusters[-1]
    truth = np.where(last[:, None], made.right[:, ::-1], made.right)
    other = replace(made, right=truth, orders=truth)
    for learner in (by_label, by_position, lambda samples: by_probe(samples, features)):
        assert learner(made)[last].tolist() == learner(other)[last].tolist()


def test_the_probe_learns_choice_and_order() -> None:
    made = learning(60)
    right, rng = made.right, np.random.default_rng(3)
    shown = np.where(right >= 0, 2.0, 0.0) + rng.normal(size=right.shape) * 0.1
    when = np.where(right >= 0, right, 0.5) + rng.normal(size=right.shape) * 0.1
    assert share(right, by_probe(made, np.stack([shown, when], axis=2))) > 0.95
    guessed = share(right, by_probe(made, rng.normal(size=(60, 5, 2))))
    assert guessed < 0.4  # 1 in 5 by chance


def test_the_probe_accepts_useless_features() -> None:
    """Constant columns, and a pool in which every candidate is right, as in a jigsaw."""
    made = learning(30)
    jigsaw = replace(made, k=5, orders=np.tile(np.arange(5), (30, 1)))
    for samples in (made, jigsaw):
        answers = by_probe(samples, samples.features)
        assert all(len(set(answer)) == samples.k for answer in answers.tolist())


def test_the_probe_gives_the_same_answers_each_time() -> None:
    made, rng = learning(60), np.random.default_rng(7)
    features = rng.normal(size=(60, 5, 4))
    first, second = (by_probe(made, features) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_the_probe_names_the_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    made = learning(9)
    with pytest.raises(MissingDependencyError, match=r"pip install 'masked-video-prediction\[audit\]'"):
        by_probe(made, made.features)


def test_absolute_values_count_only_for_unsigned_features() -> None:
    """The right candidates differ from the mean in either direction, so the sign is useless."""
    made = learning(60)
    side = np.random.default_rng(6).choice([-1.0, 1.0], size=(60, 5, 1))
    off = np.where(made.right >= 0, 2.0, 0.1)[:, :, None] * side
    hits = [
        (np.take_along_axis(made.right, by_probe(made, off, unsigned), axis=1) >= 0).mean()
        for unsigned in (slice(None), slice(0, 0))
    ]
    assert hits[0] == 1
    assert hits[1] < 0.6


def test_a_place_of_the_gap_that_tells_the_half_is_learned() -> None:
    starts, clusters = np.tile([3, 5, 4, 6], 10), np.arange(40) // 4
    better = np.where(starts <= 4, 1, -1)
    assert (divide(starts, better, clusters) == (starts > 4)).all()
    assert (divide(starts, -better, clusters) == (starts <= 4)).all()
    assert not divide(starts, np.ones(40, int), clusters).any()


def test_a_half_is_taken_by_the_place_of_the_gap() -> None:
    made = learning(40, [[0, 1, -1, -1, -1], [-1, -1, 0, 1, -1]] * 20)
    halves = np.tile([[0, 1], [2, 3]], (40, 1, 1))
    made = replace(made, halves={"runs": halves}, mask_starts=np.arange(40) % 2)
    assert share(made.right, by_mask_start(made, "runs")) == 1
    useless = replace(made, mask_starts=np.arange(40) // 2 % 2)
    assert share(made.right, by_mask_start(useless, "runs")) < 0.7
