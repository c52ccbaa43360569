"""The decord back end: decodes only files that decord is known to decode correctly, and refuses all others.

decord 0.6.0 silently gives wrong frames for MPEG-TS and edit lists, cannot open AV1, fails on VP9, crops odd sizes, and
chooses among several streams by its own rules. So only tested containers and codecs are accepted, and its frame count
and times are checked against the packets that PyAV reads, without a second decode. It takes three to four times the CPU
time of PyAV on 720p, because every frame becomes RGB.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mvp_data.core.errors import MissingDependencyError, Skip, SkipReason
from mvp_data.core.types import Turn
from mvp_data.video.decode.facts import Facts, turned
from mvp_data.video.decode.pyav import load_libraries, probe, shown_times
from mvp_data.video.decode.scaling import DecodedFrame, FrameScaler
from mvp_data.video.decode.stream import VideoStream

CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")  # libavformat's names
CODECS = ("h264", "hevc", "mpeg4", "vp8")
TIME_TOLERANCE_S = 0.001  # decord stores times as 32-bit floats


@contextmanager
def open_decord(path: str | Path) -> Iterator["DecordStream"]:
    """Open a video with decord for `decode.open_video`; raises Skip, and MissingDependencyError without decord."""
    load_libraries()
    try:
        import decord
    except ImportError as e:
        line = "pip install 'masked-video-prediction[decord]'"
        raise MissingDependencyError(f"the decord back end needs decord: {line}") from e
    facts = probe(path)
    refuse_unsafe(facts)
    ticks, hidden = shown_times(path, facts.stream)
    if hidden:
        raise _refused(f"an edit list hides {hidden} packets")
    decord.logging.set_level(decord.logging.QUIET)  # otherwise its libavcodec writes to stderr
    try:
        reader = decord.VideoReader(os.path.abspath(path), num_threads=1)
    except (decord.DECORDError, RuntimeError) as e:
        raise _refused(f"it cannot open the file ({type(e).__name__})") from e
    yield DecordStream(reader, facts, ticks)


def refuse_unsafe(facts: Facts) -> None:
    """Raise Skip(UNSUPPORTED_CODEC) for a file that decord is not known to decode correctly."""
    if facts.container not in CONTAINERS:
        raise _refused(f"container {facts.container}")
    if facts.info.codec not in CODECS:
        raise _refused(f"codec {facts.info.codec}")
    if facts.moving_streams > 1:
        raise _refused(f"{facts.moving_streams} video streams")
    if facts.width_px % 2 or facts.height_px % 2:
        raise _refused(f"it cuts a row or column off an odd size, {facts.width_px}x{facts.height_px}")


def _refused(what: str) -> Skip:
    return Skip(SkipReason.UNSUPPORTED_CODEC, f"decord cannot be trusted here: {what}; use the pyav back end")


class DecordStream(VideoStream):
    """A file read by decord from front to back; decord rotates frames itself, so they are rotated back first."""

    def __init__(self, reader: Any, facts: Facts, ticks: list[int]) -> None:
        """Compare decord's frame count and times with the packets; raises Skip if they differ."""
        super().__init__(facts)
        self._reader, self._ticks = reader, ticks
        if len(reader) != len(ticks):
            raise _refused(f"it counts {len(reader)} frames, the file has {len(ticks)}")
        starts = reader.get_frame_timestamp(range(len(ticks)))[:, 0]
        wrong = np.abs(starts - starts[0] - np.array(ticks) * float(self.tick_s)) > TIME_TOLERANCE_S
        if wrong.any():
            raise _refused(f"{int(wrong.sum())} of its {len(ticks)} times are wrong")

    def raw_frames(self) -> Iterator[DecodedFrame]:
        """Yield the frames with the times of the packets; raises Skip(DECODE_ERROR) if decord fails midway."""
        import decord

        a, b, c, d = self.facts.turn
        back: Turn = (a, c, b, d)
        scaler = FrameScaler(self.facts)
        for i, ticks in enumerate(self._ticks):
            try:
                rgb = self._reader.next().asnumpy()
            except (decord.DECORDError, RuntimeError, StopIteration) as e:
                raise Skip(SkipReason.DECODE_ERROR, f"decord failed at frame {i} ({type(e).__name__})") from e
            yield scaler.frame_of_rgb(turned(rgb, back), ticks)
