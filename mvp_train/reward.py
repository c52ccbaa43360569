"""The reward: one number in [0, 1] from a completion and the right answer, and the parts it is made of.

An answer is `<answer>C, A, F, B</answer>`: exactly K different labels of the pool, K being 1 for some tasks. What
cannot be read as that earns 0; a readable answer earns a weighted sum of *format* (1), *selection*, *order*, *position*
and *exact*. Where order does not count, right labels are first put into their right slots.
Selection is corrected for chance and falls to -1, so without `format` an unreadable answer would beat a readable
bad one, and learning to answer at all would be punished. With the shipped weights (ours, not the paper's)
repairing any one mistake never lowers the reward: see docs/reward.md. Works without TRL.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

from mvp_data.errors import ConfigError
from mvp_data.schema import LABELS, Record
from mvp_data.tasks.grading import grade, right_slots

Completion: TypeAlias = str | Sequence[Mapping[str, Any]]  # text, or messages as TRL gives them
T = TypeVar("T")
REMEDY = "make the rows with `mvp-data export --to trl`"

_TAG = re.compile(r"<\s*+(/?+)\s*+answer\s*+>", re.IGNORECASE | re.ASCII)  # never backtracks: linear in any text
# What may stand around and between labels, with spaces and line breaks: no letter and no digit.
_BETWEEN = ",;:.-=<>→⇒➜()[]{}\"'`‘’“”*_/|&+!?$#~…、，；：–—•\u200b\u200d\ufeff"
_READ = str.maketrans({**dict.fromkeys(_BETWEEN, " "), **{label.lower(): label for label in LABELS}})
_POOLS = tuple(frozenset(LABELS[:size]) for size in range(len(LABELS) + 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardConfig:
    """Weights of the parts; they add up to 1.

    `format` >= `selection` keeps every readable answer at 0 or more, and `position` >= 2 `order` (2/3 for K = 4)
    keeps the reward from falling when a mistake is repaired. Neither is enforced: an ablation may want otherwise.
    """

    format: float = 0.2
    selection: float = 0.2
    order: float = 0.1
    position: float = 0.25
    exact: float = 0.25

    def __post_init__(self) -> None:
        weights = {f.name: getattr(self, f.name) for f in fields(self)}
        bad = [f"{name} {weight}" for name, weight in weights.items() if not 0 <= weight <= 1]
        if bad:
            raise ConfigError(f"reward: each weight must be in [0, 1], not {', '.join(bad)}")
        total = sum(weights.values())
        if abs(total - 1) > 1e-6:
            shown = " + ".join(f"{name} {weight:g}" for name, weight in weights.items())
            raise ConfigError(f"reward: the weights must add up to 1, not {total:g} ({shown})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One graded completion. All parts of an unreadable one are 0, and so is its reward."""

    valid: bool  # K different labels of the pool could be read
    selection: float  # recall, corrected so that guessing earns 0 on average; 0 without distractors
    recall: float  # share of the positives that were chosen
    order: float  # concordant pairs among the chosen positives, of all K (K - 1) / 2; K = 1: exact
    position: float  # share of slots that hold their right label
    exact: float
    set: float  # 1.0 for the right labels in any order
    reward: float


INVALID = Score(valid=False, selection=0.0, recall=0.0, order=0.0, position=0.0, exact=0.0, set=0.0, reward=0.0)


def parse(completion: str, pool: int, k: int) -> tuple[str, ...] | None:
    """The labels in the last complete `<answer>…</answer>`, or None unless they are `k` different ones of the pool.

    >>> parse("<answer>A, B</answer> No: <ANSWER> [c] -> a. </answer>", pool=4, k=2)
    ('C', 'A')
    >>> parse("<answer>CA</answer>", pool=4, k=2), parse("<answer>C, E</answer>", pool=4, k=2)
    (None, None)
    """
    inner = _last_answer(completion)
    if inner is None:
        return None
    labels = inner.translate(_READ).split()
    if labels[-2:-1] == ["AND"]:  # "C, A, F and B"
        del labels[-2]
    distinct = set(labels)
    if len(labels) != k or len(distinct) != k or not distinct <= _POOLS[pool]:
        return None
    return tuple(labels)


def score(
    completion: str, answer: str | Sequence[str], pool: int, weights: RewardConfig, *, ordered: bool = True
) -> Score:
    """`completion` graded against `answer`, "CAFB" or a record's ("C", "A", "F", "B"), with `pool` labels to choose of.

    Without `ordered` the right labels are first put into their right slots, so any order earns the same.

    Raises:
        ConfigError: `answer` is no row of different labels of the pool (whatever the completion is).
    """
    if not isinstance(answer, str):
        answer = "".join(answer)
    _check_truth(answer, pool)
    labels = parse(completion, pool, len(answer))
    if labels is None:
        return INVALID
    return _scored(right_slots(labels, answer), pool, weights, ordered)


def score_record(completion: str, record: Record, weights: RewardConfig) -> Score:
    """`completion` graded as an answer to a sample, whatever its task."""
    asked = record.question
    return score(completion, record.answer, asked.choices, weights, ordered=asked.ordered)


@lru_cache(maxsize=1 << 14)  # there are only 209 ways to be more or less right for K = 4, 13,327 for K = 6
def _scored(slots: tuple[int, ...], pool: int, weights: RewardConfig, ordered: bool) -> Score:
    """The score of a valid answer; `slots` as in `mvp_data.tasks.grading`."""
    parts = grade(slots, pool, ordered=ordered)
    return Score(
        valid=True,
        selection=parts["selection"],
        recall=parts["recall"],
        order=parts["order"],
        position=parts["position"],
        exact=parts["exact"],
        set=parts["set"],
        reward=weights.format
        + weights.selection * parts["selection"]
        + weights.order * parts["order"]
        + weights.position * parts["position"]
        + weights.exact * parts["exact"],
    )


class MvpReward:
    """The reward in the signature of TRL's `reward_funcs`; the truth comes from the columns of the rows.

    Those are `answer`, `pool` and, where there are several tasks, `ordered` and `task`.
    """

    __name__ = "mvp_reward"  # TRL logs a reward under its name

    def __init__(self, weights: RewardConfig) -> None:
        self.weights = weights

    def __call__(
        self,
        prompts: object = None,
        completions: Sequence[Completion] = (),
        answer: Sequence[str] | None = None,
        pool: Sequence[int] | None = None,
        ordered: Sequence[bool] | None = None,
        task: Sequence[str] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: object,
    ) -> list[float]:
        """One reward a completion; each task's mean of each part goes to `log_metric` as `mvp/selection` and so on.

        Raises:
            ConfigError: the rows lack `answer` or `pool`, or hold no right answer there.
        """
        truths, pools = _column("answer", answer, str), _column("pool", pool, int)
        count = [True] * len(truths) if ordered is None else _column("ordered", ordered, bool)
        rows = zip(completions, truths, pools, count, strict=True)
        scores = [score(_text(said), truth, size, self.weights, ordered=o) for said, truth, size, o in rows]
        if log_metric is not None:
            tasks = ["mvp"] * len(truths) if task is None else _column("task", task, str)
            for name in dict.fromkeys(tasks):
                mine = [s for s, its in zip(scores, tasks, strict=True) if its == name]
                for part in ("valid", "selection", "recall", "order", "position", "exact", "set"):
                    log_metric(f"{name}/{part}", sum(getattr(s, part) for s in mine) / len(mine))
        return [s.reward for s in scores]


mvp_reward = MvpReward(RewardConfig())  # for the stock command: `reward_funcs: [mvp_train.reward.mvp_reward]`


def _last_answer(text: str) -> str | None:
    """What stands in the last `<answer>…</answer>`: from the end, since that is where it is."""
    at, end = len(text), -1
    while (at := text.rfind("<", 0, at)) >= 0:
        tag = _TAG.match(text, at)
        if tag is None:
            continue
        if tag[1]:
            end = at
        elif end >= 0:
            inner = text[tag.end() : end]
            if any(map(str.isalpha, inner)):  # "I used the <answer></answer> tags" is no answer
                return inner
            end = -1
    return None


@lru_cache(maxsize=1 << 14)
def _check_truth(answer: str, pool: int) -> None:
    labels = set(answer)
    if not 1 <= pool <= len(LABELS) or not labels or len(labels) != len(answer) or not labels <= _POOLS[pool]:
        raise ConfigError(f"answer {answer!r:.40} is no row of different labels of a pool of {pool}, such as 'CAFB'")


def _column(name: str, values: Sequence[T] | None, kind: type[T]) -> Sequence[T]:
    """The column, or a `ConfigError` where it is missing or some row has something else there."""
    if values is None:
        raise ConfigError(f"the rows have no column {name!r}: {REMEDY}")
    if not all(isinstance(value, kind) for value in values):
        raise ConfigError(f"column {name!r} holds something else than {kind.__name__}: {REMEDY}")
    return values


def _text(completion: Completion) -> str:
    """The text of a completion: of its last message, where it is a conversation."""
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else None
    if isinstance(content, list):
        return "".join(piece.get("text") or "" for piece in content)
    return content or ""
