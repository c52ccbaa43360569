"""Grades the answers of readers: metrics of each answer and of each pair, and their means with intervals and chance."""

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mvp_data.core.errors import ConfigError
from mvp_data.core.seeds import stable_hash
from mvp_data.core.statistics import Estimate, clusters, intervals
from mvp_data.core.text import printable
from mvp_data.core.version import __version__
from mvp_data.shards.record import SPLITS, Record
from mvp_data.tasks.catalogue import TASKS
from mvp_data.tasks.chance import chance
from mvp_data.tasks.grading import grade, lowest, right_slots
from mvp_data.tasks.task import Question

METRICS = ("exact", "set", "selection", "order", "position")
PAIR_METRICS = {"pair_score": "exact", "pair_set": "set"}  # 1 if this metric is 1 for both samples of a pair
HALVES = ("first", "second", "both")
KINDS = ("human", "model")
MAX_NAME = 80
MAX_NOTE = 500  # characters
MAX_PUZZLES = 10_000
DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class QuizConfig:
    """The choice of puzzles, and the reader; an empty split or task selects all."""

    puzzles: int = 30
    seed: int = 0
    split: str = ""
    task: str = ""
    half: str = "first"  # one of HALVES: which samples of the pairs
    reader: str = ""  # a name
    kind: str = ""  # one of KINDS, for a named reader

    def __post_init__(self) -> None:
        if not 1 <= self.puzzles <= MAX_PUZZLES:
            raise ConfigError(f"{self.puzzles} puzzles: ask for 1 to {MAX_PUZZLES}")
        for name, value, known in (("split", self.split, SPLITS), ("task", self.task, TASKS)):
            if value and value not in known:
                raise ConfigError(f"{name} {value!r:.40}: unknown; choose one of {', '.join(known)}")
        if self.half not in HALVES:
            raise ConfigError(f"half {self.half!r:.40}: unknown; choose one of {', '.join(HALVES)}")
        if self.kind not in (KINDS if self.reader else ("",)):
            raise ConfigError("name the reader and say whether it is a person: --reader NAME --kind human or model")
        if len(self.reader) > MAX_NAME:
            raise ConfigError(f"a name of {len(self.reader)} characters: shorten it to {MAX_NAME}")

    @classmethod
    def parse(cls, value: object, where: str) -> "QuizConfig":
        """The configuration from untrusted JSON. Raises `ConfigError`, whose message begins with `where`."""
        checks = {"puzzles": _is_int, "seed": _is_int, "split": _is_text(40), "task": _is_text(40)}
        checks |= {"half": _is_text(40), "reader": _is_text(MAX_NAME), "kind": _is_text(40)}
        return cls(**_checked(value, checks, f"{where}: quiz"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The answer of a reader to one puzzle; `clear` is False if the reader could defend another answer."""

    id: str
    answer: tuple[str, ...]
    seconds: float
    clear: bool
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Graded:
    """An answer with the right one and its metrics."""

    reader: str
    kind: str
    key: str
    pair_id: str
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
    """One row of the score table: the statistics of all answers, of those to one task, or of those of one reader."""

    name: str  # all, a task, or `reader NAME (KIND)`
    pairs: int  # with an answer to both samples
    puzzles: int
    video_groups: int
    resampled: str  # the unit of the intervals: video groups, or samples if there is only one group
    unclear: int  # answers where the reader could defend another answer
    seconds_median: float
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True, kw_only=True, slots=True)
class QuizResult:
    """The answered part of a quiz. It has plain values only, so `asdict` can be written as JSON."""

    tool_version: str
    shards: str
    quizzes: tuple[QuizConfig, ...]  # one for each file of answers
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


def graded(record: Record, answer: Answer, quiz: QuizConfig) -> Graded:
    """The answer to a puzzle with its metrics. Raises `ConfigError` if it does not have the form of an answer."""
    asked = record.question
    labels = [chr(ord("A") + number) for number in range(asked.choices)]
    given = answer.answer
    if len(given) != asked.slots or len(set(given)) != len(given) or not set(given) <= set(labels):
        wanted = f"{asked.slots} different of {labels[0]} to {labels[-1]}"
        raise ConfigError(f"puzzle {answer.id}: the answer {', '.join(given)!r:.80} is not {wanted}")
    return Graded(
        reader=quiz.reader,
        kind=quiz.kind,
        key=record.key,
        pair_id=record.pair_id,
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


def result(shards: str, quizzes: Iterable[QuizConfig], answers: Iterable[Graded]) -> QuizResult:
    """The graded answers, with the statistics of all of them, and of each task and each reader if there are several."""
    puzzles = tuple(answers)
    tasks = [task for task in TASKS if any(task == item.task for item in puzzles)]
    rows = [_row("all", puzzles)] if puzzles else []
    if len(tasks) > 1:
        rows += [_row(task, [item for item in puzzles if item.task == task]) for task in tasks]
    readers = dict.fromkeys((item.reader, item.kind) for item in puzzles)
    if len(readers) > 1:
        rows += [
            _row(f"reader {_reader(*who)}", [item for item in puzzles if (item.reader, item.kind) == who])
            for who in readers
        ]
    return QuizResult(
        tool_version=__version__, shards=shards, quizzes=tuple(quizzes), puzzles=puzzles, summary=tuple(rows)
    )


def to_json(found: QuizResult) -> str:
    """The result as JSON, for scripts."""
    return json.dumps(asdict(found), indent=1)


def to_text(found: QuizResult) -> str:
    """The statistics as text."""
    asked, readers = sum(quiz.puzzles for quiz in found.quizzes), [_reader(q.reader, q.kind) for q in found.quizzes]
    lines = [f"{len(found.puzzles)} of {asked} puzzles of {found.shards} answered by {', '.join(readers)}"]
    for row in found.summary:
        lines += [
            "",
            f"{row.name}: {row.puzzles} answered, pairs {row.pairs}, video groups {row.video_groups}, "
            f"median {row.seconds_median:.0f} s, second answer defensible in {row.unclear}",
            f"  {'':<10}{'mean':>7}   95 % interval   {'chance':>7}",
        ]
        lines += [
            f"  {name:<10}{e.mean:7.3f}   {e.low:6.3f} ..{e.high:6.3f}{e.chance:10.4f}"
            for name, e in row.estimates.items()
        ]
    return "\n".join(map(printable, lines))  # the names come from the answers


def _reader(name: str, kind: str) -> str:
    return f"{name} ({kind})" if name else "a reader without a name"


def _row(name: str, puzzles: Sequence[Graded]) -> Row:
    groups = [item.video_group for item in puzzles]
    shared = [metric for metric in METRICS if all(metric in item.metrics for item in puzzles)]
    pairs = _pairs(puzzles)
    both = {name: metric for name, metric in PAIR_METRICS.items() if metric in shared}
    of_pairs = {name: [_both_right(pair, metric) for pair in pairs] for name, metric in both.items()}
    of_puzzles = {metric: [item.metrics[metric] for item in puzzles] for metric in shared}
    firsts = [pair[0][0] for pair in pairs]
    return Row(
        name=name,
        pairs=len(pairs),
        puzzles=len(puzzles),
        video_groups=len(set(groups)),
        resampled=clusters(groups)[1],
        unclear=sum(not item.clear for item in puzzles),
        seconds_median=statistics.median(item.seconds for item in puzzles),
        estimates={**(_estimates(firsts, of_pairs) if pairs else {}), **_estimates(puzzles, of_puzzles)},
    )


def _pairs(puzzles: Iterable[Graded]) -> list[list[list[Graded]]]:
    """The pairs with an answer to both samples; for each sample its answers, by one reader or several."""
    pairs: dict[str, dict[str, list[Graded]]] = {}
    for item in puzzles:
        if item.pair_id:
            pairs.setdefault(item.pair_id, {}).setdefault(item.key, []).append(item)
    return [list(pair.values()) for pair in pairs.values() if len(pair) == 2]


def _both_right(pair: Sequence[Sequence[Graded]], metric: str) -> float:
    """1 if a metric is 1 for both samples; of several answers, the mean over all ways to take one for each sample."""
    return math.prod(statistics.fmean(item.metrics[metric] for item in answers) for answers in pair)


def _estimates(units: Sequence[Graded], values: Mapping[str, Sequence[float]]) -> dict[str, Estimate]:
    """Mean, interval and chance of each metric, from its value for each of `units`: answers, or first ones of pairs."""
    import numpy as np

    forms = {Question(slots=item.slots, choices=item.choices, ordered=True) for item in units}
    least = np.array([min(lowest(metric, form) for form in forms) for metric in values])
    columns, codes = np.array(list(values.values())).T, clusters([item.video_group for item in units])[0]
    low, high = intervals(columns, codes, stable_hash("quiz", len(units)), least=least, most=np.ones_like(least))
    return {
        metric: Estimate(
            mean=float(columns[:, column].mean()),
            low=float(low[column]),
            high=float(high[column]),
            chance=statistics.fmean(_level(item, metric) for item in units),
        )
        for column, metric in enumerate(values)
    }


def _level(item: Graded, metric: str) -> float:
    """The chance level of a metric; if the order does not count, `exact` is the same as `set`."""
    if metric in PAIR_METRICS:
        return _level(item, PAIR_METRICS[metric]) ** 2
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
