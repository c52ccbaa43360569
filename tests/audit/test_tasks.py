"""What is asked of each task, against all answers tried one by one."""

from itertools import permutations

import numpy as np
import pytest

from mvp_data.audit import scoring
from mvp_data.audit.tasks import guessing, judged, kind, metrics, seeing_runs, slots_of_labels
from mvp_data.tasks.catalogue import TASKS
from mvp_data.tasks.grading import lowest
from mvp_data.tasks.task import Question
from tests.audit_plants import of_task
from tests.samples import make_record

SHAPES = [(1, 0), (1, 1), (1, 3), (2, 0), (2, 1), (2, 2), (3, 0), (3, 2), (3, 3), (2, 4), (4, 1), (4, 2)]


def scores(right: list[tuple[int, ...]], asked: Question) -> dict[str, float]:
    graded = scoring.scores(np.array(right), asked)
    return {m: float((v * w).sum() / w.sum()) if w.sum() else 0.5 for m, (v, w) in graded.items()}


@pytest.mark.parametrize(("k", "others"), SHAPES)
@pytest.mark.parametrize("ordered", [True, False])
def test_guessing_is_the_mean_over_all_answers(k: int, others: int, ordered: bool) -> None:
    asked = Question(slots=k, choices=k + others, ordered=ordered)
    every = [tuple(c if c < k else -1 for c in chosen) for chosen in permutations(range(k + others), k)]
    assert scores(every, asked) == pytest.approx(guessing(asked))
    assert tuple(guessing(asked)) == metrics(asked)
    graded = scoring.scores(np.array(every), asked)
    for metric, (values, _) in graded.items():
        assert values.min() >= lowest(metric, asked) - 1e-12
        assert values.max() <= 1


@pytest.mark.parametrize(("k", "others"), [(2, 0), (3, 0), (4, 0), (2, 2), (3, 3), (4, 4), (2, 4), (3, 5)])
@pytest.mark.parametrize("ordered", [True, False])
def test_who_sees_runs(k: int, others: int, ordered: bool) -> None:
    """One of the runs as a whole, forwards or backwards."""
    asked = Question(slots=k, choices=k + others, ordered=ordered)
    run = tuple(range(k))
    answers = [run, run[::-1]] + ([(-1,) * k] * 2 if others else [])
    assert scores(answers, asked) == pytest.approx(seeing_runs(asked))


def test_who_sees_runs_where_there_is_one_or_none() -> None:
    assert seeing_runs(Question(slots=4, choices=6, ordered=True)) == {}  # no room for another run
    assert seeing_runs(Question(slots=1, choices=2, ordered=True)) == {}


@pytest.mark.parametrize("shape", [(4, 4), (3, 3), (2, 2)])
def test_who_sees_runs_earns_nothing_that_picture_solvers_are_judged_on(shape: tuple[int, int]) -> None:
    for ordered in (True, False):
        asked = Question(slots=shape[0], choices=sum(shape), ordered=ordered)
        chance, runs = guessing(asked), seeing_runs(asked)
        assert all(runs[metric] == pytest.approx(chance[metric]) for metric in judged(asked, "chain-pixels"))
        assert runs["exact"] > chance["exact"]


def test_every_task_has_something_to_judge() -> None:
    for task in TASKS:
        asked = TASKS[task].question(4, TASKS[task].pool_size(4))
        for solver in ("random", "labels", "chain-pixels"):
            assert set(judged(asked, solver)) <= set(metrics(asked))
            assert judged(asked, solver)


def test_kinds() -> None:
    for task in TASKS:
        for solver in ("labels", "positions", "probe-artefacts", "overlay"):
            assert kind(solver, task) == "leak"
        for solver in ("path-pixels", "nearest-embedding"):
            assert kind(solver, task) == "content"
        assert kind("random", task) == "baseline"
    assert {task for task in TASKS if kind("alike-pixels", task) == "leak"} == {"mvp", "select", "next"}


def test_the_right_slot_of_each_label() -> None:
    record = make_record(0, k=4, distractors=4)
    slots = slots_of_labels(record)
    assert [c.order for c in record.candidates] == list(slots)
    alphabetical = slots_of_labels(of_task(record, "select"))
    assert [slot for slot in alphabetical if slot >= 0] == [0, 1, 2, 3]
    assert [slot >= 0 for slot in alphabetical] == [slot >= 0 for slot in slots]
    both = {slots_of_labels(of_task(make_record(n, k=4, distractors=0), "arrow")) for n in range(20)}
    assert both == {(0, -1), (-1, 0)}
    odd = of_task(make_record(3, k=4, distractors=1), "odd-one-out")
    assert slots_of_labels(odd)[[c.order for c in odd.candidates].index(-1)] == 0
