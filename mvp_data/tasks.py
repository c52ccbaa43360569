"""What a puzzle asks for: the tasks that are made from one hidden segment, their answers, and what is right.

`mvp` (select the hidden frames and put them in order) is the task of the paper; the others ask for a part of it.
An answer is always a row of labels, so one parser and one reward serve all of them. docs/tasks.md shows each.
Standard library only: the trainer imports this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mvp_data.errors import ConfigError

TASKS = ("mvp", "jigsaw", "select", "next", "arrow", "odd-one-out")
ORDER_ALONE = ("jigsaw", "arrow")  # have no distractors
DOUBTS = ("", "reversible", "looping")  # why the order of a hidden run may be argued about
DIRECTIONS = ("A", "B")  # answers to `arrow`: forwards, backwards


class Labelled(Protocol):
    """A candidate, as far as the answer goes: its label, and its place in the hidden segment or -1."""

    @property
    def label(self) -> str:
        """A, B, C ..."""

    @property
    def order(self) -> int:
        """From 0; -1 for a distractor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """The form of an answer: `slots` different labels out of the first `choices` letters of the alphabet."""

    slots: int
    choices: int
    ordered: bool  # whether the order of the labels counts


def question(task: str, k: int, l: int) -> Question:  # noqa: E741 - the name of the paper
    """What a task asks for, with `k` hidden frames and `l` distractors in the pool.

    >>> question("arrow", 4, 0)
    Question(slots=1, choices=2, ordered=True)
    """
    if task == "arrow":
        return Question(slots=1, choices=len(DIRECTIONS), ordered=True)
    if task == "odd-one-out":
        return Question(slots=l, choices=k + l, ordered=True)
    return Question(slots=k, choices=k + l, ordered=task != "select")


def right_answer(task: str, pool: Sequence[Labelled]) -> tuple[str, ...]:
    """The answer to a task with these candidates; for `select`, where any order will do, the alphabet's."""
    hidden = sorted((c for c in pool if c.order >= 0), key=lambda c: c.order)
    if task == "select":
        return tuple(sorted(c.label for c in hidden))
    if task == "arrow":
        return (DIRECTIONS[hidden[0].label > hidden[-1].label],)
    if task == "odd-one-out":
        return tuple(c.label for c in pool if c.order < 0)
    return tuple(c.label for c in hidden)


def parse_shares(text: str) -> tuple[tuple[str, float], ...]:
    """Tasks with their relative shares, in the order of `TASKS`.

    >>> parse_shares("jigsaw, mvp=3")
    (('mvp', 3.0), ('jigsaw', 1.0))

    Raises:
        ConfigError: an unknown task, one given twice, or a share that is no positive number.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        task, _, share = (piece.strip() for piece in part.partition("="))
        try:
            value = float(share or 1)
        except ValueError:
            value = -1
        if task not in TASKS or task in shares or not 0 < value <= 1e6:
            raise ConfigError(
                f"tasks: {part.strip()!r} in {text!r:.200}: write each of {', '.join(TASKS)} at most once, "
                "as TASK=SHARE with a positive share"
            )
        shares[task] = value
    return tuple((task, shares[task]) for task in TASKS if task in shares)
