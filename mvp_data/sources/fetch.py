"""Provide a source as a local file, and compute its video id, a hash of the content."""

import errno
import hashlib
import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mvp_data.core.errors import OutputError, Skip, SkipReason, SourceError
from mvp_data.core.types import ByteRange, Location, Source, file_of
from mvp_data.sources import tars
from mvp_data.system import urls
from mvp_data.system.files import check_space

MAX_FETCH_BYTES = 64 << 30  # larger than any video; an endless response must not fill the disk
SPOOL_PREFIX = "fetched-"  # of temporary files; with it, `sweep` finds the files of a killed worker
FINGERPRINT_DIGITS = 20  # 80 bits: a collision among a billion videos has odds below one in a million
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


def fingerprint(path: Path) -> str:
    """The id of a video: the first 20 hex digits of the SHA-256 of its whole content; raises `Skip(UNREADABLE)`.

    The whole content, because a hash of parts would not tell a damaged copy from the original.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:FINGERPRINT_DIGITS]
    except OSError as err:
        raise Skip(SkipReason.UNREADABLE, urls.explain(err)) from err


@contextmanager
def local_file(source: Source, spool: Path) -> Iterator[Path]:
    """Yield the source as a local file: the file itself, or a copy in the folder `spool` that is removed at the end.

    Raises `Skip(UNREADABLE)` or `Skip(EMPTY_FILE)`, and `OutputError` if `spool` is full or cannot be written.
    """
    if isinstance(source.location, str) and os.path.isabs(source.location):
        yield _checked(source.location)
        return
    with _temporary(source, spool) as path:
        _fill(source.location, path)
        yield path


def _checked(location: str) -> Path:
    """The path of a regular file that is readable and not empty. FIFOs and devices are never opened."""
    try:
        status = os.stat(location)
        if not stat.S_ISREG(status.st_mode):
            raise Skip(SkipReason.UNREADABLE, "not a regular file")
        if status.st_size == 0:
            raise Skip(SkipReason.EMPTY_FILE, "the file holds 0 bytes")
        with open(location, "rb"):
            return Path(location)
    except (OSError, ValueError) as err:  # ValueError: not a valid name
        raise Skip(SkipReason.UNREADABLE, urls.explain(err)) from err


@contextmanager
def _temporary(source: Source, spool: Path) -> Iterator[Path]:
    """Yield an empty temporary file. It has the extension of the source, which some decoders need."""
    suffix = _SUFFIX.fullmatch(os.path.splitext(source.path)[1])
    try:
        spool.mkdir(parents=True, exist_ok=True)
        prefix = _prefix(os.getpid(), socket.gethostname())
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix[0] if suffix else "", dir=spool)
    except OSError as err:
        raise OutputError(f"{spool}: cannot store fetched files ({urls.explain(err)}); choose another folder") from err
    os.close(handle)
    try:
        yield Path(name)
    finally:
        with suppress(OSError):  # the disk failed or became read-only; the next run removes the file
            os.unlink(name)


def _prefix(process_id: int, host: str) -> str:
    """The file name prefix of one process; it includes the host name, since machines use the same process ids."""
    return f"{SPOOL_PREFIX}{''.join(c if c.isalnum() else '-' for c in host)}-{process_id}-"


def sweep(spool: Path, process_id: int, host: str) -> None:
    """Remove the fetched files of a killed process."""
    for path in spool.glob(f"{_prefix(process_id, host)}*"):
        with suppress(OSError):  # the next run removes the file
            path.unlink()


def _fill(location: Location, path: Path) -> None:
    """Copy a remote file or a tar member into `path`."""
    try:
        size = location.size if isinstance(location, ByteRange) else urls.size_bytes(location)
        if size is not None and size > MAX_FETCH_BYTES:
            raise Skip(SkipReason.UNREADABLE, f"{size} bytes exceed the limit of {MAX_FETCH_BYTES} for a fetched file")
        check_space(path.parent, size or 0)
        # A response of unknown size may take half of the free space: a full disk would stop all workers.
        limit = MAX_FETCH_BYTES if size is not None else min(MAX_FETCH_BYTES, shutil.disk_usage(path.parent).free // 2)
        with path.open("wb") as out:
            if isinstance(location, ByteRange):
                tars.copy_member(location, out)
            else:
                out.writelines(urls.read_chunks(location, limit))
            if size is not None and out.tell() < size:
                raise EOFError(f"{out.tell()} of {size} bytes received")
    except SourceError as err:
        raise Skip(SkipReason.UNREADABLE, str(err)) from err
    except urls.failures(file_of(location)) as err:
        if getattr(err, "errno", None) in (errno.ENOSPC, errno.EDQUOT):  # only a write can have caused it
            raise OutputError(f"{path.parent}: no room left for fetched files; free space or move the output") from err
        raise Skip(SkipReason.UNREADABLE, urls.explain(err)) from err
    if path.stat().st_size == 0:
        raise Skip(SkipReason.EMPTY_FILE, "the file holds 0 bytes")
