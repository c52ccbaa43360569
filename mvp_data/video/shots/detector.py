"""The interface of a shot detector, and the catalogue of detectors.

detector = shot_detector("adaptive")
for frame in video.frames():
    detector.push(frame.pts_s, frame.tiny)
boundaries = detector.finish()
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, Protocol

from mvp_data.config.options import METHODS
from mvp_data.core.errors import ConfigError
from mvp_data.core.types import Boundary, Tiny
from mvp_data.video.shots.adaptive import AdaptiveDetector


class ShotDetector(Protocol):
    """Sees the decoded frames once, in order, and keeps little of each.

    `needs` says which frames it must see. With "changes", it may see a blend of two nearly equal frames instead of a
    frame between them that sparse decoding leaves out.
    """

    needs: ClassVar[Literal["every frame", "changes", "nothing"]]

    def push(self, pts_s: float, tiny: Tiny) -> None:
        """Take the next frame: its time, and its tiny frame [36, 64, 3] in YCbCr."""

    def finish(self) -> tuple[Boundary, ...]:
        """Return the boundaries in order, without overlaps; call it once, after the last frame."""


class NoShots:
    """Treats the whole video as one shot."""

    needs: ClassVar[Literal["every frame", "changes", "nothing"]] = "nothing"

    def push(self, pts_s: float, tiny: Tiny) -> None:
        """Ignore the frame."""

    def finish(self) -> tuple[Boundary, ...]:
        """Return no boundary."""
        return ()


def shot_detector(method: str) -> ShotDetector:
    """Return a new detector for one video.

    Raises:
        ConfigError: the method is not one of METHODS.
        MissingDependencyError: the extra of the method is not installed.
    """
    if method == "adaptive":
        return AdaptiveDetector()
    if method == "transnetv2":
        from mvp_data.video.shots.transnet import TransNetDetector

        return TransNetDetector()
    if method == "none":
        return NoShots()
    raise ConfigError(f"unknown shot method {method!r}: use one of {', '.join(METHODS)}")


def in_transition(boundaries: Sequence[Boundary], time_s: float, margin_s: float) -> bool:
    """Return whether a time is in a gradual transition, or closer than `margin_s` to either side of any boundary.

    Half-open like `Boundary`: with a cut at 2.0 and a margin of 0.5 the times 1.6 and 2.0 are in, 1.5 and 2.5 are not;
    with no margin a cut contains no time.
    """
    return any(b.start_s <= time_s < b.end_s for b in boundaries) or any(
        b.start_s - margin_s < time_s < b.end_s + margin_s for b in boundaries
    )
