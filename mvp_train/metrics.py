"""What a model's answers are worth: each metric with a confidence interval, beside what blind guessing earns.

Samples of one video resemble each other, so intervals rest on whole video groups: taking samples for independent would
make them too narrow. Chance levels are exact (`mvp_data.chance`), not simulated.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from mvp_data.chance import chance, reward_chance
from mvp_data.intervals import clusters, intervals
from mvp_data.seeds import stable_hash
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
    """The estimates of some samples. `resampled` says what the intervals rest on: video groups, else samples."""

    by: str  # all | difficulty | origins | task | video
    name: str
    samples: int
    video_groups: int
    resampled: str
    estimates: Mapping[str, Estimate]


def table(outcomes: Sequence[Outcome], weights: RewardConfig, *, seed: int = 0) -> list[Row]:
    """All samples, then by tenth of difficulty, origins of the distractors, task and video.

    Several completions of a sample count as their mean, and then `pass@k` (at least one of k is exact) is added.
    """
    samples = by_key(outcomes)
    rollouts = min((len(sample) for sample in samples), default=0)
    return [_row(by, name, part, (rollouts, weights, seed)) for by, name, part in _parts(samples)]


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

    worst = max((min(s[0].k / s[0].l, s[0].l / s[0].k) for s in samples if s[0].l), default=0.0)
    paid = min((o.score.reward for sample in samples for o in sample), default=0.0)
    least = {"selection": -worst, "reward": -worst if paid < 0 else 0.0}
    return np.array([least.get(name, 0.0) for name in names])


def to_text(row: Row) -> str:
    """One row as lines for a terminal."""
    lines = [f"{'':<10}{'mean':>7}   95 % interval   {'chance':>7}{'corrected':>11}"]
    for name, e in row.estimates.items():
        tail = "" if e.chance is None else f"{e.chance:10.4f}"
        tail += "" if e.corrected is None else f"{e.corrected:11.3f}"
        lines.append(f"{name:<10}{e.mean:7.3f}   {e.low:6.3f} ..{e.high:6.3f}{tail}")
    return "\n".join(lines)


def _parts(samples: list[list[Outcome]]) -> Iterator[tuple[str, str, list[list[Outcome]]]]:
    """Every row to report: what it is by, its name and its samples."""
    yield "all", "all", samples
    for by in ("difficulty", "origins", "task", "video"):
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
    low, high = intervals(columns, codes, stable_hash(by, name, seed), least=least, most=np.ones_like(least))
    estimates = {}
    for column, metric in enumerate(values):
        mean, level = float(values[metric].mean()), _chance(metric, samples, weights)
        corrected = None if level is None or level >= 1 else (mean - level) / (1 - level)
        estimates[metric] = Estimate(
            mean=mean, low=float(low[column]), high=float(high[column]), chance=level, corrected=corrected
        )
    return Row(
        by=by, name=name, samples=len(samples), video_groups=len(set(groups)), resampled=resampled, estimates=estimates
    )


def _chance(metric: str, samples: list[list[Outcome]], weights: RewardConfig) -> float | None:
    """What guessing earns on average over these samples, each with its own k and l."""
    return None if metric == "valid" else _mean([_level(metric, s[0].k, s[0].l, weights) for s in samples])


@lru_cache
def _level(metric: str, k: int, l: int, weights: RewardConfig) -> float:  # noqa: E741 - the name of the paper
    if metric == "reward":
        return reward_chance(k, l, asdict(weights)).mean
    if metric.startswith("pass@"):
        return float(1 - (1 - chance("exact", k, l).mean) ** int(metric[5:]))
    return chance(metric, k, l).mean


def _tenth(difficulty: float) -> str:
    tenth = min(int(difficulty * 10), 9)
    return f"{tenth / 10:.1f}-{(tenth + 1) / 10:.1f}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
