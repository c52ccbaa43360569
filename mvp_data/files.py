"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mvp_data.errors import OutputError


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, if need be. Raises `OutputError` where that is forbidden or the disk full."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = error.strerror or str(error)
        raise OutputError(f"{folder}: cannot be made ({problem}): free space or choose another folder") from error


def remove(path: Path) -> None:
    """Remove a file, should it be there. Raises `OutputError` where that is forbidden."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be removed ({error.strerror})") from error


@contextmanager
def atomic_write(path: Path, *, workspace: Path | None = None) -> Iterator[IO[bytes]]:
    """A binary file that appears under its name only when the block ends well, on disk and complete.

    Two writers of one file (threads, processes, machines that share a disk) do not meet in the temporary one, which
    lies beside it or in `workspace`, a folder of the same disk.
    Raises `OutputError` if the folder is not writable or the disk is full.
    """
    temporary = (workspace or path.parent) / (f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary), str(path), str(path.parent)):
            problem = error.strerror or str(error)  # an OSError about another file is the caller's
            raise OutputError(f"{path}: cannot be written ({problem}): free space or choose another folder") from error
        raise


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
