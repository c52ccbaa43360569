"""Can the puzzles be won without understanding them? Solvers that should not win, run over finished shards.

    >>> audit(Path("shards/")).leaks  # doctest: +SKIP
    ()

A `leak` solver uses labels, the candidates alone, their files or a burnt-in clock: above chance, the data give
answers away. A `content` solver compares candidates with the context, as a model should: above chance is no fault, it
says how far likeness gets. docs/audit.md describes each.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mvp_data.audit_features import Embeddings, look, see
from mvp_data.audit_judge import Asked, Result, family_level, grade, judge
from mvp_data.audit_probes import Learned, by_label, by_position, by_probe
from mvp_data.audit_solvers import LEAK, Solver, pool_features, solvers
from mvp_data.audit_spaces import Floats, Places, searchable
from mvp_data.embed import Embedder, load_embedder
from mvp_data.errors import ConfigError, ShardError, WeightsError
from mvp_data.intervals import clusters
from mvp_data.progress import Progress
from mvp_data.schema import LABELS
from mvp_data.shard_index import read_index
from mvp_data.shards import Sample, read_shard, sample_spans, shard_paths
from mvp_data.summary import iter_samples

FEW_SAMPLES, FEW_GROUPS = 30, 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """All solvers on one set of shards."""

    path: str
    samples: int  # looked at
    samples_of: int  # that there are
    video_groups: int
    resampled: str  # what the intervals rest on: video groups, else samples
    k: int
    l: int  # noqa: E741 - the name of the paper
    encoder: str  # "" without one
    overlay_share: float  # of samples with a region that looks like a clock or counter
    sure_level: float  # of the intervals that decide on `wins`
    warnings: tuple[str, ...]
    results: tuple[Result, ...]

    @property
    def leaks(self) -> tuple[str, ...]:
        """The solvers that win and must not."""
        return tuple(result.name for result in self.results if result.kind == LEAK and result.verdict == "wins")


@dataclass(slots=True)
class _Tally:
    """What is kept of the samples: two or three kilobytes each."""

    solvers: dict[str, tuple[str, Solver]]
    shape: tuple[int, int]  # k, l
    groups: list[str] = field(default_factory=list)
    grades: dict[str, "array[float]"] = field(default_factory=dict)
    features: dict[str, "array[float]"] = field(default_factory=dict)
    slots: "array[int]" = field(default_factory=lambda: array("b"))
    labels: "array[int]" = field(default_factory=lambda: array("b"))
    overlays: int = 0

    def add(self, sample: Sample, embeddings: Embeddings | None) -> None:
        """Look at one sample, and forget its pictures."""
        seen = see(sample)
        found = look(seen, embeddings)
        right = [sample.record.answer.index(label) if label in sample.record.answer else -1 for label in seen.labels]
        for name, (_, solve) in self.solvers.items():
            self.grade(name, solve(found), right)
        for name, values in (("artefacts", found.artefacts), ("candidates", pool_features(found))):
            self.features.setdefault(name, array("f")).extend(values.ravel().tolist())
        self.groups.append(sample.record.video_group)
        self.slots.extend(right)
        self.labels.extend(LABELS.index(label) for label in seen.labels)
        self.overlays += found.overlay is not None

    def grade(self, name: str, answer: Places, right: list[int]) -> None:
        self.grades.setdefault(name, array("f")).extend(grade([right[place] for place in answer], len(right)))

    def rows(self, name: str) -> Floats:
        """The features of that name, [samples, n, F]."""
        values = np.frombuffer(self.features[name], np.float32).astype(np.float64)
        return values.reshape(len(self.groups), sum(self.shape), -1)


def audit(path: Path, *, embedder: Embedder | None = None, samples: int = 20_000) -> Audit:
    """Run all solvers over a tar or a folder, and with `embedder` also those that compare pictures in its space.

    At most `samples` samples, evenly spread, are looked at. Nothing is written. Raises `ShardError` for shards that are
    damaged or of several shapes.
    """
    if samples < 1:
        raise ConfigError(f"{samples} samples: ask for at least 1")
    total = _count(path)
    embeddings = Embeddings(embedder) if embedder is not None else None
    tally: _Tally | None = None
    with Progress(min(total, samples), "auditing", "sample") as progress:
        for sample in _spread(path, total, samples):
            shape = sample.record.k, sample.record.l
            if tally is None:
                tally = _Tally(solvers=dict(solvers(*shape, embedding=embedder is not None)), shape=shape)
            if shape != tally.shape:
                raise ShardError(f"{path}: puzzles of (k, l) {tally.shape} and {shape}: audit each build alone")
            tally.add(sample, embeddings)
            progress.update()
    if tally is None:
        raise ShardError(f"{path}: holds no sample")
    return _finish(tally, path, total, embedder.encoder.name if embedder is not None else "")


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


def _finish(tally: _Tally, path: Path, total: int, encoder: str) -> Audit:
    k, others = tally.shape
    codes = np.unique(tally.groups, return_inverse=True)[1]
    kinds = {name: kind for name, (kind, _) in tally.solvers.items()}
    if codes.max():
        shape = (len(codes), k + others)
        slots, labels = (np.frombuffer(a, np.int8).reshape(shape).astype(np.intp) for a in (tally.slots, tally.labels))
        facts = Learned(k=k, groups=codes, slots=slots, labels=labels)
        learned = {"labels": by_label(facts)}
        if searchable(k + others, k):
            learned["positions"] = by_position(facts)
        for name in ("candidates", "artefacts"):
            learned[f"probe-{name}"] = by_probe(facts, tally.rows(name))
        for name, answers in learned.items():
            kinds[name] = LEAK
            for answer, right in zip(answers, slots.tolist(), strict=True):
                tally.grade(name, answer, right)
    scores = {
        name: (kinds[name], np.frombuffer(grades, np.float32).astype(np.float64).reshape(len(codes), -1))
        for name, grades in tally.grades.items()
    }
    ranked = sorted(scores, key=lambda name: ("baseline", "leak", "content").index(kinds[name]))
    asked = Asked(k=k, l=others, groups=tally.groups)
    return Audit(
        path=str(path),
        samples=len(codes),
        samples_of=total,
        video_groups=int(codes.max()) + 1,
        resampled=clusters(tally.groups)[1],
        k=k,
        l=others,
        encoder=encoder,
        overlay_share=tally.overlays / len(codes),
        sure_level=family_level(list(kinds.values())),
        warnings=tuple(_warnings(len(codes), int(codes.max()) + 1, searchable(k + others, k))),
        results=tuple(judge({name: scores[name] for name in ranked}, asked)),
    )


def _warnings(samples: int, groups: int, searched: bool) -> Iterator[str]:
    if samples < FEW_SAMPLES:
        yield f"{samples} samples: with fewer than {FEW_SAMPLES} the intervals are too wide to say anything"
    if groups == 1:
        yield (
            "one video group: nothing can be learned on other videos, so labels, positions and both probes are left "
            "out; the intervals rest on samples, which resemble each other, and are too narrow"
        )
    elif groups < FEW_GROUPS:
        yield f"{groups} video groups: the intervals rest on so few that only gross leaks show"
    if not searched:
        yield "too many candidates to search all answers: alike, chain, path, overlay and positions are left out"
