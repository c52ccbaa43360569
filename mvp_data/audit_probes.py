"""Solvers that learn on other videos: frequent labels, habits of position, and two small probes.

Learned and asked samples never share a cluster, that is, a video group or a run of candidates: many builds have one
split, so the clusters are dealt into folds and each fold is asked of what was learned on the others. Two puzzles on
one pool with opposite answers, one learned and one asked, would teach the opposite of what is right.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mvp_data.puzzles.shortest_path import Floats, Numbers, best_subset
from mvp_data.seeds import stable_hash
from mvp_data.tasks.task import Question

Rows = npt.NDArray[np.floating]

FOLDS = 5
RIDGE = 1.0  # penalty on squared weights; scikit-learn's default too
NEWTON_STEPS = 50
BLOCK = 4096  # rows that are looked at together
EVERY = slice(None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """The right answers, which are learned on other videos."""

    question: Question
    clusters: Numbers  # [samples]
    right: Numbers  # [samples, choices] slot of each label, or -1


def folds(clusters: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Samples to learn on and samples to ask, whole clusters, the folds about equally large. Nothing for one."""
    sizes = np.bincount(clusters)
    count = min(FOLDS, len(sizes))
    fold_of, filled = np.zeros(len(sizes), np.intp), np.zeros(count)
    for cluster in sorted(range(len(sizes)), key=lambda c: (-sizes[c], stable_hash("fold", c))):
        fold_of[cluster] = filled.argmin()
        filled[fold_of[cluster]] += sizes[cluster]
    for fold in range(count if count > 1 else 0):
        asked = fold_of[clusters] == fold
        yield np.flatnonzero(~asked), np.flatnonzero(asked)


def by_label(facts: Learned) -> Numbers:
    """For each slot the label that is most often right there, the surest slots first: [samples, slots]."""
    k = facts.question.slots
    answers = np.zeros((len(facts.right), k), np.intp)
    for learn, ask in folds(facts.clusters):
        slots = facts.right[learn]
        hits = [slots == slot if facts.question.ordered else slots >= 0 for slot in range(k)]
        counts = np.stack([hit.mean(axis=0) for hit in hits])  # [slots, choices]
        for _ in range(k):
            slot, label = np.unravel_index(counts.argmax(), counts.shape)
            answers[ask, slot] = label
            counts[slot], counts[:, label] = -1, -1
    return answers


def by_position(facts: Learned) -> Numbers:
    """The set of labels that are most often right together, in the order in which they most often come."""
    answers = np.zeros((len(facts.right), facts.question.slots), np.intp)
    for learn, ask in folds(facts.clusters):
        slots = facts.right[learn]
        right = (slots >= 0).astype(float)
        chosen = list(best_subset(-(right.T @ right), facts.question.slots))
        wins = np.stack([((slots >= 0) & (slots < slots[:, [label]])).sum(axis=0) for label in range(slots.shape[1])])
        first = (wins.T - wins)[np.ix_(chosen, chosen)].sum(axis=1)
        answers[ask] = np.array(chosen)[np.argsort(-first, kind="stable")]
    return answers


def by_probe(clusters: Numbers, features: Rows, orders: Numbers, k: int, unsigned: slice = EVERY) -> Numbers:
    """The K candidates that a logistic regression holds most likely to be right, ordered by a ridge regression.

    From `relative` features [samples, n, F] and the place of each candidate in the hidden segment or -1 [samples, n]:
    places in the pool [samples, K]. Of the `unsigned` features it is also told how far off they are on either side.
    """
    signed = features.astype(np.float32)
    rows = np.concatenate([signed, np.abs(signed[:, :, unsigned])], axis=2)
    answers = np.zeros((len(rows), k), np.intp)
    for learn, ask in folds(clusters):
        flat, slots = rows[learn].reshape(-1, rows.shape[2]), orders[learn].ravel()
        centre, scale = flat.mean(axis=0, dtype=np.float64), np.maximum(flat.std(axis=0, dtype=np.float64), 1e-9)
        flat -= centre.astype(np.float32)
        flat /= scale.astype(np.float32)
        right = slots >= 0
        asked = (rows[ask] - centre) / scale
        times = asked @ ridge(flat[right], slots[right] - (k - 1) / 2)
        hopes = asked @ logistic(flat, right) if not right.all() else np.zeros(asked.shape[:2])
        chosen = np.argsort(-hopes, axis=1, kind="stable")[:, :k]
        when = np.argsort(np.take_along_axis(times, chosen, axis=1), axis=1, kind="stable")
        answers[ask] = np.take_along_axis(chosen, when, axis=1)
    return answers


def relative(features: Floats) -> Floats:
    """Each feature [n, F] as its distance from the pool's mean in standard deviations.

    What gives a frame away is how it differs from the rest.
    """
    offset = features - features.mean(axis=0)
    deviation = offset.std(axis=0)
    scaled: Floats = np.divide(offset, deviation, out=np.zeros_like(offset), where=deviation > 1e-6)
    return scaled


def logistic(rows: Rows, right: npt.NDArray[np.bool_]) -> Floats:
    """Weights [F] of a logistic regression with an intercept (left out of the answer), by damped Newton steps.

    The same as scikit-learn's `LogisticRegression(C=1 / RIDGE)`, without the dependency.
    """
    weights: Floats = np.zeros(rows.shape[1] + 1)
    loss, gradient, curvature = _slopes(rows, right, weights)
    for _ in range(NEWTON_STEPS):
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while (tried := _slopes(rows, right, weights - size * step))[0] > loss and size > 1e-3:
            size /= 2
        weights, last = weights - size * step, loss
        loss, gradient, curvature = tried
        if last - loss < 1e-9 * max(1.0, loss):
            break
    return weights[:-1]


def _slopes(rows: Rows, right: npt.NDArray[np.bool_], weights: Floats) -> tuple[float, Floats, Floats]:
    """The penalised loss, its gradient and its curvature, summed over blocks of rows."""
    penalty = np.append(np.full(rows.shape[1], RIDGE), 0.0)
    loss = float((penalty * weights**2).sum() / 2)
    gradient, curvature = penalty * weights, np.diag(penalty + 1e-9)
    for start in range(0, len(rows), BLOCK):
        block, truth = rows[start : start + BLOCK], right[start : start + BLOCK]
        design = np.column_stack([block, np.ones(len(block))]).astype(np.float64)
        score = design @ weights
        likely = 1 / (1 + np.exp(-np.clip(score, -500, 500)))
        loss += float(np.logaddexp(0, np.where(truth, -score, score)).sum())
        gradient = gradient + design.T @ (likely - truth)
        curvature = curvature + (design * (likely * (1 - likely))[:, None]).T @ design
    return loss, gradient, curvature


def ridge(rows: Rows, values: Rows) -> Floats:
    """Weights [F] of a ridge regression of centred values."""
    gram = rows.T @ rows + RIDGE * np.eye(rows.shape[1])
    return np.asarray(np.linalg.solve(gram, rows.T @ values), np.float64)
