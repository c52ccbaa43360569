"""The engine `local`: runs jobs in processes of this machine; any process may be killed at any moment.

Each worker has its own pipe, so a killed worker does not affect the others. Pool libraries share one queue and its
locks among all workers: when the kernel kills a waiting worker because memory is short, the whole pool breaks or
blocks (seen with concurrent.futures and Pebble 5.2).
"""

import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic

from mvp_data.core.errors import MvpError
from mvp_data.engines.base import Job, Limits, Lost, Result, Usage, report_to

JOBS_PER_PROCESS = 1000  # then the process is replaced: decoders leak a few kilobytes with every video
POLL_S = 0.2  # time between two checks of the workers' memory, short enough for a worker that grows by 1 GB a second
_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
_NO_RESULT = object()


@dataclass(slots=True, eq=False)
class _Worker(Generic[Job]):
    process: BaseProcess
    connection: Connection
    limits: Limits
    job: Job | None = None
    result: Any = _NO_RESULT
    note: str = ""
    jobs: int = 0  # number of jobs it was given
    began_s: float = 0.0  # monotonic clock
    deadline_s: float = float("inf")
    resident_mb: float = 0.0

    def send(self, job: Job) -> None:
        self.job, self.result, self.note, self.began_s = job, _NO_RESULT, "", time.monotonic()
        self.deadline_s = self.began_s + (self.limits.timeout_s or float("inf"))
        self.jobs += 1
        self.connection.send(job)

    def receive(self) -> None:
        """Read its messages: notes, progress, the result, or the end of the pipe if the process is dead."""
        try:
            while self.result is _NO_RESULT and self.connection.poll():
                kind, value = self.connection.recv()
                if kind == "note":
                    self.note = value
                elif kind == "progress":
                    self.deadline_s = time.monotonic() + (self.limits.timeout_s or float("inf"))
                else:
                    self.result = replace(value, note=self.note) if isinstance(value, Lost) else value
        except (EOFError, OSError):
            self.process.join()
            self.result = Lost("crash", f"its process died ({_cause(self.process.exitcode)})", self.note)

    def check_limits(self) -> None:
        """Set the result to `Lost` if the job exceeds a limit."""
        if self.result is not _NO_RESULT:
            return
        if self.deadline_s <= time.monotonic():
            self.result = Lost("timeout", f"not done after {self.limits.timeout_s:g} s", self.note)
        elif 0 < self.limits.memory_mb < self.resident_mb:
            self.result = Lost("memory", f"took more than {self.limits.memory_mb} MB", self.note)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def run_all(
    work: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    workers: int,
    limits: Limits,
    stop: Callable[[], bool] = lambda: False,
    usage: Usage | None = None,
) -> Iterator[tuple[Job, Result | Lost]]:
    """Yield `(job, work(job))` for every job, in the order in which jobs end; a free worker takes the next job.

    `work` must be importable. An `MvpError` that it raises is raised here. After any other exception, a dead process or
    an exceeded limit, the result of the job is `Lost`. `jobs` is read again after every result, so an iterator that has
    ended can yield more jobs after the caller has handled a result. Once `stop` returns True, no new job starts. When
    the caller closes this generator, all processes are killed.

    Raises:
        MvpError: raised by a job, or no process can be started.
    """
    todo, usage = iter(jobs), usage or Usage()
    busy: list[_Worker[Job]] = []
    idle: list[_Worker[Job]] = []

    def fill() -> None:
        while len(busy) < workers and not stop():
            for job in todo:
                busy.append(_assign(idle, work, job, limits))
                break
            else:
                return

    try:
        fill()
        while busy:
            for worker in _ready(busy, usage):
                assert worker.job is not None
                job, result = worker.job, worker.result
                if isinstance(result, MvpError):
                    raise result
                busy.remove(worker)
                usage.busy_s += time.monotonic() - worker.began_s
                if isinstance(result, Lost):
                    worker.end()
                    result = replace(result, process_id=worker.process.pid or 0, host=socket.gethostname())
                elif worker.jobs < JOBS_PER_PROCESS:
                    idle.append(worker)
                else:
                    worker.end()
                yield job, result
                fill()
    finally:
        for worker in [*busy, *idle]:
            worker.end()


class Local:
    """The engine `local`; each worker is a child of this process."""

    unread_hint = ""

    def __init__(self, worker_count: int) -> None:
        self.worker_count = worker_count

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
        """See `Engine.run_all`."""
        count = 1 if alone else self.worker_count
        return run_all(work, jobs, workers=count, limits=limits, stop=stop, usage=usage)


def can_limit_memory() -> bool:
    """Whether this system reports the memory of a process."""
    return resident_mb(os.getpid()) > 0


def resident_mb(process_id: int) -> float:
    """Resident memory of a process in megabytes; 0 where the system does not report it, or the process has ended."""
    try:
        pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _assign(idle: "list[_Worker[Job]]", work: Callable[[Job], Result], job: Job, limits: Limits) -> "_Worker[Job]":
    """Send a job to an idle worker, or to a new one."""
    while idle:
        worker = idle.pop()
        try:
            worker.send(job)
            return worker
        except OSError:  # it was killed while it was idle
            worker.end()
    worker = _start(work, limits)
    worker.send(job)
    return worker


def _start(work: Callable[[Job], Result], limits: Limits) -> "_Worker[Job]":
    """Start a process and wait until it is ready, so that its start does not count against the first job's time."""
    # Spawned, not forked: the caller may have threads of FAISS, ONNX Runtime or a notebook.
    context = multiprocessing.get_context("spawn")
    try:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(work, theirs, limits), daemon=True)
        with _signals_blocked():  # otherwise Ctrl-C ends a starting child with a traceback
            process.start()
    except OSError as error:
        problem = f"no worker process can be started ({error.strerror})"
        raise MvpError(f"{problem}; give fewer --workers, or allow more processes and open files (ulimit)") from error
    theirs.close()  # now only the child holds it, so the pipe ends when the child dies
    worker: _Worker[Job] = _Worker(process, ours, limits)
    try:
        ours.recv()
    except EOFError:
        worker.end()
        advice = 'in a script, call this under `if __name__ == "__main__":`'
        raise MvpError(f"no worker process can be started; {advice}") from None
    return worker


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block SIGINT and SIGTERM in this thread and in processes that it starts; does nothing on Windows."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ready(busy: "list[_Worker[Job]]", usage: Usage) -> "list[_Worker[Job]]":
    """Wait until a job has a result, possibly `Lost`; return the workers that have one."""
    while True:
        readable = wait([worker.connection for worker in busy], timeout=POLL_S)
        for worker in busy:
            worker.resident_mb = resident_mb(worker.process.pid or 0)
            usage.peak_mb = max(usage.peak_mb, worker.resident_mb)
            if worker.connection in readable:
                worker.receive()
            worker.check_limits()
        ready = [worker for worker in busy if worker.result is not _NO_RESULT]
        if ready:
            return ready


def _cause(code: int | None) -> str:
    """Describe an exit code: `signal SIGKILL`, `exit code 3`."""
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _serve(work: Callable[[Job], Result], connection: Connection, limits: Limits) -> None:
    """Run jobs in a worker process until the parent closes the connection."""
    report_to(connection)
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole process group; the parent handles them
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        _protect_machine(limits)
    connection.send(None)
    while True:
        try:
            job = connection.recv()
        except EOFError:  # the parent has closed it, or is dead
            return
        result = _attempt(work, job)
        with suppress(BrokenPipeError):  # the parent is dead: the next `recv` raises EOFError
            connection.send(("done", result))


def _protect_machine(limits: Limits) -> None:
    """Make this process die with its parent, be killed first when memory is short, and set a hard memory limit."""
    import resource

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # otherwise a hanging job would outlive a killed build
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    if limits.memory_mb:
        # The parent checks memory a few times a second. This limit, twice as high, stops a job that grows faster.
        most_bytes = 2 * limits.memory_mb * 1_000_000 + (1 << 30)
        _, hard_bytes = resource.getrlimit(resource.RLIMIT_DATA)
        if hard_bytes == resource.RLIM_INFINITY or hard_bytes > most_bytes:
            resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, hard_bytes))


def _attempt(work: Callable[[Job], Result], job: Job) -> Result | Lost | MvpError:
    try:
        return work(job)
    except MvpError as error:
        return error
    except MemoryError:
        return Lost("memory", "out of memory")
    except Exception as error:  # noqa: BLE001 - a bug that one job meets: reported with its place, and tried again next time
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Lost("crash", f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})")
