"""Grades a person's answers: metrics of each answer, and their means with confidence intervals and chance levels."""

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mvp_data.core.errors import ConfigError
from mvp_data.core.seeds import stable_hash
from mvp_data.core.statistics import Estimate, clusters, intervals
from mvp_data.core.version import __version__
from mvp_data.shards.record import SPLITS, Record
from mvp_data.tasks.catalogue import TASKS
from mvp_data.tasks.chance import chance
from mvp_data.tasks.grading import grade, lowest, right_slots
from mvp_data.tasks.task import Question

METRICS = ("exact", "set", "selection", "order", "position")
MAX_NOTE = 500  # characters
MAX_PUZZLES = 10_000
DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class QuizConfig:
    """The choice of puzzles; an empty split or task selects all."""

    puzzles: int = 30
    seed: int = 0
    split: str = ""
    task: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.puzzles <= MAX_PUZZLES:
            raise ConfigError(f"{self.puzzles} puzzles: ask for 1 to {MAX_PUZZLES}")
        for name, value, known in (("split", self.split, SPLITS), ("task", self.task, TASKS)):
            if value and value not in known:
                raise ConfigError(f"{name} {value!r:.40}: unknown; choose one of {', '.join(known)}")

    @classmethod
    def parse(cls, value: object, where: str) -> "QuizConfig":
        """The configuration from untrusted JSON. Raises `ConfigError`, whose message begins with `where`."""
        checks = {"puzzles": _is_int, "seed": _is_int, "split": _is_text(40), "task": _is_text(40)}
        return cls(**_checked(value, checks, f"{where}: quiz"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A person's answer to one puzzle; `clear` is False if the person could defend another answer."""

    id: str
    answer: tuple[str, ...]
    seconds: float
    clear: bool
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Graded:
    """An answer with the right one and its metrics."""

    key: str
    task: str
    slots: int
    choices: int
    video_group: str
    answer: tuple[str, ...]
    right: tuple[str, ...]
    seconds: float
    clear: bool
    note: str
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of the score table: the statistics of all answers, or of the answers to one task."""

    name: str  # all, or a task
    puzzles: int
    video_groups: int
    resampled: str  # the unit of the intervals: video groups, or samples if there is only one group
    unclear: int  # answers where the person could defend another answer
    seconds_median: float
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True, slots=True)
class QuizResult:
    """The answered part of a quiz. It has plain values only, so `asdict` can be written as JSON."""

    tool_version: str
    shards: str
    quiz: QuizConfig
    puzzles: tuple[Graded, ...]
    summary: tuple[Row, ...]


def parse_answer(value: object, where: str) -> Answer:
    """One answer from untrusted JSON. Raises `ConfigError`, whose message begins with `where`."""
    checks = {
        "id": _is_text(16),
        "answer": lambda item: isinstance(item, list) and len(item) <= 26 and all(map(_is_text(1), item)),
        "seconds": lambda item: type(item) in (int, float) and 0 <= item <= DAY_S,
        "clear": lambda item: isinstance(item, bool),
        "note": _is_text(MAX_NOTE),
    }
    values = _checked(value, checks, where)
    seconds = round(float(values["seconds"]), 3)
    return Answer(**{**values, "answer": tuple(values["answer"]), "seconds": seconds})


def graded(record: Record, answer: Answer) -> Graded:
    """The answer to a puzzle with its metrics. Raises `ConfigError` if it does not have the form of an answer."""
    asked = record.question
    labels = [chr(ord("A") + number) for number in range(asked.choices)]
    given = answer.answer
    if len(given) != asked.slots or len(set(given)) != len(given) or not set(given) <= set(labels):
        wanted = f"{asked.slots} different of {labels[0]} to {labels[-1]}"
        raise ConfigError(f"puzzle {answer.id}: the answer {', '.join(given)!r:.80} is not {wanted}")
    return Graded(
        key=record.key,
        task=record.task,
        slots=asked.slots,
        choices=asked.choices,
        video_group=record.video_group,
        answer=given,
        right=record.answer,
        seconds=answer.seconds,
        clear=answer.clear,
        note=answer.note,
        metrics=measure(asked, record.answer, given),
    )


def measure(asked: Question, right: Sequence[str], given: Sequence[str]) -> dict[str, float]:
    """The `METRICS` of an answer, see docs/reward.md, without those that are constant or equal to `exact`.

    >>> measure(Question(slots=4, choices=8, ordered=True), "CAFB", "ACFH")
    {'exact': 0.0, 'set': 0.0, 'selection': 0.5, 'order': 0.3333333333333333, 'position': 0.25}
    """
    scores = grade(right_slots(given, right), asked.choices, ordered=asked.ordered)
    names = ["exact"]
    if asked.slots > 1 and asked.choices > asked.slots:
        names += ["set", "selection"]
    if asked.slots > 1 and asked.ordered:
        names += ["order", "position"]
    return {name: scores[name] for name in names}


def result(shards: str, config: QuizConfig, answers: Iterable[Graded]) -> QuizResult:
    """The graded answers, with the statistics of all of them, and of each task if there are several."""
    puzzles = tuple(answers)
    tasks = [task for task in TASKS if any(task == item.task for item in puzzles)]
    rows = [_row("all", puzzles)] if puzzles else []
    if len(tasks) > 1:
        rows += [_row(task, [item for item in puzzles if item.task == task]) for task in tasks]
    return QuizResult(tool_version=__version__, shards=shards, quiz=config, puzzles=puzzles, summary=tuple(rows))


def to_json(found: QuizResult) -> str:
    """The result as JSON, for scripts."""
    return json.dumps(asdict(found), indent=1)


def to_text(found: QuizResult) -> str:
    """The statistics as text."""
    lines = [f"{len(found.puzzles)} of {found.quiz.puzzles} puzzles of {found.shards} answered"]
    for row in found.summary:
        lines += [
            "",
            f"{row.name}: {row.puzzles} answered, video groups {row.video_groups}, "
            f"median {row.seconds_median:.0f} s, second answer defensible in {row.unclear}",
            f"  {'':<10}{'mean':>7}   95 % interval   {'chance':>7}",
        ]
        lines += [
            f"  {name:<10}{e.mean:7.3f}   {e.low:6.3f} ..{e.high:6.3f}{e.chance:10.4f}"
            for name, e in row.estimates.items()
        ]
    return "\n".join(lines)


def _row(name: str, puzzles: Sequence[Graded]) -> Row:
    groups = [item.video_group for item in puzzles]
    shared = [metric for metric in METRICS if all(metric in item.metrics for item in puzzles)]
    return Row(
        name=name,
        puzzles=len(puzzles),
        video_groups=len(set(groups)),
        resampled=clusters(groups)[1],
        unclear=sum(not item.clear for item in puzzles),
        seconds_median=statistics.median(item.seconds for item in puzzles),
        estimates=_estimates(puzzles, shared, groups),
    )


def _estimates(puzzles: Sequence[Graded], metrics: Sequence[str], groups: Sequence[str]) -> dict[str, Estimate]:
    """Mean, confidence interval and chance level of each metric; all `puzzles` must have it."""
    import numpy as np

    values = np.array([[item.metrics[metric] for metric in metrics] for item in puzzles])
    forms = {Question(slots=item.slots, choices=item.choices, ordered=True) for item in puzzles}
    least = np.array([min(lowest(metric, form) for form in forms) for metric in metrics])
    seed = stable_hash("quiz", len(puzzles))
    low, high = intervals(values, clusters(groups)[0], seed, least=least, most=np.ones_like(least))
    return {
        metric: Estimate(
            mean=float(values[:, column].mean()),
            low=float(low[column]),
            high=float(high[column]),
            chance=statistics.fmean(_level(item, metric) for item in puzzles),
        )
        for column, metric in enumerate(metrics)
    }


def _level(item: Graded, metric: str) -> float:
    """The chance level of a metric; if the order does not count, `exact` is the same as `set`."""
    any_order = metric == "exact" and "order" not in item.metrics
    return chance("set" if any_order else metric, item.slots, item.choices - item.slots).mean


def _checked(value: object, checks: Mapping[str, Callable[[Any], bool]], where: str) -> dict[str, Any]:
    """Return the object; raise `ConfigError` unless it has exactly these keys and each value passes its check."""
    if not isinstance(value, dict) or value.keys() != checks.keys():
        raise ConfigError(f"{where}: not an object with exactly {', '.join(checks)}")
    wrong = [name for name, check in checks.items() if not check(value[name])]
    if wrong:
        raise ConfigError(f"{where}: {wrong[0]} {value[wrong[0]]!r:.80} is not a value that a quiz page saves")
    return dict(value)


def _is_int(value: object) -> bool:
    return type(value) is int and abs(value) < 1 << 63


def _is_text(most: int) -> Callable[[Any], bool]:
    """A check for valid Unicode text of at most `most` characters."""
    return lambda item: isinstance(item, str) and len(item) <= most and _encodes(item)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
