"""Turns the answers of solvers into results: metrics, confidence intervals over clusters, and a test against luck.

A pool may hold two coherent runs of frames: the hidden segment and a decoy. A solver that finds both runs and guesses
which one is hidden, and in which direction, is exactly right a quarter of the time without looking at the context. So
solvers that see frames are judged only on metrics in which such a solver scores no better than a guess. This holds for
every pool, with or without a decoy; docs/audit.md gives the reasons.

The *pair score* of a pair is 1 if both of its samples are answered right, else 0. A solver that gives both samples the
same answer has pair score 0.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
PAIR, PAIR_SET = "pair", "pair set"
NO_PAIRS: Numbers = np.zeros((0, 2), np.intp)
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
    pairs: Numbers = field(default_factory=lambda: NO_PAIRS)  # [pairs, 2] the samples of each pair
    strips: Numbers = field(default_factory=lambda: NO_PAIRS)  # those of `pairs` that are same-strip twins
    floors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by solver: a higher chance by metric

    def kind(self, solver: str) -> str:
        """The kind of a solver in this task."""
        return SOLVERS[solver].kind_in(self.task)


def metrics(question: Question, *, paired: bool = False) -> tuple[str, ...]:
    """The metrics for answers of this form; short tables and plots show the first three.

    `paired`: whether there are pairs, whose score then comes first.
    """
    if question.slots == 1:
        return ("exact", "selection") if question.choices > 1 else ("exact",)
    if not question.ordered:
        return (*((PAIR,) if paired else ()), "selection", "whole", "exact", "recall")
    if question.slots == question.choices:
        return "order", "exact", "position"
    if paired:
        return PAIR, "selection", "exact", "given", "whole", "set", PAIR_SET, "order", "recall", "position"
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


def guessing(question: Question, *, paired: bool = False) -> dict[str, float]:
    """The exact mean of each metric over all valid answers; to both samples of a pair independently."""
    k, others = question.slots, question.choices - question.slots
    own = {"given": 0.5, "whole": (1 - math.comb(others, k)) / math.comb(k + others, k)}  # C(l, K) is 0 where l < K
    for pair, single in ((PAIR, "exact"), (PAIR_SET, "set")):
        own[pair] = chance(single, k, others, ordered=question.ordered).mean ** 2
    return {
        metric: own[metric] if metric in own else chance(metric, k, others, ordered=question.ordered).mean
        for metric in metrics(question, paired=paired)
    }


def seeing_runs(question: Question, *, paired: bool = False) -> dict[str, float]:
    """The mean of each metric for a solver that knows which candidates form a run of K, but no direction.

    There are two such runs, or one where all candidates are hidden frames; the solver does not know which of the two is
    right, and takes the same one in both samples of a pair. Empty for pools without room for two.
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
        PAIR: 0.0,
        PAIR_SET: 0.0,
    }
    return {metric: earned[metric] for metric in metrics(question, paired=paired)}


def scores(right: Numbers, question: Question, pairs: Numbers = NO_PAIRS) -> dict[str, tuple[Floats, Floats]]:
    """A sample's value and weight by metric; `right` [samples, slots] is the right slot of each answered label or -1.

    A score is the weighted mean of the values. All samples weigh 1, with two exceptions. For `given` a sample weighs as
    much as it has pairs of chosen hidden frames, so one without a pair does not count. For the pair scores the first
    sample of each of `pairs` has the value of the pair, and no other sample counts.
    """
    values = grade_all(right, question.choices, ordered=question.ordered)
    hits = (right >= 0).sum(axis=1)
    ones = np.ones(len(right))
    weights = {"given": hits * (hits - 1) / 2}
    for pair, single in ((PAIR, "exact"), (PAIR_SET, "set")):
        values[pair], weights[pair] = np.zeros(len(right)), np.zeros(len(right))
        values[pair][pairs[:, 0]] = values[single][pairs].min(axis=1)
        weights[pair][pairs[:, 0]] = 1
    return {metric: (values[metric], weights.get(metric, ones)) for metric in metrics(question, paired=len(pairs) > 0)}


def families(answers: Answers) -> Mapping[str, int]:
    """The comparisons with chance of each family of leak solvers: one for each of its solvers and judged metrics."""
    names = [name for name in answers.right if answers.kind(name) == LEAK]
    return Counter(SOLVERS[name].family for name in names for _ in _judged(answers, name))


def sure_level(count: int) -> float:
    """The level of each of `count` families of intervals that hold together with 95 % confidence (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(1, count)


def judge(answers: Answers, sure: float) -> list[Result]:
    """A result for each solver, leak solvers before content solvers; `sure` is the level of a family of solvers.

    There are many comparisons on one set of samples: with a 95 % interval for each, one in forty would be above chance
    by luck alone. So a solver `wins` only if the wider interval, which holds for all leak solvers together with 95 %
    confidence, is above chance. If only its own 95 % interval is, the verdict is `unsure`. One rule in several spaces
    is one family: its comparisons share the doubt that each family may have, so more spaces do not weaken the others.
    """
    levels = guessing(answers.question, paired=len(answers.pairs) > 0)
    names = sorted(answers.right, key=lambda name: KINDS.index(answers.kind(name)))
    sums, sizes, tails = _sums(answers, names)
    sizes_of = families(answers)
    sure_of = {name: 1 - (1 - sure) / sizes_of.get(SOLVERS[name].family, 1) for name in names}
    sures = sorted({*sure_of.values()})
    worst = np.array([0.0 if metric in (PAIR, PAIR_SET) else lowest(metric, answers.question) for metric in levels])
    (low, high), *wide = ratio_intervals(
        sums,
        sizes,
        stable_hash("audit"),
        least=np.tile(worst, len(names)),
        most=np.ones(sums.shape[1]),
        levels=(LEVEL, *sures),
    )
    which = np.repeat([sures.index(sure_of[name]) for name in names], len(levels))
    sure_low, sure_high = (np.choose(which, [ends[side] for ends in wide]) for side in (0, 1))
    fixed = _fixed(sums, sizes, names, levels)
    low, high, sure_low, sure_high = (np.where(np.isnan(fixed), end, fixed) for end in (low, high, sure_low, sure_high))
    totals, weights = sums.sum(axis=0), sizes.sum(axis=0)
    results = []
    for number, name in enumerate(names):
        columns = {metric: number * len(levels) + m for m, metric in enumerate(levels)}
        floors = answers.floors.get(name, {})
        estimates = {
            metric: Estimate(
                mean=float(totals[at] / weights[at]) if weights[at] else levels[metric],
                low=float(low[at]),
                high=float(high[at]),
                chance=floors.get(metric, levels[metric]),
            )
            for metric, at in columns.items()
        }
        ends = {metric: (float(sure_low[at]), float(sure_high[at])) for metric, at in columns.items()}
        results.append(_result(name, answers, estimates, ends, (tails[number], sure_of[name])))
    return results


def luck(hits: Floats, clusters: Numbers, expected: float) -> float | None:
    """The probability that guessing has hits in at least as many clusters; None where hits are not rare.

    `hits` [samples] are above 0 for a hit, and guessing has `expected` of them. For rare hits an interval misleads: one
    exact answer in 78 samples lifts it above a chance of 1/1680, although guessing has one in one of twenty such sets.
    The number of clusters with a hit is at most about Poisson-distributed, whether or not the samples of a cluster hit
    together.
    """
    if expected >= RARE:
        return None
    found = len(np.unique(clusters[hits > 0]))
    terms = accumulate(range(1, found), lambda term, count: term * expected / count, initial=math.exp(-expected))
    return max(0.0, 1 - sum(terms)) if found else 1.0


def _judged(answers: Answers, name: str) -> tuple[str, ...]:
    """The metrics that decide for one solver; a solver that sees only the candidates gives both twins one answer."""
    solver, question = SOLVERS[name], answers.question
    shown = metrics(question, paired=len(answers.pairs) > 0)
    usual = judged(question, sees_frames=solver.sees_frames)
    asked = usual if solver.judged is None else [metric for metric in solver.judged if metric in shown]
    both = PAIR_SET if question.ordered else PAIR
    uses_context = solver.sees_frames and (solver.judged is not None or not solver.among_candidates)
    return (*asked, *((both,) if both in shown and uses_context else ()))


def _sums(answers: Answers, names: Sequence[str]) -> tuple[Floats, Floats, list[dict[str, float | None]]]:
    """Values and weights summed over each cluster, [clusters, solvers * metrics]; the `luck` of each solver's hits."""
    levels = guessing(answers.question, paired=len(answers.pairs) > 0)
    sums, sizes, tails = [], [], []
    for name in names:
        found = scores(answers.right[name], answers.question, answers.pairs)
        if SOLVERS[name].for_twins:
            of_twins = np.isin(np.arange(len(answers.clusters)), answers.strips)
            found = {metric: (value * of_twins, weight * of_twins) for metric, (value, weight) in found.items()}
        for value, weight in found.values():
            sums.append(np.bincount(answers.clusters, value * weight))
            sizes.append(np.bincount(answers.clusters, weight))
        rare = [metric for metric in ("exact", PAIR, PAIR_SET) if metric in levels]
        tails.append({m: luck(found[m][0], answers.clusters, found[m][1].sum() * levels[m]) for m in rare})
    return np.stack(sums, axis=1), np.stack(sizes, axis=1), tails


def _fixed(sums: Floats, sizes: Floats, names: Sequence[str], levels: Mapping[str, float]) -> Floats:
    """The value of each column that is constant by construction, else NaN: [solvers * metrics].

    A solver that sees only the candidates scores exactly chance over a pair of twins, so its selection is 0 in every
    cluster, and it is never right on both. An interval for an unknown mean would say that any value is possible.
    """
    usual = {"selection": levels.get("selection"), "whole": levels.get("whole"), PAIR: 0.0, PAIR_SET: 0.0}
    value = np.array([usual.get(m, np.nan) for m in levels] * len(names), float)
    constant = (np.abs(sums - value * sizes) < 1e-9).all(axis=0).reshape(len(names), len(levels))
    if len(sums) < CONSTANT_CLUSTERS or "selection" not in levels:
        return np.full(len(value), np.nan)
    constant &= constant[:, [list(levels).index("selection")]]  # whole sets are so rare that none may be luck
    return np.where(constant.ravel(), value, np.nan)


def _result(
    name: str,
    answers: Answers,
    estimates: Mapping[str, Estimate],
    sure_ends: Mapping[str, tuple[float, float]],
    hits: tuple[Mapping[str, float | None], float],
) -> Result:
    """The verdict: an interval above chance in a judged metric, or for rare hits more of them than luck."""
    tails, level = hits
    asked, floors = _judged(answers, name), answers.floors.get(name, {})

    def above(ends: Mapping[str, float], level: float) -> tuple[str, ...]:
        won = {metric: ends[metric] > estimates[metric].chance + 1e-12 for metric in asked}
        for metric in won.keys() - floors.keys():
            tail = tails.get(metric)
            won[metric] = tail <= (1 - level) / 2 if tail is not None else won[metric]
        return tuple(metric for metric in asked if won[metric])

    wins = above({metric: low for metric, (low, _) in sure_ends.items()}, level)
    likely = above({metric: estimate.low for metric, estimate in estimates.items()}, LEVEL)
    fair = [metric for metric in asked if metric not in (PAIR, PAIR_SET)]  # a pair score of 0 is as it should be
    low = (sure_ends[metric][1] < estimates[metric].chance - 1e-12 for metric in fair)
    below = not floors and any(low)  # a floor is the best that is possible by arithmetic
    return Result(
        name=name,
        kind=answers.kind(name),
        verdict="wins" if wins else "unsure" if likely else "below" if below else "chance",
        judged=asked,
        wins_on=wins,
        estimates=estimates,
    )
