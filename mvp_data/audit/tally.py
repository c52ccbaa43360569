"""The answers of the solvers to the samples of one task, and the numbers that judge them."""

import zlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mvp_data.audit.distances import can_fit
from mvp_data.audit.features import Cache, Embeddings, measure, visible_part
from mvp_data.audit.pairs import MOST_SHOTS, PAIR_KINDS, floor
from mvp_data.audit.scoring import PAIR, PAIR_SET, Answers
from mvp_data.audit.solvers import HALVES, Samples, pool_features, relative, solvers
from mvp_data.audit.visibility import Gallery, Seen
from mvp_data.core.errors import MissingDependencyError
from mvp_data.core.seeds import stable_hash
from mvp_data.puzzles.shortest_path import Numbers
from mvp_data.shards.record import LABELS, Record
from mvp_data.shards.tar import Sample
from mvp_data.tasks.catalogue import TASKS
from mvp_data.tasks.grading import right_slots

TAIL_BYTES = 4096  # of a JPEG, which with its length identify it well enough: K images must agree
WINDOW = 8  # an image of many samples links each of them to the next few


@dataclass(frozen=True, kw_only=True)
class Measurer:
    """The encoders and caches that all samples share."""

    embeddings: Mapping[str, Embeddings]  # by the name of their space
    cache: Cache
    gallery: Gallery


class Tally:
    """The answers of the solvers to the samples of one task, in about a kilobyte a sample."""

    def __init__(self, record: Record, measurer: Measurer) -> None:
        self.task, self.question, self.k, self.l = TASKS[record.task], record.question, record.k, record.l
        self.overlays = 0
        self._measurer = measurer
        spaces = ("pixels", "hog", *measurer.embeddings)
        context = len(record.context)
        self._solvers = solvers(self.task, self.k, self.l, context=context, spaces=spaces)
        self._answers = {solver.name: bytearray() for solver in self._solvers if solver.solve}  # numbers of labels
        self._halves = {name: bytearray() for name in HALVES if context > 1 and can_fit(self.k + self.l, self.k)}
        self._right, self._orders = array("b"), array("b")  # by label, by place in the shuffled pool
        self._labels = bytearray()  # by place in the shuffled pool
        self._features = bytearray()  # float16
        self._groups, self._images, self._pair_ids = array("Q"), array("Q"), array("Q")
        self._starts, self._kinds, self._shots = bytearray(), bytearray(), bytearray()
        self._seen = array("L")  # numbers in the gallery

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def starts(self) -> Numbers:
        """The number of context frames before the gap of each sample."""
        return np.frombuffer(self._starts, np.uint8).astype(np.intp)

    @property
    def kinds(self) -> Numbers:
        """The number in `PAIR_KINDS` of each sample."""
        return np.frombuffer(self._kinds, np.uint8).astype(np.intp)

    @property
    def shots(self) -> Numbers:
        """The number of shots in each hidden run, at most `MOST_SHOTS`."""
        return np.frombuffer(self._shots, np.uint8).astype(np.intp)

    def pairs(self) -> tuple[Numbers, int]:
        """The samples of each pair [pairs, 2], the smaller gap place first; the number of incomplete pairs."""
        ids = np.frombuffer(self._pair_ids, np.uint64)
        _, inverse, counts = np.unique(ids, return_inverse=True, return_counts=True)
        counts = np.where(np.unique(ids) == 0, 0, counts)
        rows = np.argsort(inverse, kind="stable")
        whole = rows[counts[inverse[rows]] == 2].reshape(-1, 2)
        turned = self.starts[whole[:, 0]] > self.starts[whole[:, 1]]
        return np.where(turned[:, None], whole[:, ::-1], whole), int(((counts > 0) & (counts != 2)).sum())

    def add(self, sample: Sample) -> None:
        """Answer one sample, and store its features and right answer for the solvers that learn."""
        part, record = visible_part(sample), sample.record
        found = measure(part, self._measurer.embeddings, self._measurer.cache)
        labels = [LABELS.index(label) for label in part.labels]
        for solver in self._solvers:
            if solver.solve:
                chosen = [labels[place] for place in solver.solve(found)]
                answer = self.task.form.from_chosen(chosen, self.question.choices, record.key)
                self._answers[solver.name] += bytes(answer)
        for name in self._halves:
            self._halves[name] += bytes(place for half in HALVES[name](found) for place in half)
        features = np.concatenate([found.artefacts, pool_features(found)], axis=1)
        self._features += relative(features).astype(np.float16).tobytes()
        self._right.extend(right_slots(LABELS[: self.question.choices], record.answer))
        self._orders.extend(record.candidates[number].order for number in labels)
        self._labels += bytes(labels)
        self._images.extend(zlib.crc32(data[-TAIL_BYTES:]) ^ len(data) << 32 for data in sample.candidates)
        self.overlays += found.overlay is not None
        self._add_provenance(record)
        gallery = self._measurer.gallery
        images = (*part.pool, *part.before, *part.after)
        numbers = tuple(map(gallery.number, images, found.thumbnails))
        hidden = tuple(place for place, number in enumerate(labels) if record.candidates[number].order >= 0)
        self._seen.append(len(gallery.samples))
        gallery.add(
            Seen(
                place=(record.split, record.video_group),
                context=numbers[len(labels) :],
                pool=numbers[: len(labels)],
                hidden=hidden,
                at=record.mask_start,
            )
        )

    def _add_provenance(self, record: Record) -> None:
        """Store facts that no solver sees: they only group the samples."""
        self._groups.append(stable_hash("group", record.video_group))
        self._pair_ids.append(stable_hash("pair", record.pair_id) if record.pair_id else 0)
        self._starts.append(record.mask_start)
        self._kinds.append(PAIR_KINDS.index(record.pair_kind))
        shots = {candidate.shot for candidate in record.candidates if candidate.order >= 0}
        self._shots.append(min(len(shots), MOST_SHOTS))

    def clusters(self) -> tuple[Numbers, bool]:
        """The cluster of each sample, and whether clusters are video groups.

        Samples that share K or more candidates may be twins: one puzzle with the right and the wrong frames exchanged.
        They are one cluster, and so are their video groups. If only one group is left, each sample is a cluster of its
        own, twins together.
        """
        codes = np.unique(np.frombuffer(self._groups, np.uint64), return_inverse=True)[1]
        images = np.frombuffer(self._images, np.uint64).reshape(len(self), -1)
        pairs = np.concatenate([twins(images, min(self.k, images.shape[1])), self.pairs()[0]])
        groups = merged(int(codes.max()) + 1, codes[pairs])[codes]
        return (groups, True) if groups.max() else (merged(len(self), pairs), False)

    def answers(self, clusters: Numbers, *, learn: bool) -> tuple[Answers, str]:
        """The answers of all solvers, and why the probes did not run, or an empty string.

        Without `learn` the solvers that learn are left out.
        """
        chosen = {name: _matrix(np.frombuffer(kept, np.uint8), len(self)) for name, kept in self._answers.items()}
        right = _matrix(np.frombuffer(self._right, np.int8), len(self))
        labels = _matrix(np.frombuffer(self._labels, np.uint8), len(self))
        samples = Samples(
            task=self.task,
            question=self.question,
            k=self.k,
            clusters=clusters,
            right=right,
            labels=labels,
            orders=_matrix(np.frombuffer(self._orders, np.int8), len(self)),
            features=np.frombuffer(self._features, np.float16).reshape(*labels.shape, -1),
            mask_starts=self.starts,
            halves={
                name: _matrix(np.frombuffer(kept, np.uint8), len(self)).reshape(len(self), 2, -1)
                for name, kept in self._halves.items()
            },
            elsewhere=np.array([self._measurer.gallery.answer(number) for number in self._seen]),
        )
        pairs, _ = self.pairs()
        strips = pairs[self.kinds[pairs[:, 0]] == PAIR_KINDS.index("same_strip")]
        missing = ""
        for solver in self._solvers if learn else ():
            try:
                if solver.learn and (len(strips) or not solver.for_twins):
                    chosen[solver.name] = solver.learn(samples)
            except MissingDependencyError as error:
                missing = str(error)
        slots = {name: np.take_along_axis(right, found, axis=1) for name, found in chosen.items()}
        least = floor(self.starts, strips)
        floors = {"selection": least, "whole": least, PAIR: least, PAIR_SET: least}
        answers = Answers(
            task=self.task,
            question=self.question,
            right=slots,
            clusters=clusters,
            pairs=pairs,
            strips=strips,
            floors={"mask-start": floors} if least else {},
        )
        return answers, missing


def _matrix(values: npt.NDArray[np.integer], rows: int) -> Numbers:
    return values.reshape(rows, -1).astype(np.intp)


def twins(images: npt.NDArray[np.uint64], least: int) -> Numbers:
    """Pairs of rows of `images` [samples, n] that have at least `least` in common: [pairs, 2]."""
    samples, size = images.shape
    order = images.ravel().argsort(kind="stable")
    sorted_, owners = images.ravel()[order], order // size
    shared = []
    for step in range(1, min(WINDOW, len(sorted_) - 1) + 1):
        same = (sorted_[step:] == sorted_[:-step]) & (owners[step:] != owners[:-step])
        shared.append(owners[:-step][same] * samples + owners[step:][same])
    pairs, counts = np.unique(np.concatenate(shared) if shared else np.zeros(0, np.intp), return_counts=True)
    return np.stack(np.divmod(pairs[counts >= least], samples), axis=1)


def merged(count: int, pairs: Numbers) -> Numbers:
    """The connected component of each of `count` nodes, numbered from 0; `pairs` [p, 2] are the edges.

    >>> merged(5, np.array([[0, 3], [3, 4]])).tolist()
    [0, 1, 2, 0, 0]
    """
    parent = list(range(count))

    def root(thing: int) -> int:
        while parent[thing] != thing:
            parent[thing] = parent[parent[thing]]
            thing = parent[thing]
        return thing

    for a, b in pairs.tolist():
        parent[root(max(root(a), root(b)))] = min(root(a), root(b))
    numbers: Numbers = np.unique([root(thing) for thing in range(count)], return_inverse=True)[1]
    return numbers
