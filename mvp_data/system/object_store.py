"""Files in an object store, or on a mounted disk (`file://`). Every failure is an `OutputError`."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from mvp_data.core.errors import OutputError, SourceError
from mvp_data.system import urls

SCHEMES = ("file", "s3", "gs", "gcs", "az", "abfs", "abfss")
_CHUNK_BYTES = 1 << 20


class AbsentError(OutputError):
    """The file does not exist."""


class Store:
    """A folder given by its URL. File names are relative to it, with slashes."""

    def __init__(self, url: str) -> None:
        """Connect; raises `MvpError` if the URL is not accepted or cannot be reached."""
        scheme = urls.scheme_of(url)
        if scheme not in SCHEMES:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            raise SourceError(f"{urls.name_in(url)}: cannot write to this URL; use one of {known}")
        if scheme == "file" and not url.removeprefix("file://").startswith("/"):
            raise SourceError(f"{url}: not an absolute path; write it as in file:///mnt/bucket")
        self._url = url.rstrip("/")
        self._system, root = self._try(lambda: urls.filesystem(self._url))
        self._root = str(root).rstrip("/")
        self.folder = Path(self._root) if scheme == "file" else None

    def __str__(self) -> str:
        return urls.name_in(self._url)

    def size(self, name: str) -> int:
        """Bytes of a file, -1 if it does not exist."""
        return self._size(self._path(name))

    def put(self, path: Path, name: str, size: int) -> None:
        """Upload a file of `size` bytes. An existing file is replaced only when the new one is complete."""
        target = self._path(name)
        if not self.folder:
            self._send(path, target, size)
            return
        half = f"{target}.{os.getpid()}-{secrets.token_hex(4)}.tmp"  # a disk shows incomplete files
        try:
            self._try(lambda: os.makedirs(os.path.dirname(target), exist_ok=True))
            self._send(path, half, size)
            self._try(lambda: os.replace(half, target))
        finally:
            with suppress(OSError):
                os.unlink(half)

    def get(self, name: str, file: IO[bytes]) -> None:
        """Download a file; raises `OutputError` if it does not exist or is incomplete."""
        size, received = self.size(name), 0
        with self._try(lambda: self._system.open(self._path(name), "rb")) as source:
            while chunk := self._try(lambda: source.read(_CHUNK_BYTES)):
                file.write(chunk)
                received += len(chunk)
        if received != size:
            raise OutputError(f"{self}/{name}: {received} of {size} bytes received; run the same command again")

    def read(self, name: str) -> bytes | None:
        """The content of a small file, None if it does not exist."""
        try:
            return bytes(self._try(lambda: self._system.cat_file(self._path(name))))
        except AbsentError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a small file."""
        target = self._path(name)
        if self.folder:
            self._try(lambda: os.makedirs(os.path.dirname(target), exist_ok=True))
        self._try(lambda: self._system.pipe_file(target, data))

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with suppress(AbsentError):
            self._try(lambda: self._system.rm_file(self._path(name)))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _send(self, path: Path, target: str, size: int) -> None:
        self._try(lambda: self._system.put_file(str(path), target))
        if (found := self._size(target)) != size:
            problem = f"{found} of {size} bytes have arrived"
            raise OutputError(f"{urls.name_in(target)}: {problem}; run the same command again")

    def _size(self, target: str) -> int:
        self._system.invalidate_cache()
        try:
            return int(self._try(lambda: self._system.info(target))["size"])
        except AbsentError:
            return -1

    def _try(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except FileNotFoundError as error:
            raise AbsentError(f"{self}: not found") from error
        except urls.failures(self._url) as error:
            raise OutputError(f"{self}: {urls.explain(error)}; run the same command again to resume") from error
