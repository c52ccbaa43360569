"""The metrics of a model's answers, each with a confidence interval and its chance level.

Samples of one video resemble each other, so intervals are computed over whole video groups; over single samples they
would be too narrow. Chance levels are exact (`mvp_data.tasks.chance`), not simulated. Tasks are never averaged:
half of all guesses are right for `arrow`, and one in 1,680 for `mvp` with K = l = 4.

The *pair score* comes first: both answers to a pair are exact. A model that ignores the gap answers both alike: 0.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import comb
from statistics import fmean
from typing import TYPE_CHECKING, TypeVar

from mvp_data.core.seeds import stable_hash
from mvp_data.core.statistics import clusters, intervals
from mvp_data.core.text import plural
from mvp_data.tasks.catalogue import TASKS
from mvp_data.tasks.chance import reward_chance
from mvp_data.tasks.grading import lowest
from mvp_data.tasks.task import Question
from mvp_train.reward import RewardConfig, Score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

T = TypeVar("T")
METRICS = ("exact", "set", "recall", "selection", "order", "position", "reward", "valid")
BOTH = {"pair_score": "exact", "pair_set": "set"}  # 1 if this metric is 1 for both samples of a pair


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One completion with its score, and the facts about its sample that group the results."""

    key: str
    pair_id: str  # empty without a pair
    rollout: int  # 0, 1, ... of the sample's completions
    config_hash: str  # of the build that made the sample
    task: str
    video: str  # path of the source, as in the record
    video_group: str
    difficulty: float
    origins: str  # of the distractors, such as `corpus + same_video`
    k: int
    l: int  # noqa: E741 - the name of the paper
    answer: str  # the right answer, such as `CAFB`
    completion: str
    score: Score

    @property
    def question(self) -> Question:
        """The form of an answer to its sample."""
        return TASKS[self.task].question(self.k, self.l)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over samples with its 95 % interval; `corrected` is 0 at chance and 1 for perfect answers."""

    mean: float
    low: float
    high: float
    chance: float | None  # None for `valid`, which has no chance level
    corrected: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The estimates for a group of samples of one task; `resampled` is the unit of the intervals."""

    task: str
    by: str  # all | difficulty | origins | video
    name: str
    pairs: int  # pairs with both samples in this group
    samples: int
    video_groups: int
    resampled: str  # video groups, or samples where there is only one video group
    estimates: Mapping[str, Estimate]


def table(outcomes: Sequence[Outcome], weights: RewardConfig, *, seed: int = 0) -> list[Row]:
    """For each task a row of all samples, then rows by tenth of difficulty, origins of the distractors, and video.

    Several completions of a sample count as their mean; they add the metric `pass@k` (at least one of k is exact).
    """
    samples = list(grouped(outcomes, lambda outcome: outcome.key).values())
    rollouts = min((len(sample) for sample in samples), default=0)
    return [
        _row(by, name, part, (rollouts, weights, seed))
        for same in by_task(samples).values()
        for by, name, part in _parts(same)
    ]


def by_task(samples: Iterable[list[Outcome]]) -> dict[str, list[list[Outcome]]]:
    """The samples of each task, in the order of `TASKS`."""
    parts = grouped(samples, lambda sample: sample[0].task)
    return {task: parts[task] for task in TASKS if task in parts}


def grouped(items: Iterable[T], name: Callable[[T], str]) -> dict[str, list[T]]:
    """The items of each name, in the order of their first appearance."""
    parts: dict[str, list[T]] = {}
    for item in items:
        parts.setdefault(name(item), []).append(item)
    return parts


def sample_values(samples: Sequence[Sequence[Outcome]], rollouts: int) -> dict[str, "Array"]:
    """Each metric's mean over each sample's completions, shape (samples,); with `pass@k` if `rollouts` is k > 1."""
    import numpy as np

    values = {name: np.array([fmean([getattr(o.score, name) for o in s]) for s in samples]) for name in METRICS}
    if rollouts > 1:
        hits = [any(o.score.exact == 1 for o in sample[:rollouts]) for sample in samples]
        values[f"pass@{rollouts}"] = np.array(hits, dtype=float)
    return values


def pairs_of(samples: Iterable[list[Outcome]]) -> list[list[list[Outcome]]]:
    """The pairs with both samples among `samples`."""
    pairs = grouped((sample for sample in samples if sample[0].pair_id), lambda sample: sample[0].pair_id)
    return [pair for pair in pairs.values() if len(pair) == 2]


def pair_values(pairs: Sequence[Sequence[Sequence[Outcome]]]) -> dict[str, "Array"]:
    """Each metric of `BOTH`, shape (pairs,): of several completions, the mean over all ways to take one of each sample.

    `twin_set` is the share of answers without any own frame: with K = l, all frames are those of the twin's gap.
    """
    import numpy as np

    means = {name: [[fmean(getattr(o.score, name) for o in s) for s in p] for p in pairs] for name in BOTH.values()}
    other = [fmean(o.score.valid and o.score.recall == 0 for s in pair for o in s) for pair in pairs]
    both = {metric: np.array([a * b for a, b in means[name]]) for metric, name in BOTH.items()}
    return {**both, "twin_set": np.array(other)}


def least_values(samples: Sequence[Sequence[Outcome]], names: Iterable[str]) -> "Array":
    """The lowest value of each metric: 0, except for selection and a reward that gives it much weight."""
    import numpy as np

    worst = min((lowest("selection", asked) for asked in {s[0].question for s in samples}), default=0.0)
    paid = min((o.score.reward for sample in samples for o in sample), default=0.0)
    least = {"selection": worst, "reward": worst if paid < 0 else 0.0}
    return np.array([least.get(name, 0.0) for name in names])


def to_text(rows: Iterable[Row]) -> str:
    """The rows of all samples of each task as lines for a terminal."""
    return "\n\n".join(_to_text(row) for row in rows if row.by == "all")


def _to_text(row: Row) -> str:
    samples, groups = plural(row.samples, "sample"), plural(row.video_groups, "video group")
    pairs = f" ({plural(row.pairs, 'pair')})" if row.pairs else ""
    lines = [f"{row.task}: {samples}{pairs} of {groups}; intervals over {row.resampled}"]
    lines += [f"{'':<10}{'mean':>7}   95 % interval   {'chance':>7}{'corrected':>11}"]
    for name, e in row.estimates.items():
        chance = "" if e.chance is None else f"{e.chance:10.4f}"
        corrected = "" if e.corrected is None else f"{e.corrected:11.3f}"
        lines.append(f"{name:<10}{e.mean:7.3f}   {e.low:6.3f} ..{e.high:6.3f}{chance}{corrected}")
    return "\n".join(lines)


def _parts(samples: list[list[Outcome]]) -> Iterator[tuple[str, str, list[list[Outcome]]]]:
    """Grouping, name and samples of each row of a task."""
    yield "all", "all", samples
    names: dict[str, Callable[[list[Outcome]], str]] = {
        "difficulty": lambda sample: _tenth(sample[0].difficulty),
        "origins": lambda sample: sample[0].origins,
        "video": lambda sample: sample[0].video,
    }
    for by, name_of in names.items():
        yield from ((by, name, part) for name, part in sorted(grouped(samples, name_of).items()))


def _row(by: str, name: str, samples: list[list[Outcome]], how: tuple[int, RewardConfig, int]) -> Row:
    rollouts, weights, seed = how
    task, pairs = samples[0][0].task, pairs_of(samples)
    drawn = stable_hash(task, by, name, seed)
    estimates = _estimates([pair[0] for pair in pairs], pair_values(pairs), weights, drawn) if pairs else {}
    estimates |= _estimates(samples, sample_values(samples, rollouts), weights, drawn)
    groups = [sample[0].video_group for sample in samples]
    return Row(
        task=task,
        by=by,
        name=name,
        pairs=len(pairs),
        samples=len(samples),
        video_groups=len(set(groups)),
        resampled=clusters(groups)[1],
        estimates=estimates,
    )


def _estimates(
    units: list[list[Outcome]], values: Mapping[str, "Array"], weights: RewardConfig, seed: int
) -> dict[str, Estimate]:
    """The estimate of each metric, given its value for each of `units`: samples, or the first samples of pairs."""
    import numpy as np

    codes, _ = clusters([unit[0].video_group for unit in units])
    least, columns = least_values(units, values), np.stack(list(values.values()), axis=1)
    low, high = intervals(columns, codes, seed, least=least, most=np.ones_like(least))
    estimates = {}
    for metric, low_end, high_end in zip(values, low.tolist(), high.tolist(), strict=True):
        mean = float(values[metric].mean())
        chance = None if metric == "valid" else fmean([level(metric, unit[0].question, weights) for unit in units])
        corrected = None if chance is None or chance >= 1 else (mean - chance) / (1 - chance)
        estimates[metric] = Estimate(mean=mean, low=low_end, high=high_end, chance=chance, corrected=corrected)
    return estimates


@lru_cache
def level(metric: str, asked: Question, weights: RewardConfig) -> float:
    """The chance level of a question in `pass@k`, a metric of pairs, or one of `METRICS` except `valid`."""
    k, others, ordered = asked.slots, asked.choices - asked.slots, asked.ordered
    if metric == "twin_set":
        return comb(others, k) / comb(asked.choices, k)
    if metric in BOTH:
        return level(BOTH[metric], asked, weights) ** 2
    if metric.startswith("pass@"):
        return 1 - (1 - level("exact", asked, weights)) ** int(metric[5:])
    parts = asdict(weights) if metric == "reward" else {metric: 1.0}
    return reward_chance(k, others, parts, ordered=ordered).mean


def _tenth(difficulty: float) -> str:
    tenth = min(int(difficulty * 10), 9)
    return f"{tenth / 10:.1f}-{(tenth + 1) / 10:.1f}"
