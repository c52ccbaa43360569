"""Jobs in processes that may die: each worker has a pipe of its own, so killing one at any moment hurts no other.

Pool libraries share one queue and its locks among all workers. Killing a worker that waits for its next job, as the
kernel may when memory is short, then breaks or blocks the whole pool (seen with concurrent.futures and Pebble 5.2).
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
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

from mvp_data.errors import MvpError

Job = TypeVar("Job")
Result = TypeVar("Result")

JOBS_OF_A_PROCESS = 1000  # then it is replaced: decoders lose a few kilobytes a video, which a large corpus adds up
LOOK_S = 0.2  # between two looks at the workers' memory: one that grows by a gigabyte a second is met in time
_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
_NONE_YET = object()
_to_parent: list[Connection] = []  # in a worker: where `note` and `goes_on` speak to


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one job may take; 0 is no limit. Memory is what resides in RAM, and is limited on Linux alone."""

    timeout_s: float = 0.0
    memory_mb: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """A job without a result: `timeout`, `memory`, or `crash` for a dead process and for a defect met on the way."""

    kind: str
    detail: str
    note: str = ""  # what the job last said with `note`
    process_id: int = field(default=0, compare=False)  # of the worker that is no more; 0 where it lives on
    host: str = field(default="", compare=False)  # where that was


@dataclass(slots=True)
class Usage:
    """What a run of jobs took, added up while it goes on."""

    busy_s: float = 0.0  # of all workers together
    peak_mb: float = 0.0  # of the largest worker; 0 where it cannot be seen


@dataclass(slots=True, eq=False)
class _Worker(Generic[Job]):
    process: BaseProcess
    connection: Connection
    limits: Limits
    job: Job | None = None
    result: Any = _NONE_YET
    note: str = ""
    jobs: int = 0  # it has been given
    began_s: float = 0.0  # on the monotonic clock
    deadline_s: float = float("inf")
    resident_mb: float = 0.0

    def give(self, job: Job) -> None:
        self.job, self.result, self.note, self.began_s = job, _NONE_YET, "", time.monotonic()
        self.deadline_s = self.began_s + (self.limits.timeout_s or float("inf"))
        self.jobs += 1
        self.connection.send(job)

    def hear(self) -> None:
        """Take in what it has said: remarks on the way, its result, or the end of the pipe when it is dead."""
        try:
            while self.result is _NONE_YET and self.connection.poll():
                kind, said = self.connection.recv()
                if kind == "note":
                    self.note = said
                elif kind == "goes on":
                    self.deadline_s = time.monotonic() + (self.limits.timeout_s or float("inf"))
                else:
                    self.result = replace(said, note=self.note) if isinstance(said, Lost) else said
        except (EOFError, OSError):
            self.process.join()
            self.result = Lost("crash", f"its process died ({_cause(self.process.exitcode)})", self.note)

    def judge(self) -> None:
        """Its job is lost if it has broken a limit."""
        if self.result is not _NONE_YET:
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
    """`(job, work(job))` for every job, in the order in which they end; jobs are taken as workers become free.

    `work` must be importable. An `MvpError` it raises is raised here; any other exception makes its job `Lost`, as do a
    dead process and a broken limit. `jobs` is asked again after every result, so an iterator may have more to give once
    the caller has seen one. When `stop` says so no further job is begun; when the caller stops early, all processes
    are killed.

    Raises:
        MvpError: as above, or no process can be started.
    """
    todo, usage = iter(jobs), usage or Usage()
    crew: list[_Worker[Job]] = []
    idle: list[_Worker[Job]] = []

    def fill() -> None:
        while len(crew) < workers and not stop():
            for job in todo:
                crew.append(_employ(idle, work, job, limits))
                break
            else:
                return

    try:
        fill()
        while crew:
            for worker in _ready(crew, usage):
                assert worker.job is not None
                job, result = worker.job, worker.result
                if isinstance(result, MvpError):
                    raise result
                crew.remove(worker)
                usage.busy_s += time.monotonic() - worker.began_s
                if isinstance(result, Lost):
                    worker.end()
                    result = replace(result, process_id=worker.process.pid or 0, host=socket.gethostname())
                elif worker.jobs < JOBS_OF_A_PROCESS:
                    idle.append(worker)
                else:
                    worker.end()
                yield job, result
                fill()
    finally:
        for worker in [*crew, *idle]:
            worker.end()


def note(text: str) -> None:
    """Said by a job: a word to find in `Lost.note`, should it be lost. Nothing where there is no worker."""
    for parent in _to_parent:
        parent.send(("note", text))


def goes_on() -> None:
    """Said by a job that has got a good deal further: its time begins anew. Nothing where there is no worker."""
    for parent in _to_parent:
        parent.send(("goes on", None))


def can_limit_memory() -> bool:
    """Whether this system tells what a process has in memory."""
    return resident_mb(os.getpid()) > 0


def resident_mb(process_id: int) -> float:
    """Memory of a process in RAM, in megabytes; 0 where the system does not tell, or the process is gone."""
    try:
        pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _employ(idle: "list[_Worker[Job]]", work: Callable[[Job], Result], job: Job, limits: Limits) -> "_Worker[Job]":
    """Give a job to a worker that has none, or to a new one."""
    while idle:
        worker = idle.pop()
        try:
            worker.give(job)
            return worker
        except OSError:  # killed while it had nothing to do
            worker.end()
    worker = _start(work, limits)
    worker.give(job)
    return worker


def _start(work: Callable[[Job], Result], limits: Limits) -> "_Worker[Job]":
    """A new process, once it has said that it is ready: its start does not count against the first job's time."""
    # Spawned, not forked: the caller may hold threads of FAISS, ONNX Runtime or a notebook.
    context = multiprocessing.get_context("spawn")
    try:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(work, theirs, limits), daemon=True)
        with _signals_blocked():  # inherited: a child that is still starting up must not die of Ctrl-C with a traceback
            process.start()
    except OSError as error:
        problem = f"no worker process can be started ({error.strerror})"
        raise MvpError(f"{problem}; give fewer --workers, or allow more processes and open files (ulimit)") from error
    theirs.close()  # now only the child holds it, so its death shows as the end of the pipe
    worker: _Worker[Job] = _Worker(process, ours, limits)
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
def _signals_blocked() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back from this thread, and from processes it starts for good; not on Windows."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ready(crew: "list[_Worker[Job]]", usage: Usage) -> "list[_Worker[Job]]":
    """The workers whose job has a result, be it `Lost`; waits until there is one."""
    while True:
        talking = wait([worker.connection for worker in crew], timeout=LOOK_S)
        for worker in crew:
            worker.resident_mb = resident_mb(worker.process.pid or 0)
            usage.peak_mb = max(usage.peak_mb, worker.resident_mb)
            if worker.connection in talking:
                worker.hear()
            worker.judge()
        ready = [worker for worker in crew if worker.result is not _NONE_YET]
        if ready:
            return ready


def _cause(code: int | None) -> str:
    """An exit code in words: `signal SIGKILL`, `exit code 3`."""
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _serve(work: Callable[[Job], Result], connection: Connection, limits: Limits) -> None:
    """The life of a worker process."""
    _to_parent.append(connection)
    for told_to_all in (signal.SIGINT, signal.SIGTERM):  # they reach the whole group; the parent decides
        signal.signal(told_to_all, signal.SIG_IGN)
    if sys.platform == "linux":
        _settle(limits)
    connection.send(None)
    while True:
        try:
            job = connection.recv()
        except EOFError:  # the parent is gone
            return
        result = _attempt(work, job)
        with suppress(BrokenPipeError):  # the parent died meanwhile; the next `recv` says so
            connection.send(("done", result))


def _settle(limits: Limits) -> None:
    """What only Linux offers: die with the parent, be the first that a machine out of memory kills, and a last wall."""
    import resource

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # or a hung job would outlive a killed build
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    if limits.memory_mb:
        # The parent looks a few times a second; what is quicker meets this wall, which leaves it twice the limit.
        wall = 2 * limits.memory_mb * 1_000_000 + (1 << 30)
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        if most == resource.RLIM_INFINITY or most > wall:
            resource.setrlimit(resource.RLIMIT_DATA, (wall, most))


def _attempt(work: Callable[[Job], Result], job: Job) -> Result | Lost | MvpError:
    try:
        return work(job)
    except MvpError as error:
        return error
    except MemoryError:
        return Lost("memory", "out of memory")
    except Exception as error:  # noqa: BLE001 - a defect met on one job: reported with its place, and tried again next time
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Lost("crash", f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})")
