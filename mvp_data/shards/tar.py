"""Shards: WebDataset tars of samples (github.com/webdataset/webdataset).

The bytes of a shard depend only on its samples: USTAR headers have no time and no owner, samples keep their order, and
the files of a sample have the order of `Record.member_names`. Shards from untrusted sources can be read: links,
devices, long names and sparse files are refused, and sizes are limited.
"""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from mvp_data.core.errors import ShardError
from mvp_data.core.jpeg import jpeg_size
from mvp_data.shards.index import INDEX_NAME, ShardInfo, read_index
from mvp_data.shards.record import MAX_JSON_BYTES, REBUILD, Record, from_json, to_json
from mvp_data.system.files import atomic_write
from mvp_data.system.tar_blocks import BLOCK, TarBlocks, padded

MAX_PICTURE_BYTES = 16 << 20  # of one JPEG; one of 796x448 px has 60 kB
MAX_SCANS = 100  # of a progressive JPEG; usual are 10, and a million would take hours to decode
_MEMBER = re.compile(r"[a-z0-9_-]{1,84}\.(json|context_[0-9]{2}\.jpg|candidate_[a-z]\.jpg)")
_MAX_MEMBERS = 1 + 100 + 26  # of one sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """The position of a sample: bytes `offset` to `offset + bytes` of a shard, with the headers of its files."""

    record: Record
    offset: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A record and its JPEGs: the files of one key of a shard.

    Raises `ShardError` if an image is not a JPEG of the size in the record.
    """

    record: Record
    context: tuple[bytes, ...]
    candidates: tuple[bytes, ...]

    def __post_init__(self) -> None:
        """Check the number of images, and their sizes in bytes and px."""
        key, wanted = self.record.key, (self.record.width_px, self.record.height_px)
        counts = (len(self.context), len(self.candidates))
        if counts != (len(self.record.context), len(self.record.candidates)):
            raise ShardError(f"{key}: {counts} context and candidate images, the record has other numbers: {REBUILD}")
        for name, data in zip(self.record.member_names[1:], self.context + self.candidates, strict=True):
            if len(data) > MAX_PICTURE_BYTES:
                raise ShardError(f"{name}: {len(data)} bytes, the limit is {MAX_PICTURE_BYTES}: {REBUILD}")
            if data.count(b"\xff\xda") > MAX_SCANS:
                raise ShardError(f"{name}: a JPEG of more than {MAX_SCANS} scans: {REBUILD}")
            if (size := jpeg_size(data)) != wanted:
                raise ShardError(f"{name}: a JPEG of {size} px, the record says {wanted}: {REBUILD}")

    @property
    def members(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of each file of the sample, in the order of the shard."""
        return zip(self.record.member_names, (to_json(self.record), *self.context, *self.candidates), strict=True)


def write_shard(path: Path, samples: Iterable[Sample], *, sha256: str = "") -> ShardInfo:
    """Write `samples` to a tar at `path`, atomically; an existing file is replaced.

    The same samples give the same bytes. Raises `ShardError` if there are none, if two have the same key, if they
    differ in task, split, k, l or number of context frames (the Hugging Face loader needs the same members for each),
    or if the tar does not have the given `sha256`.
    """
    keys: set[str] = set()
    shapes: set[tuple[str, str, int, int, int]] = set()
    with atomic_write(path) as file:
        hashing = _Hashing(file)
        with tarfile.open(fileobj=hashing, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for sample in samples:
                _check_in(sample.record, keys, shapes)
                for name, data in sample.members:
                    header = tarfile.TarInfo(name)  # mtime 0, uid and gid 0, no names, mode 0644
                    header.size = len(data)
                    tar.addfile(header, io.BytesIO(data))
        if not keys:
            raise ShardError(f"{path}: a shard needs at least one sample")
        if sha256 and hashing.sha256.hexdigest() != sha256:
            raise ShardError(f"{path}: these samples give other bytes")
    task, split = next(iter(shapes))[:2]
    found = hashing.sha256.hexdigest()
    return ShardInfo(name=path.name, task=task, split=split, samples=len(keys), bytes=hashing.size, sha256=found)


def read_shard(source: str | Path | IO[bytes]) -> Iterator[Sample]:
    """The samples of a shard, one at a time, from a path or an open binary file (also of fsspec).

    Only one sample is in memory. Raises `ShardError`, with the shard and the member, for a tar that is damaged or
    truncated, or contains other files.
    """
    if isinstance(source, str | Path):
        with _naming(str(source)), Path(source).open("rb") as file:
            yield from _samples(file)
    else:
        with _naming(str(getattr(source, "name", getattr(source, "path", "the shard")))):
            yield from _samples(source)


def sample_spans(path: Path) -> Iterator[Span]:
    """The position of each sample of a shard. Reads only headers and records, no images.

    Raises `ShardError` like `read_shard`, except for damaged images.
    """
    with _naming(str(path)), path.open("rb", buffering=0) as file:  # a seek drops the buffer
        for span, _ in _spans(file, images=False):
            yield span


def parse_sample(data: bytes, where: str) -> Sample:
    """The sample in the bytes of its `Span`.

    Raises `ShardError`, with `where` first, for anything but one complete sample.
    """
    filled = -(-(len(data) + 2 * BLOCK) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
    with _naming(where):
        samples = list(_samples(io.BytesIO(data.ljust(filled, b"\0"))))  # with an end mark it is a tar of one sample
    if len(samples) != 1:
        raise ShardError(f"{where}: {len(samples)} samples instead of one: {REBUILD}")
    return samples[0]


def shard_paths(path: str | Path) -> list[Path]:
    """The tars of a folder of shards, or the single tar at `path`.

    Raises `ShardError` if a folder has no index, because its build is not finished, or if a shard in it is missing.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.is_file():
            raise ShardError(f"{path}: no such shard or folder: check the path")
        return [path]
    paths = [path / shard.name for shard in read_index(path).shards]
    for shard in paths:
        if not shard.is_file():
            raise ShardError(f"{shard}: listed in {INDEX_NAME} but missing: {REBUILD}")
    return paths


class _Hashing(io.RawIOBase):
    """A writable file that hashes and counts the bytes written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.size, self.sha256 = file, 0, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.size += len(data)
        self.sha256.update(data)
        return self.file.write(data)

    def tell(self) -> int:
        return self.size


def _check_in(record: Record, keys: set[str], shapes: set[tuple[str, str, int, int, int]]) -> None:
    """Record the key and shape of a sample; raises `ShardError` for a repeated key or another shape."""
    if record.key in keys:
        raise ShardError(f"{record.key}: the key occurs twice in one shard: {REBUILD}")
    keys.add(record.key)
    shapes.add((record.task, record.split, record.k, record.l, len(record.context)))
    if len(shapes) > 1:
        raise ShardError(
            f"{record.key}: (task, split, k, l, context) must not differ in one shard: {sorted(shapes)}: {REBUILD}"
        )


def _samples(file: IO[bytes]) -> Iterator[Sample]:
    for span, members in _spans(file, images=True):
        images = tuple(members[name] for name in span.record.member_names[1:])
        split = len(span.record.context)
        yield Sample(record=span.record, context=images[:split], candidates=images[split:])


@contextmanager
def _naming(shard: str) -> Iterator[None]:
    """Put the name of the shard before the message of every error."""
    try:
        yield
    except ShardError as error:
        raise ShardError(f"{shard}: {error}") from error
    except tarfile.ReadError as error:
        raise ShardError(f"{shard}: {error}: not a shard, or damaged: {REBUILD}") from error
    except OSError as error:
        raise ShardError(f"{shard}: cannot be read ({error.strerror or error}): check the path") from error


def _spans(file: IO[bytes], *, images: bool) -> Iterator[tuple[Span, dict[str, bytes]]]:
    """Group the members of a tar by key and check the record of each group; `images` are read only on request."""
    keys: set[str] = set()
    shapes: set[tuple[str, str, int, int, int]] = set()
    start = 0
    for members, end in _groups(_members(file, images=images)):
        record = _record(members)
        _check_in(record, keys, shapes)
        yield Span(record=record, offset=start, bytes=end - start), members
        start = end
    if not keys:
        raise ShardError("has no samples: " + REBUILD)


def _groups(members: Iterator[tuple[str, bytes, int]]) -> Iterator[tuple[dict[str, bytes], int]]:
    """Consecutive members with the same key, and the byte after them."""
    group: dict[str, bytes] = {}
    end = 0
    for name, data, after in members:
        if group and next(iter(group)).split(".")[0] != name.split(".")[0]:
            yield group, end
            group = {}
        if name in group:
            raise ShardError(f"{name}: occurs twice: {REBUILD}")
        if len(group) == _MAX_MEMBERS:
            raise ShardError(f"{name}: more than {_MAX_MEMBERS} files of one key: {REBUILD}")
        group[name] = data
        end = after
    if group:
        yield group, end


def _record(members: dict[str, bytes]) -> Record:
    """The record of the files of one key; raises `ShardError` if they are not exactly the files of the record."""
    key = next(iter(members)).split(".")[0]
    if (data := members.get(f"{key}.json")) is None:
        raise ShardError(f"{key}.json: missing, the sample is incomplete: {REBUILD}")
    try:
        record = from_json(data)
    except ShardError as error:
        raise ShardError(f"{key}.json: {error}") from error
    if record.key != key:
        raise ShardError(f"{key}.json: its key is {record.key}: {REBUILD}")
    names = record.member_names
    missing = [name for name in names if name not in members]
    unknown = [name for name in members if name not in names]
    if missing or unknown:
        raise ShardError(f"{key}: missing files {missing[:3]}, files too many {unknown[:3]}: {REBUILD}")
    return record


def _members(file: IO[bytes], *, images: bool) -> Iterator[tuple[str, bytes, int]]:
    """Name, content and end (byte in the tar) of each file; raises `ShardError` for any other member.

    Without `images` their content is skipped and `b""`.
    """
    tar = TarBlocks(file)
    while found := tar.header():
        name, size = _checked(found[0])
        if images or name.endswith(".json"):
            data = tar.take(padded(size))[:size]
        else:
            data = b""
            tar.skip(padded(size))
        yield name, data, tar.at
    # Two zero blocks, then zeros up to a whole record: so a truncation at any byte is detected.
    end = tar.at
    rest = tar.take_up_to(tarfile.RECORDSIZE + 1)
    whole = tar.at % tarfile.RECORDSIZE == 0
    if len(rest) < BLOCK or len(rest) > tarfile.RECORDSIZE or rest.strip(b"\0") or not whole:
        raise ShardError(f"truncated or with data after its end (byte {end}): {REBUILD}")


def _checked(header: tarfile.TarInfo) -> tuple[str, int]:
    """Name and size in bytes of a file of a sample; raises `ShardError` for any other header."""
    if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise ShardError(f"{header.name!r:.120}: neither a plain file nor USTAR (type {header.type!r}): {REBUILD}")
    if not _MEMBER.fullmatch(header.name):
        raise ShardError(f"{header.name!r:.120}: not the name of a sample's file: {REBUILD}")
    limit = MAX_JSON_BYTES if header.name.endswith(".json") else MAX_PICTURE_BYTES
    if not 0 <= header.size <= limit:
        raise ShardError(f"{header.name}: {header.size} bytes, the limit is {limit}: {REBUILD}")
    return header.name, header.size


def iter_samples(path: Path) -> Iterator[Sample]:
    """The samples of a tar or of a folder of shards, in order; raises `ShardError`."""
    return chain.from_iterable(read_shard(shard) for shard in shard_paths(path))
