"""Create files and folders; a file appears complete or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mvp_data.core.errors import OutputError


def make_folder(folder: Path) -> None:
    """Create a folder and its parents if they do not exist. Raises `OutputError` without permission or disk space."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = error.strerror or str(error)
        raise OutputError(f"{folder}: cannot be made ({problem}): free space or choose another folder") from error


def remove(path: Path) -> None:
    """Remove a file if it exists. Raises `OutputError` without permission."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be removed ({error.strerror})") from error


@contextmanager
def atomic_write(path: Path, *, workspace: Path | None = None) -> Iterator[IO[bytes]]:
    """A binary file that gets its name when the block ends without an error, complete and synced to disk.

    It is written to a temporary file in the same folder, or in `workspace`, a folder on the same disk. Two writers of
    the same file (threads, processes, machines that share a disk) use different temporary files.

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
            problem = error.strerror or str(error)  # an OSError about another file belongs to the caller
            raise OutputError(f"{path}: cannot be written ({problem}): free space or choose another folder") from error
        raise


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power failure; Windows needs no call for it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def weights_folder() -> Path:
    """The folder of the weights: `$MVP_CACHE/weights`, else `~/.cache/masked-video-prediction/weights`."""
    cache = os.environ.get("MVP_CACHE", "")
    root = Path(cache).expanduser() if cache else Path.home() / ".cache" / "masked-video-prediction"
    return root / "weights"
