"""The metrics of each form of answer: which are reported, which decide a verdict, and what a guess scores.

A pool may hold two coherent runs, the hidden one and a decoy. Whoever takes one of them, not knowing which, is exactly
right a quarter of the time: knowing that there are runs is not knowing which is right. So solvers that look at
pictures are judged on what only the second earns, all pools alike; docs/audit.md argues it.
"""

from math import comb

from mvp_data.shards.record import LABELS, Record
from mvp_data.tasks.catalogue import TASKS
from mvp_data.tasks.chance import chance
from mvp_data.tasks.grading import right_slots
from mvp_data.tasks.task import Question

BASELINE, LEAK, CONTENT = "baseline", "leak", "content"
BLIND = ("random", "labels", "positions")  # these see no picture, so they cannot know that there are runs
AMONG_CANDIDATES = ("alike", "chain", "probe-candidates")  # compare candidates with each other


def kind(solver: str, task: str) -> str:
    """Whether a solver must not win: comparing candidates is a leak only where a pool can have decoys."""
    if solver == "random":
        return BASELINE
    likeness = solver.startswith(("nearest", "path"))
    return CONTENT if likeness or (solver.startswith(AMONG_CANDIDATES) and not TASKS[task].decoys) else LEAK


def metrics(question: Question) -> tuple[str, ...]:
    """What says something about answers of this form; the first three are shown where there is little room."""
    if question.slots == 1:
        return ("exact", "selection") if question.choices > 1 else ("exact",)
    if not question.ordered:
        return "selection", "whole", "exact", "recall"
    if question.slots == question.choices:
        return "order", "exact", "position"
    return "selection", "given", "exact", "whole", "set", "order", "recall", "position"


def judged(question: Question, solver: str) -> tuple[str, ...]:
    """What the verdict on a solver rests on: of those that see pictures, nothing that runs alone earn."""
    if question.slots == 1:
        return ("exact",)
    blind = solver in BLIND
    if not question.ordered:
        return ("selection", "exact") if blind else ("selection", "whole")
    if question.slots == question.choices:
        return ("order", "exact") if blind else ("order",)
    return ("selection", "order", "exact") if blind else ("selection", "given", "whole")


def guessing(question: Question) -> dict[str, float]:
    """The exact mean of each metric over all valid answers."""
    k, others = question.slots, question.choices - question.slots
    own = {"given": 0.5, "whole": (1 - comb(others, k)) / comb(k + others, k)}  # C(l, K) is 0 where l < K
    return {
        metric: own[metric] if metric in own else chance(metric, k, others, ordered=question.ordered).mean
        for metric in metrics(question)
    }


def seeing_runs(question: Question) -> dict[str, float]:
    """The mean of each metric for one who sees which pictures make a run of K, but neither which run nor which way.

    There are two such runs, or one where all candidates are hidden frames. Nothing for pools without room for two.
    """
    k, others = question.slots, question.choices - question.slots
    if k == 1 or 0 < others < k:
        return {}
    taken = 0.5 if others else 1.0  # how often it is the right run
    way = 0.5 if question.ordered else 1.0
    earned = {
        "selection": taken - (1 - taken) * k / others if others else 0.0,
        "given": 0.5,
        "exact": taken * way,
        "whole": 2 * taken - 1,
        "set": taken,
        "order": taken / 2,
        "recall": taken,
        "position": taken * (1 + k % 2 / k) / 2,  # backwards, the middle one of an odd number is right
    }
    return {metric: earned[metric] for metric in metrics(question)}


def slots_of_labels(record: Record) -> tuple[int, ...]:
    """For each label that an answer may name, its slot in the right answer or -1."""
    return right_slots(LABELS[: record.question.choices], record.answer)
