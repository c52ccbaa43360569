"""Videos inside plain tar files (WebDataset): listed once, then each read at its own offset.

A member's place is written `tar:OFFSET+SIZE:CONTAINER`, for example `tar:512+1048576:/data/x.tar` or
`tar:512+1048576:https://host/x.tar`. No absolute path and no URL starts like that, so no file name can be
taken for one; and reading the 10,000th member costs as much as reading the first. Nothing is extracted under
its own name.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from mvp_data import remote
from mvp_data.tar_blocks import BLOCK, TarBlocks, padded

MAX_EXTENSION_HEADER_BYTES = 1 << 20  # long names and PAX records are read whole: a forged length must not fill memory
MAX_MEMBERS = 4_000_000  # a gigabyte of names; a server may send headers for ever
_COPY_BYTES = 1 << 20
_MEMBER = re.compile(r"tar:(\d{1,19})\+(\d{1,19}):(.+)", re.DOTALL)
_PAX_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
# What has no data whatever size its header states, as in tarfile.
_DATALESS = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)
_MORE = {tarfile.GNUTYPE_SPARSE: 482}  # byte of a header that says that a block of a sparse map follows
_MORE_OF_MAP = 504  # the same in such a block


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One regular file of a tar: where its bytes lie."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The regular files of a tar; `fault` says why the listing ended early, or is empty."""

    members: tuple[Member, ...]
    unusable: int  # links, devices and sparse files, whose bytes do not lie in one piece
    fault: str


def member_uri(container: str, member: Member) -> str:
    """`tar:OFFSET+SIZE:CONTAINER`."""
    return f"tar:{member.offset}+{member.size}:{container}"


def parse_member_uri(uri: str) -> tuple[str, int, int] | None:
    """Container, offset and size of a member's place; None for any other place.

    >>> parse_member_uri("tar:512+7:/data/x.tar"), parse_member_uri("/data/tar:512+7:x")
    (('/data/x.tar', 512, 7), None)
    """
    match = _MEMBER.fullmatch(uri)
    return (match[3], int(match[1]), int(match[2])) if match else None


def list_members(container: str) -> Listing:
    """Reads the headers of a local or remote tar. A damaged one gives what precedes the damage, and `fault`.

    A remote tar is listed by range requests; from a server that has none it is read once from end to end.
    """
    listing = _list_once(container, streaming=False)
    if listing.fault and remote.is_http(container):
        listing = _list_once(container, streaming=True)
    return listing


def _list_once(container: str, *, streaming: bool) -> Listing:
    members: list[Member] = []
    unusable, fault = 0, ""
    expected: tuple[type[Exception], ...] = (tarfile.TarError, *remote.failures(container))
    try:
        with remote.open_binary(container, streaming=streaming) as file:
            for member, usable in _members(TarBlocks(file, streaming=streaming)):
                if usable:
                    members.append(member)
                else:
                    unusable += 1
                if len(members) + unusable >= MAX_MEMBERS:
                    raise tarfile.ReadError(f"more than {MAX_MEMBERS} members")
    except expected as err:
        fault = remote.explain(err)
    return Listing(members=tuple(members), unusable=unusable, fault=fault)


def _members(tar: TarBlocks) -> Iterator[tuple[Member, bool]]:
    """Each member that is no folder, and whether its bytes lie in one piece.

    PAX records are not parsed by tarfile, whose time grows with the square of their length (CVE-2024-6232).
    """
    shared: dict[str, bytes] = {}
    own: dict[str, bytes] = {}
    while found := tar.header():
        info, block = found
        if info.type in (*_PAX_HEADERS, *_LONG_NAMES):
            said = _extension(tar, info)
            (shared if info.type == tarfile.XGLTYPE else own).update(said)
            continue
        facts, own = {**shared, **own}, {}
        more = info.type in _MORE and block[_MORE[info.type]]
        while more:
            more = tar.take(BLOCK)[_MORE_OF_MAP]
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
    """What a header says of the member after it: PAX records, or a GNU long name under `path`."""
    if not 0 <= info.size <= MAX_EXTENSION_HEADER_BYTES:
        raise tarfile.ReadError(f"header at byte {tar.at - BLOCK} claims {info.size} bytes")
    data = tar.take(padded(info.size))[: info.size]
    if info.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.partition(b"\0")[0]}
    return _pax_records(data) if info.type in _PAX_HEADERS else {}


def _pax_records(data: bytes) -> dict[str, bytes]:
    """`22 path=some/long.mp4` and so on, each with its own length in front."""
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
    """Bytes of a member; a PAX record goes before the header, which cannot state more than 8 GiB everywhere."""
    said = facts.get("size", b"%d" % info.size)
    if not (said.isdigit() and len(said) < 20):
        raise tarfile.ReadError(f"a member of {said[:40]!r} bytes")
    return int(said)


def copy_member(container: str, offset: int, size: int, out: IO[bytes]) -> None:
    """Writes a member's bytes to `out`; `EOFError` if the tar ends before them.

    Raises also what `remote.failures(container)` lists. Without range requests it is read from the start.
    """
    try:
        with remote.open_binary(container, streaming=False) as file:
            file.seek(offset)
            _copy(file, size, out)
    except ValueError:
        if not remote.is_http(container):
            raise
        out.seek(0)
        out.truncate()
        with remote.open_binary(container, streaming=True) as file:
            _copy(file, offset, None)
            _copy(file, size, out)


def _copy(file: IO[bytes], size: int, out: IO[bytes] | None) -> None:
    """Reads exactly `size` bytes, into `out` or into nothing."""
    left = size
    while left:
        chunk = file.read(min(left, _COPY_BYTES))
        if not chunk:
            raise EOFError(f"the tar ends {left} bytes before the member does")
        if out is not None:
            out.write(chunk)
        left -= len(chunk)
