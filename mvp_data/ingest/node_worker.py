"""Checks that a cluster node can use the bank or store of the run, and has the same versions installed."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mvp_data.bank.remote_bank import sweep_scratch
from mvp_data.core.errors import MissingDependencyError, OutputError
from mvp_data.core.version import __version__
from mvp_data.system.files import atomic_write
from mvp_data.system.object_store import Store

Version = tuple[str, str]

_MARK = b"in use by a run on a cluster\n"


def version() -> Version:
    """Return the versions that must be the same on all nodes: of this package and of Python."""
    return __version__, platform.python_version()


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeCheck:
    """Checks a node before its first job; see `NodeSetup`."""

    mark: Path  # a file that is in the bank, or in the store, during the run
    version: Version
    store: str = ""  # its URL

    def check(self) -> None:
        """Raise MvpError if this node has other versions, or cannot use the bank or store of the run."""
        node = platform.node()
        if version() != self.version:
            ours, theirs = (f"mvp-data {tool} on Python {python}" for tool, python in (version(), self.version))
            raise MissingDependencyError(f"node {node} has {ours}, and the run has {theirs}: install the same versions")
        if self.store:
            store = Store(self.store)
            if store.size(self.mark.name) < 0:
                raise OutputError(f"node {node} does not find this run in {store}: give a --store that all nodes use")
        elif not self.mark.is_file() or not os.access(self.mark.parent, os.W_OK):
            folder = self.mark.parent.parent
            wanted = "give --bank a folder that every node can write to under the same path"
            raise OutputError(f"node {node} cannot write to the bank {folder}: {wanted}")

    def clean(self) -> None:
        """Remove the folders of jobs whose processes were killed; only jobs of a run with a store have them."""
        if self.store:
            sweep_scratch()


@contextmanager
def node_check(workspace: Path, store: str = "") -> Iterator[NodeCheck]:
    """Write a marker file to the bank's workspace and to the store; yield the check that looks for it."""
    mark = workspace / f"cluster-{platform.node()}-{os.getpid()}"
    try:
        with atomic_write(mark) as file:
            file.write(_MARK)
        if store:
            Store(store).write(mark.name, _MARK)
        yield NodeCheck(mark=mark, version=version(), store=store)
    finally:
        mark.unlink(missing_ok=True)
        if store:
            Store(store).remove(mark.name)
