"""Videos in uncompressed tar files (WebDataset): the tar is listed once, then each member is read at its offset.

Reading the last member takes as long as reading the first. No member is extracted under its own name.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from mvp_data.core.types import ByteRange
from mvp_data.system import urls
from mvp_data.system.tar_blocks import BLOCK, TarBlocks, padded

MAX_EXTENSION_HEADER_BYTES = 1 << 20  # long names and PAX records are read into memory
MAX_MEMBERS = 4_000_000  # a gigabyte of names; a server may send headers without end
_COPY_BYTES = 1 << 20
_PAX_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
# These types have no data, whatever the size in the header; as in tarfile.
_DATALESS = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)
_SPARSE_FLAG = 482  # byte in the header of a sparse file; if it is not 0, a block of its map follows
_MAP_FLAG = 504  # the same byte in a block of the map


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One regular file of a tar."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The regular files of a tar; `fault` is the reason why the list is incomplete, or empty."""

    members: tuple[Member, ...]
    unusable: int  # number of links, devices and sparse files, whose content is not one range of bytes
    fault: str


def list_members(container: str) -> Listing:
    """Read the headers of a local or remote tar. A damaged tar gives the members before the damage and a `fault`.

    A remote tar is listed by range requests, or read once from start to end if the server does not support them.
    """
    listing = _list_once(container, streaming=False)
    if listing.fault and urls.is_http(container):
        listing = _list_once(container, streaming=True)
    return listing


def _list_once(container: str, *, streaming: bool) -> Listing:
    members: list[Member] = []
    unusable, fault = 0, ""
    expected: tuple[type[Exception], ...] = (tarfile.TarError, *urls.failures(container))
    try:
        with urls.open_binary(container, streaming=streaming) as file:
            for member, usable in _members(TarBlocks(file, streaming=streaming)):
                if usable:
                    members.append(member)
                else:
                    unusable += 1
                if len(members) + unusable >= MAX_MEMBERS:
                    raise tarfile.ReadError(f"more than {MAX_MEMBERS} members")
    except expected as err:
        fault = urls.explain(err)
    return Listing(members=tuple(members), unusable=unusable, fault=fault)


def _members(tar: TarBlocks) -> Iterator[tuple[Member, bool]]:
    """Yield each member that is not a folder, and whether its content is one range of bytes.

    PAX records are parsed here, because tarfile takes quadratic time (CVE-2024-6232).
    """
    shared: dict[str, bytes] = {}
    own: dict[str, bytes] = {}
    while found := tar.header():
        info, block = found
        if info.type in (*_PAX_HEADERS, *_LONG_NAMES):
            (shared if info.type == tarfile.XGLTYPE else own).update(_extension(tar, info))
            continue
        facts, own = {**shared, **own}, {}
        map_follows = info.type == tarfile.GNUTYPE_SPARSE and block[_SPARSE_FLAG]
        while map_follows:
            map_follows = tar.take(BLOCK)[_MAP_FLAG]
        size = 0 if info.type in _DATALESS else _size(info, facts)
        name = facts["path"].decode("utf-8", "surrogateescape") if "path" in facts else info.name
        member = Member(name=name.rstrip("/"), offset=tar.at, size=size)
        if not info.isdir() and not (info.type == tarfile.AREGTYPE and name.endswith("/")):
            whole = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
            yield member, whole and not any(key.startswith("GNU.sparse.") for key in facts)
        tar.skip(padded(size))
    if not tar.at:
        raise tarfile.ReadError("empty file")


def _extension(tar: TarBlocks, info: tarfile.TarInfo) -> dict[str, bytes]:
    """Fields for the next member: PAX records, or a GNU long name as `path`."""
    if not 0 <= info.size <= MAX_EXTENSION_HEADER_BYTES:
        raise tarfile.ReadError(f"header at byte {tar.at - BLOCK} states {info.size} bytes")
    data = tar.take(padded(info.size))[: info.size]
    if info.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.partition(b"\0")[0]}
    return _pax_records(data) if info.type in _PAX_HEADERS else {}


def _pax_records(data: bytes) -> dict[str, bytes]:
    """Parse records such as `22 path=some/long.mp4`, which start with their own length."""
    records: dict[str, bytes] = {}
    at = 0
    while at < len(data) and data[at]:
        length, space, _ = data[at : at + 20].partition(b" ")
        record = data[at : at + int(length)] if space and length.isdigit() else b""
        key, equals, value = record[len(length) + 1 : -1].partition(b"=")
        if not (equals and record.endswith(b"\n") and len(record) == int(length)):
            raise tarfile.ReadError("damaged PAX record")
        records[key.decode("utf-8", "surrogateescape")] = value
        at += len(record)
    return records


def _size(info: tarfile.TarInfo, facts: dict[str, bytes]) -> int:
    """Bytes of a member. A PAX record has priority over the header, whose size field is limited to 8 GiB."""
    size = facts.get("size", b"%d" % info.size)
    if not (size.isdigit() and len(size) < 20):
        raise tarfile.ReadError(f"a member of {size[:40]!r} bytes")
    return int(size)


def copy_member(member: ByteRange, out: IO[bytes]) -> None:
    """Write the bytes of a member to `out`. A server without range requests sends the tar from its start.

    Raises `EOFError` if the tar ends too early, and what `urls.failures(member.container)` lists.
    """
    try:
        with urls.open_binary(member.container, streaming=False) as file:
            file.seek(member.offset)
            _copy(file, member.size, out)
    except ValueError:
        if not urls.is_http(member.container):
            raise
        out.seek(0)
        out.truncate()
        with urls.open_binary(member.container, streaming=True) as file:
            _copy(file, member.offset, None)
            _copy(file, member.size, out)


def _copy(file: IO[bytes], size: int, out: IO[bytes] | None) -> None:
    """Copy exactly `size` bytes to `out`, or skip them if `out` is None."""
    left = size
    while left:
        chunk = file.read(min(left, _COPY_BYTES))
        if not chunk:
            raise EOFError(f"the tar ends {left} bytes before the member does")
        if out is not None:
            out.write(chunk)
        left -= len(chunk)
