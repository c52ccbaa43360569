"""Create files and folders. A file appears under its name only when it is complete."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mvp_data.core.errors import OutputError


def make_folder(folder: Path) -> None:
    """Create a folder and its parents if they do not exist; raises `OutputError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = error.strerror or str(error)
        raise OutputError(f"{folder}: cannot be created ({problem}): free space or choose another folder") from error


def check_space(folder: Path, needed_bytes: int) -> None:
    """Raise `OutputError` if the disk of a folder has less free space."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise OutputError(f"{folder}: {free} bytes free, {needed_bytes} needed: free space or choose another folder")


def remove(path: Path) -> None:
    """Remove a file if it exists; raises `OutputError`."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be removed ({error.strerror}); remove it yourself") from error


@contextmanager
def atomic_write(path: Path, *, workspace: Path | None = None) -> Iterator[IO[bytes]]:
    """Yield a binary file that is renamed to `path` if the block ends without an error, after a sync to disk.

    Until then it is a temporary file in the same folder, or in `workspace`, a folder on the same disk. Concurrent
    writers of the same file (threads, processes, machines that share a disk) use different temporary files.

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
            problem = error.strerror or str(error)  # an OSError about any other file is raised unchanged
            raise OutputError(f"{path}: cannot be written ({problem}): free space or choose another folder") from error
        raise


def _sync_folder(folder: Path) -> None:
    """Sync a folder, so that a rename survives a power failure; not needed on Windows."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def weights_folder() -> Path:
    """The folder of model weights: `$MVP_CACHE/weights`, else `~/.cache/masked-video-prediction/weights`."""
    cache = os.environ.get("MVP_CACHE", "")
    root = Path(cache).expanduser() if cache else Path.home() / ".cache" / "masked-video-prediction"
    return root / "weights"
