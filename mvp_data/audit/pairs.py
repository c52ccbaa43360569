"""Facts about pairs: how much the place of the gap tells, and scores by kind of pair and by shots."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mvp_data.audit.scoring import PAIR, PAIR_SET, Answers, scores
from mvp_data.audit.solvers import JOINED, SPACES, divide
from mvp_data.core.seeds import stable_hash
from mvp_data.core.statistics import Estimate, intervals
from mvp_data.puzzles.shortest_path import Numbers

PAIR_KINDS = ("same_strip", "same_video", "corpus", "")  # `Record.pair_kind`
KIND_NAMES = ("same strip", "same video", "other video", "scattered")
BLIND, NEAREST, PATH, JOINT = "blind", "nearest", "path", "joint"
METRIC = {BLIND: "selection", NEAREST: "set", PATH: "exact", JOINT: "exact"}  # by column; its pair score is of that
MOST_SHOTS = 3  # hidden runs of as many shots or more are one row


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Some samples of a task, and the scores of the compared solvers on them."""

    name: str
    samples: int
    pairs: int
    single: Mapping[str, float]  # by column, see `METRIC`
    both: Mapping[str, float]  # the same of whole pairs; empty without pairs


def floor(starts: Numbers, pairs: Numbers) -> float:
    """The pair score that the place of the gap allows a solver which knows both runs of twins and their order.

    The gap of one twin is b frames after that of the other. A solver may name the first run if at most t frames are
    before the gap. It is right on both twins if t falls between them, as b of all T values of t do. So over all t it is
    right on mean(b) / T of the pairs, on half of the samples of the others, and the best t is at least as good.
    """
    if not len(pairs):
        return 0.0
    places = starts[pairs]
    span = int(places.max() - places.min())
    return float((places[:, 1] - places[:, 0]).mean() / span) if span else 0.0


def told_first(starts: Numbers, pairs: Numbers, clusters: Numbers) -> Estimate | None:
    """How often `mask_start` tells the first twin from the second, learned on other videos; chance is the floor.

    None without pairs, or with one video group.
    """
    if not len(pairs) or not clusters[pairs].max():
        return None
    rows = pairs.ravel()
    better = np.tile([1, -1], len(pairs))
    codes = np.unique(clusters[rows], return_inverse=True)[1]
    told = (divide(starts[rows], better, codes) == (better < 0)).astype(float)
    low, high = intervals(told[:, None], codes, stable_hash("told first"), least=np.zeros(1), most=np.ones(1))
    chance = 0.5 + floor(starts, pairs) / 2
    return Estimate(mean=float(told.mean()), low=float(low[0]), high=float(high[0]), chance=chance)


def compared(answers: Answers) -> dict[str, str]:
    """The solvers of the rows by their column.

    The best gap-blind one by selection, nearest frames by the encoder, the best single path, and the joint fit.
    """
    there = answers.right.keys()
    nearest = [f"nearest-{space}" for space in ("embedding", "pixels")]
    paths = [name for name in (f"path-{space}" for space in SPACES) if name in there]
    bags = [name for name in (*(f"context-bag-{space}" for space in SPACES), "split-runs") if name in there]
    selection = {name: float(scores(answers.right[name], answers.question)["selection"][0].mean()) for name in bags}
    exact = {name: float(scores(answers.right[name], answers.question)["exact"][0].mean()) for name in paths}
    found = {
        BLIND: max(bags, key=selection.__getitem__, default=""),
        NEAREST: next((name for name in nearest if name in there), ""),
        PATH: max(paths, key=exact.__getitem__, default=""),
        JOINT: f"joint-{JOINED}" if f"joint-{JOINED}" in there else "",
    }
    return {column: name for column, name in found.items() if name}


def rows(answers: Answers, kinds: Numbers, shots: Numbers) -> tuple[Row, ...]:
    """A row for each kind of pair and each number of shots that occurs; none for a task without a set to find."""
    if answers.question.slots in (1, answers.question.choices):
        return ()
    named = [(name, kinds == number) for number, name in enumerate(KIND_NAMES)]
    for count in range(1, MOST_SHOTS + 1):
        words = f"{count}{'+' * (count == MOST_SHOTS)} shot{'s' * (count > 1)}"
        named.append((words, shots == count))
    return tuple(_row(name, answers, chosen) for name, chosen in named if chosen.any())


def _row(name: str, answers: Answers, chosen: Numbers) -> Row:
    whole = answers.pairs[chosen[answers.pairs].all(axis=1)]
    single: dict[str, float] = {}
    both: dict[str, float] = {}
    for column, solver in compared(answers).items():
        graded = scores(answers.right[solver], answers.question, whole)
        metric = METRIC[column] if METRIC[column] in graded else "exact"
        single[column] = float(graded[metric][0][chosen].mean())
        if len(whole):
            pair = PAIR if metric == "exact" or PAIR_SET not in graded else PAIR_SET
            both[column] = float(graded[pair][0].sum() / len(whole))
    return Row(name=name, samples=int(chosen.sum()), pairs=len(whole), single=single, both=both)
