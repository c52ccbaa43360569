"""Solvers that learn on other videos: frequent labels, habits of position, and two small probes.

Learned and asked samples never share a video group: many builds have one split, so the groups are dealt into folds
and each fold is asked of what was learned on the others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.audit_spaces import Floats, Places, best_subset
from mvp_data.seeds import stable_hash

Numbers = npt.NDArray[np.intp]

FOLDS = 5
RIDGE = 1.0  # penalty on squared weights; scikit-learn's default too
NEWTON_STEPS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """Features of every candidate of every sample, and the truth that probes are fitted to on other videos."""

    k: int
    groups: Numbers  # [samples] video group
    slots: Numbers  # [samples, n] place in the answer of each candidate of the shuffled pool, or -1
    labels: Numbers  # [samples, n] number of its label


def folds(groups: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Samples to learn on and samples to ask, whole groups, the folds about equally large. Nothing for one group."""
    sizes = np.bincount(groups)
    count = min(FOLDS, len(sizes))
    fold_of, filled = np.zeros(len(sizes), np.intp), np.zeros(count)
    for group in sorted(range(len(sizes)), key=lambda g: (-sizes[g], stable_hash("fold", g))):
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += sizes[group]
    for fold in range(count if count > 1 else 0):
        asked = fold_of[groups] == fold
        yield np.flatnonzero(~asked), np.flatnonzero(asked)


def by_label(facts: Learned) -> list[Places]:
    """For each slot the label that is most often right there, the surest slots first; places of the shuffled pool."""
    slots = _by_label_number(facts)
    answers: list[Places] = [()] * len(slots)
    for learn, ask in folds(facts.groups):
        counts = np.stack([(slots[learn] == slot).mean(axis=0) for slot in range(facts.k)])  # [K, n]
        chosen = np.zeros(facts.k, np.intp)
        for _ in range(facts.k):
            slot, label = np.unravel_index(counts.argmax(), counts.shape)
            chosen[slot] = label
            counts[slot], counts[:, label] = -1, -1
        _answer(answers, facts, ask, chosen)
    return answers


def by_position(facts: Learned) -> list[Places]:
    """The set of labels that are most often right together, in the order in which they most often come."""
    slots = _by_label_number(facts)
    answers: list[Places] = [()] * len(slots)
    for learn, ask in folds(facts.groups):
        right = (slots[learn] >= 0).astype(float)
        chosen = list(best_subset(-(right.T @ right), facts.k))
        pairs = (slots[learn][:, :, None] >= 0) & (slots[learn][:, :, None] < slots[learn][:, None, :])
        wins = pairs.sum(axis=0)
        first = (wins - wins.T)[np.ix_(chosen, chosen)].sum(axis=1)
        _answer(answers, facts, ask, np.array(chosen)[np.argsort(-first, kind="stable")])
    return answers


def by_probe(facts: Learned, features: Floats) -> list[Places]:
    """The K candidates that a logistic regression holds most likely to be right, ordered by a ridge regression.

    `features` [samples, n, F] are taken relative to the pool: what gives a frame away is how it differs from the rest.
    """
    rows = relative(features)
    answers: list[Places] = [()] * len(rows)
    for learn, ask in folds(facts.groups):
        slots, flat = facts.slots[learn].ravel(), rows[learn].reshape(-1, rows.shape[2])
        centre, scale = flat.mean(axis=0), np.maximum(flat.std(axis=0), 1e-9)
        flat, asked = (flat - centre) / scale, (rows[ask] - centre) / scale
        right = slots >= 0
        hopes = asked @ logistic(flat, right)
        times = asked @ ridge(flat[right], slots[right] - (facts.k - 1) / 2)
        for sample, likely, when in zip(ask, hopes, times, strict=True):
            chosen = np.argsort(-likely, kind="stable")[: facts.k]
            answers[sample] = tuple(int(i) for i in chosen[np.argsort(when[chosen], kind="stable")])
    return answers


def relative(features: Floats) -> Floats:
    """Each feature [samples, n, F] as its distance from the pool's mean in standard deviations, signed and unsigned."""
    offset = features - features.mean(axis=1, keepdims=True)
    deviation = offset.std(axis=1, keepdims=True)
    scaled = np.divide(offset, deviation, out=np.zeros_like(offset), where=deviation > 1e-6)
    return np.concatenate([scaled, np.abs(scaled)], axis=2)


def logistic(rows: Floats, right: npt.NDArray[np.bool_]) -> Floats:
    """Weights [F] of a logistic regression with an intercept (left out of the answer), by damped Newton steps.

    The same as scikit-learn's `LogisticRegression(C=1 / RIDGE)`, without the dependency.
    """
    design = np.column_stack([rows, np.ones(len(rows))])
    penalty = np.append(np.full(rows.shape[1], RIDGE), 0.0)
    sign = np.where(right, 1.0, -1.0)

    def loss(weights: Floats) -> float:
        return float(np.logaddexp(0, -sign * (design @ weights)).sum() + (penalty * weights**2).sum() / 2)

    weights: Floats = np.zeros(design.shape[1])
    least = np.inf
    for _ in range(NEWTON_STEPS):
        likely = 1 / (1 + np.exp(-np.clip(design @ weights, -500, 500)))
        gradient = design.T @ (likely - right) + penalty * weights
        curvature = (design * (likely * (1 - likely))[:, None]).T @ design + np.diag(penalty + 1e-9)
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while (now := loss(weights - size * step)) > least and size > 1e-3:
            size /= 2
        weights = np.asarray(weights - size * step)
        if least - now < 1e-9 * max(1.0, now):
            break
        least = now
    return weights[:-1]


def ridge(rows: Floats, values: npt.NDArray[Any]) -> Floats:
    """Weights [F] of a ridge regression of centred values."""
    weights: Floats = np.linalg.solve(rows.T @ rows + RIDGE * np.eye(rows.shape[1]), rows.T @ values)
    return weights


def _by_label_number(facts: Learned) -> Numbers:
    """The slots [samples, n] with the candidates in the order of their labels."""
    slots: Numbers = np.take_along_axis(facts.slots, np.argsort(facts.labels, axis=1), axis=1)
    return slots


def _answer(answers: list[Places], facts: Learned, samples: Numbers, chosen: Sequence[int] | Numbers) -> None:
    """Answer each of `samples` with the label numbers `chosen`, as places of its shuffled pool."""
    places = np.argsort(facts.labels[samples], axis=1)[:, list(chosen)]
    for sample, answer in zip(samples, places, strict=True):
        answers[sample] = tuple(int(i) for i in answer)
