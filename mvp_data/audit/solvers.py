"""The solvers of the audit, one `Solver` object each; docs/audit.md describes them.

A solver answers one sample at a time (`solve`), or all samples of a task after learning on other videos (`learn`). To
add one, write its function here and list it in `SOLVERS`.

Samples that share a video group or a run of candidates form a cluster. A solver never learns on the cluster that it
answers: many builds have one split, so the clusters are divided into folds, and each fold is answered by a solver that
learned on the others. Without clusters, two puzzles with one pool and opposite answers could be in different folds;
each would then teach the wrong answer to the other.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.audit import context_solvers
from mvp_data.audit.distances import Distances, can_fit
from mvp_data.audit.features import ARTEFACTS, OF_THE_FILE, Measurements
from mvp_data.core.errors import MissingDependencyError
from mvp_data.core.seeds import stable_hash
from mvp_data.puzzles import similarity_solvers
from mvp_data.puzzles.shortest_path import Floats, Numbers, Places, best_subset, searchable, shortest_path
from mvp_data.tasks.task import Question, Task

Rows = npt.NDArray[np.floating]

BASELINE, LEAK, CONTENT = KINDS = ("baseline", "leak", "content")
SPACES = ("pixels", "hog", "embedding", "second")  # builds use the first and the third
JOINED = "all"  # the mean over the spaces
FOLDS = 5
MAX_STEPS = 1000  # of L-BFGS, which is deterministic; its default of 100 can be too few
INSTALL = "pip install 'masked-video-prediction[audit]'"
ALL = slice(None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """All samples of one task, for the solvers that learn. Pools are in the order of `VisiblePart.pool`."""

    task: Task
    question: Question
    k: int
    clusters: Numbers  # [samples]
    right: Numbers  # [samples, choices] slot of each label in the right answer, or -1
    labels: Numbers  # [samples, n] number of the label of each candidate
    orders: Numbers  # [samples, n] place of each candidate in the hidden segment, or -1
    features: Rows  # [samples, n, F] `relative`: the artefacts, then `pool_features`
    mask_starts: Numbers  # [samples] context frames before the gap
    halves: Mapping[str, Numbers]  # by `HALVES`, [samples, 2, K]: two halves of the pool, as places in order
    elsewhere: Numbers  # [samples, K] places of the pool: the answer that other samples show


@dataclass(frozen=True, kw_only=True, slots=True)
class Solver:
    """One solver. It has either `solve`, which returns K places of the pool, or `learn`, which returns answers."""

    name: str
    kind: str  # baseline, leak (must not win) or content (may win)
    solve: Callable[[Measurements], Places] | None = None
    learn: Callable[[Samples], Numbers] | None = None  # numbers of labels, [samples, slots]
    sees_frames: bool = True
    among_candidates: bool = False  # whether it compares candidates with each other
    space: str = ""  # of the distances that it needs: pixels or embedding
    searches: bool = False  # all answers, so large pools are left out
    needs_distractors: bool = False
    least_slots: int = 1  # fewest labels in an answer
    two_halves: bool = False  # whether the pool must hold as many distractors as hidden frames
    fits_runs: bool = False  # whether it needs `Distances.fits`
    for_twins: bool = False  # whether only its answers to same-strip twins count
    judged: tuple[str, ...] | None = None  # the metrics that decide beside the pair score; None: `scoring.judged`

    @property
    def family(self) -> str:
        """The name of its rule, without the space."""
        return self.name.removesuffix(f"-{self.space}")

    def kind_in(self, task: Task) -> str:
        """Leak or content solver in this task. Comparing the candidates is a leak only where a pool can have decoys."""
        return CONTENT if self.among_candidates and not task.decoys else self.kind


def solvers(task: Task, k: int, l: int, *, context: int, spaces: Collection[str]) -> tuple[Solver, ...]:  # noqa: E741
    """The solvers that can answer puzzles of this shape, with distances in these spaces."""
    searched, slots = searchable(k + l, k), task.question(k, l).slots
    return tuple(
        solver
        for solver in SOLVERS.values()
        if (searched or not solver.searches)
        and (l or not solver.needs_distractors)
        and (l == k or not solver.two_halves)
        and ((context > 1 and can_fit(k + l, k)) or not solver.fits_runs)
        and slots >= solver.least_slots
        and (not solver.space or solver.space in spaces)
    )


def random(found: Measurements) -> Places:
    """The first K of the shuffled pool."""
    return tuple(range(found.k))


def alike(found: Measurements, space: str) -> Places:
    """The K candidates with the smallest distances to each other, as the shortest chain."""
    pool = found.spaces[space].pool
    chosen = best_subset(pool, found.k)
    return tuple(chosen[i] for i in shortest_path(pool[np.ix_(chosen, chosen)], None, None, found.k))


def chain(found: Measurements, space: str) -> Places:
    """The K candidates of the shortest chain: the most coherent run, whatever the context."""
    return shortest_path(found.spaces[space].pool, None, None, found.k)


def nearest(found: Measurements, space: str) -> Places:
    """The K candidates nearest to either frame at the gap, each next one the nearest to the one before."""
    return similarity_solvers.nearest(found.spaces[space].gap, found.k)


def path(found: Measurements, space: str) -> Places:
    """The shortest path through K candidates from the frame before the gap to the frame after it."""
    return similarity_solvers.path(found.spaces[space].gap, found.k)


def inverted(found: Measurements, solve: Callable[[Measurements, str], Places], space: str) -> Places:
    """The candidates that `solve` leaves, as the shortest path."""
    return context_solvers.inverted(found.spaces[space], solve(found, space))


def overlay(found: Measurements) -> Places:
    """The shortest path inside the region of a clock or counter; a guess where there is none."""
    return random(found) if found.overlay is None else similarity_solvers.path(found.overlay, found.k)


def folds(clusters: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Samples to learn on and samples to answer, in whole clusters and about equal folds; nothing for one cluster."""
    sizes = np.bincount(clusters)
    count = min(FOLDS, len(sizes))
    fold_of, filled = np.zeros(len(sizes), np.intp), np.zeros(count)
    for cluster in sorted(range(len(sizes)), key=lambda c: (-sizes[c], stable_hash("fold", c))):
        fold_of[cluster] = filled.argmin()
        filled[fold_of[cluster]] += sizes[cluster]
    for fold in range(count if count > 1 else 0):
        answered = fold_of[clusters] == fold
        yield np.flatnonzero(~answered), np.flatnonzero(answered)


def by_label(samples: Samples) -> Numbers:
    """For each slot, the label that is most often right there; slots with the clearest choice are filled first."""
    question = samples.question
    answers = np.zeros((len(samples.right), question.slots), np.intp)
    for learn, ask in folds(samples.clusters):
        slots = samples.right[learn]
        hits = [slots == slot if question.ordered else slots >= 0 for slot in range(question.slots)]
        counts = np.stack([hit.mean(axis=0) for hit in hits])  # [slots, choices]
        for _ in range(question.slots):
            slot, label = np.unravel_index(counts.argmax(), counts.shape)
            answers[ask, slot] = label
            counts[slot], counts[:, label] = -1, -1
    return answers


def by_position(samples: Samples) -> Numbers:
    """The set of labels that are most often right together, in their most frequent order."""
    answers = np.zeros((len(samples.right), samples.question.slots), np.intp)
    for learn, ask in folds(samples.clusters):
        slots = samples.right[learn]
        right = (slots >= 0).astype(float)
        chosen = list(best_subset(-(right.T @ right), samples.question.slots))
        wins = np.stack([((slots >= 0) & (slots < slots[:, [label]])).sum(axis=0) for label in range(slots.shape[1])])
        first = (wins.T - wins)[np.ix_(chosen, chosen)].sum(axis=1)
        answers[ask] = np.array(chosen)[np.argsort(-first, kind="stable")]
    return answers


def by_candidates(samples: Samples) -> Numbers:
    """The probe on the distances among the candidates."""
    return _answers(samples, by_probe(samples, samples.features[:, :, len(ARTEFACTS) :]))


def by_artefacts(samples: Samples) -> Numbers:
    """The probe on the traces of encoders.

    A lone distractor may differ in brightness from the frames. It is a leak only if it is always brighter, so for that
    task only the features of the file also count by their absolute value.
    """
    unsigned = OF_THE_FILE if samples.task.distractors else ALL
    return _answers(samples, by_probe(samples, samples.features[:, :, : len(ARTEFACTS)], unsigned))


def by_probe(samples: Samples, features: Rows, unsigned: slice = ALL) -> Numbers:
    """The K candidates that a logistic regression scores highest, in the order of a ridge regression.

    `features` are [samples, n, F]; both regressions also get the absolute values of the `unsigned` ones. Returns places
    in the pool, [samples, K].

    Raises:
        MissingDependencyError: the extra `audit` is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise MissingDependencyError(f"the probes of the audit need scikit-learn: {INSTALL}") from error
    k, signed = samples.k, features.astype(np.float32)
    rows = np.concatenate([signed, np.abs(signed[:, :, unsigned])], axis=2)
    places = np.zeros((len(rows), k), np.intp)
    for learn, ask in folds(samples.clusters):
        scaler, slots = StandardScaler(), samples.orders[learn].ravel()
        learned = scaler.fit_transform(rows[learn].reshape(-1, rows.shape[2]))
        asked = scaler.transform(rows[ask].reshape(-1, rows.shape[2]))
        right = slots >= 0
        scores = np.zeros(len(asked))
        if not right.all():
            scores = LogisticRegression(max_iter=MAX_STEPS).fit(learned, right).decision_function(asked)
        times = Ridge(fit_intercept=False).fit(learned[right], slots[right] - (k - 1) / 2).predict(asked)
        chosen = np.argsort(-scores.reshape(len(ask), -1), axis=1, kind="stable")[:, :k]
        chosen_times = np.take_along_axis(times.reshape(len(ask), -1), chosen, axis=1)
        in_time = np.argsort(chosen_times, axis=1, kind="stable")
        places[ask] = np.take_along_axis(chosen, in_time, axis=1)
    return places


def _answers(samples: Samples, places: Numbers) -> Numbers:
    """The answers of a solver that chose these places of each pool."""
    chosen = np.take_along_axis(samples.labels, places, axis=1).tolist()
    form, choices = samples.task.form, samples.question.choices
    return np.array([form.from_chosen(row, choices, str(number)) for number, row in enumerate(chosen)])


def pool_features(found: Measurements) -> Floats:
    """The sorted distances of each candidate to the others in every space, [n, spaces * (n - 1)]."""
    rows = [np.log(np.sort(space.pool, axis=1)[:, 1:] + 1e-6) for space in found.spaces.values()]
    return np.concatenate(rows, axis=1)


def relative(features: Floats) -> Floats:
    """Each feature [n, F] as its distance from the mean of the pool, in standard deviations."""
    offset = features - features.mean(axis=0)
    deviation = offset.std(axis=0)
    scaled: Floats = np.divide(offset, deviation, out=np.zeros_like(offset), where=deviation > 1e-6)
    return scaled


def by_other_samples(samples: Samples) -> Numbers:
    """The frames that the contexts of other samples show inside the gap."""
    return _answers(samples, samples.elsewhere)


def by_mask_start(samples: Samples, halves: str) -> Numbers:
    """One half of each pool, chosen by the number of frames before the gap."""
    both = samples.halves[halves]
    hits = (np.take_along_axis(samples.orders[:, None], both, axis=2) >= 0).sum(axis=2)
    second = divide(samples.mask_starts, np.sign(hits[:, 0] - hits[:, 1]), samples.clusters)
    return _answers(samples, both[np.arange(len(both)), second.astype(int)])


def divide(starts: Numbers, better: Numbers, clusters: Numbers) -> npt.NDArray[np.bool_]:
    """Whether to take the second of two halves of each pool [samples]; the number that divides best is learned.

    `better` [samples] is 1 where the first half is the better one, -1 where the second is. The first half is taken
    where at most t frames are before the gap, or where more are.
    """
    second = np.zeros(len(starts), bool)
    for learn, ask in folds(clusters):
        levels = np.unique(starts[learn])
        gains = (np.where(starts[learn] <= levels[:, None], 1, -1) * better[learn]).sum(axis=1)
        best = int(np.abs(gains).argmax())
        second[ask] = (starts[ask] > levels[best]) == (gains[best] >= 0)
    return second


# Two halves of a pool by a rule that does not know the gap; a solver learns when to take which.
HALVES: dict[str, Callable[[Measurements], tuple[Places, Places]]] = {
    "runs": lambda found: context_solvers.two_runs(found.joined),
    "bags": lambda found: (
        context_solvers.context_bag(found.joined, found.k),
        context_solvers.other_bag(found.joined, found.k),
    ),
}
BLIND = ("selection", "whole")  # the direction of a run may be read from the context, so order does not decide


def _in_space(space: str) -> tuple[Solver, ...]:
    """The solvers that compare frames by their distances in one space."""
    compares = partial(Solver, space=space, searches=True)
    among = partial(compares, kind=LEAK, among_candidates=True)
    opposite = partial(compares, kind=LEAK, two_halves=True, judged=("selection",))
    return (
        among(name=f"alike-{space}", solve=partial(alike, space=space), needs_distractors=True),
        among(name=f"chain-{space}", solve=partial(chain, space=space)),
        among(
            name=f"context-bag-{space}",
            solve=lambda found: context_solvers.context_bag(found.spaces[space], found.k),
            needs_distractors=True,
            judged=BLIND,
        ),
        opposite(name=f"inverted-nearest-{space}", solve=partial(inverted, solve=nearest, space=space)),
        opposite(name=f"inverted-path-{space}", solve=partial(inverted, solve=path, space=space)),
        Solver(name=f"nearest-{space}", kind=CONTENT, solve=partial(nearest, space=space), space=space),
        compares(name=f"path-{space}", kind=CONTENT, solve=partial(path, space=space)),
        compares(
            name=f"joint-{space}",
            kind=CONTENT,
            solve=lambda found: context_solvers.joint(found.spaces[space]),
            two_halves=True,
            fits_runs=True,
        ),
    )


def _in_all_spaces() -> tuple[Solver, ...]:
    """The solvers that compare frames by the mean of all spaces, or by colours alone."""

    def solver(name: str, kind: str, solve: Callable[[Distances, int], Places], **rest: Any) -> Solver:
        return Solver(name=name, kind=kind, solve=lambda found: solve(found.joined, found.k), **rest)

    runs = {"two_halves": True, "fits_runs": True}
    return (
        solver("split-runs", LEAK, lambda all_, _: context_solvers.split_runs(all_), judged=BLIND, **runs),
        solver(f"joint-{JOINED}", CONTENT, lambda all_, _: context_solvers.joint(all_), **runs),
        solver("one-side", CONTENT, context_solvers.one_side, searches=True, two_halves=True),
        Solver(
            name="colour",
            kind=CONTENT,
            solve=lambda found: context_solvers.colours(found.colours, found.k),
            searches=True,
            needs_distractors=True,
        ),
    )


def _learning() -> tuple[Solver, ...]:
    """The solvers that learn on other videos, or look into other samples."""
    starts = partial(Solver, kind=LEAK, two_halves=True, fits_runs=True, for_twins=True)
    return (
        Solver(name="cross-sample", kind=LEAK, learn=by_other_samples),
        starts(name="mask-start", learn=partial(by_mask_start, halves="runs"), judged=BLIND),
        starts(name="mask-start-bag", learn=partial(by_mask_start, halves="bags"), judged=()),
        Solver(name="labels", kind=LEAK, learn=by_label, sees_frames=False),
        Solver(name="positions", kind=LEAK, learn=by_position, sees_frames=False, searches=True, least_slots=2),
        Solver(name="probe-candidates", kind=LEAK, learn=by_candidates, among_candidates=True),
        Solver(name="probe-artefacts", kind=LEAK, learn=by_artefacts),
    )


# By name, in the order of the report within each kind.
SOLVERS = {
    solver.name: solver
    for solver in (
        Solver(name="random", kind=BASELINE, solve=random, sees_frames=False),
        Solver(name="overlay", kind=LEAK, solve=overlay, searches=True),
        *(solver for space in SPACES for solver in _in_space(space)),
        *_in_all_spaces(),
        *_learning(),
    )
}
