"""A finished build into an object store: shards first, the index last, as they were written here."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mvp_data.core.errors import OutputError, ShardError
from mvp_data.pipeline.output_folder import is_own
from mvp_data.shards.index import INDEX_NAME, index_bytes, parse_index
from mvp_data.system import urls
from mvp_data.system.locks import LOCK_NAME
from mvp_data.system.object_store import Store

MARK_NAME = "upload.json"  # there while an upload is unfinished: says of which build


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
        MvpError: the build is unfinished or damaged, something else lies there, or the store cannot be written.
    """
    data = index_bytes(shards)
    names = _checked(shards, data)
    store = _Build(url)
    if store.folder and store.folder.resolve().is_relative_to(shards.resolve()):
        raise OutputError(f"{store}: lies in the build itself; choose another URL")
    known = store.begin(data, names)
    sent, total = 0, 0
    for name in names:
        size = (shards / name).stat().st_size
        if store.size(name) != size:  # since the place is this build's, its size tells
            store.put(shards / name, name, size)
            sent += 1
        total += size
        on_file(name)
    if not known:
        store.end(data)
    return UploadReport(
        url=urls.name_in(url), files=len(names) + 1, bytes=total + len(data), known=len(names) - sent + known
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


class _Build(Store):
    """A build in a store."""

    def begin(self, data: bytes, names: Sequence[str]) -> bool:
        """Mark the place as this build's, unless others' files are in the way; whether all of it is there."""
        there = self.read(INDEX_NAME)
        if there == data:
            self.remove(MARK_NAME)  # killed just before it could
            return True
        mark = json.dumps({"index_sha256": hashlib.sha256(data).hexdigest()}).encode()
        marked = self.read(MARK_NAME)
        if there is not None or marked not in (None, mark):
            raise OutputError(f"{self}: another build lies there; choose another URL, or remove it")
        if marked is None:
            foreign = next((name for name in names if self.size(name) >= 0), "")
            if foreign:
                raise OutputError(f"{self}: {foreign} is there, not of this build; choose another URL, or remove it")
            self.write(MARK_NAME, mark)
        return False

    def end(self, data: bytes) -> None:
        """Put the index there, by which readers know that all the rest is."""
        self.write(INDEX_NAME, data)
        self.remove(MARK_NAME)
