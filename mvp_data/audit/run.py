"""`mvp-data audit`: runs solvers over finished shards and tests whether they beat chance.

    >>> audit(Path("shards/")).leaks  # doctest: +SKIP
    ()

A leak solver uses only labels, the candidates alone, their files or a burnt-in clock. If it beats chance, the puzzles
have a shortcut. A content solver compares the candidates with the context, as a model should, so it may beat chance;
its score shows how many puzzles similarity alone can solve. Each task is judged separately. docs/audit.md describes
each solver.
"""

import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mvp_data.audit.features import Embeddings, measure, visible_part
from mvp_data.audit.scoring import Answers, Result, guessing, judge, questions, seeing_runs, sure_level
from mvp_data.audit.solvers import LEAK, Samples, pool_features, relative, solvers
from mvp_data.core.errors import ConfigError, MissingDependencyError, ShardError, WeightsError
from mvp_data.core.seeds import stable_hash
from mvp_data.embedding.base import Embedder
from mvp_data.embedding.load import load_embedder
from mvp_data.puzzles.shortest_path import Numbers, searchable
from mvp_data.shards.index import read_index
from mvp_data.shards.record import LABELS, Record
from mvp_data.shards.tar import Sample, iter_samples, read_shard, sample_spans, shard_paths
from mvp_data.system.progress import Progress
from mvp_data.tasks.catalogue import TASKS
from mvp_data.tasks.grading import right_slots

FEW_SAMPLES, FEW_GROUPS = 30, 5
SAMPLES = 5000
TAIL_BYTES = 4096  # of a JPEG, which with its length identify it well enough: K images must agree
WINDOW = 8  # an image of many samples links each of them to the next few


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskAudit:
    """All solvers on the samples of one task."""

    task: str
    k: int
    l: int  # noqa: E741 - the name of the paper
    samples: int  # audited
    video_groups: int  # those whose samples share a run of candidates count as one
    resampled: str  # the units of the intervals: video groups, else samples
    overlay_share: float  # of samples with a region that looks like a clock or counter
    warnings: tuple[str, ...]
    chance: Mapping[str, float]  # the score of a guess, by metric
    seeing_runs: Mapping[str, float]  # the score of a solver that sees only runs
    results: tuple[Result, ...]

    @property
    def leaks(self) -> tuple[str, ...]:
        """The leak solvers that win."""
        return tuple(result.name for result in self.results if result.kind == LEAK and result.verdict == "wins")


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """All solvers on one set of shards, task by task."""

    path: str
    samples: int  # audited
    samples_of: int  # in the shards
    encoder: str  # "" without one
    sure_level: float  # of the intervals that decide on `wins`
    probes_missing: str  # why the probes did not run and how to install them; "" where they ran
    parts: tuple[TaskAudit, ...]

    @property
    def leaks(self) -> tuple[str, ...]:
        """The leak solvers that win, each with its task if there are several tasks."""
        several = len(self.parts) > 1
        return tuple(f"{part.task} {name}" if several else name for part in self.parts for name in part.leaks)


def audit(path: Path, *, embedder: Embedder | None = None, samples: int = SAMPLES) -> Audit:
    """Run all solvers over a tar or a folder of shards; with `embedder` also those that compare its vectors.

    It audits at most `samples` samples, evenly spread, and writes nothing. Without the extra `audit` the probes do not
    run, and `probes_missing` says so.

    Raises:
        ShardError: the shards are damaged, of several builds, or of several shapes within a task.
    """
    if samples < 1:
        raise ConfigError(f"{samples} samples: ask for at least 1")
    total = _count(path)
    embeddings = Embeddings(embedder) if embedder is not None else None
    tallies: dict[str, Tally] = {}
    first: dict[str, Record] = {}
    with Progress(min(total, samples), "auditing", "sample") as progress:
        for sample in _spread(path, total, samples):
            record = sample.record
            _check_same(path, record, first)
            if record.task not in tallies:
                tallies[record.task] = Tally(record, embedding=embedder is not None)
            tallies[record.task].add(sample, embeddings)
            progress.update()
    if not tallies:
        raise ShardError(f"{path}: holds no sample")
    return _finish(tallies, path, total, embedder.encoder.name if embedder is not None else "")


def embedder_for(path: Path, spec: str = "") -> Embedder:
    """The embedder `spec`, or the one that the shards were built with.

    Raises:
        ConfigError: no `spec`, and the build's embedder is not built in; the text of a shard must not load a file.
        WeightsError: its weights are missing or damaged.
    """
    if not spec:
        spec = next(read_shard(shard_paths(path)[0])).record.encoder_name
        if not spec.startswith("builtin:"):
            raise ConfigError(f"{path}: built with {spec!r:.80}: name it with --embedder, or give --no-embedding")
    try:
        return load_embedder(spec)
    except WeightsError as error:
        raise WeightsError(f"{error}; or give --no-embedding") from error


class Tally:
    """The answers of the solvers to the samples of one task, in about 600 bytes a sample."""

    def __init__(self, record: Record, *, embedding: bool) -> None:
        self.task, self.question, self.k, self.l = TASKS[record.task], record.question, record.k, record.l
        self.overlays = 0
        self._solvers = solvers(self.task, self.k, self.l, embedding=embedding)
        self._answers = {solver.name: bytearray() for solver in self._solvers if solver.solve}  # numbers of labels
        self._right, self._orders = array("b"), array("b")  # by label, by place in the shuffled pool
        self._labels = bytearray()  # by place in the shuffled pool
        self._features = bytearray()  # float16
        self._groups, self._images = array("Q"), array("Q")

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, sample: Sample, embeddings: Embeddings | None) -> None:
        """Answer one sample, and store its features and right answer for the solvers that learn."""
        part, record = visible_part(sample), sample.record
        found = measure(part, embeddings)
        labels = [LABELS.index(label) for label in part.labels]
        for solver in self._solvers:
            if solver.solve:
                chosen = [labels[place] for place in solver.solve(found)]
                answer = self.task.form.from_chosen(chosen, self.question.choices, record.key)
                self._answers[solver.name] += bytes(answer)
        features = np.concatenate([found.artefacts, pool_features(found)], axis=1)
        self._features += relative(features).astype(np.float16).tobytes()
        self._right.extend(right_slots(LABELS[: self.question.choices], record.answer))
        self._orders.extend(record.candidates[number].order for number in labels)
        self._labels += bytes(labels)
        self._groups.append(stable_hash("group", record.video_group))
        self._images.extend(zlib.crc32(data[-TAIL_BYTES:]) ^ len(data) << 32 for data in sample.candidates)
        self.overlays += found.overlay is not None

    def clusters(self) -> tuple[Numbers, bool]:
        """The cluster of each sample, and whether clusters are video groups.

        Samples that share K or more candidates may be twins: one puzzle with the right and the wrong frames exchanged.
        They are one cluster, and so are their video groups. If only one group is left, each sample is a cluster of its
        own, twins together.
        """
        codes = np.unique(np.frombuffer(self._groups, np.uint64), return_inverse=True)[1]
        images = np.frombuffer(self._images, np.uint64).reshape(len(self), -1)
        pairs = twins(images, min(self.k, images.shape[1]))
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
        )
        missing = ""
        for solver in self._solvers if learn else ():
            try:
                if solver.learn:
                    chosen[solver.name] = solver.learn(samples)
            except MissingDependencyError as error:
                missing = str(error)
        slots = {name: np.take_along_axis(right, found, axis=1) for name, found in chosen.items()}
        return Answers(task=self.task, question=self.question, right=slots, clusters=clusters), missing


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


def _count(path: Path) -> int:
    """Samples of a tar or a folder."""
    if path.is_dir():
        return sum(shard.samples for shard in read_index(path).shards)
    return sum(1 for shard in shard_paths(path) for _ in sample_spans(shard))


def _spread(path: Path, total: int, wanted: int) -> Iterator[Sample]:
    """At most `wanted` samples, evenly spread."""
    step = max(1.0, total / wanted)
    numbered = enumerate(iter_samples(path))
    return (sample for number, sample in numbered if int((number + 1) / step) > int(number / step))


def _check_same(path: Path, record: Record, first: dict[str, Record]) -> None:
    """Refuse samples of several builds, or of several shapes within a task: a joint score would mean nothing."""
    of_task = first.setdefault(record.task, record)
    shapes = [(r.k, r.l, len(r.context)) for r in (of_task, record)]
    if shapes[0] != shapes[1]:
        raise ShardError(
            f"{path}: {record.task} with (k, l, context) {shapes[0]} and {shapes[1]}: audit each build alone"
        )
    hashes = [r.config_hash for r in (next(iter(first.values())), record)]
    if hashes[0] != hashes[1]:
        raise ShardError(f"{path}: samples of two builds, {hashes[0]!r:.40} and {hashes[1]!r:.40}: audit each alone")


def _finish(tallies: Mapping[str, Tally], path: Path, total: int, encoder: str) -> Audit:
    """Judge all tasks; the confidence level for `wins` depends on the number of comparisons in all of them."""
    answered = {}
    missing = ""
    for tally in (tallies[name] for name in TASKS if name in tallies):
        clusters, by_group = tally.clusters()
        answers, problem = tally.answers(clusters, learn=by_group)
        answered[tally.task.name] = (answers, by_group, problem)
        missing = missing or problem
    sure = sure_level(sum(questions(answers) for answers, _, _ in answered.values()))
    return Audit(
        path=str(path),
        samples=sum(len(tally) for tally in tallies.values()),
        samples_of=total,
        encoder=encoder,
        sure_level=sure,
        probes_missing=missing,
        parts=tuple(_part(tallies[task], *found, sure) for task, found in answered.items()),
    )


def _part(tally: Tally, answers: Answers, by_group: bool, missing: str, sure: float) -> TaskAudit:
    groups = int(answers.clusters.max()) + 1 if by_group else 1
    return TaskAudit(
        task=tally.task.name,
        k=tally.k,
        l=tally.l,
        samples=len(tally),
        video_groups=groups,
        resampled="video groups" if by_group else "samples",
        overlay_share=tally.overlays / len(tally),
        warnings=tuple(_warnings(tally, groups, missing)),
        chance=guessing(tally.question),
        seeing_runs=seeing_runs(tally.question),
        results=tuple(judge(answers, sure)),
    )


def _warnings(tally: Tally, groups: int, missing: str) -> Iterator[str]:
    if len(tally) < FEW_SAMPLES:
        yield f"{len(tally)} samples: with fewer than {FEW_SAMPLES} the intervals are too wide to show anything"
    if groups == 1:
        yield (
            "one video group: solvers cannot learn on other videos, so labels, positions and both probes are left out; "
            "the intervals rest on samples, which resemble each other, so they are too narrow"
        )
    elif groups < FEW_GROUPS:
        yield f"{groups} video groups: with so few, the intervals show only gross leaks"
    if missing:
        yield f"probe-candidates and probe-artefacts did not run, so leaks can be missed: {missing}"
    if not searchable(tally.k + tally.l, tally.k):
        yield "too many candidates to search all answers: alike, chain, path, overlay and positions are left out"
