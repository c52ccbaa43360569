"""What the headers of a JPEG say, without decoding it. All functions take damaged and hostile bytes."""

from collections.abc import Iterator

HUFFMAN, START_OF_SCAN = 0xC4, 0xDA
FRAMES = frozenset(range(0xC0, 0xD0)) - {HUFFMAN, 0xC8, 0xCC}  # markers of frame headers; the others are of tables


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height in px from the frame header; (0, 0) for anything but a whole JPEG."""
    if not (is_whole(data) and data[2:3] == b"\xff"):
        return 0, 0
    for marker, start, _ in _segments(data):
        if marker in FRAMES and start + 9 <= len(data):
            return int.from_bytes(data[start + 7 : start + 9], "big"), int.from_bytes(
                data[start + 5 : start + 7], "big"
            )
    return 0, 0


def is_whole(data: bytes) -> bool:
    """Whether the bytes begin and end as a JPEG does."""
    return data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")


def jpeg_settings(data: bytes) -> bytes:
    """The headers of a JPEG without its Huffman tables, which depend on the picture.

    Quantisation, subsampling, size, comments and metadata: what differs between encoders, and might give a frame away.
    """
    return b"".join(data[start:end] for marker, start, end in _segments(data) if marker not in (HUFFMAN, START_OF_SCAN))


def header_bytes(data: bytes) -> int:
    """Bytes before the first scan: tables, comments, EXIF."""
    return max((start if marker == START_OF_SCAN else end for marker, start, end in _segments(data)), default=2)


def scan_start(data: bytes) -> int:
    """The byte at which the picture's data begin, after the headers and the header of the first scan."""
    return max((end for _, _, end in _segments(data)), default=2)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, first byte and end of each header segment up to the first scan's, that one included.

    The end is beyond the data where a segment is cut off.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at, end
        if marker == START_OF_SCAN:
            return
        at = end
