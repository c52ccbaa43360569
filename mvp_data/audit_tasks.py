"""What the audit asks of each task: which answer K chosen pictures are, what is scored, and what guessing earns.

A pool may hold two coherent runs, the hidden one and a decoy. Whoever takes one of them, not knowing which, is exactly
right a quarter of the time: knowing that there are runs is not knowing which is right. So solvers that look at
pictures are judged on what only the second earns, all pools alike; docs/audit.md argues it.
"""

from collections.abc import Sequence
from math import comb

from mvp_data.chance import chance
from mvp_data.schema import LABELS, Record
from mvp_data.seeds import unit
from mvp_data.tasks import Question

BASELINE, LEAK, CONTENT = "baseline", "leak", "content"
BLIND = ("random", "labels", "positions")  # these see no picture, so they cannot know that there are runs
AMONG_CANDIDATES = ("alike", "chain", "probe-candidates")  # compare candidates with each other
COMPARES = ("jigsaw", "arrow", "odd-one-out")  # tasks whose point that is


def kind(solver: str, task: str) -> str:
    """Whether a solver must not win: comparing candidates is cheating only where the context is to decide."""
    if solver == "random":
        return BASELINE
    likeness = solver.startswith(("nearest", "path"))
    return CONTENT if likeness or (solver.startswith(AMONG_CANDIDATES) and task in COMPARES) else LEAK


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


def least(metric: str, question: Question) -> float:
    """The worst there is; the best is 1 for all."""
    k, others = question.slots, question.choices - question.slots
    if metric == "whole":
        return -1.0
    return -min(k / others, others / k) if metric == "selection" and others else 0.0


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


def to_answer(task: str, chosen: Sequence[int], choices: int, key: str) -> tuple[int, ...]:
    """The answer that K chosen candidates are, as numbers of labels: of the candidates, or of the two directions.

    `arrow`: whether they come more with or against the alphabet, in which they are shown; a coin decides ties.
    `odd-one-out`: the one that is not among them.

    >>> to_answer("arrow", (2, 3, 1, 0), 2, ""), to_answer("odd-one-out", (2, 0, 1), 4, "")
    ((1,), (3,))
    """
    if task == "odd-one-out":
        return tuple(sorted(set(range(choices)) - set(chosen)))
    if task != "arrow":
        return tuple(chosen)
    rising = sum(a < b for i, a in enumerate(chosen) for b in chosen[i + 1 :])
    lead = 2 * rising - comb(len(chosen), 2)
    return (int(lead < 0 or (lead == 0 and unit("audit", "arrow", key) < 0.5)),)


def right_slots(record: Record) -> tuple[int, ...]:
    """For each label that an answer may name, its slot in the right answer or -1."""
    slots = {label: slot for slot, label in enumerate(record.answer)}
    return tuple(slots.get(label, -1) for label in LABELS[: record.question.choices])
