"""The interface of a decoder: one pass over a video gives every frame in order, with strictly rising times.

There are three back ends: `pyav` (the default), `ffmpeg` and `decord`. A back end refuses files that it is known to
decode wrongly (`Skip(UNSUPPORTED_CODEC)`), because a wrong frame is worse than no frame.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

from mvp_data.core.errors import Skip, SkipReason
from mvp_data.core.types import VideoInfo
from mvp_data.video.decode.facts import Facts, seconds
from mvp_data.video.decode.scaling import DecodedFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A key packet at which a pass over a chunk of a video begins; `video.chunks` chooses it.

    Times are in units of `Facts.tick_s`. `place` is the packet's offset in the file (bytes), None if unknown.
    """

    ticks: int
    place: int | None
    origin: int  # time of the video's first frame, which is time 0 of the pass


class Packet(NamedTuple):
    """A packet as the container describes it; a tuple, because a long video has millions."""

    ticks: int | None  # PTS in units of `Facts.tick_s`
    place: int | None
    can_start: bool  # a key packet whose frame is shown
    new_header: bool  # changes the parameters of the codec, which later packets need


@dataclass(frozen=True, kw_only=True, slots=True)
class SparseNeeds:
    """The frames that a sparse pass must decode."""

    wanted: Callable[[float, float], bool]  # (time of the frame before, own time) -> whether it may be sampled
    shots: bool = True  # False: no shots are detected, so only the sampled frames are needed


class VideoStream:
    """An open video. The back ends derive from it; `frames()` holds the rules that are the same for all of them."""

    tick_s: Fraction  # unit of `DecodedFrame.ticks`
    damaged_packets: int = 0  # so far: packets that failed, frames flagged corrupt, frames dropped for their time
    start: Start | None = None  # where a pass over a chunk begins; such a pass may give no frame

    def __init__(self, facts: Facts) -> None:
        """Take the properties of the stream."""
        self.facts, self.tick_s = facts, facts.tick_s

    @property
    def info(self) -> VideoInfo:
        """The properties as displayed."""
        return self.facts.info

    def raw_frames(self) -> Iterator[DecodedFrame]:
        """Yield the decoder's frames in display order, without `pts_s`."""
        raise NotImplementedError

    def frames(self) -> Iterator[DecodedFrame]:
        """Yield all frames in order; drop and count a frame that has no time or is not later than the last one.

        It may be iterated once.

        Raises:
            Skip: fewer than two frames, or the file cannot be decoded.
            NeedsFullDecode: a sparse pass left out too much.
        """
        first, last = self.start.origin if self.start else None, None
        shown = 0
        for frame in self.raw_frames():
            if frame.ticks is None or (last is not None and frame.ticks <= last):
                self.damaged_packets += 1
                continue
            first, last = frame.ticks if first is None else first, frame.ticks
            shown += 1
            yield replace(frame, pts_s=seconds(frame.ticks - first, self.tick_s))
        if shown < 2 and not self.start:
            raise too_few(shown, self.damaged_packets)


def too_few(shown: int, damaged: int) -> Skip:
    """Return the reason to skip a stream of fewer than two frames: damage if there was any, else it is an image."""
    if damaged:
        return Skip(SkipReason.DECODE_ERROR, f"only {shown} frames could be decoded, {damaged} packets failed")
    return Skip(SkipReason.NO_MOVING_PICTURE, f"the video stream shows only {shown} frames")
