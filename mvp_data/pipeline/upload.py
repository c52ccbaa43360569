"""The command `upload`: copies a finished build to an object store, shards first and the index last."""

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

MARK_NAME = "upload.json"  # present while an upload is unfinished; identifies the build


@dataclass(frozen=True, kw_only=True)
class UploadReport:
    """The result of an upload."""

    url: str
    files: int
    bytes: int
    known: int  # files that an earlier upload has sent


def upload(shards: Path, url: str, on_file: Callable[[str], object] = lambda _: None) -> UploadReport:
    """Copy a finished build to a URL. After an interruption the same call resumes and sends only the missing files.

    Each shard is compared with its hash in the index before it is sent, and its size with that in the store afterwards.

    Raises:
        MvpError: the build is unfinished or damaged, there are other files at the URL, or the store cannot be written.
    """
    data = index_bytes(shards)
    names = _checked(shards, data)
    store = _Build(url)
    if store.folder and store.folder.resolve().is_relative_to(shards.resolve()):
        raise OutputError(f"{store}: is inside the build itself; choose another URL")
    known = store.begin(data, names)
    sent, total = 0, 0
    for name in names:
        size = (shards / name).stat().st_size
        if store.size(name) != size:  # the URL holds only this build, so the size identifies the file
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
    """Return the names of all files except the index, shards first; raise ShardError if a shard is damaged."""
    index = parse_index(data, str(shards / INDEX_NAME))
    for shard in index.shards:
        try:
            with (shards / shard.name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ShardError(f"{shards / shard.name}: cannot be read ({error.strerror})") from error
        if found != shard.sha256:
            raise ShardError(f"{shards / shard.name}: differs from the index; mvp-data verify {shards} shows more")
    first = [shard.name for shard in index.shards]
    hidden = {INDEX_NAME, LOCK_NAME, *first}
    tables = sorted(p.name for p in shards.iterdir() if p.is_file() and is_own(p.name) and p.name not in hidden)
    return first + [name for name in tables if not name.startswith(".")]


class _Build(Store):
    """A build in a store."""

    def begin(self, data: bytes, names: Sequence[str]) -> bool:
        """Mark the URL as this build's; return whether the whole build is there. Raise OutputError on foreign files."""
        stored = self.read(INDEX_NAME)
        if stored == data:
            self.remove(MARK_NAME)  # an earlier upload may have been killed just before this
            return True
        mark = json.dumps({"index_sha256": hashlib.sha256(data).hexdigest()}).encode()
        marked = self.read(MARK_NAME)
        if stored is not None or marked not in (None, mark):
            raise OutputError(f"{self}: holds another build; choose another URL, or remove it")
        if marked is None:
            foreign = next((name for name in names if self.size(name) >= 0), "")
            if foreign:
                raise OutputError(f"{self}: holds another {foreign}; choose another URL, or remove it")
            self.write(MARK_NAME, mark)
        return False

    def end(self, data: bytes) -> None:
        """Write the index, which tells readers that the build is complete."""
        self.write(INDEX_NAME, data)
        self.remove(MARK_NAME)
