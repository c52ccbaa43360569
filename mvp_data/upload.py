"""A finished build into an object store: shards first, the index last, as they were written here."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvp_data import remote
from mvp_data.errors import OutputError, ShardError, SourceError
from mvp_data.locks import LOCK_NAME
from mvp_data.output import is_own
from mvp_data.shard_index import INDEX_NAME, index_bytes, parse_index

MARK_NAME = "upload.json"  # there while an upload is unfinished: says of which build
SCHEMES = ("file", "s3", "gs", "gcs", "az", "abfs", "abfss")


@dataclass(frozen=True, kw_only=True)
class UploadReport:
    """What was brought where."""

    url: str
    files: int
    bytes: int
    known: int  # files that were there before


def upload(shards: Path, url: str, on_file: Callable[[str], object] = lambda _: None) -> UploadReport:
    """Bring a finished build under a URL. Killed at any moment, the same call goes on, and sends only what is missing.

    Shards are compared with the hashes of the index before they are sent, and sizes with those of the store afterwards.

    Raises:
        MvpError: the build is unfinished or damaged, another one lies there, or the store cannot be written.
    """
    data = index_bytes(shards)
    names = _checked(shards, data)
    store = _Store(url)
    known = store.begin(data)
    sent, total = 0, 0
    for name in names:
        size = (shards / name).stat().st_size
        if not store.has(name, size):
            store.put(shards / name, name, size)
            sent += 1
        total += size
        on_file(name)
    if not known:
        store.end(data)
    return UploadReport(
        url=remote.name_in(url), files=len(names) + 1, bytes=total + len(data), known=len(names) - sent + known
    )


def _checked(shards: Path, data: bytes) -> list[str]:
    """The names of all files of the build but its index, shards first. Raises ShardError where a shard is damaged."""
    index = parse_index(data, str(shards / INDEX_NAME))
    for shard in index.shards:
        try:
            with (shards / shard.name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ShardError(f"{shards / shard.name}: cannot be read ({error.strerror})") from error
        if found != shard.sha256:
            raise ShardError(f"{shards / shard.name}: is not what the index says; mvp-data verify {shards} shows more")
    first = [shard.name for shard in index.shards]
    hidden = {INDEX_NAME, LOCK_NAME, *first}
    beside = sorted(p.name for p in shards.iterdir() if p.is_file() and is_own(p.name) and p.name not in hidden)
    return first + [name for name in beside if not name.startswith(".")]


class _Store:
    """The folder behind the URL. All that goes wrong there is an OutputError."""

    def __init__(self, url: str) -> None:
        if remote.scheme_of(url) not in SCHEMES:
            raise SourceError(f"{remote.name_in(url)}: cannot be written to; use one of {', '.join(SCHEMES)}")
        self._url = url.rstrip("/")
        self._system, root = self._try(lambda: remote.filesystem(self._url))
        self._root = str(root).rstrip("/")
        if remote.scheme_of(url) == "file":
            self._try(lambda: os.makedirs(self._root, exist_ok=True))

    def begin(self, data: bytes) -> bool:
        """Mark the place as this build's; whether all of it is there."""
        there = self._read(INDEX_NAME)
        if there == data:
            self._unmark()  # killed just before it could
            return True
        mark = json.dumps({"index_sha256": hashlib.sha256(data).hexdigest()}).encode()
        if there is not None or self._read(MARK_NAME) not in (None, mark):
            where = remote.name_in(self._url)
            raise OutputError(f"{where}: another build lies there; choose another URL, or remove it")
        self._write(MARK_NAME, mark)
        return False

    def has(self, name: str, size: int) -> bool:
        """Whether a file of this build is there; since the place is this build's, its size tells."""
        return self._size(name) == size

    def put(self, path: Path, name: str, size: int) -> None:
        """Send a file."""
        self._try(lambda: self._system.put_file(str(path), self._path(name)))
        if (found := self._size(name)) != size:
            problem = f"{found} of {size} bytes have arrived"
            raise OutputError(f"{remote.name_in(self._path(name))}: {problem}; the same command sends it again")

    def end(self, data: bytes) -> None:
        """Put the index there, by which readers know that all the rest is."""
        self._write(INDEX_NAME, data)
        self._unmark()

    def _unmark(self) -> None:
        if self._size(MARK_NAME) >= 0:
            self._try(lambda: self._system.rm_file(self._path(MARK_NAME)))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _size(self, name: str) -> int:
        """Bytes of a file there, -1 where there is none."""
        self._system.invalidate_cache()
        try:
            return int(self._try(lambda: self._system.info(self._path(name)))["size"])
        except _AbsentError:
            return -1

    def _read(self, name: str) -> bytes | None:
        try:
            return bytes(self._try(lambda: self._system.cat_file(self._path(name))))
        except _AbsentError:
            return None

    def _write(self, name: str, data: bytes) -> None:
        self._try(lambda: self._system.pipe_file(self._path(name), data))

    def _try(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except FileNotFoundError as error:
            raise _AbsentError(f"{remote.name_in(self._url)}: there is no such place") from error
        except remote.failures(self._url) as error:
            where = remote.name_in(self._url)
            raise OutputError(f"{where}: {remote.explain(error)}; the same command goes on from there") from error


class _AbsentError(OutputError):
    """Nothing of that name is there."""
