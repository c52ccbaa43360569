"""The ffmpeg back end: runs the ffmpeg program with ffmpeg-python, frames from a pipe, times from `showinfo`.

It takes three to four times the CPU time of PyAV on 720p, because every frame passes through a pipe as RGB. Use it for
a specific build of ffmpeg, or to decode in a separate process. It needs ffmpeg 5.1 or later (`-fps_mode`).
"""

import os
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np

from mvp_data.core.containers import CONTAINERS
from mvp_data.core.errors import MissingDependencyError, Skip, SkipReason
from mvp_data.video.decode.facts import Facts
from mvp_data.video.decode.pyav import probe
from mvp_data.video.decode.scaling import DecodedFrame, FrameScaler
from mvp_data.video.decode.stream import VideoStream

INSTALL = "pip install 'masked-video-prediction[ffmpeg]'"
# anchored, because ffmpeg also prints a file's own metadata
_TIME_BASE = re.compile(rb"^\[Parsed_showinfo_0 @ \w+\] config in time_base: (\d+)/(\d+)")
_PTS = re.compile(rb"^\[Parsed_showinfo_0 @ \w+\] n: *\d+ pts: *(-?\d+|NOPTS)")
_BRACKETS = re.compile(rb"\[[^\]]*\] ?")  # they hold memory addresses, which differ between runs
_DAMAGE = re.compile(rb"Error submitting packet to decoder|corrupt decoded frame|Error while decoding")


@contextmanager
def open_ffmpeg(path: str | Path) -> Iterator["FfmpegStream"]:
    """Open a video with ffmpeg for `decode.open_video`; ffmpeg is killed when the `with` block ends.

    Raises Skip, MissingDependencyError.
    """
    binary = find_ffmpeg()
    facts = probe(path)
    command = _command(binary, os.path.abspath(path), facts)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield FfmpegStream(process, facts)
    finally:
        process.kill()
        process.communicate()


def find_ffmpeg() -> str:
    """Return the path of ffmpeg, from PATH or imageio-ffmpeg; raises MissingDependencyError with the pip line."""
    binary = shutil.which("ffmpeg")
    if binary:
        return binary
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as e:  # RuntimeError: the package has no program for this platform
        raise MissingDependencyError(f"the ffmpeg back end finds no ffmpeg program: {INSTALL}") from e


def _command(binary: str, path: str, facts: Facts) -> list[str]:
    """Return the command: one thread, no rotation, every frame once with its own time, no other file is read."""
    try:
        import ffmpeg
    except ImportError as e:
        raise MissingDependencyError(f"the ffmpeg back end needs ffmpeg-python: {INSTALL}") from e
    source = ffmpeg.input(
        f"file:{path}",
        threads=1,
        noautorotate=None,
        protocol_whitelist="file,pipe",
        format_whitelist=CONTAINERS,
    )
    output = source[str(facts.stream)].output(
        "pipe:", vf="showinfo=checksum=0", fps_mode="passthrough", f="rawvideo", pix_fmt="rgb24"
    )
    flags = ("-hide_banner", "-nostdin", "-nostats", "-loglevel", "info", "-copyts", "-filter_threads", "1")
    return [str(word) for word in output.global_args(*flags).compile(cmd=binary)]


class FfmpegStream(VideoStream):
    """A running ffmpeg; a thread reads its messages, in which the n-th `pts` is the time of the n-th frame."""

    def __init__(self, process: "subprocess.Popen[bytes]", facts: Facts) -> None:
        """Start reading the messages, because ffmpeg stops when their pipe is full."""
        super().__init__(facts)
        self.process = process
        self._ticks: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._last_words = b""
        self._silent = False  # no more messages will come
        assert process.stderr is not None
        self._reader = threading.Thread(target=self._read_messages, args=(process.stderr,), daemon=True)
        self._reader.start()

    def _read_messages(self, messages: IO[bytes]) -> None:
        for line in messages:
            if found := _TIME_BASE.search(line):
                self.tick_s = Fraction(int(found[1]), int(found[2]))
            elif found := _PTS.search(line):
                self._ticks.put(None if found[1] == b"NOPTS" else int(found[1]))
            elif _DAMAGE.search(line):
                self.damaged_packets += 1
            else:
                self._last_words = line.strip() or self._last_words
        self._silent = True
        self._ticks.put(None)  # wakes `raw_frames` if it waits for one more

    def _next_ticks(self) -> int | None:
        return None if self._silent and self._ticks.empty() else self._ticks.get()

    def raw_frames(self) -> Iterator[DecodedFrame]:
        """Yield the frames; raises Skip if ffmpeg was killed, or ended in an error without a frame."""
        height, width = self.facts.height_px, self.facts.width_px
        pipe = self.process.stdout
        assert pipe is not None
        scaler = FrameScaler(self.facts)
        shown = 0
        while len(data := pipe.read(height * width * 3)) == height * width * 3:
            shown += 1
            rgb = np.frombuffer(data, np.uint8).reshape(height, width, 3)
            ticks = self._next_ticks()  # by now all messages before this one have been read
            yield scaler.frame_of_rgb(rgb, ticks, damaged=self.damaged_packets > 0)
        code = self.process.wait()
        self._reader.join()
        words = _BRACKETS.sub(b"", self._last_words).decode(errors="replace")
        if "Unrecognized option" in words or "Option not found" in words:
            raise MissingDependencyError(f"this ffmpeg is too old, 5.1 or later is needed ({words}): {INSTALL}")
        if code < 0:
            raise Skip(SkipReason.CRASH, f"ffmpeg was ended by signal {-code} after {shown} frames")
        if code and not shown:
            raise Skip(SkipReason.UNSUPPORTED_CODEC, f"ffmpeg ended with code {code}: {words}")
