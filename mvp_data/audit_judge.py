"""From answers to verdicts: scores, intervals over video groups, and the question whether chance explains them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from mvp_data.audit_spaces import Floats
from mvp_data.chance import chance
from mvp_data.intervals import clusters, intervals
from mvp_data.seeds import stable_hash

METRICS = ("exact", "set", "recall", "selection", "order", "position")
JUDGED = ("selection", "order", "exact")  # what a verdict rests on
LEVEL = 0.95
RARE = 5.0  # with fewer hits expected, no interval of their share can be trusted: they are counted instead


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over samples with its 95 % interval, and what guessing earns."""

    mean: float
    low: float
    high: float
    chance: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One solver. `wins_on` names the metrics on which it beats chance."""

    name: str
    kind: str  # baseline | leak | content
    verdict: str  # wins | unsure | chance | below
    wins_on: tuple[str, ...]
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What all solvers were asked: the shape of the puzzles and the video group of each."""

    k: int
    l: int  # noqa: E741 - the name of the paper
    groups: Sequence[str]


def grade(places: Sequence[int], n: int) -> tuple[float, ...]:
    """`METRICS` of an answer to a pool of `n`: the right slot of each of its candidates, or -1 for a distractor.

    >>> grade((0, 1, 3, -1), 8)
    (0.0, 0.0, 0.75, 0.5, 0.5, 0.5)
    """
    k = len(places)
    chosen = [place for place in places if place >= 0]
    hits, right = len(chosen), sum(place == slot for slot, place in enumerate(places))
    pairs = sum(a < b for i, a in enumerate(chosen) for b in chosen[i + 1 :])
    selection = (hits * n - k * k) / (k * (n - k)) if n > k else 0.0
    order = pairs / (k * (k - 1) / 2) if k > 1 else float(right == k)
    return float(right == k), float(hits == k), hits / k, selection, order, right / k


def judge(scores: Mapping[str, tuple[str, Floats]], asked: Asked) -> list[Result]:
    """A result for each solver, from its kind and its scores [samples, metrics].

    A verdict of `wins` must hold although many questions were asked of one set of samples: with 95 % for each, one in
    forty would be answered with yes by luck. Where the 95 % interval lies above chance and the wider one, 95 % for all
    `leak` solvers together, does not, the verdict is `unsure`.
    """
    codes, _ = clusters(asked.groups)
    table = np.stack([score for _, score in scores.values()], axis=1)  # [samples, solvers, metrics]
    levels = np.array([chance(metric, asked.k, asked.l).mean for metric in METRICS])
    worst = min(asked.k / asked.l, asked.l / asked.k) if asked.l else 0.0
    least = np.array([-worst if metric == "selection" else 0.0 for metric in METRICS])
    low, high = _intervals(table, codes, least, LEVEL)
    sure_low, sure_high = _intervals(table, codes, least, family_level([kind for kind, _ in scores.values()]))
    results = []
    for number, (name, (kind, score)) in enumerate(scores.items()):
        tail = luck(score[:, 0], codes, levels[0])
        sure = _above(sure_low[number], levels, tail, family_level([kind for kind, _ in scores.values()]))
        likely = _above(low[number], levels, tail, LEVEL)
        judged = [METRICS.index(metric) for metric in JUDGED]
        below = (sure_high[number] < levels)[judged].any()
        results.append(
            Result(
                name=name,
                kind=kind,
                verdict="wins" if sure else "unsure" if likely else "below" if below else "chance",
                wins_on=sure,
                estimates={
                    metric: Estimate(
                        mean=float(score[:, m].mean()),
                        low=float(low[number, m]),
                        high=float(high[number, m]),
                        chance=float(levels[m]),
                    )
                    for m, metric in enumerate(METRICS)
                },
            )
        )
    return results


def family_level(kinds: Sequence[str]) -> float:
    """The level of each interval that makes 95 % for the judged metrics of all `leak` solvers (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(1, kinds.count("leak") * len(JUDGED))


def _intervals(table: Floats, codes: npt.NDArray[np.intp], least: Floats, level: float) -> tuple[Floats, Floats]:
    """Both ends, [solvers, metrics] each."""
    samples, solvers, metrics = table.shape
    low, high = intervals(
        table.reshape(samples, -1),
        codes,
        stable_hash("audit"),
        least=np.tile(least, solvers),
        most=np.ones(solvers * metrics),
        level=level,
    )
    return low.reshape(solvers, metrics), high.reshape(solvers, metrics)


def _above(low: Floats, levels: Floats, tail: float | None, level: float) -> tuple[str, ...]:
    """The judged metrics whose interval lies above chance; for `exact`, where hits are rare, those beyond luck."""
    above = {metric: bool(low[m] > levels[m] + 1e-12) for m, metric in enumerate(METRICS)}
    if tail is not None:
        above["exact"] = tail <= (1 - level) / 2
    return tuple(metric for metric in JUDGED if above[metric])


def luck(exact: Floats, codes: npt.NDArray[np.intp], level: float) -> float | None:
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
