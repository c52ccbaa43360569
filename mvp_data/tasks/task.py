"""The `Task` object: every difference between one task and another, so that no other module compares task names."""

from collections.abc import Sequence, Sized
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


class SampleFacts(Protocol):
    """The facts of a sample that a task checks; `schema.Record` has them."""

    @property
    def k(self) -> int:
        """Number of hidden frames."""

    @property
    def l(self) -> int:  # noqa: E743 - the name of the paper
        """Number of distractors."""

    @property
    def mask_start(self) -> int:
        """Number of context frames before the gap."""

    @property
    def context(self) -> Sized:
        """The context frames."""

    @property
    def candidates(self) -> Sequence[Labelled]:
        """The pool, in the order of its labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """The shape of an answer: `slots` different labels out of the first `choices` letters of the alphabet."""

    slots: int
    choices: int
    ordered: bool  # whether the order of the labels counts


class AnswerForm(Protocol):
    """What the labels of an answer name, and which answer is right; `forms` has the implementations."""

    @property
    def words(self) -> tuple[str, ...]:
        """The meaning of each label where labels do not name candidates; else empty."""

    def question(self, k: int, l: int) -> Question:  # noqa: E741 - the name of the paper
        """The shape of an answer for `k` hidden frames and `l` distractors."""

    def right(self, pool: Sequence[Labelled]) -> tuple[str, ...]:
        """The labels of the right answer."""

    def from_chosen(self, chosen: Sequence[int], choices: int, key: str) -> tuple[int, ...]:
        """The answer (numbers of labels) of a solver that chose `chosen` as the hidden frames, first to last.

        `chosen` holds numbers of candidates; ties are broken by a draw from the sample's `key`.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One task. The defaults describe `mvp`; a task sets only the fields in which it differs."""

    name: str
    form: AnswerForm
    asks: str  # the question that ends the prompt
    asks_briefly: str  # the same for one line of `inspect`; {k} hidden frames, {n} candidates
    distractors: int | None = None  # in each pool; None: as many as the build is configured for
    gap_at_end: bool = False  # whether all context frames come before the gap
    in_a_row: bool = False  # whether the pool shows the hidden frames forwards or backwards instead of shuffled
    needs_order: bool = True  # whether a hidden segment is refused when its order can be disputed
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
        """Number of distractors in a pool, where the build is configured for `configured`."""
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

    def problem(self, sample: SampleFacts) -> str:
        """The rule of this task that a sample breaks; empty if it keeps them all."""
        orders = [candidate.order for candidate in sample.candidates]
        if self.distractors not in (None, sample.l) or (self.distractors == 0 and sample.k < 2):
            return f"{self.name} with k {sample.k}, l {sample.l}"
        if self.in_a_row and orders not in (sorted(orders), sorted(orders, reverse=True)):
            return f"{self.name} with candidates in the order {orders}, neither forwards nor backwards"
        if self.gap_at_end and sample.mask_start != len(sample.context):
            return f"{self.name} with context frames after the gap"
        return ""

    def shard_stem(self, split_stem: str) -> str:
        """The start of a shard's name: `shard` for the main task, `jigsaw-shard` for another one."""
        return split_stem if self.main else f"{self.name}-{split_stem}"

    @property
    def key_suffix(self) -> str:
        """The end of a sample's key."""
        return "" if self.main else f"-{self.name}"
