"""Videos inside plain tar files (WebDataset): listed once, then each read at its own offset.

A member's place is written `tar:OFFSET+SIZE:CONTAINER`, for example `tar:512+1048576:/data/x.tar` or
`tar:512+1048576:https://host/x.tar`. No absolute path and no URL starts like that, so no file name can be
taken for one; and reading the 10,000th member costs as much as reading the first. Nothing is extracted under
its own name.
"""

import re
import tarfile
from dataclasses import dataclass
from typing import IO

from mvp_data import remote

MAX_EXTENSION_HEADER_BYTES = 1 << 20  # long names and PAX records are read whole: a forged length must not fill memory
_COPY_BYTES = 1 << 20
_MEMBER = re.compile(r"tar:(\d{1,19})\+(\d{1,19}):(.+)", re.DOTALL)
_EXTENSION_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


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


class _CheckedTarInfo(tarfile.TarInfo):
    """Turns what tarfile takes for a quiet end of the archive into an error."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> "_CheckedTarInfo":
        """The next header; `ReadError` where the bytes are no header, or only half of one."""
        try:
            return super().fromtarfile(tar)
        except tarfile.HeaderError as err:
            if type(err).__name__ in ("InvalidHeaderError", "TruncatedHeaderError"):
                raise tarfile.ReadError(str(err)) from None
            raise

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        """Hook that tarfile offers for subclasses: called on each header before its body is read."""
        if self.size < 0 or (self.type in _EXTENSION_HEADERS and self.size > MAX_EXTENSION_HEADER_BYTES):
            raise tarfile.ReadError(f"header at byte {self.offset} claims {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]


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
    expected: tuple[type[Exception], ...] = (tarfile.TarError, OverflowError, *remote.failures(container))
    try:
        with (
            remote.open_binary(container, streaming=streaming) as file,
            tarfile.open(fileobj=file, mode="r|" if streaming else "r:", tarinfo=_CheckedTarInfo) as tar,
        ):
            reached = 0
            while (info := tar.next()) is not None:
                if tar.offset <= reached:  # forged sizes can lead back to where we were
                    raise tarfile.ReadError(f"header at byte {info.offset} points backwards")
                reached = tar.offset
                tar.members.clear()  # type: ignore[attr-defined] # tarfile keeps every header: memory without a limit
                if info.isreg() and not info.issparse():
                    members.append(Member(name=info.name, offset=info.offset_data, size=info.size))
                elif not info.isdir():
                    unusable += 1
    except expected as err:
        fault = remote.explain(err)
    return Listing(members=tuple(members), unusable=unusable, fault=fault)


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
