"""Random access to samples: each is read from its position in its shard, without unpacking.

>>> shards = open_shards("shards/")  # doctest: +SKIP
>>> shards.read(123_456).record.answer  # doctest: +SKIP
('C', 'A', 'F', 'B')
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mvp_data.core.errors import ShardError, SourceError
from mvp_data.shards.cache import fetch_shards
from mvp_data.shards.offsets import find_offsets, load_offsets, row_of, shard_files
from mvp_data.shards.record import REBUILD, Record
from mvp_data.shards.tar import Sample, parse_sample, sample_spans, shard_paths
from mvp_data.system import urls
from mvp_data.system.files import weights_folder

OPEN_FILES = 64  # in each process


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardSet:
    """The samples of a folder of shards or of a tar, by number.

    It has no open files, so it can be pickled and forked; each process opens the files that it reads.
    """

    location: str
    paths: tuple[Path, ...]
    sizes: tuple[int, ...]  # bytes of each shard
    offsets: Path
    state: str  # of the shards when they were opened

    def __len__(self) -> int:
        """Number of samples."""
        return int(self.table.num_rows)

    @property
    def table(self) -> Any:
        """The offset index, a memory-mapped `pyarrow.Table`; see `mvp_data.shards.offsets.load_offsets`."""
        return load_offsets(self.offsets, self.state)

    def read(self, number: int) -> Sample:
        """Sample `number`, from 0, in the order of the shards, with all checks of `read_shard`.

        Raises:
            IndexError: the number is out of range.
            ShardError: the shard is damaged, or does not have the sample of the offset index at its position.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)} in {self.location}")
        (row,) = self.table.slice(number, 1).to_pylist()
        shard, offset, size, key = (row[name] for name in ("shard", "offset", "bytes", "key"))
        known = 0 <= shard < len(self.paths)
        if not (known and offset >= 0 and size > 0 and offset + size <= self.sizes[shard]):
            raise ShardError(f"{self.offsets}: damaged in the row of {key}: delete it; it is made again")
        where = f"{self.paths[shard]}: {key} at byte {offset}"
        sample = parse_sample(_read(self.paths[shard], self.state, offset, size, where), where)
        if row | row_of(sample.record) != row:
            found = f"has {sample.record.key} instead, or another version of it"
            raise ShardError(f"{where}: {found}: delete {self.offsets}; if that does not help, {REBUILD}")
        return sample


def open_shards(location: str | Path, *, cache: Path | None = None, quiet: bool = False) -> ShardSet:
    """Open a folder of shards, a `.tar`, or the URL of one; the first call makes its offset index.

    Remote shards are first copied to `cache` (by default the user's cache folder). Both steps show a progress bar on
    stderr unless `quiet`.

    Raises:
        ShardError: missing, unfinished, damaged, unreachable, or of another schema version.
        OutputError: the cache cannot be written.
    """
    cache = cache or weights_folder().parent
    try:
        path = urls.local_path(str(location))
        fetched = fetch_shards(path, cache, quiet=quiet) if urls.scheme_of(path) else Path(path)
    except SourceError as error:
        raise ShardError(str(error)) from error
    files = shard_files(fetched)
    offsets = find_offsets(files, cache, quiet=quiet)
    name = urls.name_in(str(location))
    return ShardSet(location=name, paths=files.paths, sizes=files.sizes, offsets=offsets.absolute(), state=files.state)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """The position of a sample, small enough to keep one for each sample of a build; `unit` is its pair or its key."""

    shard: Path
    offset: int
    bytes: int
    key: str
    unit: str
    group: str

    def read(self) -> Sample:
        """The sample; raises `ShardError` if it is damaged."""
        where = f"{self.shard}: {self.key} at byte {self.offset}"
        return parse_sample(_read(self.shard, "", self.offset, self.bytes, where), where)


def places(path: Path, asked: Callable[[Record], bool]) -> Iterator[Place]:
    """The places of the samples of a shard or folder whose record is `asked` for."""
    for shard in shard_paths(path):
        for span in sample_spans(shard):
            record = span.record
            if asked(record):
                yield Place(
                    shard=shard,
                    offset=span.offset,
                    bytes=span.bytes,
                    key=record.key,
                    unit=record.pair_id or record.key,
                    group=record.video_group,
                )


class _File:
    """A file descriptor that is closed after its last use: a thread may still use it after the cache drops it."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


@lru_cache(maxsize=OPEN_FILES)
def _open(path: Path, state: str) -> _File:
    """An open shard, cached by path and `state`: a new build with the same file names has another `state`."""
    return _File(path)


def _read(path: Path, state: str, offset: int, size: int, where: str) -> bytes:
    """Exactly `size` bytes. `pread` moves no file position, so forked processes may share a descriptor."""
    parts: list[bytes] = []
    try:
        file = _open(path, state)
        while size > 0 and (part := os.pread(file.descriptor, size, offset)):
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
    except OSError as error:
        raise ShardError(f"{where}: cannot be read ({error.strerror}): check the path") from error
    if size:
        raise ShardError(f"{where}: truncated, {size} bytes are missing: copy the shard again, or {REBUILD}")
    return b"".join(parts)
