"""Copies of remote shards in a cache folder, fetched once and checked.

The name of a copied folder contains hashes of its URL and of its `index.json`. If the index changes, there is a new
copy; so within a copy, a file with the right size is the right file and is never fetched again.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mvp_data.core.errors import OutputError, ShardError, SourceError
from mvp_data.shards.index import INDEX_NAME, MAX_INDEX_BYTES, parse_index
from mvp_data.system import urls
from mvp_data.system.files import atomic_write, check_space
from mvp_data.system.progress import megabytes


def fetch_shards(url: str, cache: Path, *, quiet: bool) -> Path:
    """The local copy of a remote `.tar` or folder of shards; missing files are fetched.

    Concurrent calls for the same URL wait for each other, so each file is fetched once.

    Raises:
        ShardError: the shards cannot be fetched, or differ from their index.
        OutputError: the cache has no space left, or cannot be written.
    """
    try:
        is_tar = urls.name_in(url).endswith(".tar")
        return _fetch_tar(url, cache, quiet=quiet) if is_tar else _fetch_folder(url, cache, quiet=quiet)
    except SourceError as error:  # a scheme that is not accepted, or whose package is missing
        raise ShardError(str(error)) from error


def _fetch_folder(url: str, cache: Path, *, quiet: bool) -> Path:
    data = b"".join(_chunks(_inside(url, INDEX_NAME), MAX_INDEX_BYTES))
    index = parse_index(data, urls.name_in(_inside(url, INDEX_NAME)))
    with _locked(cache / "shards" / f"{_hash(url)}-{hashlib.sha256(data).hexdigest()[:16]}") as folder:
        missing = [shard for shard in index.shards if _size(folder / shard.name) != shard.bytes]
        total = sum(shard.bytes for shard in missing)
        check_space(folder, total)
        with megabytes(total, "fetch", quiet=quiet) as add:
            for shard in missing:
                _store(_inside(url, shard.name), folder / shard.name, add, size=shard.bytes, sha256=shard.sha256)
        if _size(folder / INDEX_NAME) != len(data):
            with atomic_write(folder / INDEX_NAME) as file:
                file.write(data)
    return folder


def _fetch_tar(url: str, cache: Path, *, quiet: bool) -> Path:
    """Fetch a single tar. It has no checksum, so a copy with the size that the server states is used."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", urls.name_in(url).rpartition("/")[2])
    with _failures_of(url):
        size = urls.size_bytes(url)
    with _locked(cache / "shards" / f"{_hash(url)}-{size or 0}") as folder:
        if size is None or _size(folder / name) != size:
            check_space(folder, size or 0)
            with megabytes(size or 0, "fetch", quiet=quiet) as add:
                _store(url, folder / name, add, size=size)
    return folder / name


def _store(url: str, path: Path, add: Callable[[int], None], *, size: int | None, sha256: str = "") -> None:
    """Copy a remote file to `path`; check its size and, if given, its hash."""
    digest, received = hashlib.sha256(), 0
    with atomic_write(path) as file:
        limit = shutil.disk_usage(path.parent).free // 2 if size is None else size
        for chunk in _chunks(url, limit):
            digest.update(chunk)
            file.write(chunk)
            received += len(chunk)
            add(len(chunk))
        if size is not None and received != size:
            raise ShardError(
                f"{urls.name_in(url)}: {received} of {size} bytes received: try again, or check the file there"
            )
        if sha256 and digest.hexdigest() != sha256:
            raise ShardError(f"{urls.name_in(url)}: its sha256 is not the one in {INDEX_NAME}: copy it there again")


def _chunks(url: str, limit_bytes: int) -> Iterator[bytes]:
    """The bytes of a remote file; `ShardError` if it cannot be read or has more than `limit_bytes`."""
    with _failures_of(url):
        yield from urls.read_chunks(url, limit_bytes)


@contextmanager
def _failures_of(url: str) -> Iterator[None]:
    """Turn the errors of a URL into a `ShardError`."""
    try:
        yield
    except urls.failures(url) as error:
        raise ShardError(f"{urls.name_in(url)}: cannot be fetched ({urls.explain(error)})") from error


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """Create a folder of the cache and lock it; the lock ends with the process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be used as cache ({error.strerror}): choose another folder") from error
    try:
        with suppress(OSError):  # a disk without locks: a file may be fetched twice, but is complete
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
            for left in folder.glob(".[!.]*.tar.*.tmp"):  # temporary files of killed processes
                left.unlink()
        yield folder
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    """Bytes of a file, or -1 if it does not exist."""
    return path.stat().st_size if path.is_file() else -1


def _hash(url: str) -> str:
    """A hash of a URL without its query, since signatures change."""
    return hashlib.sha256(urls.name_in(url).rstrip("/").encode()).hexdigest()[:16]


def _inside(url: str, name: str) -> str:
    """The URL of a file in a folder; the query of a signed HTTP URL stays at the end."""
    folder, mark, query = url.partition("?") if urls.is_http(url) else (url, "", "")
    return f"{folder.rstrip('/')}/{name}{mark}{query}"
