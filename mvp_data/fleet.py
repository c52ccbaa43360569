"""Jobs for workers on other machines, which may be lost at any moment: nothing here knows how they are reached."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from mvp_data.errors import MvpError
from mvp_data.workers import LOOK_S, Lost, Usage

Job = TypeVar("Job")

MOST_LOSSES = 3  # so many workers lost with one job in hand: it may well be the job that costs them
MOST_FAILED_STARTS = 3  # in a row: something is wrong with the cluster
NO_WORKER_S = 600.0  # without a single worker: some clusters take minutes to add a machine


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a worker said last: of its own start, or of a job."""

    result: Any = None  # an MvpError ends the run
    busy_s: float = 0.0
    peak_mb: float = 0.0


@dataclass(frozen=True, slots=True)
class Gone:
    """A worker of which nothing will be heard any more, and why as far as is known."""

    detail: str


class Hand:
    """A worker as its place knows it."""


class Place(Protocol):
    """Where workers are hired."""

    def room(self) -> int:
        """How many workers there may be now."""
        ...

    def hire(self) -> Hand:
        """Begin to start a worker; its first answer says that it is ready."""
        ...

    def give(self, hand: Hand, job: Any) -> None:
        """Let a worker that is ready do a job; its next answer is the result."""
        ...

    def hear(self, hands: Iterable[Hand], timeout_s: float) -> tuple[Hand, Answer | Gone] | None:
        """The next answer of one of these workers, those named first before others; None if there is none in time."""
        ...

    def dismiss(self, hand: Hand) -> None:
        """End a worker, whatever it does."""
        ...


@dataclass(eq=False, slots=True)
class _Task(Generic[Job]):
    job: Job
    losses: int = 0


@dataclass(slots=True)
class _Crew(Generic[Job]):
    """Who is there, and what is at hand."""

    place: Place
    todo: Iterator[Job]
    stop: Callable[[], bool]
    starting: list[Hand] = field(default_factory=list)
    idle: list[Hand] = field(default_factory=list)
    busy: dict[Hand, _Task[Job]] = field(default_factory=dict)
    waiting: deque[_Task[Job]] = field(default_factory=deque)  # of lost workers, or for the first one
    failed_starts: int = 0
    seen_s: float = field(default_factory=time.monotonic)  # when there was a worker last

    def is_over(self) -> bool:
        """Hand out what can be; whether nothing is in hand and nothing comes."""
        while self.idle and (task := self._next()):
            hand = self.idle.pop()
            self.busy[hand] = task
            self.place.give(hand, task.job)
        # One job is held ready before anybody is hired: where nothing is to be done there is no need for a cluster.
        if not self.idle and not self.waiting and (task := self._next()):
            self.waiting.append(task)
        if self.waiting and not self.stop():
            while len(self.starting) + len(self.busy) < self.place.room():
                self.starting.append(self.place.hire())
        return not self.busy and (self.stop() or not self.waiting)

    def _next(self) -> "_Task[Job] | None":
        if self.stop():
            return None
        if self.waiting:
            return self.waiting.popleft()
        return next((_Task(job) for job in self.todo), None)

    def hear(self) -> "tuple[_Task[Job] | None, Answer | Gone] | None":
        """The next answer, with the job that it is about.

        Raises:
            MvpError: nobody comes.
        """
        # Those that have waited longest for their next job come first, and before them those without any yet.
        heard = self.place.hear([*self.starting, *self.busy], LOOK_S)
        if self.busy:
            self.seen_s = time.monotonic()
        elif time.monotonic() - self.seen_s > NO_WORKER_S:
            raise MvpError(f"no node of the cluster has had a free CPU for {NO_WORKER_S:g} s; what is done is kept")
        if heard is None:
            return None
        hand, answer = heard
        if hand in self.busy:
            task: _Task[Job] | None = self.busy.pop(hand)
        else:
            task = None
            self.starting.remove(hand)
        if isinstance(answer, Answer):
            self.failed_starts = 0
            self.idle.append(hand)
        else:
            self.place.dismiss(hand)
            self.failed_starts += task is None
        return task, answer

    def dismiss(self) -> None:
        for hand in [*self.starting, *self.idle, *self.busy]:
            self.place.dismiss(hand)


def run_fleet(
    place: Place,
    jobs: Iterable[Job],
    *,
    stop: Callable[[], bool] = lambda: False,
    usage: Usage | None = None,
    warn: Callable[[str], object] = lambda _: None,
) -> Iterator[tuple[Job, Any]]:
    """`(job, its result)` for every job, in the order in which they end; see `workers.run_all`, which this mirrors.

    A job whose worker was lost is given to another one, and is `Lost` only after MOST_LOSSES of them.

    Raises:
        MvpError: a job or a worker at its start said so, or no worker can be had.
    """
    usage = usage or Usage()
    crew = _Crew(place, iter(jobs), stop)
    try:
        while not crew.is_over():
            heard = crew.hear()
            if heard is None:
                continue
            task, answer = heard
            if isinstance(answer, Gone):
                if crew.failed_starts >= MOST_FAILED_STARTS:
                    raise MvpError(f"no worker can be started on the cluster: {answer.detail}")
                if task is None:
                    continue
                task.losses += 1
                warn(f"a worker of the cluster is lost ({answer.detail}); what it had in hand is given to another")
                if task.losses < MOST_LOSSES:
                    crew.waiting.append(task)
                else:
                    yield task.job, Lost("crash", f"{task.losses} workers of the cluster were lost with it")
                continue
            if isinstance(answer.result, MvpError):
                raise answer.result
            usage.busy_s += answer.busy_s
            usage.peak_mb = max(usage.peak_mb, answer.peak_mb)
            if task is not None:
                yield task.job, answer.result
    finally:
        crew.dismiss()
