"""What is kept of the samples of one task: some 600 bytes each, so that memory hardly grows with their number."""

import zlib
from array import array
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from mvp_data.audit.features import ARTEFACTS, OF_THE_FILE, Embeddings, look, see
from mvp_data.audit.probes import EVERY, Learned, by_label, by_position, by_probe, relative
from mvp_data.audit.solvers import Solver, pool_features, solvers
from mvp_data.audit.tasks import slots_of_labels
from mvp_data.core.seeds import stable_hash
from mvp_data.puzzles.shortest_path import Numbers, searchable
from mvp_data.shards.record import LABELS, Record
from mvp_data.shards.tar import Sample
from mvp_data.tasks.catalogue import TASKS

PROBES = {"candidates": slice(len(ARTEFACTS), None), "artefacts": slice(len(ARTEFACTS))}  # columns of the features
TAIL_BYTES = 4096  # of a JPEG, which with its length tell it from others well enough: K must agree
WINDOW = 8  # a picture of many samples links each of them to the next few


class Tally:
    """The answers of all solvers to the samples of one task, and what the learning ones need."""

    def __init__(self, record: Record, *, embedding: bool) -> None:
        self.task, self.question, self.k, self.l = record.task, record.question, record.k, record.l
        self.overlays = 0
        self._solvers: Mapping[str, Solver] = solvers(self.k, self.l, embedding=embedding)
        self._answers = {name: bytearray() for name in self._solvers}  # numbers of labels
        self._right, self._orders = array("b"), array("b")  # by label, by place in the shuffled pool
        self._labels = bytearray()  # by place in the shuffled pool
        self._features = bytearray()  # float16
        self._groups, self._pictures = array("Q"), array("Q")

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def searched(self) -> bool:
        """Whether the solvers that search all answers took part."""
        return searchable(self.k + self.l, self.k)

    def add(self, sample: Sample, embeddings: Embeddings | None) -> None:
        """Look at one sample, and forget its pictures."""
        seen, record = see(sample), sample.record
        found = look(seen, embeddings)
        labels = [LABELS.index(label) for label in seen.labels]
        form, choices = TASKS[self.task].form, self.question.choices
        for name, solve in self._solvers.items():
            chosen = [labels[place] for place in solve(found)]
            self._answers[name] += bytes(form.from_chosen(chosen, choices, record.key))
        features = np.concatenate([found.artefacts, pool_features(found)], axis=1)
        self._features += relative(features).astype(np.float16).tobytes()
        self._right.extend(slots_of_labels(record))
        self._orders.extend(record.candidates[number].order for number in labels)
        self._labels += bytes(labels)
        self._groups.append(stable_hash("group", record.video_group))
        self._pictures.extend(zlib.crc32(data[-TAIL_BYTES:]) ^ len(data) << 32 for data in sample.candidates)
        self.overlays += found.overlay is not None

    def clusters(self) -> tuple[Numbers, bool]:
        """What each sample belongs to, and whether that is video groups.

        Samples with a run of K candidate pictures in common go together, since one may be the other with the right and
        the wrong ones exchanged; and so do their video groups. With one group left, the samples stand alone.
        """
        codes = np.unique(np.frombuffer(self._groups, np.uint64), return_inverse=True)[1]
        pictures = np.frombuffer(self._pictures, np.uint64).reshape(len(self), -1)
        pairs = twins(pictures, min(self.k, pictures.shape[1]))
        groups = merged(int(codes.max()) + 1, codes[pairs])[codes]
        return (groups, True) if groups.max() else (merged(len(self), pairs), False)

    def learned(self, clusters: Numbers) -> Iterator[tuple[str, Numbers]]:
        """Name and answers [samples, slots], as numbers of labels, of the solvers that count on other videos."""
        facts = Learned(question=self.question, clusters=clusters, right=self.right)
        yield "labels", by_label(facts)
        if self.searched and self.question.slots > 1:
            yield "positions", by_position(facts)

    def probed(self, clusters: Numbers) -> Iterator[tuple[str, Numbers]]:
        """The same of the solvers that fit a model on other videos; raises `MissingDependencyError`."""
        orders, labels = (
            np.frombuffer(kept, np.int8).reshape(len(self), -1).astype(np.intp) for kept in (self._orders, self._labels)
        )
        features = np.frombuffer(self._features, np.float16).reshape(*labels.shape, -1)
        task, choices = TASKS[self.task], self.question.choices
        for name, columns in PROBES.items():
            # A lone distractor may differ in brightness from the frames; that it is always brighter is a leak.
            odd = bool(task.distractors) and name == "artefacts"
            places = by_probe(clusters, features[:, :, columns], orders, self.k, OF_THE_FILE if odd else EVERY)
            chosen = np.take_along_axis(labels, places, axis=1).tolist()
            answers = [task.form.from_chosen(row, choices, str(number)) for number, row in enumerate(chosen)]
            yield f"probe-{name}", np.array(answers)

    def answers(self) -> Iterator[tuple[str, Numbers]]:
        """The same of the solvers that look at one sample at a time."""
        for name, answers in self._answers.items():
            yield name, np.frombuffer(answers, np.uint8).reshape(len(self), -1).astype(np.intp)

    @property
    def right(self) -> Numbers:
        """The slot of each label in the right answer, or -1: [samples, choices]."""
        return np.frombuffer(self._right, np.int8).reshape(len(self), -1).astype(np.intp)


def twins(pictures: npt.NDArray[np.uint64], least: int) -> Numbers:
    """Pairs of rows of `pictures` [samples, n] that have at least `least` in common: [pairs, 2]."""
    samples, size = pictures.shape
    order = pictures.ravel().argsort(kind="stable")
    sorted_, owners = pictures.ravel()[order], order // size
    shared = []
    for step in range(1, min(WINDOW, len(sorted_) - 1) + 1):
        same = (sorted_[step:] == sorted_[:-step]) & (owners[step:] != owners[:-step])
        shared.append(owners[:-step][same] * samples + owners[step:][same])
    pairs, counts = np.unique(np.concatenate(shared) if shared else np.zeros(0, np.intp), return_counts=True)
    return np.stack(np.divmod(pairs[counts >= least], samples), axis=1)


def merged(count: int, pairs: Numbers) -> Numbers:
    """A number for each of `count` things, the same for those that `pairs` [p, 2] hold together, counted from 0.

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
