"""Loaded by every Python process that has this folder on PYTHONPATH: in workers, what $MVP_ACTS says is done.

{"film 1.mp4": ["abort", 5]}             when frame 5 of this video has been decoded, the process aborts
{"film 1.mp4": ["abort", 5, "marker"]}   the same, unless the file `marker` is there; it is made first
{"clock": [["-1"], 0]}                   every other look at the clock is years early, the others years late
"""

import ctypes
import itertools
import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

YEARS_S = 10 * 365 * 86_400.0


def act(what: str, path: Path, more: list[str]) -> None:
    """Do one of the bad things that can happen to a video in a worker."""
    match what:
        case "abort":
            os.abort()
        case "segfault":
            ctypes.string_at(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "memory":
            hoard = b"x" * 1_500_000_000
            time.sleep(30 + len(hoard) % 2)
        case "sleep":
            time.sleep(float(more[0]))
        case "truncate":
            os.truncate(path, path.stat().st_size // 2)
        case "grow":
            with path.open("ab") as file:
                file.write(b"more of it")
        case "replace":
            os.replace(more[0], path)
        case "vanish":
            path.unlink()
        case "remove":
            shutil.rmtree(more[0])
        case _:
            raise ValueError(what)


def install(acts: dict[str, list[Any]]) -> None:
    """Put the acts into the decode seam."""
    from mvp_data.video.decode import open as opening
    from mvp_data.video.decode import stream as stream_module
    from mvp_data.video.decode.scaling import DecodedFrame

    opened, frames = opening.open_video, stream_module.VideoStream.frames
    current: list[Path] = []

    def open_video(path: Path, **options: Any) -> Any:
        current[:] = [Path(path)]
        return opened(path, **options)

    def acting(stream: stream_module.VideoStream, *given: Any, **options: Any) -> Iterator[DecodedFrame]:
        what, at, *more = acts.get(current[0].name if current else "", ("", -1))
        for number, frame in enumerate(frames(stream, *given, **options)):
            if number == at and not (what in ("abort", "segfault", "kill") and more and Path(more[0]).exists()):
                if what in ("abort", "segfault", "kill") and more:
                    Path(more[0]).touch()
                act(what, current[0], more)
            yield frame

    opening.open_video = open_video  # type: ignore[assignment]
    stream_module.VideoStream.frames = acting  # type: ignore[method-assign]


def jump() -> None:
    """Make the wall clock jump back and forth; the monotonic clock continues."""
    real, signs = time.time, itertools.cycle((-1, 1))
    time.time = lambda: real() + next(signs) * YEARS_S


if "MVP_ACTS" in os.environ:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    planned = json.loads(os.environ["MVP_ACTS"])
    if planned.pop("clock", None):
        jump()
    if stall := planned.pop("read_timeout_s", None):
        from mvp_data.system import urls

        urls.READ_TIMEOUT_S = stall
    install(planned)
