"""Turns the answers of solvers into results: metrics, confidence intervals over clusters, and a test against luck.

A pool may hold two coherent runs of frames: the hidden segment and a decoy. A solver that finds both runs and guesses
which one is hidden, and in which direction, is exactly right a quarter of the time without looking at the context. So
solvers that see frames are judged only on metrics in which such a solver scores no better than a guess. This holds for
every pool, with or without a decoy; docs/audit.md gives the reasons.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from mvp_data.audit.solvers import KINDS, LEAK, SOLVERS
from mvp_data.core.seeds import stable_hash
from mvp_data.core.statistics import Estimate, ratio_intervals
from mvp_data.puzzles.shortest_path import Floats, Numbers
from mvp_data.tasks.chance import chance
from mvp_data.tasks.grading import grade_all, lowest
from mvp_data.tasks.task import Question, Task

LEVEL = 0.95
CONSTANT_CLUSTERS = 5  # in a clean build, a guess is exactly at chance in each of so many clusters by rare luck only
RARE = 5.0  # with fewer hits expected, no interval of their share can be trusted: they are counted instead


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The result of one solver. Its verdict uses the metrics in `judged`; it beats chance on those in `wins_on`."""

    name: str
    kind: str  # baseline | leak | content
    verdict: str  # wins | unsure | chance | below
    judged: tuple[str, ...]
    wins_on: tuple[str, ...]
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """The answers of all solvers to the samples of one task."""

    task: Task
    question: Question
    right: Mapping[str, Numbers]  # by solver, [samples, slots]: the right slot of each label of its answers, or -1
    clusters: Numbers  # [samples] the units of the intervals

    def kind(self, solver: str) -> str:
        """The kind of a solver in this task."""
        return SOLVERS[solver].kind_in(self.task)


def metrics(question: Question) -> tuple[str, ...]:
    """The metrics for answers of this form; short tables and plots show the first three."""
    if question.slots == 1:
        return ("exact", "selection") if question.choices > 1 else ("exact",)
    if not question.ordered:
        return "selection", "whole", "exact", "recall"
    if question.slots == question.choices:
        return "order", "exact", "position"
    return "selection", "given", "exact", "whole", "set", "order", "recall", "position"


def judged(question: Question, *, sees_frames: bool) -> tuple[str, ...]:
    """The metrics that decide the verdict; for one that sees frames, those that finding a run does not improve."""
    if question.slots == 1:
        return ("exact",)
    if not question.ordered:
        return ("selection", "whole") if sees_frames else ("selection", "exact")
    if question.slots == question.choices:
        return ("order",) if sees_frames else ("order", "exact")
    return ("selection", "given", "whole") if sees_frames else ("selection", "order", "exact")


def guessing(question: Question) -> dict[str, float]:
    """The exact mean of each metric over all valid answers."""
    k, others = question.slots, question.choices - question.slots
    own = {"given": 0.5, "whole": (1 - math.comb(others, k)) / math.comb(k + others, k)}  # C(l, K) is 0 where l < K
    return {
        metric: own[metric] if metric in own else chance(metric, k, others, ordered=question.ordered).mean
        for metric in metrics(question)
    }


def seeing_runs(question: Question) -> dict[str, float]:
    """The mean of each metric for a solver that knows which candidates form a run of K, but no direction.

    There are two such runs, or one where all candidates are hidden frames; the solver does not know which of the two is
    right. Empty for pools without room for two.
    """
    k, others = question.slots, question.choices - question.slots
    if k == 1 or 0 < others < k:
        return {}
    taken = 0.5 if others else 1.0  # how often it takes the right run
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


def scores(right: Numbers, question: Question) -> dict[str, tuple[Floats, Floats]]:
    """A sample's value and weight by metric; `right` [samples, slots] is the right slot of each answered label or -1.

    A score is the weighted mean of the values. All samples weigh 1, except for `given`: there a sample weighs as much
    as it has pairs of chosen hidden frames, so one without a pair does not count.
    """
    values = grade_all(right, question.choices, ordered=question.ordered)
    hits = (right >= 0).sum(axis=1)
    ones, pairs = np.ones(len(right)), hits * (hits - 1) / 2
    return {metric: (values[metric], pairs if metric == "given" else ones) for metric in metrics(question)}


def questions(answers: Answers) -> int:
    """The number of comparisons with chance: one for each leak solver and each metric that judges it."""
    return sum(len(_judged(answers, name)) for name in answers.right if answers.kind(name) == LEAK)


def sure_level(count: int) -> float:
    """The level of each of `count` intervals that hold together with 95 % confidence (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(1, count)


def judge(answers: Answers, sure: float) -> list[Result]:
    """A result for each solver, leak solvers before content solvers; `sure` is the level of a `wins`.

    There are many comparisons on one set of samples: with a 95 % interval for each, one in forty would be above chance
    by luck alone. So a solver `wins` only if the wider interval, which holds for all leak solvers together with 95 %
    confidence, is above chance. If only its own 95 % interval is, the verdict is `unsure`.
    """
    levels = guessing(answers.question)
    names = sorted(answers.right, key=lambda name: KINDS.index(answers.kind(name)))
    sums, sizes, tails = _sums(answers, names)
    worst = np.array([lowest(metric, answers.question) for metric in levels])
    (low, high), (sure_low, sure_high) = ratio_intervals(
        sums,
        sizes,
        stable_hash("audit"),
        least=np.tile(worst, len(names)),
        most=np.ones(sums.shape[1]),
        levels=(LEVEL, sure),
    )
    fixed = _fixed(sums, sizes, names, levels)
    low, high, sure_low, sure_high = (np.where(np.isnan(fixed), end, fixed) for end in (low, high, sure_low, sure_high))
    totals, weights = sums.sum(axis=0), sizes.sum(axis=0)
    results = []
    for number, name in enumerate(names):
        columns = {metric: number * len(levels) + m for m, metric in enumerate(levels)}
        estimates = {
            metric: Estimate(
                mean=float(totals[at] / weights[at]) if weights[at] else levels[metric],
                low=float(low[at]),
                high=float(high[at]),
                chance=levels[metric],
            )
            for metric, at in columns.items()
        }
        ends = {metric: (float(sure_low[at]), float(sure_high[at])) for metric, at in columns.items()}
        results.append(_result(name, answers, estimates, ends, (tails[number], sure)))
    return results


def luck(exact: Floats, clusters: Numbers, level: float) -> float | None:
    """The probability that guessing is exactly right in at least as many clusters; None where such hits are not rare.

    For rare hits an interval misleads: one hit in 78 samples lifts it above a chance of 1/1680, although guessing has a
    hit in one of twenty such sets. The number of clusters with a hit is at most about Poisson-distributed, whether or
    not the samples of a cluster hit together.
    """
    expected = len(exact) * level
    if expected >= RARE:
        return None
    hits = len(np.unique(clusters[exact > 0]))
    terms = accumulate(range(1, hits), lambda term, count: term * expected / count, initial=math.exp(-expected))
    return max(0.0, 1 - sum(terms)) if hits else 1.0


def _judged(answers: Answers, solver: str) -> tuple[str, ...]:
    return judged(answers.question, sees_frames=SOLVERS[solver].sees_frames)


def _sums(answers: Answers, names: Sequence[str]) -> tuple[Floats, Floats, list[float | None]]:
    """Values and weights summed over each cluster, [clusters, solvers * metrics]; the `luck` of each solver."""
    sums, sizes, tails = [], [], []
    for name in names:
        found = scores(answers.right[name], answers.question)
        for value, weight in found.values():
            sums.append(np.bincount(answers.clusters, value * weight))
            sizes.append(np.bincount(answers.clusters, weight))
        tails.append(luck(found["exact"][0], answers.clusters, guessing(answers.question)["exact"]))
    return np.stack(sums, axis=1), np.stack(sizes, axis=1), tails


def _fixed(sums: Floats, sizes: Floats, names: Sequence[str], levels: Mapping[str, float]) -> Floats:
    """The chance level of each column that is at chance by construction, else NaN: [solvers * metrics].

    A solver that sees only the candidates scores exactly chance over a pair of twins, so its selection is 0 in every
    cluster. An interval for an unknown mean would say that any value is possible.
    """
    chance = np.array([levels[m] if m in ("selection", "whole") else np.nan for m in levels] * len(names))
    constant = (np.abs(sums - chance * sizes) < 1e-9).all(axis=0).reshape(len(names), len(levels))
    if len(sums) < CONSTANT_CLUSTERS or "selection" not in levels:
        return np.full(len(chance), np.nan)
    constant &= constant[:, [list(levels).index("selection")]]  # whole sets are so rare that none may be luck
    return np.where(constant.ravel(), chance, np.nan)


def _result(
    name: str,
    answers: Answers,
    estimates: Mapping[str, Estimate],
    sure_ends: Mapping[str, tuple[float, float]],
    hits: tuple[float | None, float],
) -> Result:
    """The verdict: an interval above chance in a judged metric, or for `exact` where hits are rare, more than luck."""
    tail, level = hits
    asked = _judged(answers, name)

    def above(ends: Mapping[str, float], level: float) -> tuple[str, ...]:
        won = {metric: ends[metric] > estimates[metric].chance + 1e-12 for metric in asked}
        if tail is not None and "exact" in won:
            won["exact"] = tail <= (1 - level) / 2
        return tuple(metric for metric in asked if won[metric])

    wins = above({metric: low for metric, (low, _) in sure_ends.items()}, level)
    likely = above({metric: estimate.low for metric, estimate in estimates.items()}, LEVEL)
    below = any(sure_ends[metric][1] < estimates[metric].chance - 1e-12 for metric in asked)
    return Result(
        name=name,
        kind=answers.kind(name),
        verdict="wins" if wins else "unsure" if likely else "below" if below else "chance",
        judged=asked,
        wins_on=wins,
        estimates=estimates,
    )
