"""Opens a video with one of the back ends."""

from contextlib import AbstractContextManager
from pathlib import Path

from mvp_data.config.options import BACKENDS
from mvp_data.core.errors import ConfigError
from mvp_data.video.decode.stream import SparseNeeds, Start, VideoStream


def open_video(
    path: str | Path, *, backend: str = "pyav", start: Start | None = None, needs: SparseNeeds | None = None
) -> AbstractContextManager[VideoStream]:
    """Open a local file for one pass: `with open_video("a.mp4") as video: for frame in video.frames(): ...`.

    Only PyAV can begin at a `start` other than the first frame, and leave out frames outside `needs`. A pass with
    `needs` may raise NeedsFullDecode; repeat it without. The other back ends ignore `needs`.

    Raises:
        Skip: on entering, if the file is not a usable video.
        MissingDependencyError: on entering, if the back end is not installed.
        ConfigError: at once, if the back end is unknown.
        ValueError: at once, if the back end cannot begin at `start`.
    """
    if start and backend != "pyav":
        raise ValueError(f"{backend} cannot begin at {start}; use pyav")
    match backend:
        case "pyav":
            from mvp_data.video.decode.pyav import open_pyav

            return open_pyav(path, start, needs)
        case "decord":
            from mvp_data.video.decode.decord import open_decord

            return open_decord(path)
        case "ffmpeg":
            from mvp_data.video.decode.ffmpeg import open_ffmpeg

            return open_ffmpeg(path)
    raise ConfigError(f"unknown decode back end {backend!r}: use one of {', '.join(BACKENDS)}")
