"""Can the puzzles be won without understanding them? Solvers that should not win, run over finished shards.

    >>> audit(Path("shards/")).leaks  # doctest: +SKIP
    ()

A `leak` solver uses labels, the candidates alone, their files or a burnt-in clock: above chance, the data give
answers away. A `content` solver compares what a model should compare: above chance is no fault, it says how far
likeness gets. Each task is judged on its own. docs/audit.md describes each solver.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvp_data.audit.features import Embeddings
from mvp_data.audit.scoring import Answers, Result, judge, questions, sure_level
from mvp_data.audit.tally import Tally
from mvp_data.audit.tasks import LEAK, guessing, seeing_runs
from mvp_data.core.errors import ConfigError, MissingDependencyError, ShardError, WeightsError
from mvp_data.embedding.base import Embedder
from mvp_data.embedding.load import load_embedder
from mvp_data.shards.index import read_index
from mvp_data.shards.record import Record
from mvp_data.shards.tar import Sample, iter_samples, read_shard, sample_spans, shard_paths
from mvp_data.system.progress import Progress
from mvp_data.tasks.catalogue import TASKS

FEW_SAMPLES, FEW_GROUPS = 30, 5
SAMPLES = 5000


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskAudit:
    """All solvers on the samples of one task."""

    task: str
    k: int
    l: int  # noqa: E741 - the name of the paper
    samples: int  # looked at
    video_groups: int  # those whose samples share a run of candidates count as one
    resampled: str  # what the intervals rest on: video groups, else samples
    overlay_share: float  # of samples with a region that looks like a clock or counter
    warnings: tuple[str, ...]
    chance: Mapping[str, float]  # what guessing earns, by metric
    seeing_runs: Mapping[str, float]  # what one earns who knows which candidates make a run, and no more
    results: tuple[Result, ...]

    @property
    def leaks(self) -> tuple[str, ...]:
        """The solvers that win and must not."""
        return tuple(result.name for result in self.results if result.kind == LEAK and result.verdict == "wins")


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """All solvers on one set of shards, task by task."""

    path: str
    samples: int  # looked at
    samples_of: int  # that there are
    encoder: str  # "" without one
    sure_level: float  # of the intervals that decide on `wins`
    probes_missing: str  # why the probes did not run, with the remedy; "" where nothing is missing
    parts: tuple[TaskAudit, ...]

    @property
    def leaks(self) -> tuple[str, ...]:
        """The solvers that win and must not, with the task where there are several."""
        several = len(self.parts) > 1
        return tuple(f"{part.task} {name}" if several else name for part in self.parts for name in part.leaks)


def audit(path: Path, *, embedder: Embedder | None = None, samples: int = SAMPLES) -> Audit:
    """Run all solvers over a tar or a folder, and with `embedder` also those that compare pictures in its space.

    At most `samples` samples, evenly spread, are looked at. Nothing is written. Raises `ShardError` for shards that are
    damaged, of several builds, or of several shapes within a task. Without the `audit` extra the probes do not run, and
    `probes_missing` says so.
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

    Raises ConfigError where that is no built-in one (a shard's word must not load a file), WeightsError.
    """
    if not spec:
        spec = next(read_shard(shard_paths(path)[0])).record.encoder_name
        if not spec.startswith("builtin:"):
            raise ConfigError(f"{path}: built with {spec!r:.80}: name it with --embedder, or give --no-embedding")
    try:
        return load_embedder(spec)
    except WeightsError as error:
        raise WeightsError(f"{error}; or give --no-embedding") from error


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
    """Refuse samples of another build, or of another shape than the task's `first`: one score of both means nothing."""
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
    answered, missing = {}, ""
    for task in (name for name in TASKS if name in tallies):
        tally = tallies[task]
        clusters, by_group = tally.clusters()
        solved = [*tally.answers(), *(tally.learned(clusters) if by_group else ())]
        try:
            solved += list(tally.probed(clusters)) if by_group else []
        except MissingDependencyError as error:
            missing = str(error)
        right = tally.right
        slots = {name: np.take_along_axis(right, answers, axis=1) for name, answers in solved}
        answered[task] = Answers(task=task, question=tally.question, right=slots, clusters=clusters), by_group
    sure = sure_level(sum(questions(answers) for answers, _ in answered.values()))
    return Audit(
        path=str(path),
        samples=sum(len(tally) for tally in tallies.values()),
        samples_of=total,
        encoder=encoder,
        sure_level=sure,
        probes_missing=missing,
        parts=tuple(_part(tallies[task], *found, sure, missing) for task, found in answered.items()),
    )


def _part(tally: Tally, answers: Answers, by_group: bool, sure: float, missing: str) -> TaskAudit:
    groups = int(answers.clusters.max()) + 1 if by_group else 1
    return TaskAudit(
        task=tally.task,
        k=tally.k,
        l=tally.l,
        samples=len(tally),
        video_groups=groups,
        resampled="video groups" if by_group else "samples",
        overlay_share=tally.overlays / len(tally),
        warnings=tuple(_warnings(len(tally), groups, tally.searched, missing if by_group else "")),
        chance=guessing(tally.question),
        seeing_runs=seeing_runs(tally.question),
        results=tuple(judge(answers, sure)),
    )


def _warnings(samples: int, groups: int, searched: bool, missing: str) -> Iterator[str]:
    if samples < FEW_SAMPLES:
        yield f"{samples} samples: with fewer than {FEW_SAMPLES} the intervals are too wide to say anything"
    if groups == 1:
        yield (
            "one video group: nothing can be learned on other videos, so labels, positions and both probes are left "
            "out; the intervals rest on samples, which resemble each other, and are too narrow"
        )
    elif groups < FEW_GROUPS:
        yield f"{groups} video groups: the intervals rest on so few that only gross leaks show"
    if missing:
        yield f"probe-candidates and probe-artefacts did not run, so leaks can be missed: {missing}"
    if not searched:
        yield "too many candidates to search all answers: alike, chain, path, overlay and positions are left out"
