"""Tiny copies and pictures of frames, by swscale: its area filter is exact, and it keeps its tables.

Pillow's box filter is not exact: at ratios between whole numbers it is off by up to 9 of 255 on fine grain. A picture
stays 4:2:0 until its final size is known and becomes RGB there: a quarter of the work, and JPEG makes it 4:2:0 anyway.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mvp_data.decode import Facts, RawFrame, Turn, shown_size, square_size, stop_without_memory, turned
from mvp_data.errors import Skip, SkipReason
from mvp_data.tiny import chosen_lines, lines_read, tiny_of_planes
from mvp_data.types import TINY_HEIGHT_PX, TINY_WIDTH_PX, Luma, Picture, Tiny

if TYPE_CHECKING:
    import av
    from av.video.reformatter import VideoReformatter

FULL_RANGE = 2  # AVCOL_RANGE_JPEG


class Shrinker:
    """Makes the tiny copies and the pictures of one stream."""

    def __init__(self, facts: Facts) -> None:
        """`facts` say how pictures are turned and squared."""
        from av.video.reformatter import VideoReformatter

        self._facts = facts
        self._picked: av.VideoFrame | None = None  # what is read of a large picture, for its tiny frame
        self._tiny_scaler, self._scaler = VideoReformatter(), VideoReformatter()
        self._scalers = _Scalers(whole=VideoReformatter(), part=VideoReformatter(), rgb=VideoReformatter())

    def raw(self, frame: "av.VideoFrame", ticks: int | None, *, damaged: bool = False) -> RawFrame:
        """A frame of the pass, coded as `facts` say."""
        tiny, picture = partial(self._tiny, frame), partial(self._picture, frame)
        return RawFrame(ticks=ticks, damaged=damaged, tiny=tiny, picture=picture)

    def raw_of_rgb(self, rgb: Picture, ticks: int | None, *, damaged: bool = False) -> RawFrame:
        """The same for a back end that gives RGB at the coded size, not turned."""
        import av

        return self.raw(av.VideoFrame.from_ndarray(rgb, format="rgb24"), ticks, damaged=damaged)

    def _tiny(self, frame: "av.VideoFrame") -> Tiny:
        # 4:2:0 because it halves the work on colour
        small = _scaled(self._tiny_scaler, self._read(frame), (TINY_WIDTH_PX, TINY_HEIGHT_PX), "yuv420p")
        return tiny_of_planes(*(_lines(plane) for plane in small.planes))

    def _read(self, frame: "av.VideoFrame") -> "av.VideoFrame":
        """The lines of a frame that are read, as a frame; all of them where that costs no more."""
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

    def _picture(self, frame: "av.VideoFrame", max_area_px: int) -> "AvStill":
        aspect, turn = self._facts.pixel_aspect, self._facts.turn
        size = shown_size(frame.width, frame.height, aspect, max_area_px)
        if size != square_size(frame.width, frame.height, aspect):
            frame, aspect = _scaled(self._scaler, frame, size, "yuv420p"), Fraction(1)
        return AvStill(frame=frame, pixel_aspect=aspect, turn=turn, scalers=self._scalers)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scalers:
    """One for each use, since each keeps the tables of its last sizes."""

    whole: "VideoReformatter"
    part: "VideoReformatter"
    rgb: "VideoReformatter"


@dataclass(frozen=True, kw_only=True, slots=True)
class AvStill:
    """A frame that PyAV holds, as decoded or already shrunk; see `decode.Still`."""

    frame: "av.VideoFrame"
    pixel_aspect: Fraction
    turn: Turn
    scalers: _Scalers

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as displayed."""
        return self._as_coded(square_size(self.frame.width, self.frame.height, self.pixel_aspect))

    def rgb(self) -> Picture:
        """All of it."""
        rgb = _scaled(self.scalers.whole, self.frame, self._as_coded(self.size), "rgb24").to_ndarray()
        return turned(rgb.astype(np.uint8, copy=False), self.turn)

    def cut(self, whole: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]) -> tuple[Picture, Luma]:
        """The part inside `whole`: all is scaled, since swscale cannot begin between two pixels."""
        coded = self._as_coded(whole)
        small = _scaled(self.scalers.part, self.frame, coded, "yuv420p")
        rgb = _scaled(self.scalers.rgb, small, coded, "rgb24").to_ndarray().astype(np.uint8, copy=False)
        luma = _lines(small.planes[0])[:, : small.width, None]
        (left, top), (width, height) = corner, size
        rgb, luma = (turned(p, self.turn)[top : top + height, left : left + width] for p in (rgb, luma))
        return np.ascontiguousarray(rgb), np.ascontiguousarray(luma[..., 0])

    def _as_coded(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height swapped where the picture is turned by a quarter, either way."""
        return size[::-1] if self.turn[0] == 0 else size


def _is_full_range(frame: "av.VideoFrame") -> bool:
    return frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")


def _lines(plane: Any) -> Luma:
    """The lines [H, >= W] of a plane, in place; they may be longer than the picture is wide."""
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)


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
        stop_without_memory(e)
        what = f"pixel format {frame.format.name} at {frame.width}x{frame.height} cannot be converted"
        raise Skip(SkipReason.UNSUPPORTED_CODEC, f"{what}: {e.strerror}") from e
