"""The list of files that were read before, with their video ids, so that a resumed run does not read them again.

A local file is recognized by its path, size, mtime, ctime and inode, and a URL by its size and the version that the
server sends. A file that is not recognized is read again.
"""

import hashlib
import os
import re
import time
from pathlib import Path
from types import TracebackType

from mvp_data.core.errors import OutputError
from mvp_data.core.types import ByteRange, Location, file_of
from mvp_data.system import urls

SEEN_NAME = "seen.txt"  # in the bank; one line per file: stamp, space, video id
YOUNG_S = 2.0  # such a new file may change again without a new mtime
# Keys under which the file systems of fsspec report the version of a file.
_VERSIONS = ["ETag", "etag", "Content-MD5", "Digest", "md5Hash", "generation", "blob_id", "mtime", "modify"]
_VERSIONS += ["LastModified", "Last-Modified", "last_modified"]
_LINE = re.compile(rb"([0-9a-f]{20}) ([0-9a-f]{20})\n")

# Size in bytes, mtime and ctime in ns, inode. Not the device, whose number differs between the nodes of a cluster.
FileState = tuple[int, int, int, int]


def file_state(location: Location) -> FileState | None:
    """The state of a local file, or of the tar that contains a member; None for a URL or a missing file."""
    path = file_of(location)
    if not os.path.isabs(path):
        return None
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def size_bytes(location: Location, state: FileState | None) -> int:
    """Bytes to read; 0 for a URL."""
    if isinstance(location, ByteRange):
        return location.size
    return state[0] if state else 0


def stamp(location: Location, state: FileState | None) -> str:
    """A hash that changes when the bytes at `location` change; empty for a URL, a missing or a very new file."""
    if state is None or abs(time.time() - max(state[1], state[2]) / 1e9) < YOUNG_S:
        return ""
    return hashlib.sha256(b"%r %s" % (state, os.fsencode(str(location)))).hexdigest()[:20]


def remote_stamp(location: Location) -> str:
    """The stamp of a URL, from a request to the server; empty if the server sends no version."""
    url = file_of(location)
    if os.path.isabs(url) or not urls.scheme_of(url):
        return ""
    try:
        system, name = urls.filesystem(url)
        facts = system.info(name)
    except urls.failures(url):  # the fetch will report it
        return ""
    version = sorted((key, str(facts[key])) for key in _VERSIONS if facts.get(key))
    if not version:
        return ""
    shown = urls.name_in(url)  # without the query: signatures change
    place = (location.offset, location.size, shown) if isinstance(location, ByteRange) else shown
    return hashlib.sha256(repr((place, facts.get("size"), version)).encode()).hexdigest()[:20]


class KnownFiles:
    """The list of a bank. Incomplete lines of a killed run are ignored."""

    def __init__(self, bank_root: Path) -> None:
        """Read the list if it exists."""
        self._path = bank_root / SEEN_NAME
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            text = b""
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be read ({error.strerror}); delete it and run again") from error
        self._ids = {found[1].decode(): found[2].decode() for found in _LINE.finditer(text)}
        self._torn = bool(text) and not text.endswith(b"\n")
        self._descriptor = -1

    def __enter__(self) -> "KnownFiles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def __bool__(self) -> bool:
        return bool(self._ids)

    def video_id(self, stamp: str) -> str:
        """The id of the video with this stamp, or empty."""
        return self._ids.get(stamp, "")

    def add_all(self, other: "KnownFiles") -> None:
        """Add the entries of another list, without replacing any."""
        for stamp, video_id in other._ids.items():
            if stamp not in self._ids:
                self.add(stamp, video_id)

    def add(self, stamp: str, video_id: str) -> None:
        """Add a file. Each line is one write, so lines of concurrent runs do not mix."""
        if not stamp or self._ids.get(stamp) == video_id:
            return
        self._ids[stamp] = video_id
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            os.write(self._descriptor, b"\n" * self._torn + f"{stamp} {video_id}\n".encode())
            self._torn = False
        except OSError as error:
            problem = f"{self._path}: cannot be written ({error.strerror}): free space or choose another --bank"
            raise OutputError(problem) from error
