"""Shot detection without a network: cuts (`cuts`), fades and dissolves (`gradual`).

The detector keeps the time of each frame and 16 x 9 luma pixels, 152 bytes: 16 MB for an hour at 30 frames a second. It
processes frames in blocks, because a call of numpy costs more than the arithmetic of one frame. The result is the same.
"""

from array import array
from bisect import bisect_left
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import TINY_HEIGHT_PX, TINY_WIDTH_PX, Boundary, Tiny
from mvp_data.video.shots.compare import half_sizes
from mvp_data.video.shots.cuts import CutFinder
from mvp_data.video.shots.gradual import Span, find_dissolves, find_fades

BLOCK_FRAMES = 32  # processed together
MIN_SHOT_S = 0.2  # music videos have shots of 0.28 s; closer boundaries are one event


class AdaptiveDetector:
    """The default `ShotDetector`."""

    needs: ClassVar[Literal["every frame", "changes", "nothing"]] = "changes"

    def __init__(self) -> None:
        """Start a video."""
        self._times_s = array("d")
        self._luma = bytearray()
        self._cuts = CutFinder()
        self._block = np.empty((BLOCK_FRAMES, 3, TINY_HEIGHT_PX, TINY_WIDTH_PX), np.uint8)
        self._waiting = 0  # frames in the block

    def push(self, pts_s: float, tiny: Tiny) -> None:
        """Take the next frame."""
        self._times_s.append(pts_s)
        self._block[self._waiting] = tiny.transpose(2, 0, 1)
        self._waiting += 1
        if self._waiting == len(self._block):
            self._process()

    def _process(self) -> None:
        """Pass the waiting frames to the search for cuts, and keep their luma for the rest."""
        if not self._waiting:
            return
        halves = half_sizes(self._block[: self._waiting])
        rows = halves[:, 0, 0::2] + halves[:, 0, 1::2]
        self._luma += ((rows[..., 0::2] + rows[..., 1::2]) >> 2).astype(np.uint8).tobytes()
        self._cuts.push(self._times_s[-self._waiting :], halves)
        self._waiting = 0

    def finish(self) -> tuple[Boundary, ...]:
        """Return the boundaries; of two at the same place, a fade beats a cut, and a cut beats a dissolve."""
        self._process()
        times_s = np.frombuffer(self._times_s, dtype=np.float64)
        cuts = sorted(self._cuts.finish(), key=lambda cut: -cut.strength)
        if len(times_s) < 2:
            return ()
        luma = np.frombuffer(self._luma, dtype=np.uint8).reshape(len(times_s), -1)
        fps = 1.0 / max(float(np.median(np.diff(times_s))), 1e-3)
        kept: list[Boundary] = []
        for span in find_fades(luma, fps=fps):
            _add(kept, "fade", span, times_s)
        for cut in cuts:
            span = Span(start=cut.index, end=cut.index + cut.mixed)
            _add(kept, "dissolve" if cut.mixed else "cut", span, times_s)
        starts = [int(np.searchsorted(times_s, boundary.start_s)) for boundary in kept]
        for span in find_dissolves(luma, cuts=starts, fps=fps):
            _add(kept, "dissolve", span, times_s)
        return tuple(kept)


def _add(kept: list[Boundary], kind: str, span: Span, times_s: npt.NDArray[np.float64]) -> None:
    """Insert a boundary in order, unless it is closer than MIN_SHOT_S to another one."""
    start_s = float(times_s[span.start])
    end_s = float(times_s[span.end] if span.end < len(times_s) else 2 * times_s[-1] - times_s[-2])
    place = bisect_left(kept, start_s, key=lambda b: b.start_s)
    if place > 0 and start_s - kept[place - 1].end_s < MIN_SHOT_S:
        return
    if place < len(kept) and kept[place].start_s - end_s < MIN_SHOT_S:
        return
    kept.insert(place, Boundary(kind=kind, start_s=start_s, end_s=end_s))
