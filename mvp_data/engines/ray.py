"""The engine `ray`: runs jobs on a Ray cluster. This is the only module that imports ray.

Each worker is a Ray actor, see `fleet`. Without an address, `ray.init` starts Ray on this machine at the first job.
"""

import logging
import os
import secrets
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FrameType, TracebackType
from typing import Any

from mvp_data.core.errors import ConfigError, MissingDependencyError, MvpError
from mvp_data.engines.base import Job, Limits, Lost, NodeSetup, Result, Usage
from mvp_data.engines.fleet import Answer, ProcessWorker, StatefulWorker, Worker, WorkerDied, run_fleet
from mvp_data.system.signals import Stopped, held_back

STORE_BYTES = 128 << 20  # Ray's shared memory on this machine: jobs and results are small
LONGEST_TEMP_DIR = 30  # characters: Ray puts sockets below it, and the path of a socket may have at most 107
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no network by default
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # drops everything that Ray would print on standard output
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # jobs hide GPUs themselves; without this Ray warns about it
}


class Cluster:
    """The engine `ray`, see `start_engine`."""

    unread_hint = "this machine can read it: every node must be able to read it under the same name"

    def __init__(
        self,
        address: str,
        *,
        workers: int,
        local_workers: int,
        setup: AbstractContextManager[NodeSetup],
        warn: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Start nothing: Ray starts, or the cluster is joined, at the first job."""
        self._address, self._workers, self._local_workers = address, workers, local_workers
        self._entering, self._warn = setup, warn
        self._setup: NodeSetup | None = None
        self._ray: Any = None
        self._open = ExitStack()

    def __enter__(self) -> "Cluster":
        _set_environment(own=not self._address)
        try:
            import ray  # noqa: F401 - only to find out whether it is installed
        except ImportError as error:
            raise MissingDependencyError(
                "--engine ray needs Ray: pip install 'masked-video-prediction[ray]'"
            ) from error
        self._open.enter_context(_sigterm_raises())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    @property
    def worker_count(self) -> int:
        """The number in the options, or one for each CPU of the cluster."""
        if self._workers or self._ray is None:
            return self._workers or self._local_workers
        return max(1, int(self._ray.cluster_resources().get("CPU", 0)))

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
        host = _RayHost(self, ProcessWorker, (work, limits), most=int(alone))
        return run_fleet(host, jobs, stop=stop, usage=usage, warn=self._warn)

    def run_stateful(
        self, make: Callable[[], Callable[[Job], Result]], jobs: Iterable[Job], *, gpu: bool
    ) -> Iterator[tuple[Job, Result | Lost]]:
        """See `StatefulEngine.run_stateful`."""
        return run_fleet(_RayHost(self, StatefulWorker, (make,), gpu=gpu), jobs, warn=self._warn)

    def connected(self) -> Any:
        """Return the module ray, connected; the first call starts Ray or joins the cluster.

        Raises:
            MvpError: it cannot be reached or started.
            Stopped: a signal arrived meanwhile.
        """
        if self._ray is None:
            self._ray = _connect(self._open, self._address, self._local_workers)
        return self._ray

    def setup(self) -> NodeSetup:
        """Return the checks of a node; the first call enters their context."""
        if self._setup is None:
            self._setup = self._open.enter_context(self._entering)
        return self._setup


class _RayWorker(Worker):
    """An actor, and the future of its next answer."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.expected = actor.ready.remote()


class _RayHost:
    """Starts actors of one class; see `fleet.Host`."""

    def __init__(
        self,
        cluster: Cluster,
        kind: type[ProcessWorker | StatefulWorker],
        arguments: tuple[Any, ...],
        *,
        most: int = 0,
        gpu: bool = False,
    ) -> None:
        self._cluster, self._kind, self._arguments, self._most, self._gpu = cluster, kind, arguments, most, gpu
        self._actor_class: Any = None

    def room(self) -> int:
        ray = self._cluster.connected()
        if self._gpu:
            return max(1, int(ray.cluster_resources().get("GPU", 0)))
        return self._most or self._cluster.worker_count

    def start(self) -> Worker:
        ray = self._cluster.connected()
        if self._actor_class is None:
            needs = {"num_cpus": 0, "num_gpus": 1} if self._gpu else {"num_cpus": 1}
            self._actor_class = ray.remote(self._kind).options(scheduling_strategy="SPREAD", max_restarts=0, **needs)
        return _RayWorker(self._actor_class.remote(self._cluster.setup(), *self._arguments))

    def send(self, worker: Worker, job: Any) -> None:
        assert isinstance(worker, _RayWorker)
        worker.expected = worker.actor.run.remote(job)

    def receive(self, workers: Iterable[Worker], timeout_s: float) -> tuple[Worker, Answer | WorkerDied] | None:
        ray = self._cluster.connected()
        expected = {worker.expected: worker for worker in workers if isinstance(worker, _RayWorker)}
        done, _ = ray.wait(list(expected), num_returns=1, timeout=timeout_s)
        if not done:
            return None
        try:
            answer: Answer | WorkerDied = ray.get(done[0])
        except ray.exceptions.RayTaskError:  # a bug of this program
            raise
        except ray.exceptions.RayError as error:
            answer = WorkerDied(_last_line(error))
        return expected[done[0]], answer

    def end(self, worker: Worker) -> None:
        assert isinstance(worker, _RayWorker)
        self._cluster.connected().kill(worker.actor)


def _set_environment(*, own: bool) -> None:
    """Set the environment variables that Ray reads on import; `own` means that this process starts the cluster."""
    os.environ.update(_QUIET)
    logging.getLogger("ray").setLevel(logging.ERROR)
    if own and len(tempfile.gettempdir()) > LONGEST_TEMP_DIR:
        os.environ.setdefault("RAY_TMPDIR", "/tmp")
    if own and "ray" not in sys.modules:
        # Ray listens on all network interfaces; without a token, any client that reaches its ports could run code here.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # for this run only; Ray would store one in HOME


def _connect(stack: ExitStack, address: str, local_workers: int) -> Any:
    """Join the cluster, or start Ray on this machine; `stack` shuts it down."""
    import ray

    options: dict[str, Any] = {"address": address}
    if not address:
        own = {"num_cpus": local_workers, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        options = {"address": "local", **own}
    stack.callback(_without_signals, ray.shutdown)
    try:
        _without_signals(lambda: ray.init(log_to_driver=False, logging_level=logging.ERROR, **options))
    except SystemExit as error:  # Ray's handler of SIGTERM raises it
        raise Stopped(signal.SIGTERM) from error
    except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        if address:
            raise ConfigError(
                f"ray_address: no cluster answers at {address} ({_last_line(error)}); run this on one of "
                "its nodes, with the same version of Ray"
            ) from error
        raise MvpError(f"Ray cannot be started here: {_last_line(error)}") from error
    return ray


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


def _without_signals(act: Callable[[], object]) -> None:
    """Call `act`, which starts or stops Ray, with signals held back.

    A signal at this time would kill the process; Ray also installs a signal handler of its own.
    """
    with held_back():
        act()


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Make SIGTERM raise `Stopped` within the block, so that Ray is shut down."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    arrived: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        raise Stopped(number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as error:
        if arrived and not isinstance(error, Stopped):  # while Ray waits, `Stopped` loses its type
            raise Stopped(arrived[0]) from error
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
