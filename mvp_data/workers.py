"""Jobs in processes that may die: each worker has a pipe of its own, so killing one at any moment hurts no other.

Pool libraries share one queue and its locks among all workers. Killing a worker that waits for its next job, as the
kernel may when memory is short, then breaks or blocks the whole pool (seen with concurrent.futures and Pebble 5.2).
"""

import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

from mvp_data.errors import MvpError

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Lost:
    """A job without a result: `timeout`, or `crash` for a process that died and for a defect met on the way."""

    kind: str
    detail: str


@dataclass(slots=True, eq=False)
class _Worker(Generic[Job]):
    process: BaseProcess
    connection: Connection
    job: Job | None = None
    deadline_s: float = float("inf")  # on the monotonic clock

    def give(self, job: Job, timeout_s: float) -> None:
        self.job, self.deadline_s = job, time.monotonic() + timeout_s
        self.connection.send(job)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def run_all(
    work: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int, timeout_s: float
) -> Iterator[tuple[Job, Result | Lost]]:
    """`(job, work(job))` for every job, in the order in which they end; jobs are taken as workers become free.

    `work` must be importable. An `MvpError` it raises is raised here; any other exception makes its job `Lost`, as do a
    dead process and more than `timeout_s` seconds. When the caller stops early, all processes are killed.

    Raises:
        MvpError: as above, or no process can be started.
    """
    todo = iter(jobs)
    crew: list[_Worker[Job]] = []
    try:
        for job in islice(todo, workers):
            crew.append(_start(work))
            crew[-1].give(job, timeout_s)
        while crew:
            for worker in _ready(crew):
                assert worker.job is not None
                finished, result = worker.job, _take(worker, timeout_s)
                crew.remove(worker)
                if isinstance(result, Lost):
                    worker.end()
                for job in islice(todo, 1):
                    crew.append(_again(worker, work, job, timeout_s))
                if worker not in crew:
                    worker.end()
                yield finished, result
    finally:
        for worker in crew:
            worker.end()


def _start(work: Callable[[Job], Result]) -> "_Worker[Job]":
    """A new process, once it has said that it is ready: its start does not count against the first job's time."""
    # Spawned, not forked: the caller may hold threads of FAISS, ONNX Runtime or a notebook.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, theirs), daemon=True)
    with _ctrl_c_blocked():  # inherited: a child that is still starting up must not die of Ctrl-C with a traceback
        process.start()
    theirs.close()  # now only the child holds it, so its death shows as the end of the pipe
    worker: _Worker[Job] = _Worker(process, ours)
    try:
        ours.recv()
    except EOFError:
        worker.end()
        raise MvpError(
            "no worker process can be started; a script that builds shards must do it "
            'under `if __name__ == "__main__":`'
        ) from None
    return worker


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Hold SIGINT back from this thread, and from processes it starts for good; Windows has no such thing."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _again(worker: "_Worker[Job]", work: Callable[[Job], Result], job: Job, timeout_s: float) -> "_Worker[Job]":
    """Give the next job to a worker, or to a new one in the place of a dead one."""
    try:
        worker.give(job, timeout_s)
    except OSError:  # closed after a lost job, or killed while it had nothing to do
        worker.end()
        worker = _start(work)
        worker.give(job, timeout_s)
    return worker


def _ready(crew: "list[_Worker[Job]]") -> "list[_Worker[Job]]":
    """The workers that have something to say, are dead, or are out of time; waits until there is one."""
    left_s = min(worker.deadline_s for worker in crew) - time.monotonic()
    talking = wait([worker.connection for worker in crew], timeout=max(0.0, left_s))
    now = time.monotonic()
    return [worker for worker in crew if worker.connection in talking or worker.deadline_s <= now]


def _take(worker: "_Worker[Job]", timeout_s: float) -> Any:
    """The result of a worker that is ready; a worker without one is dead or doomed."""
    if not worker.connection.poll():
        return Lost("timeout", f"not done after {timeout_s:g} s")
    try:
        result = worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join()
        return Lost("crash", f"its process died ({_cause(worker.process.exitcode)})")
    if isinstance(result, MvpError):
        raise result
    return result


def _cause(code: int | None) -> str:
    """An exit code in words: `signal SIGKILL`, `exit code 3`."""
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _serve(work: Callable[[Job], Result], connection: Connection) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    connection.send(None)
    while True:
        try:
            job = connection.recv()
        except EOFError:  # the parent is gone
            return
        result = _attempt(work, job)
        with suppress(BrokenPipeError):  # the parent died meanwhile; the next `recv` says so
            connection.send(result)


def _attempt(work: Callable[[Job], Result], job: Job) -> Result | Lost | MvpError:
    try:
        return work(job)
    except MvpError as error:
        return error
    except MemoryError:
        return Lost("crash", "out of memory")
    except Exception as error:  # noqa: BLE001 - a defect met on one job: reported with its place, and tried again next time
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Lost("crash", f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})")
