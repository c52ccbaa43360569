"""The headers of a JPEG, read without decoding it. All functions accept damaged and hostile bytes."""

import struct
from collections.abc import Iterator

HUFFMAN, START_OF_SCAN = 0xC4, 0xDA
FRAMES = frozenset(range(0xC0, 0xD0)) - {
    HUFFMAN,
    0xC8,
    0xCC,
}  # markers of frame headers; the rest of the range is tables


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height in px from the frame header; (0, 0) if the bytes are not a whole JPEG."""
    if not (is_whole(data) and data[2:3] == b"\xff"):
        return 0, 0
    for marker, start, _ in _segments(data):
        if marker in FRAMES and start + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, start + 5)
            return width, height
    return 0, 0


def is_whole(data: bytes) -> bool:
    """Whether the bytes begin and end like a JPEG."""
    return data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")


def jpeg_settings(data: bytes) -> bytes:
    """The headers of a JPEG without its Huffman tables, which depend on the image.

    They contain quantisation tables, subsampling, size, comments and metadata. A difference between the frames of a
    puzzle would be a shortcut to the answer.
    """
    return b"".join(data[start:end] for marker, start, end in _segments(data) if marker not in (HUFFMAN, START_OF_SCAN))


def header_bytes(data: bytes) -> int:
    """Number of bytes before the first scan: tables, comments, EXIF."""
    return max((start if marker == START_OF_SCAN else end for marker, start, end in _segments(data)), default=2)


def scan_start(data: bytes) -> int:
    """The byte at which the compressed data begins, after the header of the first scan."""
    return max((end for _, _, end in _segments(data)), default=2)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each header segment, up to and including the header of the first scan.

    The end of a truncated segment is beyond the data.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at, end
        if marker == START_OF_SCAN:
            return
        at = end
