"""From answers to verdicts: scores, intervals over video groups, and the question whether chance explains them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from mvp_data.audit.tasks import LEAK, guessing, judged, kind, metrics
from mvp_data.core.seeds import stable_hash
from mvp_data.core.statistics import Estimate, ratio_intervals
from mvp_data.puzzles.shortest_path import Floats, Numbers
from mvp_data.tasks.grading import grade_all, lowest
from mvp_data.tasks.task import Question

LEVEL = 0.95
CONSTANT_CLUSTERS = 5  # guessing is exactly at chance in each of so many clusters once in hundreds of builds
RARE = 5.0  # with fewer hits expected, no interval of their share can be trusted: they are counted instead


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One solver. `judged` names the metrics that its verdict rests on, `wins_on` those on which it beats chance."""

    name: str
    kind: str  # baseline | leak | content
    verdict: str  # wins | unsure | chance | below
    judged: tuple[str, ...]
    wins_on: tuple[str, ...]
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What the solvers answered to the samples of one task."""

    task: str
    question: Question
    right: Mapping[str, Numbers]  # by solver, [samples, slots]: the right slot of each label of its answers, or -1
    clusters: Numbers  # [samples] what intervals rest on


def scores(right: Numbers, question: Question) -> dict[str, tuple[Floats, Floats]]:
    """Values and weights of each of the task's `metrics`, from the right slot (or -1) of each label of the answers.

    A score is the weighted mean of the values. All samples weigh 1, but for `given`: there the pairs among the chosen
    positives do, so that a sample with fewer than two of them does not count.
    """
    values = grade_all(right, question.choices, ordered=question.ordered)
    hits = (right >= 0).sum(axis=1)
    ones, pairs = np.ones(len(right)), hits * (hits - 1) / 2
    return {metric: (values[metric], pairs if metric == "given" else ones) for metric in metrics(question)}


def questions(answers: Answers) -> int:
    """How many chances the `leak` solvers have to win by luck."""
    return sum(len(judged(answers.question, name)) for name in answers.right if kind(name, answers.task) == LEAK)


def sure_level(asked: int) -> float:
    """The level of each interval that makes 95 % for so many questions together (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(1, asked)


def judge(answers: Answers, sure: float) -> list[Result]:
    """A result for each solver, those that must not win first; `sure` is the level that decides on `wins`.

    A verdict of `wins` must hold although many questions were asked of one set of samples: with 95 % for each, one in
    forty would be answered with yes by luck. Where the 95 % interval lies above chance and the wider one, 95 % for all
    `leak` solvers together, does not, the verdict is `unsure`.
    """
    levels = guessing(answers.question)
    names = sorted(answers.right, key=lambda name: ("baseline", "leak", "content").index(kind(name, answers.task)))
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


def _fixed(sums: Floats, sizes: Floats, names: Sequence[str], levels: Mapping[str, float]) -> Floats:
    """The chance level of each column that is there by construction, else NaN: [solvers * metrics].

    Whoever looks at candidates alone is as wrong on a puzzle as right on its twin, so that selection is 0 in every
    cluster. An interval for means of the unknown would say that it could be anything.
    """
    chance = np.array([levels[m] if m in ("selection", "whole") else np.nan for m in levels] * len(names))
    constant = (np.abs(sums - chance * sizes) < 1e-9).all(axis=0).reshape(len(names), len(levels))
    if len(sums) < CONSTANT_CLUSTERS or "selection" not in levels:
        return np.full(len(chance), np.nan)
    constant &= constant[:, [list(levels).index("selection")]]  # whole sets are so rare that none may be luck
    return np.where(constant.ravel(), chance, np.nan)


def _sums(answers: Answers, names: Sequence[str]) -> tuple[Floats, Floats, list[float | None]]:
    """Of each cluster the values and weights of all solvers' metrics, summed: [clusters, solvers * metrics]; `luck`."""
    sums, sizes, tails = [], [], []
    for name in names:
        found = scores(answers.right[name], answers.question)
        for value, weight in found.values():
            sums.append(np.bincount(answers.clusters, value * weight))
            sizes.append(np.bincount(answers.clusters, weight))
        tails.append(luck(found["exact"][0], answers.clusters, guessing(answers.question)["exact"]))
    return np.stack(sums, axis=1), np.stack(sizes, axis=1), tails


def _result(
    name: str,
    answers: Answers,
    estimates: Mapping[str, Estimate],
    sure_ends: Mapping[str, tuple[float, float]],
    hits: tuple[float | None, float],
) -> Result:
    """The verdict: metrics whose interval lies above chance; of `exact`, where hits are rare, hits beyond luck."""
    tail, level = hits
    asked = judged(answers.question, name)

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
        kind=kind(name, answers.task),
        verdict="wins" if wins else "unsure" if likely else "below" if below else "chance",
        judged=asked,
        wins_on=wins,
        estimates=estimates,
    )


def luck(exact: Floats, codes: Numbers, level: float) -> float | None:
    """How likely guessing hits in as many groups, where hits are rare; None where an interval can be trusted.

    One hit in 78 samples lifts a score interval above 1/1680, though guessing has one in every twentieth such set.
    The number of groups with a hit is at most about Poisson, whether or not samples of a group hit together.
    """
    expected = len(exact) * level
    if expected >= RARE:
        return None
    hits = len(np.unique(codes[exact > 0]))
    terms = accumulate(range(1, hits), lambda term, count: term * expected / count, initial=math.exp(-expected))
    return max(0.0, 1 - sum(terms)) if hits else 1.0
