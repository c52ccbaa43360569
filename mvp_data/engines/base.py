"""The protocols that engines implement, the limits of a job, and the record of a lost job."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar, runtime_checkable

Job = TypeVar("Job")
Result = TypeVar("Result")

_parents: list[Connection] = []  # in a worker process: the connection to its parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits of one job; 0 means no limit. Memory is the process's resident memory, and is limited on Linux only."""

    timeout_s: float = 0.0
    memory_mb: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """A job that got no result.

    `kind` is `timeout`, `memory` or `crash`; a crash is a dead process or an unexpected exception.
    """

    kind: str
    detail: str
    note: str = ""  # the last text that the job passed to `note`
    process_id: int = field(default=0, compare=False)  # of the worker process that was killed; 0 if it was not
    host: str = field(default="", compare=False)  # name of the machine of that process


@dataclass(slots=True)
class Usage:
    """Resources that a run of jobs has used so far."""

    busy_s: float = 0.0  # summed over all workers
    peak_mb: float = 0.0  # of the largest worker; 0 where the system does not report it


class Engine(Protocol):
    """Runs a job function over jobs, each in a process that may be killed."""

    unread_hint: str  # added to the error if a worker cannot read a file that this process can read

    @property
    def worker_count(self) -> int:
        """Number of jobs that run at the same time."""
        ...

    def run_all(
        self,
        work: Callable[[Job], Result],
        jobs: Iterable[Job],
        *,
        limits: Limits,
        stop: Callable[[], bool],
        usage: Usage | None = None,
        alone: bool = False,
    ) -> Iterator[tuple[Job, Result | Lost]]:
        """Yield `(job, work(job))` as jobs end, see `local.run_all`; with `alone`, run one job at a time."""
        ...


@runtime_checkable
class StatefulEngine(Engine, Protocol):
    """An engine whose workers are on other machines and can keep a state, such as a loaded model."""

    def run_stateful(
        self, make: Callable[[], Callable[[Job], Result]], jobs: Iterable[Job], *, gpu: bool
    ) -> Iterator[tuple[Job, Result | Lost]]:
        """Yield `(job, work(job))` as jobs end; each worker calls `work = make()` once.

        `make` is pickled. With `gpu`, each worker has a GPU of its own; otherwise it has a CPU.
        """
        ...


class NodeSetup(Protocol):
    """The checks of a cluster node before its first job; it is pickled."""

    def check(self) -> None:
        """Raise MvpError if the node cannot do the work."""
        ...

    def clean(self) -> None:
        """Remove the temporary files of worker processes that were killed on this node."""
        ...


def report_to(parent: Connection) -> None:
    """Send what `note` and `extend_deadline` report to this connection; called once in each worker process."""
    _parents.append(parent)


def note(text: str) -> None:
    """Record a text about the running job; if the job is lost, it is in `Lost.note`.

    It does nothing outside a worker process.
    """
    _report("note", text)


def extend_deadline() -> None:
    """Restart the time limit of the running job after progress. It does nothing outside a worker process."""
    _report("progress", None)


def _report(kind: str, value: Any) -> None:
    for parent in _parents:
        parent.send((kind, value))
