"""The statistics of a shard or a folder of shards, computed in one pass over the samples."""

import json
import math
import statistics
from array import array
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mvp_data.core.errors import ShardError
from mvp_data.core.statistics import chi_square_p, quantiles
from mvp_data.shards.record import LABELS, ORIGINS, SPLITS, Record
from mvp_data.shards.tar import iter_samples, shard_paths
from mvp_data.tasks.catalogue import TASKS


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Minimum, median and maximum of a value over `count` frames."""

    count: int
    min: float
    median: float
    max: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelShare:
    """The share of samples whose answer has a label; `z` is its distance from the fair share in standard deviations."""

    label: str
    positives: int
    share: float
    z: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The statistics of one task in a shard or a folder; plain values only, so `asdict` can be written as JSON."""

    path: str
    tasks: dict[str, int]  # task -> samples, of all tasks
    task: str  # the task of the other fields
    shards: int  # of all tasks
    bytes: int
    samples: int
    videos: int  # of the hidden segments
    splits: dict[str, int]
    k: int
    l: int  # noqa: E741 - number of distractors, as in the paper
    context_frames: int
    picture_sizes: dict[str, int]  # "796x448" -> samples
    pairs: dict[str, int]  # kind of pair, or `no pair` -> samples
    mask_policies: dict[str, int]
    mask_starts: dict[str, int]  # context frames before the gap -> samples
    similarity: dict[str, Spread]  # by origin; for hidden frames, their similarity to each other
    difficulty_deciles: tuple[float, ...]  # 11 numbers, from the easiest sample to the hardest
    labels: tuple[LabelShare, ...]
    slots: int  # labels of an answer
    labels_p: float  # of a chi-square test that all labels occur equally often
    encoders: dict[str, int]
    tool_versions: dict[str, int]


@dataclass(slots=True)
class _Tally:
    """The counts of one task, collected in the pass over the samples."""

    samples: int = 0
    kinds: set[tuple[int, int, int]] = field(default_factory=set)
    videos: set[str] = field(default_factory=set)
    positives: Counter[str] = field(default_factory=Counter)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    similarity: dict[str, "array[float]"] = field(default_factory=dict)
    difficulty: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, record: Record) -> None:
        self.samples += 1
        self.kinds.add((record.k, record.l, len(record.context)))
        self.videos.add(record.video_id)
        self.positives.update(record.answer)
        self.difficulty.append(record.difficulty)
        for candidate in record.candidates:
            self.similarity.setdefault(candidate.origin, array("d")).append(candidate.similarity)
        for name, value in (
            ("split", record.split),
            ("size", f"{record.width_px}x{record.height_px}"),
            ("pair", record.pair_kind or "no pair"),
            ("policy", record.mask_policy),
            ("start", str(record.mask_start)),
            ("encoder", record.encoder_name),
            ("tool", record.tool_version),
        ):
            self.counts.setdefault(name, Counter())[value] += 1


def summarize(path: Path, task: str = "") -> Summary:
    """Compute the statistics of one task in a shard or folder; by default, of the first task in `TASKS` that occurs.

    Raises `ShardError` for a damaged shard, for shards of different builds and for a task that does not occur.
    """
    tallies: dict[str, _Tally] = {}
    for sample in iter_samples(path):
        tallies.setdefault(sample.record.task, _Tally()).add(sample.record)
    tasks = {name: tallies[name].samples for name in TASKS if name in tallies}
    task = task or next(iter(tasks))
    if task not in tasks:
        raise ShardError(f"{path}: no sample of the task {task!r:.40}, only of {', '.join(tasks)}")
    tally = tallies[task]
    if len(tally.kinds) != 1:
        raise ShardError(
            f"{path}: {task} with different (k, l, context frames) {sorted(tally.kinds)}: inspect one shard at a time"
        )
    ((k, distractors, context),) = tally.kinds
    asked = TASKS[task].question(k, distractors)
    labels, labels_p = label_balance(tally.positives, samples=tally.samples, k=asked.slots, pool=asked.choices)
    counts = {name: dict(sorted(counter.items())) for name, counter in tally.counts.items()}
    shards = shard_paths(path)
    return Summary(
        path=str(path),
        tasks=tasks,
        task=task,
        shards=len(shards),
        bytes=sum(shard.stat().st_size for shard in shards),
        samples=tally.samples,
        videos=len(tally.videos),
        splits={split: counts["split"].get(split, 0) for split in SPLITS},
        k=k,
        l=distractors,
        context_frames=context,
        picture_sizes=counts["size"],
        pairs=counts["pair"],
        mask_policies=counts["policy"],
        mask_starts={str(i): counts["start"].get(str(i), 0) for i in range(context + 1)},
        similarity={origin: _spread(tally.similarity[origin]) for origin in ORIGINS if origin in tally.similarity},
        difficulty_deciles=quantiles(tally.difficulty, 10),
        labels=labels,
        slots=asked.slots,
        labels_p=labels_p,
        encoders=counts["encoder"],
        tool_versions=counts["tool"],
    )


def label_balance(positives: Counter[str], *, samples: int, k: int, pool: int) -> tuple[tuple[LabelShare, ...], float]:
    """The share of each label in the answers, and the p of a chi-square test that all shares are equal.

    An answer has exactly k labels, so the counts are not independent. The sum of squared z, times (pool - 1) / pool,
    follows a chi-square distribution with pool - 1 degrees of freedom.
    """
    fair = k / pool
    deviation = math.sqrt(samples * fair * (1 - fair))
    shares = tuple(
        LabelShare(
            label=label,
            positives=positives[label],
            share=round(positives[label] / samples, 4),
            z=round((positives[label] - samples * fair) / deviation, 3) if deviation else 0.0,
        )
        for label in LABELS[:pool]
    )
    statistic = sum(share.z**2 for share in shares) * (pool - 1) / pool
    return shares, round(chi_square_p(statistic, pool - 1), 6)


def to_json(summary: Summary) -> str:
    """The statistics as JSON, for scripts."""
    return json.dumps(asdict(summary), indent=1)


def _spread(values: "array[float]") -> Spread:
    low, high = min(values), max(values)
    return Spread(count=len(values), min=low, median=round(statistics.median(values), 6), max=high)
