"""The `Task` object. It holds every difference between tasks, so no other module compares their names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Labelled(Protocol):
    """A candidate: its label, and its place in the hidden segment."""

    @property
    def label(self) -> str:
        """A, B, C ..."""

    @property
    def order(self) -> int:
        """From 0; -1 for a distractor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """The shape of an answer: `slots` different labels out of the first `choices` letters of the alphabet."""

    slots: int
    choices: int
    ordered: bool  # whether the order of the labels counts


class AnswerForm(Protocol):
    """Defines what the labels of an answer mean and which answer is right; `forms` has the implementations."""

    @property
    def words(self) -> tuple[str, ...]:
        """The meaning of each label where labels do not name candidates; else empty."""

    def question(self, k: int, l: int) -> Question:  # noqa: E741 - the name of the paper
        """The shape of an answer for `k` hidden frames and `l` distractors."""

    def right(self, pool: Sequence[Labelled]) -> tuple[str, ...]:
        """The labels of the right answer."""

    def from_chosen(self, chosen: Sequence[int], choices: int, key: str) -> tuple[int, ...]:
        """The answer of a solver that chose the candidates `chosen` as the hidden frames, first to last.

        Both are sequences of label numbers (A is 0).

        Ties are broken by a draw from the sample's `key`.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One task. The defaults describe `mvp`; a task sets only the fields in which it differs."""

    name: str
    form: AnswerForm
    asks: str  # the question that ends the prompt
    asks_briefly: str  # the same for one line of `inspect`; {k} hidden frames, {n} candidates
    distractors: int | None = None  # in each pool; None: as configured
    gap_at_end: bool = False  # whether all context frames are before the gap
    in_a_row: bool = False  # whether the pool shows the hidden frames forwards or backwards instead of shuffled
    needs_order: bool = True  # whether a hidden segment is refused if its order is ambiguous
    main: bool = False  # whether shards and keys omit the task's name; exactly one task has this

    def question(self, k: int, l: int) -> Question:  # noqa: E741 - the name of the paper
        """The shape of an answer for `k` hidden frames and `l` distractors."""
        return self.form.question(k, l)

    def right_answer(self, pool: Sequence[Labelled]) -> tuple[str, ...]:
        """The labels of the right answer; where any order is right, in alphabetical order."""
        return self.form.right(pool)

    @property
    def lettered(self) -> bool:
        """Whether the labels of an answer name candidates, so that the candidates are shown with their letters."""
        return not self.form.words

    def word(self, label: str) -> str:
        """The meaning of a label of an answer, such as `forwards`; empty where labels name candidates."""
        return "" if self.lettered else self.form.words[ord(label) - ord("A")]

    @property
    def decoys(self) -> bool:
        """Whether a pool may hold a second run of frames, so that the candidates alone do not show which is hidden."""
        return self.distractors is None

    def pool_size(self, configured: int) -> int:
        """Number of distractors in a pool; `configured` is the number set in the configuration."""
        return configured if self.distractors is None else self.distractors

    def asks_order(self, k: int, l: int) -> bool:  # noqa: E741
        """Whether a solver must find the order of the hidden frames."""
        return self.needs_order and self.question(k, l).ordered

    def pool_line(self, k: int, l: int) -> str:  # noqa: E741
        """The line of the prompt that introduces the candidates."""
        if self.in_a_row:
            return f"\nThe {k} missing frames, all in their original order or all in reverse:\n"
        if l == 0:
            return f"\nThe {k} missing frames, shuffled:"
        others = "one does not" if self.distractors == 1 else "the others do not"
        return f"\n{k + l} candidates, shuffled; {k} of them fill the gap, {others}:"

    def problem(self, orders: Sequence[int], context_after: int) -> str:
        """Describe the rule of this task that a sample breaks; empty if it breaks none.

        `orders` has the `Labelled.order` of each candidate; `context_after` is the number of frames after the gap.
        """
        l = orders.count(-1)  # noqa: E741
        k = len(orders) - l
        if self.distractors not in (None, l) or (self.distractors == 0 and k < 2):
            return f"{self.name} with k {k}, l {l}"
        if self.in_a_row and list(orders) not in (sorted(orders), sorted(orders, reverse=True)):
            return f"{self.name} with candidates in the order {list(orders)}, neither forwards nor backwards"
        return f"{self.name} with context frames after the gap" if self.gap_at_end and context_after else ""

    def shard_stem(self, split_stem: str) -> str:
        """The start of a shard's name: `shard` for the main task, `jigsaw-shard` for another one."""
        return split_stem if self.main else f"{self.name}-{split_stem}"

    @property
    def key_suffix(self) -> str:
        """The end of a sample's key; empty for the main task."""
        return "" if self.main else f"-{self.name}"
