"""Where the shots of a video begin: one seam, three methods, and two questions others ask of the answer.

detector = shot_detector("adaptive")
for frame in video.frames():
    detector.push(frame.pts_s, frame.tiny)
boundaries = detector.finish()
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

from mvp_data.config.options import METHODS
from mvp_data.core.errors import ConfigError
from mvp_data.core.types import Boundary, Tiny
from mvp_data.video.shots.adaptive import AdaptiveDetector


class ShotDetector(Protocol):
    """Sees every decoded frame once, in order, and keeps a few numbers of each."""

    def push(self, pts_s: float, tiny: Tiny) -> None:
        """Take the next frame: its time and its [36, 64, 3] uint8 YCbCr picture."""

    def finish(self) -> tuple[Boundary, ...]:
        """The boundaries in time order, never overlapping; call it once, after the last frame."""


class NoShots:
    """The whole video is one shot."""

    def push(self, pts_s: float, tiny: Tiny) -> None:
        """Ignore the frame."""

    def finish(self) -> tuple[Boundary, ...]:
        """No boundary."""
        return ()


def shot_detector(method: str) -> ShotDetector:
    """A fresh detector for one video.

    Raises ConfigError for a name outside METHODS, MissingDependencyError where the extra is not installed.
    """
    if method == "adaptive":
        return AdaptiveDetector()
    if method == "transnetv2":
        from mvp_data.video.shots.transnet import TransNetDetector

        return TransNetDetector()
    if method == "none":
        return NoShots()
    raise ConfigError(f"unknown shot method {method!r}: use one of {', '.join(METHODS)}")


def shot_number(boundaries: Sequence[Boundary], time_s: float) -> int:
    """The shot, from 0, that a time lies in.

    Inside a gradual transition it is the old shot: with a cut at 2.0 and a dissolve over [4.0, 5.0), the
    times 1.9, 2.0, 4.5, 5.0 lie in the shots 0, 1, 1, 2.
    """
    return bisect_right([boundary.end_s for boundary in boundaries], time_s)


def in_transition(boundaries: Sequence[Boundary], time_s: float, margin_s: float) -> bool:
    """Whether a time lies in a gradual transition, or closer than `margin_s` to either side of any boundary.

    Half-open like `Boundary`: with a cut at 2.0 and a margin of 0.5 the times 1.6 and 2.0 are in, 1.5 and
    2.5 are not; with no margin a cut contains nothing.
    """
    return any(b.start_s <= time_s < b.end_s for b in boundaries) or any(
        b.start_s - margin_s < time_s < b.end_s + margin_s for b in boundaries
    )
