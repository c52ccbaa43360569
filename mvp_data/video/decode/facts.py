"""The properties of a video stream, the geometry of its frames, and the files and sizes that are refused."""

import math
import os
import stat
import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from mvp_data.core.errors import Skip, SkipReason
from mvp_data.core.types import Picture, Turn, VideoInfo

MAX_SIDE_PX = 16384  # well above the largest level of H.264 and HEVC (8192 x 4320)
MAX_AREA_PX = 1 << 27  # 134 megapixels, 400 MB as RGB: as much as one worker can hold
ROOM_BYTES = 256 << 20  # if an allocation of this size succeeds, memory is not short

UPRIGHT: Turn = (1, 0, 0, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """The properties of a stream, read by PyAV from the header and the first frame; all back ends use them."""

    codec: str
    header_duration_s: Fraction  # 0 or less if the header has none
    container: str  # libavformat's name, such as "mov,mp4,m4a,3gp,3g2,mj2"
    stream: int  # index of the chosen stream
    moving_streams: int  # how many video streams there were to choose from
    width_px: int  # as coded, before rotation
    height_px: int
    pixel_aspect: Fraction
    turn: Turn
    tick_s: Fraction  # unit of the stream's time stamps

    @property
    def info(self) -> VideoInfo:
        """The properties as displayed."""
        width, height = square_size(self.width_px, self.height_px, self.pixel_aspect)
        if self.turn[0] == 0:
            width, height = height, width
        return VideoInfo(
            width_px=width,
            height_px=height,
            codec=self.codec,
            header_duration_s=float(max(self.header_duration_s, Fraction(0))),
            rotation_deg=round(math.degrees(math.atan2(self.turn[1], self.turn[0]))) % 360,
        )


def seconds(ticks: int, tick_s: Fraction) -> float:
    """Return a time in seconds, rounded once."""
    return ticks * tick_s.numerator / tick_s.denominator


def whole_name(path: str | Path) -> str:
    """Return the absolute path of a regular file that is readable and not empty; raises Skip for any other.

    With an absolute path, libavformat does not take a name such as "http:x" or "concat:a|b" for a protocol. Operating
    system errors must be found here, because libavformat returns the same codes for damaged headers.
    """
    name = os.path.abspath(path)
    try:
        status = os.stat(name)
        if not stat.S_ISREG(status.st_mode):
            raise Skip(SkipReason.UNREADABLE, "not a regular file")
        if status.st_size == 0:
            raise Skip(SkipReason.EMPTY_FILE, "zero bytes")
        with open(name, "rb") as file:
            file.read(1)
    except (OSError, ValueError) as e:  # ValueError: a NUL in the name
        raise Skip(SkipReason.UNREADABLE, getattr(e, "strerror", None) or str(e)) from e
    return name


def stop_without_memory(error: Exception, room_bytes: int = 0) -> None:
    """Raise MemoryError if memory is short.

    Some decoders report a lack of memory as damage, and some report a forged size as a lack of memory.
    """
    bytearray(max(room_bytes, ROOM_BYTES if isinstance(error, MemoryError) else 0))


def check_size(width_px: int, height_px: int) -> None:
    """Raise Skip if a frame is larger than the limits."""
    if max(width_px, height_px) > MAX_SIDE_PX or width_px * height_px > MAX_AREA_PX:
        limit = f"{MAX_SIDE_PX} px a side and {MAX_AREA_PX} px in all"
        raise Skip(SkipReason.UNSUPPORTED_CODEC, f"picture of {width_px}x{height_px} px, the limit is {limit}")


def shown_size(width_px: int, height_px: int, pixel_aspect: Fraction, max_area_px: int) -> tuple[int, int]:
    """Return width and height with square pixels (`square_size`), scaled down together to fit the area.

    >>> shown_size(720, 576, Fraction(16, 15), 10**9), shown_size(1920, 1080, Fraction(1), 100_000)
    ((768, 576), (421, 237))
    """
    width, height = square_size(width_px, height_px, pixel_aspect)
    scale = math.sqrt(max_area_px / (width * height))
    if scale >= 1:
        return width, height
    # a side has at least 1 px, so the area bounds the other side of a very narrow frame
    narrow = max(1, math.floor(width * scale))
    low = max(1, min(math.floor(height * scale), max_area_px // narrow))
    return min(narrow, max_area_px // low), low


def square_size(width_px: int, height_px: int, pixel_aspect: Fraction) -> tuple[int, int]:
    """Return the size with square pixels; the longer side of the pixels is stretched, so no detail is lost.

    >>> square_size(640, 360, Fraction(2, 3)), square_size(640, 360, Fraction(4, 3))
    ((640, 540), (853, 360))
    """
    if pixel_aspect >= 1:
        return round(width_px * pixel_aspect), height_px
    return width_px, round(height_px / pixel_aspect)


def quarter_turn(matrix: bytes) -> Turn:
    """Round a display matrix (nine native 32-bit numbers) to quarter turns."""
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    if abs(a) >= abs(b):
        return (-1 if a < 0 else 1, 0, 0, -1 if d < 0 else 1)
    return (0, -1 if b < 0 else 1, -1 if c < 0 else 1, 0)


def turned(image: Picture, turn: Turn) -> Picture:
    """Rotate and mirror an image for display; there are eight cases."""
    a, b, c, d = turn
    if a == 0:
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
