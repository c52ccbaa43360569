"""Starts the engine that an option names."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from mvp_data.core.errors import ConfigError
from mvp_data.engines.base import Engine, NodeSetup
from mvp_data.engines.local import Local

ANSWER_S = 5.0  # time for a head node to accept a connection


@contextmanager
def start_engine(
    name: str,
    *,
    workers: int,
    local_workers: int,
    ray_address: str,
    setup: AbstractContextManager[NodeSetup],
    warn: Callable[[str], object] = lambda _: None,
) -> Iterator[Engine]:
    """Start an engine, yield it, and shut it down when the block ends.

    Args:
        name: `local` or `ray`.
        workers: number of jobs that run at the same time on a cluster; 0 means one for each of its CPUs.
        local_workers: number of jobs that run at the same time on this machine; always positive.
        ray_address: HOST:PORT of a head node, `auto`, or empty to start Ray on this machine.
        setup: entered when the first job is sent to a cluster; yields the checks that each node runs.
        warn: called with a message when a worker of the cluster is lost.

    Raises:
        MvpError: the engine is not installed, or there is no cluster at this address.
    """
    if name == "local":
        yield Local(local_workers)
        return
    if ray_address not in ("", "auto"):
        _check_address(ray_address)
    from mvp_data.engines.ray import Cluster

    count = workers or (0 if ray_address else local_workers)
    with Cluster(ray_address, workers=count, local_workers=local_workers, setup=setup, warn=warn) as cluster:
        yield cluster


def _check_address(address: str) -> None:
    """Raise ConfigError if nothing listens at the address; Ray alone would retry for minutes before it fails."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdecimal() or int(port) >= 1 << 16:
        raise ConfigError(f"ray_address: {address} is not HOST:PORT of a head node; on a node of the cluster, use auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except OSError as error:
        raise ConfigError(f"ray_address: nothing answers at {address} ({error}); give the head node") from error
