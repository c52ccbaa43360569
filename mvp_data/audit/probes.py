"""Solvers that learn on other videos: frequent labels, habits of position, and two small probes.

Learned and asked samples never share a cluster, that is, a video group or a run of candidates: many builds have one
split, so the clusters are dealt into folds and each fold is asked of what was learned on the others. Two puzzles on
one pool with opposite answers, one learned and one asked, would teach the opposite of what is right.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mvp_data.core.errors import MissingDependencyError
from mvp_data.core.seeds import stable_hash
from mvp_data.puzzles.shortest_path import Floats, Numbers, best_subset
from mvp_data.tasks.task import Question

Rows = npt.NDArray[np.floating]

FOLDS = 5
MAX_STEPS = 1000  # of L-BFGS, which draws nothing at random; 100, the default, can be too few
INSTALL = "pip install 'masked-video-prediction[audit]'"
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
    """The K candidates that a logistic regression scores highest, ordered by a ridge regression.

    From `relative` features [samples, n, F] and the place of each candidate in the hidden segment or -1 [samples, n]:
    places in the pool [samples, K]. Both regressions also get the absolute values of the `unsigned` features.

    Raises `MissingDependencyError` without the `audit` extra.
    """
    try:
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise MissingDependencyError(f"the probes of the audit need scikit-learn: {INSTALL}") from error
    signed = features.astype(np.float32)
    rows = np.concatenate([signed, np.abs(signed[:, :, unsigned])], axis=2)
    answers = np.zeros((len(rows), k), np.intp)
    for learn, ask in folds(clusters):
        scaler, slots = StandardScaler(), orders[learn].ravel()
        learned = scaler.fit_transform(rows[learn].reshape(-1, rows.shape[2]))
        asked = scaler.transform(rows[ask].reshape(-1, rows.shape[2]))
        right = slots >= 0
        ridge = Ridge(fit_intercept=False).fit(learned[right], slots[right] - (k - 1) / 2)
        times, hopes = ridge.predict(asked).reshape(len(ask), -1), np.zeros(rows[ask].shape[:2])
        if not right.all():
            hopes = (
                LogisticRegression(max_iter=MAX_STEPS).fit(learned, right).decision_function(asked).reshape(times.shape)
            )
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
