"""A Ray cluster as engine: the only module that names ray.

Each worker is an actor that owns one process of `workers` (see `engine_node`). Without an address, a cluster of this
machine alone is started at the first job, and is gone at the end, however the run ends.
"""

import logging
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar

from mvp_data import engine_keeper
from mvp_data.bank import Bank
from mvp_data.config import BuildConfig
from mvp_data.embed import Embedder
from mvp_data.engine_node import EmbedHand, Terms, VideoHand, version
from mvp_data.errors import ConfigError, MissingDependencyError, MvpError, OutputError
from mvp_data.files import atomic_write
from mvp_data.fleet import Answer, Gone, Hand, run_fleet
from mvp_data.interrupts import Stopped, held_back
from mvp_data.store import Store
from mvp_data.stored_bank import StoredBank, bank_at
from mvp_data.types import VideoEntry
from mvp_data.workers import Limits, Lost, Usage

Job = TypeVar("Job")
Result = TypeVar("Result")

EMBED_FRAMES = 512  # that a job of embedding has at least: a second of work or more, so the way to it does not count
STORE_BYTES = 128 << 20  # for what passes between processes: jobs and their results are small
_MARK = b"in use by a run on a cluster\n"
_LONGEST_FOLDER = 30  # letters; Ray's sockets lie in it, whose paths may have a hundred
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no network by default
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # all that Ray would print on standard output
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # `engine_node` hides GPUs itself, and so no advice is given
}


class Cluster:
    """The engine `ray`."""

    unread_hint = "this machine sees it: every node must be able to read it under the same name"

    def __init__(self, config: BuildConfig, warn: Callable[[str], object] = lambda _: None) -> None:
        """Nothing is started yet; `warn` is told what became of workers."""
        self._config, self._warn = config, warn
        self._bank = bank_at(config.bank_folder.absolute(), config.extract_hash(), store=config.store)
        self._ray: Any = None
        self._open = ExitStack()

    def __enter__(self) -> "Cluster":
        _settle_environment(own=not self._config.ray_address)
        try:
            import ray  # noqa: F401 - whether it is there, before anything else is done
        except ImportError as error:
            raise MissingDependencyError(
                "--engine ray needs Ray: pip install 'masked-video-prediction[ray]'"
            ) from error
        self._open.enter_context(_ends_in_order())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    @property
    def worker_count(self) -> int:
        """As asked for, or one for each CPU of the cluster."""
        if self._config.workers or self._ray is None:
            return self._config.worker_count
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
        """See `workers.run_all`."""
        place = _Place(self, VideoHand, lambda: (self._terms(), work, limits), most=int(alone))
        return run_fleet(place, jobs, stop=stop, usage=usage, warn=self._warn)

    def embed_all(
        self, bank: Bank, entries: Iterable[VideoEntry], embedder: Embedder, on_frames: Callable[[int], object]
    ) -> None:
        """See `embed_bank.embed_all`: on GPUs of the cluster if that is what `embedder` runs on, else on its CPUs."""
        encoder, spec = embedder.encoder, self._config.embed.embedder
        gpu = "cuda" in encoder.engine
        place = _Place(self, EmbedHand, lambda: (self._terms(), self._bank, spec, encoder), gpu=gpu)
        todo = _groups(self._sent(entry) for entry in entries if not bank.has_vectors(entry.video_id, encoder))
        for video_ids, frames in run_fleet(place, todo, warn=self._warn):
            if isinstance(frames, Lost):
                raise OutputError(f"videos cannot be embedded: {frames.detail} ({', '.join(video_ids)}); run again")
            if isinstance(self._bank, StoredBank):
                for video_id in video_ids:
                    self._bank.bring_vectors(video_id, encoder)
            on_frames(frames)

    def _sent(self, entry: VideoEntry) -> VideoEntry:
        """An entry that nodes can read."""
        if isinstance(self._bank, StoredBank):
            self._bank.send(entry.video_id)
        return entry

    def connected(self) -> Any:
        """The module ray, connected; the first call starts or joins the cluster.

        Raises:
            MvpError: it cannot be reached or started.
            Stopped: a signal came meanwhile.
        """
        if self._ray is None:
            self._ray = _connect(self._open, self._config)
        return self._ray

    def _terms(self) -> Terms:
        return Terms(mark=self._mark(), version=version(), store=self._config.store)

    def _mark(self) -> Path:
        """A file in the bank, and the store, by which nodes see that it is this one."""
        path = self._bank.workspace / f"cluster-{platform.node()}-{os.getpid()}"
        if not path.exists():
            with atomic_write(path) as file:
                file.write(_MARK)
            self._open.callback(path.unlink, missing_ok=True)
            if self._config.store:
                store = Store(self._config.store)
                store.write(path.name, _MARK)
                self._open.callback(store.remove, path.name)
        return path


class _RayHand(Hand):
    """An actor, and what it has been asked last."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.asked = actor.ready.remote()


class _Place:
    """Actors of one kind; see `fleet.Place`."""

    def __init__(
        self,
        cluster: Cluster,
        kind: type[VideoHand | EmbedHand],
        arguments: Callable[[], tuple[Any, ...]],
        *,
        most: int = 0,
        gpu: bool = False,
    ) -> None:
        self._cluster, self._kind, self._arguments, self._most, self._gpu = cluster, kind, arguments, most, gpu
        self._made: Any = None

    def room(self) -> int:
        ray = self._cluster.connected()
        if self._gpu:
            return max(1, int(ray.cluster_resources().get("GPU", 0)))
        return self._most or self._cluster.worker_count

    def hire(self) -> Hand:
        ray = self._cluster.connected()
        if self._made is None:
            needs = {"num_cpus": 0, "num_gpus": 1} if self._gpu else {"num_cpus": 1}
            self._made = ray.remote(self._kind).options(scheduling_strategy="SPREAD", max_restarts=0, **needs)
        return _RayHand(self._made.remote(*self._arguments()))

    def give(self, hand: Hand, job: Any) -> None:
        assert isinstance(hand, _RayHand)
        hand.asked = hand.actor.run.remote(job)

    def hear(self, hands: Iterable[Hand], timeout_s: float) -> tuple[Hand, Answer | Gone] | None:
        ray = self._cluster.connected()
        asked = {hand.asked: hand for hand in hands if isinstance(hand, _RayHand)}
        done, _ = ray.wait(list(asked), num_returns=1, timeout=timeout_s)
        if not done:
            return None
        try:
            answer: Answer | Gone = ray.get(done[0])
        except ray.exceptions.RayTaskError:  # a defect of this program
            raise
        except ray.exceptions.RayError as error:
            answer = Gone(_last_line(error))
        return asked[done[0]], answer

    def dismiss(self, hand: Hand) -> None:
        assert isinstance(hand, _RayHand)
        self._cluster.connected().kill(hand.actor)


def _groups(entries: Iterable[VideoEntry]) -> Iterator[tuple[str, ...]]:
    """Videos that are embedded together."""
    group, frames = [], 0
    for entry in entries:
        group.append(entry.video_id)
        frames += len(entry.usable)
        if frames >= EMBED_FRAMES:
            yield tuple(group)
            group, frames = [], 0
    if group:
        yield tuple(group)


def _settle_environment(*, own: bool) -> None:
    """What Ray reads when it is loaded; `own`: for a cluster that is started."""
    os.environ.update(_QUIET)
    logging.getLogger("ray").setLevel(logging.ERROR)
    if own and "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # its ports are open to the network
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # of this run alone; Ray would put one in HOME


def _connect(stack: ExitStack, config: BuildConfig) -> Any:
    """Join the cluster, or start one; `stack` undoes it."""
    import ray

    options: dict[str, Any] = {"address": config.ray_address}
    if not config.ray_address:
        folder = stack.enter_context(_own_folder())
        own = {"num_cpus": config.worker_count, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        options = {"address": "local", "_temp_dir": str(folder), **own}
    stack.callback(_calmly, ray.shutdown)
    try:
        _calmly(lambda: ray.init(log_to_driver=False, logging_level=logging.ERROR, **options))
    except SystemExit as error:  # Ray's answer to SIGTERM
        raise Stopped(signal.SIGTERM) from error
    except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        if config.ray_address:
            raise ConfigError(
                f"ray_address: no cluster answers at {config.ray_address} ({_last_line(error)}); run this on one of "
                "its nodes, with the same version of Ray"
            ) from error
        raise MvpError(f"Ray cannot be started here: {_last_line(error)}") from error
    return ray


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


@contextmanager
def _own_folder() -> Iterator[Path]:
    """A temporary folder for a cluster, all of whose processes are ended with the block, or with this process."""
    parent = tempfile.gettempdir()
    parent = parent if len(parent) <= _LONGEST_FOLDER else "/tmp"  # its name must leave room for those of sockets
    folder = tempfile.mkdtemp(prefix="mvp-", dir=parent)
    keeper = subprocess.Popen(
        [sys.executable, "-I", engine_keeper.__file__, folder, str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.environ[engine_keeper.MARK] = folder  # inherited by what is started meanwhile
    try:
        yield Path(folder)
    finally:
        os.environ.pop(engine_keeper.MARK, None)
        _calmly(keeper.communicate)  # closes the pipe, and waits
        shutil.rmtree(folder, ignore_errors=True)  # should it have been killed


def _calmly(act: Callable[[], object]) -> None:
    """Ray's start or end: a signal amid it would kill the process, and Ray leaves a handler of its own."""
    with held_back():
        act()


@contextmanager
def _ends_in_order() -> Iterator[None]:
    """Within the block SIGTERM raises `Stopped`, so that what was started is ended."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise Stopped(number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as error:
        if came and not isinstance(error, Stopped):  # raised while Ray waits, it comes out as a plain Ctrl-C
            raise Stopped(came[0]) from error
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
