"""Chooses the frames to sample: a seeded grid of times that gets coarser as the video gets longer.

It does not need the duration from the header, which may be wrong.
"""

import math
from collections.abc import Iterable

from mvp_data.core.seeds import unit


def rates(fps: float, max_fps: float) -> tuple[float, ...]:
    """Return the sampling rates from the fastest to the configured one, each half of the one before.

    rates(1.0, 4.0) -> (4.0, 2.0, 1.0);  rates(1.0, 3.9) -> (2.0, 1.0);  rates(2.0, 2.0) -> (2.0,)
    """
    doublings = int(math.log2(max_fps / fps) + 1e-9)
    return tuple(fps * 2**n for n in range(doublings, -1, -1))


class SampleGrid:
    """Decides for each frame, in order, whether to sample it, and which samples to keep when the rate is halved.

    The grid points of a rate r are the times `phase mod 1/r + i/r`; `phase` is in [0, 1/fps) and depends only on the
    seed and the video. A frame is sampled if it is the first one shown at or after a grid point. Half the rate keeps
    every second grid point, so thinning leaves exactly the samples that the slower rate would have given.
    """

    def __init__(self, *, fps: float, max_fps: float, seed: int, video_id: str, slowest: bool = False) -> None:
        """`slowest`: start at the configured rate, as for the later chunks of a long video."""
        self._rates = rates(fps, max_fps)
        self._phase_s = unit("phase", seed, video_id) / fps
        self._level = len(self._rates) - 1 if slowest else 0
        self._next = 0  # first grid point not covered yet

    @property
    def rate_fps(self) -> float:
        """The current rate."""
        return self._rates[self._level]

    @property
    def is_slowest(self) -> bool:
        """Whether the current rate is the configured one."""
        return self._level == len(self._rates) - 1

    def covers(self, time_s: float) -> range:
        """Return the grid points that a frame at `time_s` is the first to reach; if none, it is not sampled."""
        base_s = self._phase_s % (1 / self.rate_fps)
        last = math.floor((time_s - base_s) * self.rate_fps + 1e-6)
        covered = range(self._next, last + 1)
        self._next = max(self._next, last + 1)
        return covered

    def may_cover(self, before_s: float, time_s: float) -> bool:
        """Return whether a frame that follows one at `before_s` may be sampled, at this or a slower rate."""
        base_s = self._phase_s % (1 / self.rate_fps)
        before, last = (math.floor((t - base_s) * self.rate_fps + 1e-6) for t in (before_s, time_s))
        return last > max(before, -1)

    def thin(self, samples: Iterable[range]) -> list[range]:
        """Halve the rate; return the points of the new grid that each earlier sample covers (empty: drop it)."""
        slow_rate = self._rates[self._level + 1]
        offset = round((self._phase_s % (1 / slow_rate) - self._phase_s % (1 / self.rate_fps)) * self.rate_fps)
        self._level += 1
        self._next = math.ceil((self._next - offset) / 2)
        return [range(math.ceil((s.start - offset) / 2), (s.stop - 1 - offset) // 2 + 1) for s in samples]
