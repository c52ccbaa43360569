"""Where the work on videos is done: on this machine, or on a cluster. What is done, and the result, is the same."""

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from mvp_data import embed_bank, workers
from mvp_data.bank import Bank
from mvp_data.config import BuildConfig
from mvp_data.embed import Embedder
from mvp_data.errors import ConfigError
from mvp_data.types import VideoEntry
from mvp_data.workers import Limits, Lost, Usage

ANSWER_S = 5.0  # for a head node to take a connection

Job = TypeVar("Job")
Result = TypeVar("Result")


class Engine(Protocol):
    """The seam: both methods are those of `workers` and `embed_bank`, wherever the processes are."""

    unread_hint: str  # to say of a file that they cannot read and this process sees

    @property
    def worker_count(self) -> int:
        """Processes that decode at the same time."""
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
        """See `workers.run_all`; `alone`: one job after the other."""
        ...

    def embed_all(
        self, bank: Bank, entries: Iterable[VideoEntry], embedder: Embedder, on_frames: Callable[[int], object]
    ) -> None:
        """See `embed_bank.embed_all`."""
        ...


class Local:
    """The processes of this machine."""

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
        """Each worker is a child of this process."""
        count = 1 if alone else self.worker_count
        return workers.run_all(work, jobs, workers=count, limits=limits, stop=stop, usage=usage)

    def embed_all(
        self, bank: Bank, entries: Iterable[VideoEntry], embedder: Embedder, on_frames: Callable[[int], object]
    ) -> None:
        """In this process."""
        embed_bank.embed_all(bank, entries, embedder, on_frames)


@contextmanager
def engine_for(config: BuildConfig, warn: Callable[[str], object] = lambda _: None) -> Iterator[Engine]:
    """The engine of a configuration; `warn` is told what became of nodes. A cluster is given back at the end.

    Raises:
        MvpError: the engine is not installed, or there is no such cluster.
    """
    if config.engine == "local":
        yield Local(config.worker_count)
        return
    if config.ray_address not in ("", "auto"):
        _must_answer(config.ray_address)
    from mvp_data.engine_ray import Cluster

    with Cluster(config, warn) as cluster:
        yield cluster


def _must_answer(address: str) -> None:
    """Raise ConfigError where nothing listens: Ray would try for minutes before it says so."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdecimal() or int(port) >= 1 << 16:
        raise ConfigError(f"ray_address: {address} is no HOST:PORT of a head node; run this on a node, with auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except OSError as error:
        raise ConfigError(f"ray_address: nothing answers at {address} ({error}); is that the head node?") from error
