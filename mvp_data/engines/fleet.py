"""Runs jobs on workers on other machines; any worker may be lost at any moment.

This module does not depend on a cluster library: a `Host` starts the workers and exchanges jobs and answers with them.
On a node, the host creates a `ProcessWorker` or a `StatefulWorker`.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol

from mvp_data.core.errors import MvpError
from mvp_data.engines.base import Job, Limits, Lost, NodeSetup, Usage
from mvp_data.engines.local import POLL_S, run_all

MOST_LOSSES = 3  # workers that one job may lose; then the job itself is probably the cause
MOST_FAILED_STARTS = 3  # in a row; then the cluster has a problem
NO_WORKER_S = 600.0  # longest wait without a worker; some clusters take minutes to add a machine


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The answer of a worker to its start, or to a job."""

    result: Any = None  # an MvpError ends the run
    busy_s: float = 0.0
    peak_mb: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """The answer of a lost worker, with the reason if it is known."""

    detail: str


class Worker:
    """A handle of a worker; each host has its own subclass."""


class Host(Protocol):
    """Starts workers and exchanges messages with them."""

    def room(self) -> int:
        """Return how many workers may run now."""
        ...

    def start(self) -> Worker:
        """Begin to start a worker; its first answer means that it is ready."""
        ...

    def send(self, worker: Worker, job: Any) -> None:
        """Give a job to a worker that is ready; its next answer is the result."""
        ...

    def receive(self, workers: Iterable[Worker], timeout_s: float) -> tuple[Worker, Answer | WorkerDied] | None:
        """Wait for an answer from any of `workers`; None after `timeout_s`.

        If several have answered, return the answer of the one that comes first in `workers`.
        """
        ...

    def end(self, worker: Worker) -> None:
        """End a worker, even in the middle of a job."""
        ...


@dataclass(eq=False, slots=True)
class _Task(Generic[Job]):
    job: Job
    losses: int = 0


@dataclass(slots=True)
class _Fleet(Generic[Job]):
    """The workers, grouped by state, and the waiting jobs."""

    host: Host
    todo: Iterator[Job]
    stop: Callable[[], bool]
    starting: list[Worker] = field(default_factory=list)
    idle: list[Worker] = field(default_factory=list)
    busy: dict[Worker, _Task[Job]] = field(default_factory=dict)
    waiting: deque[_Task[Job]] = field(default_factory=deque)  # jobs of lost workers, or the job for the first worker
    failed_starts: int = 0
    last_worker_s: float = field(default_factory=time.monotonic)  # when a worker was last busy

    def assign(self) -> bool:
        """Give jobs to idle workers and start more workers; return whether there is anything left to wait for."""
        while self.idle and (task := self._next()):
            worker = self.idle.pop()
            self.busy[worker] = task
            self.host.send(worker, task.job)
        # Take one job before starting any worker: without a job, the cluster is not needed.
        if not self.idle and not self.waiting and (task := self._next()):
            self.waiting.append(task)
        if self.waiting and not self.stop():
            while len(self.starting) + len(self.busy) < self.host.room():
                self.starting.append(self.host.start())
        return bool(self.busy) or (bool(self.waiting) and not self.stop())

    def _next(self) -> "_Task[Job] | None":
        if self.stop():
            return None
        if self.waiting:
            return self.waiting.popleft()
        return next((_Task(job) for job in self.todo), None)

    def receive(self) -> "tuple[_Task[Job] | None, Answer | WorkerDied] | None":
        """Wait for an answer; return it with its job, or with None if it answers a start.

        Raises:
            MvpError: there has been no worker for too long.
        """
        # This order puts the workers first that have waited longest for a job.
        received = self.host.receive([*self.starting, *self.busy], POLL_S)
        if self.busy:
            self.last_worker_s = time.monotonic()
        elif time.monotonic() - self.last_worker_s > NO_WORKER_S:
            raise MvpError(
                f"no node of the cluster has had a free CPU for {NO_WORKER_S:g} s; finished work is kept: run again"
            )
        if received is None:
            return None
        worker, answer = received
        if worker in self.busy:
            task: _Task[Job] | None = self.busy.pop(worker)
        else:
            task = None
            self.starting.remove(worker)
        if isinstance(answer, Answer):
            self.failed_starts = 0
            self.idle.append(worker)
        else:
            self.host.end(worker)
            self.failed_starts += task is None
        return task, answer

    def end(self) -> None:
        """End all workers."""
        for worker in [*self.starting, *self.idle, *self.busy]:
            self.host.end(worker)


def run_fleet(
    host: Host,
    jobs: Iterable[Job],
    *,
    stop: Callable[[], bool] = lambda: False,
    usage: Usage | None = None,
    warn: Callable[[str], object] = lambda _: None,
) -> Iterator[tuple[Job, Any]]:
    """Yield `(job, its result)` for every job, in the order in which jobs end, as `local.run_all` does.

    The job of a lost worker goes to another worker; after MOST_LOSSES lost workers the result of the job is `Lost`.

    Raises:
        MvpError: a job or the start of a worker returned it, or no worker can be started.
    """
    usage = usage or Usage()
    fleet = _Fleet(host, iter(jobs), stop)
    try:
        while fleet.assign():
            received = fleet.receive()
            if received is None:
                continue
            task, answer = received
            if isinstance(answer, WorkerDied):
                if fleet.failed_starts >= MOST_FAILED_STARTS:
                    raise MvpError(f"no worker can be started on the cluster: {answer.detail}")
                if task is None:
                    continue
                task.losses += 1
                warn(f"a worker of the cluster is lost ({answer.detail}); another worker takes its job")
                if task.losses < MOST_LOSSES:
                    fleet.waiting.append(task)
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
        fleet.end()


class ProcessWorker:
    """A worker on a node: runs jobs in a process of the engine `local`, with the same limits and skip reasons."""

    def __init__(self, setup: NodeSetup, work: Callable[[Any], Any], limits: Limits) -> None:
        """Nothing here may raise: the caller would take the node for lost."""
        self._setup, self._todo, self._usage = setup, deque[Any](), Usage()
        self._results = run_all(work, _until_empty(self._todo), workers=1, limits=limits, usage=self._usage)

    def ready(self) -> Answer:
        """Check the node; the answer is an MvpError if the check fails."""
        self._setup.clean()  # after an earlier run that was killed
        # A spawned process imports the main program first. Here that is the program of Ray: a second and 100 MB.
        vars(sys.modules["__main__"]).pop("__file__", None)
        return _answer(self._setup.check)

    def run(self, job: Any) -> Answer:
        """Return the result of a job, or `Lost`."""
        self._todo.append(job)
        before_s = self._usage.busy_s
        answer = _answer(lambda: next(self._results)[1])
        if isinstance(answer.result, Lost):
            self._setup.clean()
        return Answer(result=answer.result, busy_s=self._usage.busy_s - before_s, peak_mb=self._usage.peak_mb)


class StatefulWorker:
    """A worker on a node: runs jobs in its own process, with a state that `make` builds once."""

    def __init__(self, setup: NodeSetup, make: Callable[[], Callable[[Any], Any]]) -> None:
        """Nothing here may raise: the caller would take the node for lost."""
        self._setup, self._make = setup, make
        self._work: Callable[[Any], Any] | None = None

    def ready(self) -> Answer:
        """Check the node and build the state; the answer is an MvpError if either fails."""
        return _answer(self._prepare)

    def _prepare(self) -> None:
        self._setup.check()
        self._work = self._make()

    def run(self, job: Any) -> Answer:
        """Return the result of a job."""
        assert self._work is not None
        work = self._work
        return _answer(lambda: work(job))


def _answer(act: Callable[[], Any]) -> Answer:
    """Call `act`; return an MvpError instead of raising it, because an exception on a node arrives as a traceback."""
    began_s = time.monotonic()
    try:
        result = act()
    except MvpError as error:
        result = error
    return Answer(result=result, busy_s=time.monotonic() - began_s)


def _until_empty(todo: "deque[Any]") -> Iterator[Any]:
    """Yield jobs from `todo`; the caller adds each job before it asks for the next."""
    while True:
        yield todo.popleft()
