"""Decoded frames and their scaling with swscale: a tiny frame for shot detection, and images of any size.

A tiny frame has 64 x 36 px; shot detection sees nothing else of a video.

Swscale's area filter is exact and keeps its tables between frames. Pillow's box filter is off by up to 9 of 255 on fine
grain if the ratio is not a whole number. An image stays 4:2:0 until its final size is known and becomes RGB at that
size: this is a quarter of the work, and JPEG stores 4:2:0 anyway.

Every frame of a video gets a tiny frame, so tiny frames must be cheap. Of each of the 36 bands of a large frame, only
a few lines are read, but all pixels of these: the mean of 2 of 20 lines is within a few levels of the mean of all, at
an eighth of the cost. Single pixels would be cheaper, but they flicker on fine grain, and shot detection takes
flicker for cuts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mvp_data.core.errors import Skip, SkipReason
from mvp_data.core.types import TINY_HEIGHT_PX, TINY_WIDTH_PX, Luma, Picture, Tiny, Turn
from mvp_data.video.decode.facts import Facts, shown_size, square_size, stop_without_memory, turned

if TYPE_CHECKING:
    import av
    from av.video.reformatter import VideoReformatter

FULL_RANGE = 2  # AVCOL_RANGE_JPEG
BAND_LINES = 2  # lines read of each band: one from each field of interlaced video
MORE_FROM_PX = 30  # a band of this height and more: BAND_LINES lines of each 30 px
ALL_BELOW_PX = 8  # a lower band: all lines, because picking them costs as much as scaling them


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedFrame:
    """One frame of a pass.

    `image(max_area_px)` returns its image, scaled down so that width x height <= max_area_px, never enlarged. Call it
    before the next frame is requested; the image itself may be kept. If a stream changes size midway, PyAV gives each
    image its own size and the other back ends give the size of the first frame, so resize before comparing.
    """

    ticks: int | None  # time stamp of the stream; None if unknown
    pts_s: float = 0.0  # seconds from the first frame shown; `VideoStream.frames` sets it
    tiny: Tiny  # as coded (not rotated, pixels not square), full range: black is luma 0, white 255
    image: "Callable[[int], DecodedImage]"
    damaged: bool = False  # it may depend on lost data; PyAV: until the next key frame, ffmpeg: to the end
    left_out: bool = False  # not decoded: `tiny` is a blend of the frames around it, and there is no image


class FrameScaler:
    """Makes the frames of one stream: their tiny frames at once, their images on request."""

    def __init__(self, facts: Facts) -> None:
        """`facts` give the rotation and the pixel aspect of the stream."""
        from av.video.reformatter import VideoReformatter

        self._facts = facts
        self._picked: av.VideoFrame | None = None  # buffer for the lines read of a large frame
        self._tiny_scaler, self._scaler = VideoReformatter(), VideoReformatter()
        self._scalers = _Scalers(whole=VideoReformatter(), part=VideoReformatter(), rgb=VideoReformatter())

    def frame(self, frame: "av.VideoFrame", ticks: int | None, *, damaged: bool = False) -> DecodedFrame:
        """Return a frame of PyAV with its tiny frame."""
        return DecodedFrame(ticks=ticks, damaged=damaged, tiny=self._tiny(frame), image=partial(self._image, frame))

    def frame_of_rgb(self, rgb: Picture, ticks: int | None, *, damaged: bool = False) -> DecodedFrame:
        """Do the same for an RGB array [H, W, 3] of the coded size that is not rotated."""
        import av

        return self.frame(av.VideoFrame.from_ndarray(rgb, format="rgb24"), ticks, damaged=damaged)

    def _tiny(self, frame: "av.VideoFrame") -> Tiny:
        # 4:2:0 because it halves the work on colour
        small = _scaled(self._tiny_scaler, self._read(frame), (TINY_WIDTH_PX, TINY_HEIGHT_PX), "yuv420p")
        return tiny_of_planes(*(_lines(plane) for plane in small.planes))

    def _read(self, frame: "av.VideoFrame") -> "av.VideoFrame":
        """Return the lines to read as a frame, or the frame itself if that costs no more."""
        import av

        count, kind = lines_read(frame.height), frame.format.name
        if count == frame.height or not kind.startswith("yuv"):
            return frame
        picked = self._picked
        if picked is None or (picked.width, picked.height, picked.format.name) != (frame.width, count, kind):
            self._picked = picked = av.VideoFrame(frame.width, count, kind)
        picked.color_range = frame.color_range
        for plane, target in zip(frame.planes, picked.planes, strict=True):
            width = min(plane.line_size, target.line_size)
            chosen = _lines(plane).take(chosen_lines(plane.height, target.height), axis=0, mode="clip")
            _lines(target)[:, :width] = chosen[:, :width]
        return picked

    def _image(self, frame: "av.VideoFrame", max_area_px: int) -> "DecodedImage":
        aspect, turn = self._facts.pixel_aspect, self._facts.turn
        size = shown_size(frame.width, frame.height, aspect, max_area_px)
        if size != square_size(frame.width, frame.height, aspect):
            frame, aspect = _scaled(self._scaler, frame, size, "yuv420p"), Fraction(1)
        return DecodedImage(frame=frame, pixel_aspect=aspect, turn=turn, scalers=self._scalers)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scalers:
    """One scaler for each use, because each keeps the tables of its last sizes."""

    whole: "VideoReformatter"
    part: "VideoReformatter"
    rgb: "VideoReformatter"


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedImage:
    """The image of a frame, upright and with square pixels; it becomes RGB when that is requested."""

    frame: "av.VideoFrame"  # as decoded or scaled down
    pixel_aspect: Fraction
    turn: Turn
    scalers: _Scalers

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as displayed."""
        return self._as_coded(square_size(self.frame.width, self.frame.height, self.pixel_aspect))

    def rgb(self) -> Picture:
        """Return the whole image as RGB [H, W, 3]."""
        rgb = _scaled(self.scalers.whole, self.frame, self._as_coded(self.size), "rgb24").to_ndarray()
        return turned(rgb.astype(np.uint8, copy=False), self.turn)

    def cut(self, whole: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]) -> tuple[Picture, Luma]:
        """Scale the image to `whole`; return RGB and full-range luma of the part of `size` at `corner` (x, y).

        The whole image is scaled, because swscale cannot begin between two pixels.
        """
        coded = self._as_coded(whole)
        small = _scaled(self.scalers.part, self.frame, coded, "yuv420p")
        rgb = _scaled(self.scalers.rgb, small, coded, "rgb24").to_ndarray().astype(np.uint8, copy=False)
        luma = _lines(small.planes[0])[:, : small.width, None]
        (left, top), (width, height) = corner, size
        rgb, luma = (turned(p, self.turn)[top : top + height, left : left + width] for p in (rgb, luma))
        return np.ascontiguousarray(rgb), np.ascontiguousarray(luma[..., 0])

    def _as_coded(self, size: tuple[int, int]) -> tuple[int, int]:
        """Swap width and height if the frame is rotated by a quarter turn; the inverse is the same."""
        return size[::-1] if self.turn[0] == 0 else size


def lines_read(height_px: int) -> int:
    """Return how many lines of a frame are read for its tiny frame."""
    band_px = height_px // TINY_HEIGHT_PX
    if band_px < ALL_BELOW_PX:
        return height_px
    return BAND_LINES * max(1, band_px // MORE_FROM_PX) * TINY_HEIGHT_PX


@lru_cache(maxsize=16)
def chosen_lines(height_px: int, count: int) -> npt.NDArray[np.intp]:
    """Return the indices of `count` lines of a plane: evenly spread, alternating between the two fields."""
    number = np.arange(count)
    lines = (2 * number + 1) * height_px // (2 * count)
    in_turn: npt.NDArray[np.intp] = np.minimum(lines // 2 * 2 + number % 2, height_px - 1)
    return in_turn


def tiny_of_planes(luma: Luma, *colours: Luma) -> Tiny:
    """Return a tiny frame from full-range 4:2:0 planes: Y [36, >= 64], U and V [18, >= 32]."""
    tiny = np.empty((3, TINY_HEIGHT_PX, TINY_WIDTH_PX), np.uint8)
    tiny[0] = luma[:, :TINY_WIDTH_PX]
    pairs = tiny[1:].reshape(2, TINY_HEIGHT_PX // 2, 2, TINY_WIDTH_PX)
    for pair, colour in zip(pairs, colours, strict=True):
        pair[:] = colour[:, : TINY_WIDTH_PX // 2].repeat(2, axis=1)[:, None]
    return tiny.transpose(1, 2, 0)


def _is_full_range(frame: "av.VideoFrame") -> bool:
    return frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")


def _lines(plane: Any) -> Luma:
    """Return a view [H, >= W] of a plane; its lines may be longer than the frame is wide."""
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)


def _scaled(scaler: "VideoReformatter", frame: "av.VideoFrame", size: tuple[int, int], pix_fmt: str) -> "av.VideoFrame":
    """Scale a frame by area to full range; unmarked video counts as limited range, as in players."""
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
        stop_without_memory(e)
        what = f"pixel format {frame.format.name} at {frame.width}x{frame.height} cannot be converted"
        raise Skip(SkipReason.UNSUPPORTED_CODEC, f"{what}: {e.strerror}") from e
