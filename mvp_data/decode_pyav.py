"""PyAV, the default decode back end, and what the other back ends ask of it: `probe` and `shown_times`."""

import math
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mvp_data.decode import (
    MAX_AREA_PX,
    UPRIGHT,
    BackEnd,
    Facts,
    RawFrame,
    Turn,
    check_size,
    shown_size,
    square_size,
    tiles,
    tiny_of_planes,
    too_few,
    turned,
)
from mvp_data.errors import Skip, SkipReason
from mvp_data.types import TINY_HEIGHT_PX, TINY_WIDTH_PX, Picture, Tiny, VideoInfo

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream as AvVideoStream

MAX_READ_ERRORS = 100  # in a row, with no packet between them: the rest of the file is gone
# Containers that hold their own data. Playlists and scripts (hls, dash, concat, image2, sdp) are left out:
# they make the decoder open other files and addresses. Sound and pictures are in, to be told what they are.
CONTAINERS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,vvc,ivf,obu,av1,flv,live_flv,asf,ogg,mxf,gxf,nut,"
    "rm,dv,wtv,yuv4mpegpipe,mjpeg,gif,apng,amv,nsv,vivo,"
    "aac,ac3,aiff,amr,ape,caf,flac,mp3,w64,wav,wv,"
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,gif_pipe,psd_pipe,svg_pipe"
)


@contextmanager
def open_pyav(path: str | Path) -> "Iterator[PyAvStream]":
    """The default back end of `decode.open_video`; raises Skip."""
    with _open_container(path) as container:
        yield PyAvStream(container)


def load_libraries() -> None:
    """Load PyAV's libraries, which must come before decord's.

    decord exports the symbols of its own old libraries to the whole process; they replace PyAV's where they
    come first: https://github.com/dmlc/decord/issues/128, https://github.com/dmlc/decord/issues/361.
    """
    import av  # noqa: F401


def probe(path: str | Path) -> Facts:
    """What a file holds, at the cost of its header and first frame; raises Skip as `open_video` does."""
    with open_pyav(path) as video:
        return video.facts


def shown_times(path: str | Path, stream: int) -> tuple[list[Fraction], int]:
    """Packet times of one stream in display order, from the first, and how many packets an edit list hides.

    Reads the whole file but decodes nothing: the truth against which a back end can be checked.
    """
    with _open_container(path) as container:
        packets = [p for p in container.demux(container.streams[stream]) if p.size and p.pts is not None]
    kept = sorted((p.pts or 0) * p.time_base for p in packets if not p.is_discard)
    return [time - kept[0] for time in kept], len(packets) - len(kept)


def _open_container(path: str | Path) -> "InputContainer":
    import av

    name = os.path.abspath(path)  # absolute: a name such as "http:x" or "concat:a|b" stays a name
    try:
        status = os.stat(name)
        if not stat.S_ISREG(status.st_mode):
            raise Skip(SkipReason.UNREADABLE, "not a regular file")
        if status.st_size == 0:
            raise Skip(SkipReason.EMPTY_FILE, "zero bytes")
        with open(name, "rb") as f:
            f.read(1)  # errors of the system show here; libavformat gives the same codes for damaged headers
    except (OSError, ValueError) as e:  # ValueError: a NUL in the name
        raise Skip(SkipReason.UNREADABLE, getattr(e, "strerror", None) or str(e)) from e
    limits = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    try:
        return av.open(name, options=limits, metadata_errors="ignore")
    except av.FFmpegError as e:
        raise Skip(SkipReason.NOT_A_VIDEO, f"no container of the accepted kinds ({e.strerror})") from e


def _moving(container: "InputContainer") -> "list[AvVideoStream]":
    """The video streams that are no cover art and no thumbnails."""
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
    return [s for s in container.streams.video if not s.disposition & still]


def _choose_stream(container: "InputContainer") -> "AvVideoStream":
    """The largest moving picture: auxiliary tracks of a few pixels lose; a single picture only wins alone."""
    moving = _moving(container)
    if not moving or container.format.name.endswith("_pipe"):
        raise Skip(SkipReason.NO_MOVING_PICTURE, f"{container.format.name} without a moving picture")
    decodable = [s for s in moving if s.codec_context is not None]
    if not decodable:
        raise Skip(SkipReason.UNSUPPORTED_CODEC, "no decoder for the video stream")
    return max(decodable, key=lambda s: (s.frames != 1, s.width * s.height, -s.index))


class PyAvStream(BackEnd):
    """One stream of one container, walked packet by packet so that damage costs single packets."""

    def __init__(self, container: "InputContainer") -> None:
        """Decode up to the first frame, since only frames tell the rotation; raises Skip."""
        self._container, self._stream = container, _choose_stream(container)
        codec = self._stream.codec_context
        check_size(codec.width, codec.height)
        codec.thread_type, codec.thread_count = (
            "NONE",
            1,
        )  # slice threads can deadlock when many workers decode
        codec.options = {"max_pixels": str(MAX_AREA_PX)}  # a stream may grow after its header
        self._unsupported = False
        self._decoded = self._decode()
        first = next(self._decoded, None)
        if first is None and self._unsupported:
            raise Skip(SkipReason.UNSUPPORTED_CODEC, f"{codec.name}: a variant that the decoder lacks")
        if first is None:
            raise too_few(0, self.damaged_packets)
        self._first = first
        self.facts = _read_facts(container, self._stream, first[0])
        self.info = self.facts.info

    @property
    def codec_threads(self) -> int:
        """How many threads the decoder runs."""
        return self._stream.codec_context.thread_count

    def _packets(self) -> "Iterator[av.Packet[AvVideoStream]]":
        """The stream's packets, then the flush; goes on after an error of reading."""
        import av

        errors = 0
        packets = self._container.demux(self._stream)
        while errors < MAX_READ_ERRORS:
            try:
                packet = next(packets)
            except (StopIteration, IndexError):  # IndexError: PyAV fails to flush a stream that began midway,
                return  # after all packets and our own flush; https://github.com/PyAV-Org/PyAV/issues/692
            except av.FFmpegError:
                self.damaged_packets += 1
                errors += 1
                packets = self._container.demux(self._stream)
            else:
                errors = 0
                yield packet

    def _decode(self) -> "Iterator[tuple[av.VideoFrame, bool]]":
        """Frames, each with whether it is damaged: flagged so, or built on lost data since the last key frame."""
        import av

        damaged = False
        for packet in self._packets():
            try:
                frames = self._stream.codec_context.decode(packet)
            except av.FFmpegError as e:
                self.damaged_packets += 1
                damaged = True
                self._unsupported |= isinstance(e, av.error.PatchWelcomeError)
                continue
            for frame in frames:
                self.damaged_packets += frame.is_corrupt
                damaged = frame.is_corrupt or (damaged and not frame.key_frame)
                yield frame, damaged

    def raw_frames(self) -> Iterator[RawFrame]:
        """The first frame, kept since opening, and the rest; what an edit list hides the decoder drops."""
        base = self._stream.time_base or Fraction(1)
        shrinker = Shrinker(self.facts)
        # AVI stores no PTS, and libavformat's guesses are out of order with B-frames. Its time is a count of
        # chunks, DTS, which only frames that the decoder held back to the end lack; they follow tick by tick.
        counted = self._container.format.name == "avi"
        last = -1
        for frame, damaged in chain([self._first], self._decoded):
            ticks = frame.pts
            if counted:
                last = ticks = last + 1 if frame.dts is None else frame.dts
            yield shrinker.raw(frame, None if ticks is None else ticks * base, damaged=damaged)


class Shrinker:
    """Tiny copies and pictures of frames by swscale, whose area filter is exact; it keeps its tables.

    Pillow's box filter is not: at ratios between whole numbers it is off by up to 9 of 255 on fine grain.
    """

    def __init__(self, facts: Facts) -> None:
        """One for each stream: `facts` say how pictures are turned and squared."""
        from av.video.reformatter import VideoReformatter

        self._facts = facts
        self._tiny_scaler, self._picture_scaler = VideoReformatter(), VideoReformatter()

    def raw(self, frame: "av.VideoFrame", time: Fraction | None, *, damaged: bool = False) -> RawFrame:
        """A frame of the pass, coded as `facts` say."""
        tiny, picture = partial(self._tiny, frame), partial(self._picture, frame)
        return RawFrame(time=time, damaged=damaged, tiny=tiny, picture=picture)

    def raw_of_rgb(self, rgb: Picture, time: Fraction | None, *, damaged: bool = False) -> RawFrame:
        """The same for a back end that gives RGB at the coded size, not turned."""
        import av

        return self.raw(av.VideoFrame.from_ndarray(rgb, format="rgb24"), time, damaged=damaged)

    def _tiny(self, frame: "av.VideoFrame") -> Tiny:
        if frame.format.name in ("yuv420p", "yuvj420p") and tiles(frame.width, frame.height):
            return tiny_of_planes([_plane(plane) for plane in frame.planes], full_range=_is_full_range(frame))
        # 4:2:0 because it halves the work on colour
        small = _scaled(self._tiny_scaler, frame, (TINY_WIDTH_PX, TINY_HEIGHT_PX), "yuv420p")
        planes = small.to_ndarray().astype(np.uint8, copy=False).ravel()
        luma_px = TINY_WIDTH_PX * TINY_HEIGHT_PX
        colour = planes[luma_px:].reshape(2, TINY_HEIGHT_PX // 2, TINY_WIDTH_PX // 2)
        tiny = np.empty((TINY_HEIGHT_PX, TINY_WIDTH_PX, 3), np.uint8)
        tiny[..., 0] = planes[:luma_px].reshape(TINY_HEIGHT_PX, TINY_WIDTH_PX)
        tiny[..., 1:] = colour.repeat(2, axis=1).repeat(2, axis=2).transpose(1, 2, 0)
        return tiny

    def _picture(self, frame: "av.VideoFrame", max_area_px: int) -> Picture:
        size = shown_size(frame.width, frame.height, self._facts.pixel_aspect, max_area_px)
        rgb = _scaled(self._picture_scaler, frame, size, "rgb24").to_ndarray()
        return turned(rgb.astype(np.uint8, copy=False), self._facts.turn)


def _is_full_range(frame: "av.VideoFrame") -> bool:
    from av.video.reformatter import ColorRange

    return frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")


def jpeg_luma(data: bytes) -> Picture:
    """The luma [H, W] of a JPEG; raises Skip where code words are missing or wrong, which Pillow would paint grey."""
    import av

    codec = av.CodecContext.create("mjpeg", "r")
    codec.options, codec.thread_count = {"err_detect": "explode"}, 1
    try:
        (frame,) = [*codec.decode(av.Packet(data)), *codec.decode(None)]
    except (av.FFmpegError, ValueError) as error:
        raise Skip(SkipReason.DECODE_ERROR, "a JPEG with missing or wrong data") from error
    return _plane(frame.planes[0])


def _plane(plane: Any) -> Picture:
    """The pixels [H, W] of a plane, in place; its lines may be longer than the picture is wide."""
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def _scaled(scaler: "VideoReformatter", frame: "av.VideoFrame", size: tuple[int, int], pix_fmt: str) -> "av.VideoFrame":
    """`frame` shrunk by area and in full range; unmarked video is taken as limited range, as players do."""
    import av

    try:
        return scaler.reformat(
            frame,
            *size,
            pix_fmt,
            interpolation="AREA",
            src_color_range="JPEG" if _is_full_range(frame) else "MPEG",
            dst_color_range="JPEG",
            threads=1,
        )
    except av.FFmpegError as e:
        what = f"pixel format {frame.format.name} at {frame.width}x{frame.height} cannot be converted"
        raise Skip(SkipReason.UNSUPPORTED_CODEC, f"{what}: {e.strerror}") from e


def _turn_of(frame: "av.VideoFrame") -> Turn:
    """The display matrix rounded to quarter turns; upright where there is none."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    if abs(a) >= abs(b):
        return (-1 if a < 0 else 1, 0, 0, -1 if d < 0 else 1)
    return (0, -1 if b < 0 else 1, -1 if c < 0 else 1, 0)


def _read_facts(container: "InputContainer", stream: "AvVideoStream", first: "av.VideoFrame") -> Facts:
    turn = _turn_of(first)
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    width, height = square_size(first.width, first.height, aspect)
    check_size(width, height)
    if turn[0] == 0:
        width, height = height, width
    duration = Fraction(container.duration or 0, 1_000_000)
    if stream.duration and stream.time_base:
        duration = stream.duration * stream.time_base
    info = VideoInfo(
        width_px=width,
        height_px=height,
        codec=stream.codec_context.codec.canonical_name,
        header_duration_s=float(max(duration, Fraction(0))),
        rotation_deg=round(math.degrees(math.atan2(turn[1], turn[0]))) % 360,
    )
    return Facts(
        info=info,
        container=container.format.name,
        stream=stream.index,
        moving_streams=len(_moving(container)),
        width_px=first.width,
        height_px=first.height,
        pixel_aspect=aspect,
        turn=turn,
    )
