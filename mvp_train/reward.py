"""The reward: one number in [0, 1] for a completion, and the parts that add up to it. Works without TRL.

An answer is `<answer>C, A, F, B</answer>`: exactly K different labels of the pool (K is 1 for some tasks). A completion
without a valid answer earns 0. A valid answer earns a weighted sum of *format* (1), *selection*, *order*, *position*
and *exact*. Where order does not count, right labels are first moved to their right slots. The weights are ours, not
those of the paper: see docs/reward.md.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

from mvp_data.core.errors import ConfigError
from mvp_data.shards.record import LABELS, Record
from mvp_data.tasks.grading import grade, right_slots

Completion: TypeAlias = str | Sequence[Mapping[str, Any]]  # text, or messages as TRL gives them
T = TypeVar("T")
REMEDY = "make the rows with `mvp-data export --to trl`"

_TAG = re.compile(r"<\s*+(/?+)\s*+answer\s*+>", re.IGNORECASE | re.ASCII)  # never backtracks: linear in any text
# Characters that may surround labels, with spaces and line breaks; letters and digits may not.
_BETWEEN = ",;:.-=<>→⇒➜()[]{}\"'`‘’“”*_/|&+!?$#~…、，；：–—•\u200b\u200d\ufeff"
_READ = str.maketrans({**dict.fromkeys(_BETWEEN, " "), **{label.lower(): label for label in LABELS}})
_POOLS = tuple(frozenset(LABELS[:size]) for size in range(len(LABELS) + 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardConfig:
    """Weights of the parts; they add up to 1.

    With `format` >= `selection` a valid answer never earns less than an invalid one, although selection can be as low
    as -1. With `position` >= 2 `order` (2/3 `order` for K = 4) correcting a mistake never lowers the reward. Neither
    condition is enforced, so that ablations can break them.
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
    """The grades of a completion. Without a valid answer all of them are 0."""

    valid: bool  # the answer is K different labels of the pool
    selection: float  # recall, corrected so that guessing earns 0 on average; 0 without distractors
    recall: float  # share of the positives that were chosen
    order: float  # concordant pairs among the chosen positives, of all K (K - 1) / 2; K = 1: exact
    position: float  # share of slots that hold their right label
    exact: float  # 1.0 for the right answer
    set: float  # 1.0 for the right labels in any order
    reward: float


GRADES = ("selection", "recall", "order", "position", "exact", "set")
INVALID = Score(valid=False, reward=0.0, **dict.fromkeys(GRADES, 0.0))


def parse(completion: str, pool: int, k: int) -> tuple[str, ...] | None:
    """The labels in the last complete `<answer>…</answer>`; None if they are not `k` different labels of the pool.

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
    """`completion` graded against `answer`, "CAFB" or a record's ("C", "A", "F", "B"), in a pool of `pool` labels.

    Without `ordered` the right labels are first put into their right slots, so any order earns the same. Raises
    `ConfigError` if `answer` does not consist of different labels of the pool.
    """
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


@lru_cache(maxsize=1 << 14)  # there are only 209 different `slots` for K = 4, and 13,327 for K = 6
def _scored(slots: tuple[int, ...], pool: int, weights: RewardConfig, ordered: bool) -> Score:
    """The score of a valid answer; `slots` as in `mvp_data.tasks.grading`."""
    parts = grade(slots, pool, ordered=ordered)
    reward = weights.format
    for name in ("selection", "order", "position", "exact"):
        reward += getattr(weights, name) * parts[name]
    return Score(valid=True, reward=reward, **{name: parts[name] for name in GRADES})


class MvpReward:
    """The reward in the signature of TRL's `reward_funcs`.

    The right answers come from the columns `answer`, `pool` and, for several tasks, `ordered` and `task` of the rows.
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
        """One reward for each completion; the mean of each part per task goes to `log_metric`, such as `mvp/selection`.

        Raises `ConfigError` if the columns `answer` or `pool` are missing or hold invalid values.
        """
        truths, pools = _column("answer", answer, str), _column("pool", pool, int)
        count = [True] * len(truths) if ordered is None else _column("ordered", ordered, bool)
        rows = zip(completions, truths, pools, count, strict=True)
        scores = [score(_text(said), truth, size, self.weights, ordered=o) for said, truth, size, o in rows]
        if log_metric is not None:
            tasks = ["mvp"] * len(truths) if task is None else _column("task", task, str)
            for name in dict.fromkeys(tasks):
                mine = [s for s, its in zip(scores, tasks, strict=True) if its == name]
                for part in ("valid", *GRADES):
                    log_metric(f"{name}/{part}", sum(getattr(s, part) for s in mine) / len(mine))
        return [s.reward for s in scores]


mvp_reward = MvpReward(RewardConfig())  # for the stock command: `reward_funcs: [mvp_train.reward.mvp_reward]`


def _last_answer(text: str) -> str | None:
    """The text of the last `<answer>…</answer>`, searched from the end."""
    at, end = len(text), -1
    while (at := text.rfind("<", 0, at)) >= 0:
        tag = _TAG.match(text, at)
        if tag is None:
            continue
        if tag[1]:
            end = at
        elif end >= 0:
            inner = text[tag.end() : end]
            if any(map(str.isalpha, inner)):  # not an answer: "I used the <answer></answer> tags"
                return inner
            end = -1
    return None


@lru_cache(maxsize=1 << 14)
def _check_truth(answer: str, pool: int) -> None:
    labels = set(answer)
    if not 1 <= pool <= len(LABELS) or not labels or len(labels) != len(answer) or not labels <= _POOLS[pool]:
        raise ConfigError(f"answer {answer!r:.40} must be different labels of a pool of {pool}, such as 'CAFB'")


def _column(name: str, values: Sequence[T] | None, kind: type[T]) -> Sequence[T]:
    """The column; `ConfigError` if it is missing or holds a value of another type."""
    if values is None:
        raise ConfigError(f"the rows have no column {name!r}: {REMEDY}")
    if not all(isinstance(value, kind) for value in values):
        raise ConfigError(f"column {name!r} must hold {kind.__name__} only: {REMEDY}")
    return values


def _text(completion: Completion) -> str:
    """The text of a completion; for a conversation, the text of its last message."""
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else None
    if isinstance(content, list):
        return "".join(piece.get("text") or "" for piece in content)
    return content or ""
