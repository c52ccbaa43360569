"""The structure of a JPEG file: its header segments, its size, and traces of damage, all without decoding."""

import re
from collections.abc import Iterator

SCAN = 0xDA
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the markers that state a size; these three begin tables
# A marker that entropy-coded data cannot hold: neither a restart nor the start of another scan.
_STRAY_MARKER = re.compile(rb"\xff[^\x00\xc4\xd0-\xd7\xda\xdd\xff]")


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each header segment, up to and including the header of the first scan."""
    at, marker = 2, 0
    while marker != SCAN and at + 4 <= len(data) and data[at] == 0xFF:
        marker, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at, end
        at = end


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height in px from the frame header; (0, 0) if `data` is not a complete JPEG."""
    if data.startswith(b"\xff\xd8\xff") and data.endswith(b"\xff\xd9"):
        for marker, at, _ in segments(data):
            if marker in _FRAMES and at + 9 <= len(data):
                return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
    return 0, 0


def has_stray_marker(data: bytes) -> bool:
    """Whether the compressed data hold a marker that does not belong there: damage that libjpeg paints grey."""
    begin = max((end for _, _, end in segments(data)), default=2)
    return _STRAY_MARKER.search(data, begin, len(data) - 2) is not None
