"""What a model's answers are worth: each metric with a confidence interval, beside what blind guessing earns.

Samples of one video resemble each other, so intervals rest on whole video groups: taking samples for independent would
make them too narrow. Chance levels are exact (`mvp_data.chance`), not simulated. Tasks are never averaged: half of all
guesses at `arrow` are right, and one in 1,680 at `mvp` with K = l = 4.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from mvp_data.chance import chance, reward_chance
from mvp_data.intervals import clusters, intervals
from mvp_data.seeds import stable_hash
from mvp_data.tasks import TASKS, Question, question
from mvp_train.reward import RewardConfig, Score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

METRICS = ("exact", "set", "recall", "selection", "order", "position", "reward", "valid")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One completion with its score, and the facts of its sample that results are broken down by."""

    key: str
    rollout: int  # 0, 1, ... of the sample's completions
    config_hash: str  # of the build that made the sample
    task: str
    video: str  # path of the source, as in the record
    video_group: str
    difficulty: float
    origins: str  # where the distractors come from, such as `corpus + same_video`
    k: int
    l: int  # noqa: E741 - the name of the paper
    answer: str  # the right one, such as `CAFB`
    completion: str
    score: Score

    @property
    def question(self) -> Question:
        """What an answer to its sample looks like."""
        return question(self.task, self.k, self.l)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over samples with its 95 % interval; `corrected` is 0 at chance and 1 for perfect answers."""

    mean: float
    low: float
    high: float
    chance: float | None  # None for `valid`, which guessing does not define
    corrected: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The estimates of some samples of a task. `resampled`: what the intervals rest on, video groups, else samples."""

    task: str
    by: str  # all | difficulty | origins | video
    name: str
    samples: int
    video_groups: int
    resampled: str
    estimates: Mapping[str, Estimate]


def table(outcomes: Sequence[Outcome], weights: RewardConfig, *, seed: int = 0) -> list[Row]:
    """For each task all samples, then by tenth of difficulty, origins of the distractors and video.

    Several completions of a sample count as their mean, and then `pass@k` (at least one of k is exact) is added.
    """
    samples = by_key(outcomes)
    rollouts = min((len(sample) for sample in samples), default=0)
    return [
        _row(by, name, part, (rollouts, weights, seed))
        for same in by_task(samples).values()
        for by, name, part in _parts(same)
    ]


def by_task(samples: Iterable[list[Outcome]]) -> dict[str, list[list[Outcome]]]:
    """The samples of each task, in the order of `TASKS`."""
    parts: dict[str, list[list[Outcome]]] = {task: [] for task in TASKS}
    for sample in samples:
        parts[sample[0].task].append(sample)
    return {task: part for task, part in parts.items() if part}


def by_key(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """The completions of each sample, in the order of their first appearance."""
    samples: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        samples.setdefault(outcome.key, []).append(outcome)
    return list(samples.values())


def sample_values(samples: Sequence[Sequence[Outcome]], rollouts: int) -> dict[str, "Array"]:
    """For each metric the mean of every sample's completions, shape (samples,); `pass@k` where `rollouts` is k > 1."""
    import numpy as np

    values = {name: np.array([_mean([getattr(o.score, name) for o in s]) for s in samples]) for name in METRICS}
    if rollouts > 1:
        hits = [any(o.score.exact == 1 for o in sample[:rollouts]) for sample in samples]
        values[f"pass@{rollouts}"] = np.array(hits, dtype=float)
    return values


def least_values(samples: Sequence[Sequence[Outcome]], names: Iterable[str]) -> "Array":
    """The worst that each metric can be: 0, but for selection and a reward that gives it much weight."""
    import numpy as np

    shapes = {(q.slots, q.choices - q.slots) for q in (s[0].question for s in samples)}
    worst = max((min(k / others, others / k) for k, others in shapes if others), default=0.0)
    paid = min((o.score.reward for sample in samples for o in sample), default=0.0)
    least = {"selection": 0 - worst, "reward": 0 - worst if paid < 0 else 0.0}  # no -0.0
    return np.array([least.get(name, 0.0) for name in names])


def to_text(rows: Iterable[Row]) -> str:
    """The rows of all samples of each task as lines for a terminal."""
    return "\n\n".join(_to_text(row) for row in rows if row.by == "all")


def _to_text(row: Row) -> str:
    counts = [f"{n} {what}{'s' * (n != 1)}" for n, what in ((row.samples, "sample"), (row.video_groups, "video group"))]
    lines = [f"{row.task}: {' of '.join(counts)}; intervals over {row.resampled}"]
    lines += [f"{'':<10}{'mean':>7}   95 % interval   {'chance':>7}{'corrected':>11}"]
    for name, e in row.estimates.items():
        tail = "" if e.chance is None else f"{e.chance:10.4f}"
        tail += "" if e.corrected is None else f"{e.corrected:11.3f}"
        lines.append(f"{name:<10}{e.mean:7.3f}   {e.low:6.3f} ..{e.high:6.3f}{tail}")
    return "\n".join(lines)


def _parts(samples: list[list[Outcome]]) -> Iterator[tuple[str, str, list[list[Outcome]]]]:
    """Every row to report: what it is by, its name and its samples."""
    yield "all", "all", samples
    for by in ("difficulty", "origins", "video"):
        parts: dict[str, list[list[Outcome]]] = {}
        for sample in samples:
            name = _tenth(sample[0].difficulty) if by == "difficulty" else getattr(sample[0], by)
            parts.setdefault(name, []).append(sample)
        yield from ((by, name, parts[name]) for name in sorted(parts))


def _row(by: str, name: str, samples: list[list[Outcome]], how: tuple[int, RewardConfig, int]) -> Row:
    import numpy as np

    rollouts, weights, seed = how
    values = sample_values(samples, rollouts)
    groups = [sample[0].video_group for sample in samples]
    codes, resampled = clusters(groups)
    least = least_values(samples, values)
    columns = np.stack(list(values.values()), axis=1)
    task = samples[0][0].task
    low, high = intervals(columns, codes, stable_hash(task, by, name, seed), least=least, most=np.ones_like(least))
    estimates = {}
    for column, metric in enumerate(values):
        mean, level = float(values[metric].mean()), _chance(metric, samples, weights)
        corrected = None if level is None or level >= 1 else (mean - level) / (1 - level)
        estimates[metric] = Estimate(
            mean=mean, low=float(low[column]), high=float(high[column]), chance=level, corrected=corrected
        )
    return Row(
        task=task,
        by=by,
        name=name,
        samples=len(samples),
        video_groups=len(set(groups)),
        resampled=resampled,
        estimates=estimates,
    )


def _chance(metric: str, samples: list[list[Outcome]], weights: RewardConfig) -> float | None:
    """What guessing earns on average over these samples, each with its own k and l."""
    return None if metric == "valid" else _mean([level(metric, s[0].question, weights) for s in samples])


@lru_cache
def level(metric: str, asked: Question, weights: RewardConfig) -> float:
    """What guessing earns in one of `METRICS` but `valid`, or in `pass@k`, where this is asked."""
    k, others, ordered = asked.slots, asked.choices - asked.slots, asked.ordered
    if metric == "reward":
        return reward_chance(k, others, asdict(weights), ordered=ordered).mean
    if metric.startswith("pass@"):
        return float(1 - (1 - chance("exact", k, others, ordered=ordered).mean) ** int(metric[5:]))
    return chance(metric, k, others, ordered=ordered).mean


def _tenth(difficulty: float) -> str:
    tenth = min(int(difficulty * 10), 9)
    return f"{tenth / 10:.1f}-{(tenth + 1) / 10:.1f}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
