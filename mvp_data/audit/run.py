"""`mvp-data audit`: runs solvers over finished shards and tests whether they beat chance.

    >>> audit(Path("shards/")).leaks  # doctest: +SKIP
    ()

A leak solver uses only labels, the candidates alone, their files or a burnt-in clock. If it beats chance, the puzzles
have a shortcut. A content solver compares the candidates with the context, as a model should, so it may beat chance;
its score shows how many puzzles similarity alone can solve. Each task is judged separately. docs/audit.md describes
each solver.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mvp_data.audit.features import Cache, Embeddings
from mvp_data.audit.pairs import Row, compared, rows, told_first
from mvp_data.audit.scoring import Answers, Result, families, guessing, judge, seeing_runs, sure_level
from mvp_data.audit.solvers import LEAK
from mvp_data.audit.tally import Measurer, Tally
from mvp_data.audit.visibility import Gallery, Shown
from mvp_data.core.errors import ConfigError, ShardError, WeightsError
from mvp_data.core.statistics import Estimate
from mvp_data.embedding.base import Embedder
from mvp_data.embedding.load import load_embedder
from mvp_data.embedding.weights import WEIGHTS
from mvp_data.puzzles.shortest_path import searchable
from mvp_data.shards.index import read_index
from mvp_data.shards.record import Record
from mvp_data.shards.tar import Sample, iter_samples, read_shard, sample_spans, shard_paths
from mvp_data.system.progress import Progress
from mvp_data.tasks.catalogue import TASKS

FEW_SAMPLES, FEW_GROUPS = 30, 5
SAMPLES = 5000
HELD_OUT = ("val", "test")  # the splits where no sample may show another one's hidden frames


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskAudit:
    """All solvers on the samples of one task."""

    task: str
    k: int
    l: int  # noqa: E741 - the name of the paper
    samples: int  # audited
    pairs: int  # whose both samples were audited
    orphans: int  # pairs that have one sample only
    video_groups: int  # those whose samples share a run of candidates count as one
    resampled: str  # the units of the intervals: video groups, else samples
    overlay_share: float  # of samples with a region that looks like a clock or counter
    warnings: tuple[str, ...]
    chance: Mapping[str, float]  # the score of a guess, by metric
    seeing_runs: Mapping[str, float]  # the score of a solver that sees only runs
    results: tuple[Result, ...]
    told_first: Estimate | None  # how often `mask_start` tells the first twin from the second; chance is the floor
    compared: Mapping[str, str]  # the solvers of `rows` by column
    rows: tuple[Row, ...]

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
    second_encoder: str  # another one, that the build did not use; "" without one
    shown: tuple[Shown, ...]  # by split: samples with hidden frames that other samples show
    sure_level: float  # of the intervals of a family of solvers that decide on `wins`
    probes_missing: str  # why the probes did not run and how to install them; "" where they ran
    parts: tuple[TaskAudit, ...]

    @property
    def leaks(self) -> tuple[str, ...]:
        """The leak solvers that win, each with its task if there are several tasks."""
        several = len(self.parts) > 1
        return tuple(f"{part.task} {name}" if several else name for part in self.parts for name in part.leaks)


def audit(
    path: Path, *, embedder: Embedder | None = None, second: Embedder | None = None, samples: int = SAMPLES
) -> Audit:
    """Run all solvers over a tar or a folder of shards; with `embedder` and `second` also those that compare vectors.

    It audits at most `samples` samples, evenly spread, in whole pairs, and writes nothing. Without the extra `audit`
    the probes do not run, and `probes_missing` says so.

    Raises:
        ShardError: the shards are damaged, of several builds, or of several shapes within a task.
    """
    if samples < 1:
        raise ConfigError(f"{samples} samples: ask for at least 1")
    total = _count(path)
    encoders = {"embedding": embedder, "second": second}
    embeddings = {name: Embeddings(one) for name, one in encoders.items() if one is not None}
    measurer = Measurer(embeddings=embeddings, cache=Cache(), gallery=Gallery())
    tallies: dict[str, Tally] = {}
    first: dict[str, Record] = {}
    with Progress(min(total, samples), "auditing", "sample") as progress:
        for sample in _spread(path, total, samples):
            record = sample.record
            _check_same(path, record, first)
            if record.task not in tallies:
                tallies[record.task] = Tally(record, measurer)
            tallies[record.task].add(sample)
            progress.update()
    if not tallies:
        raise ShardError(f"{path}: holds no sample")
    return _finish(tallies, path, total, measurer)


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


def second_embedder_for(spec: str, first: Embedder) -> Embedder | None:
    """The second embedder: the one of this spec, `none`, or without a spec a built-in one other than the first.

    None if the weights of that built-in one are not on this machine.

    Raises:
        WeightsError: the weights of the encoder that was asked for are missing or damaged.
    """
    if spec:
        return None if spec == "none" else load_embedder(spec)
    for name in WEIGHTS:
        if first.encoder.name != f"builtin:{name}":
            with suppress(WeightsError):
                return load_embedder(f"builtin:{name}")
    return None


def _count(path: Path) -> int:
    """Samples of a tar or a folder."""
    if path.is_dir():
        return sum(shard.samples for shard in read_index(path).shards)
    return sum(1 for shard in shard_paths(path) for _ in sample_spans(shard))


def _spread(path: Path, total: int, wanted: int) -> Iterator[Sample]:
    """At most `wanted` samples, evenly spread; both samples of a pair or neither."""
    if total <= wanted:
        return iter_samples(path)
    units = Counter(_unit(span.record) for shard in shard_paths(path) for span in sample_spans(shard))
    chosen, taken, passed = {next(iter(units))} if wanted == 1 else set(), 0, 0
    for unit, size in units.items():
        passed += size
        if passed * wanted // total >= taken + size:
            chosen.add(unit)
            taken += size
    return (sample for sample in iter_samples(path) if _unit(sample.record) in chosen)


def _unit(record: Record) -> tuple[str, str, str]:
    """The samples that belong together: those of a pair."""
    return record.task, record.pair_id, "" if record.pair_id else record.key


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


def _finish(tallies: Mapping[str, Tally], path: Path, total: int, measurer: Measurer) -> Audit:
    """Judge all tasks; the confidence level for `wins` depends on the number of comparisons in all of them."""
    answered = {}
    missing = ""
    for tally in (tallies[name] for name in TASKS if name in tallies):
        clusters, by_group = tally.clusters()
        answers, problem = tally.answers(clusters, learn=by_group)
        answered[tally.task.name] = (answers, by_group, problem)
        missing = missing or problem
    sure = sure_level(sum(len(families(answers)) for answers, _, _ in answered.values()))
    names = {space: used.embedder.encoder.name for space, used in measurer.embeddings.items()}
    return Audit(
        path=str(path),
        samples=sum(len(tally) for tally in tallies.values()),
        samples_of=total,
        encoder=names.get("embedding", ""),
        second_encoder=names.get("second", ""),
        shown=measurer.gallery.shown(),
        sure_level=sure,
        probes_missing=missing,
        parts=tuple(_part(tallies[task], *found, sure) for task, found in answered.items()),
    )


def _part(tally: Tally, answers: Answers, by_group: bool, missing: str, sure: float) -> TaskAudit:
    groups = int(answers.clusters.max()) + 1 if by_group else 1
    paired = len(answers.pairs) > 0
    return TaskAudit(
        task=tally.task.name,
        k=tally.k,
        l=tally.l,
        samples=len(tally),
        pairs=len(answers.pairs),
        orphans=tally.pairs()[1],
        video_groups=groups,
        resampled="video groups" if by_group else "samples",
        overlay_share=tally.overlays / len(tally),
        warnings=tuple(_warnings(tally, groups, missing)),
        chance=guessing(tally.question, paired=paired),
        seeing_runs=seeing_runs(tally.question, paired=paired),
        results=tuple(judge(answers, sure)),
        told_first=told_first(tally.starts, answers.strips, answers.clusters) if by_group else None,
        compared=compared(answers),
        rows=rows(answers, tally.kinds, tally.shots),
    )


def _warnings(tally: Tally, groups: int, missing: str) -> Iterator[str]:
    if len(tally) < FEW_SAMPLES:
        yield f"{len(tally)} samples: with fewer than {FEW_SAMPLES} the intervals are too wide to show anything"
    if groups == 1:
        yield (
            "one video group: solvers cannot learn on other videos, so labels, positions, both probes and the solvers "
            "by mask-start are left out; the intervals rest on samples, which resemble each other, so they are too "
            "narrow"
        )
    elif groups < FEW_GROUPS:
        yield f"{groups} video groups: with so few, the intervals show only gross leaks"
    if missing:
        yield f"probe-candidates and probe-artefacts did not run, so leaks can be missed: {missing}"
    found, orphans = tally.pairs()
    if orphans:
        yield (
            f"{orphans} of {orphans + len(found)} pairs have only one of their two samples, so the balance between "
            "both is lost; filter and split by pair_id"
        )
    if not searchable(tally.k + tally.l, tally.k):
        yield (
            "too many candidates to search all answers: the solvers that compare several candidates are left out, "
            "except nearest"
        )
