"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mvp_data.errors import OutputError


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears under its name only when the block ends well, on disk and complete.

    Two writers of one file (threads, processes, machines that share a disk) do not meet in the temporary one.
    Raises `OutputError` if the folder is not writable or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
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
        if isinstance(error, OSError) and error.filename in (None, str(temporary), str(path)):
            problem = error.strerror or str(error)  # an OSError about another file is the caller's
            raise OutputError(f"{path}: cannot be written ({problem}): free space or choose another folder") from error
        raise


@contextmanager
def locked_folder(folder: Path, *, unusable: str, busy: str) -> Iterator[None]:
    """Hold a folder, made if need be, for one process; the lock dies with it. Windows cannot lock one and goes without.

    Raises:
        OutputError: it cannot be made (`unusable` says for what), or another process holds it (`busy`).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY) if os.name != "nt" else None
    except OSError as error:
        raise OutputError(f"{folder}: {unusable} ({error.strerror})") from error
    try:
        if held is not None:
            import fcntl

            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OutputError(f"{folder}: {busy}") from error
        yield
    finally:
        if held is not None:
            os.close(held)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
