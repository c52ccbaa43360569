"""Read a tar from start to end, block by block, safely for any sizes in its headers.

Only the parser of a header block comes from `tarfile`. Its reader is not safe: it recurses without limit in chains of
headers and keeps the maps of sparse files in memory. The caller decides which members are accepted. A damaged tar
raises `tarfile.ReadError`.
"""

import tarfile
from typing import IO

BLOCK = tarfile.BLOCKSIZE
MAX_STREAMED_BYTES = 64 << 30  # limit for a tar without seeking, which may have no end
_COPY_BYTES = 1 << 20


class TarBlocks:
    """A tar that is read forwards; `at` is the position of the next byte."""

    def __init__(self, file: IO[bytes], *, streaming: bool = False) -> None:
        """A `streaming` file cannot seek."""
        self._file, self._streaming, self.at = file, streaming, 0

    def header(self) -> tuple[tarfile.TarInfo, bytes] | None:
        """The next header and its block; None at the end: a block of zeros, or the end of the file."""
        block = self.take(BLOCK, may_end=True)
        if not block or block == bytes(BLOCK):
            return None
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape"), block
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"byte {self.at - BLOCK} is not a tar header ({error})") from error

    def take(self, size: int, *, may_end: bool = False) -> bytes:
        """The next `size` bytes; with `may_end`, b"" at the end of the file."""
        data = self.take_up_to(size)
        if len(data) < size and (data or not may_end):
            raise tarfile.ReadError(f"truncated at byte {self.at}")
        return data

    def take_up_to(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end of the file. Raw and remote files may need several reads."""
        parts, left = list[bytes](), size
        while left > 0 and (part := self._file.read(left)):
            parts.append(part)
            left -= len(part)
        self.at += size - left
        if self._streaming and self.at > MAX_STREAMED_BYTES:
            raise tarfile.ReadError(f"more than {MAX_STREAMED_BYTES} bytes received")
        return b"".join(parts)

    def skip(self, size: int) -> None:
        """Skip `size` bytes, which must exist."""
        end = self.at + size
        if end >= 1 << 63:
            raise tarfile.ReadError(f"a member of {size} bytes")
        while self._streaming and self.at < end - 1:
            self.take(min(end - 1 - self.at, _COPY_BYTES))
        if self.at < end:
            if not self._streaming:
                self._file.seek(end - 1)
                self.at = end - 1
            self.take(1)


def padded(size: int) -> int:
    """`size` rounded up to whole blocks: the bytes that the content of a member takes."""
    return -(-size // BLOCK) * BLOCK
