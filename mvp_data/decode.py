"""The decode seam: one pass over a video gives each frame's time, a tiny copy, and its picture on demand.

Three back ends stand behind it: `decode_pyav` (the default), `decode_ffmpeg` and `decode_decord`. What a back
end is known to get wrong it refuses (`Skip(UNSUPPORTED_CODEC)`): a wrong frame is worse than none.
"""

import math
import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from mvp_data.errors import ConfigError, Skip, SkipReason
from mvp_data.types import Luma, Picture, Tiny, VideoInfo

BACKENDS = ("pyav", "decord", "ffmpeg")
MAX_SIDE_PX = 16384  # beyond the largest level of H.264 and HEVC (8192 x 4320) with room to spare
MAX_AREA_PX = 1 << 27  # 134 megapixels, 400 MB as RGB: what one worker can hold
ROOM_BYTES = 256 << 20  # who gets as much is not short of memory

# Containers that hold their own data. Playlists and scripts (hls, dash, concat, image2, sdp) are left out:
# they make the decoder open other files and addresses. Sound and pictures are in, to be told what they are.
CONTAINERS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,vvc,ivf,obu,av1,flv,live_flv,asf,ogg,mxf,gxf,nut,"
    "rm,dv,wtv,yuv4mpegpipe,mjpeg,gif,apng,amv,nsv,vivo,"
    "aac,ac3,aiff,amr,ape,caf,flac,mp3,w64,wav,wv,"
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,gif_pipe,psd_pipe,svg_pipe"
)

Turn = tuple[int, int, int, int]  # (a, b, c, d): point (x, y) is shown at (a*x + c*y, b*x + d*y), y down
UPRIGHT: Turn = (1, 0, 0, 1)


class Still(Protocol):
    """A picture of a pass, upright and with square pixels as seen from here, that becomes RGB where it is needed."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        ...

    def rgb(self) -> Picture:
        """All of it as RGB [H, W, 3] of that size."""
        ...

    def cut(self, whole: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]) -> tuple[Picture, Luma]:
        """RGB and full-range luma of the part of this size that begins at `corner` once all is scaled to `whole`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedFrame:
    """One frame of a pass.

    `picture(max_area_px)` gives its picture, shrunk so that width x height <= max_area_px, never enlarged. Ask before
    the next frame is asked for; the picture itself may be kept. Where a stream changes size midway PyAV gives each
    picture its own size (the others: that of the first frame), so resize before comparing.
    """

    pts_s: float  # from the first frame shown: the first is 0.0
    tiny: Tiny  # as coded (not turned, pixels not squared), full range: black is luma 0, white 255
    picture: Callable[[int], Still]
    damaged: bool = False  # it may build on lost data; PyAV: until the next key frame, ffmpeg: to the end
    left_out: bool = False  # not decoded: `tiny` is a guess from the frames around, and there is no picture


class VideoStream(Protocol):
    """An open video; `frames()` may be walked once."""

    info: VideoInfo
    damaged_packets: int  # so far: packets that failed, frames flagged corrupt, frames dropped for their time

    def frames(self) -> Iterator[DecodedFrame]:
        """All frames in order, PTS strictly rising. Raises Skip where fewer than two come out."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A key packet at which a pass can begin that is not about the whole video; `parts` finds them.

    Times are in units of `Facts.tick_s`; `place` is where the packet lies in the file (bytes), None where the
    container does not say.
    """

    ticks: int
    place: int | None
    origin: int  # the time of the video's first frame: what all others count from


class Packet(NamedTuple):
    """What the container says of one packet of a stream; a tuple, since a long video has millions."""

    ticks: int | None  # PTS in units of `Facts.tick_s`
    place: int | None
    can_start: bool  # a key packet that is shown
    new_header: bool  # brings other parameters of the codec, which packets after it need


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseNeeds:
    """What a sparse pass must decode."""

    wanted: Callable[[float, float], bool]  # whether a frame may be sampled: time of the frame before it, and its own
    shots: bool = True  # False: no shots are detected, so only the sampled frames are needed


def open_video(
    path: str | Path, *, backend: str = "pyav", start: Start | None = None, needs: SparseNeeds | None = None
) -> AbstractContextManager[VideoStream]:
    """Open a local file for one pass: `with open_video("a.mp4") as video: for frame in video.frames(): ...`.

    Only PyAV can begin elsewhere than at the first frame, and leave out what `skim` does not need: then the pass may
    end in Unskimmable, and must be done again without. Entering raises Skip where the file is no usable video,
    MissingDependencyError where the back end is not installed; an unknown back end is a ConfigError at once.
    """
    if start and backend != "pyav":
        raise ValueError(f"{backend} cannot begin at {start}")
    match backend:
        case "pyav":
            from mvp_data.decode_pyav import open_pyav

            return open_pyav(path, start, needs)
        case "decord":
            from mvp_data.decode_decord import open_decord

            return open_decord(path)
        case "ffmpeg":
            from mvp_data.decode_ffmpeg import open_ffmpeg

            return open_ffmpeg(path)
    raise ConfigError(f"unknown decode back end {backend!r}: use one of {', '.join(BACKENDS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the header and the first frame say, as PyAV reads them; the other back ends lean on it."""

    codec: str
    header_duration_s: Fraction  # 0 or less where the header gives none
    container: str  # libavformat's name, such as "mov,mp4,m4a,3gp,3g2,mj2"
    stream: int  # index of the chosen stream
    moving_streams: int  # how many there were to choose from
    width_px: int  # as coded, before turning
    height_px: int
    pixel_aspect: Fraction
    turn: Turn
    tick_s: Fraction  # unit of the stream's time stamps

    @property
    def info(self) -> VideoInfo:
        """The same as displayed."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class RawFrame:
    """What a back end hands to `BackEnd.frames`; its time is in units of `BackEnd.tick_s`, None where unknown."""

    ticks: int | None
    damaged: bool = False
    left_out: bool = False
    tiny: Callable[[], Tiny]
    picture: Callable[[int], Still]


class BackEnd:
    """The rules that all back ends share: times from the first frame, strictly rising, two frames or more."""

    info: VideoInfo
    tick_s: Fraction  # unit of the times
    damaged_packets: int = 0
    start: Start | None = None  # where a pass over a part begins; it may come out empty

    def raw_frames(self) -> Iterator[RawFrame]:
        """The decoder's frames in the order in which it shows them."""
        raise NotImplementedError

    def frames(self) -> Iterator[DecodedFrame]:
        """All frames in order; one without a time, or not later than the last, is dropped and counted."""
        first, last = self.start.origin if self.start else None, None
        shown = 0
        for raw in self.raw_frames():
            if raw.ticks is None or (last is not None and raw.ticks <= last):
                self.damaged_packets += 1
                continue
            first, last = raw.ticks if first is None else first, raw.ticks
            shown += 1
            yield DecodedFrame(
                pts_s=seconds(raw.ticks - first, self.tick_s),
                tiny=raw.tiny(),
                picture=raw.picture,
                damaged=raw.damaged,
                left_out=raw.left_out,
            )
        if shown < 2 and not self.start:
            raise too_few(shown, self.damaged_packets)


def seconds(ticks: int, tick_s: Fraction) -> float:
    """A time in seconds, rounded once."""
    return ticks * tick_s.numerator / tick_s.denominator


def too_few(shown: int, damaged: int) -> Skip:
    """Why a stream of fewer than two frames is no video: damage if there was any, else it is a picture."""
    if damaged:
        return Skip(SkipReason.DECODE_ERROR, f"only {shown} frames could be decoded, {damaged} packets failed")
    return Skip(SkipReason.NO_MOVING_PICTURE, f"the video stream shows only {shown} frames")


def whole_name(path: str | Path) -> str:
    """The absolute name of a regular file that can be read and holds something; raises Skip for any other.

    Absolute, since then a name such as "http:x" or "concat:a|b" stays a name. Errors of the system show here:
    libavformat gives the same codes for damaged headers.
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
    """Raise MemoryError where memory is short. Some decoders call that damage, and some call a forged size that."""
    bytearray(max(room_bytes, ROOM_BYTES if isinstance(error, MemoryError) else 0))


def check_size(width_px: int, height_px: int) -> None:
    """Raise Skip where a picture is beyond the limits."""
    if max(width_px, height_px) > MAX_SIDE_PX or width_px * height_px > MAX_AREA_PX:
        limit = f"{MAX_SIDE_PX} px a side and {MAX_AREA_PX} px in all"
        raise Skip(SkipReason.UNSUPPORTED_CODEC, f"picture of {width_px}x{height_px} px, the limit is {limit}")


def shown_size(width_px: int, height_px: int, pixel_aspect: Fraction, max_area_px: int) -> tuple[int, int]:
    """Width and height with square pixels (`square_size`), then shrunk alike to fit the area.

    >>> shown_size(720, 576, Fraction(16, 15), 10**9), shown_size(1920, 1080, Fraction(1), 100_000)
    ((768, 576), (421, 237))
    """
    width, height = square_size(width_px, height_px, pixel_aspect)
    scale = math.sqrt(max_area_px / (width * height))
    if scale >= 1:
        return width, height
    # no side of a sliver goes below 1 px, so the other is bounded by the area itself
    narrow = max(1, math.floor(width * scale))
    low = max(1, min(math.floor(height * scale), max_area_px // narrow))
    return min(narrow, max_area_px // low), low


def square_size(width_px: int, height_px: int, pixel_aspect: Fraction) -> tuple[int, int]:
    """The size with square pixels: the side that pixels are long in is stretched, so that no detail is lost.

    >>> square_size(640, 360, Fraction(2, 3)), square_size(640, 360, Fraction(4, 3))
    ((640, 540), (853, 360))
    """
    if pixel_aspect >= 1:
        return round(width_px * pixel_aspect), height_px
    return width_px, round(height_px / pixel_aspect)


def quarter_turn(matrix: bytes) -> Turn:
    """A display matrix (nine native 32-bit numbers) rounded to quarter turns."""
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    if abs(a) >= abs(b):
        return (-1 if a < 0 else 1, 0, 0, -1 if d < 0 else 1)
    return (0, -1 if b < 0 else 1, -1 if c < 0 else 1, 0)


def turned(picture: Picture, turn: Turn) -> Picture:
    """`picture` as the display matrix shows it: any of the eight turns and mirrorings."""
    a, b, c, d = turn
    if a == 0:
        picture, a, d = picture.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
