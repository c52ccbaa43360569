"""The quality of single synthetic frames."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from mvp_data.core.types import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX, Luma, Picture
from mvp_data.video.quality import is_black, measure, sharpness
from tests.builders import rng
from tests.video.test_extract import texture


def luma(picture: Picture) -> Luma:
    return np.asarray(Image.fromarray(picture).convert("L"))


def noisy(level: int, spread: int) -> Luma:
    return np.clip(rng("noise", level, spread).normal(level, spread, size=(90, 160)), 0, 255).astype(np.uint8)


def reject(picture: Luma, before: Luma | None) -> str:
    return measure(picture, before).reject


def test_reasons_to_reject() -> None:
    scene = luma(texture(1))
    lamp = noisy(8, 4)
    lamp[10:40, 10:40] = 180  # 6 % of the picture
    assert reject(noisy(0, 3), None) == "black"
    assert reject(noisy(16, 4), None) == "black"
    assert reject(noisy(120, 2), None) == "flat"
    assert reject(noisy(250, 1), None) == "flat"
    assert reject(lamp, None) == "", "a night scene with one lamp"
    assert reject(scene, None) == ""
    assert reject(scene, scene) == "frozen"
    assert reject(scene, np.rint(scene + rng("f").normal(0, 0.3, scene.shape)).astype(np.uint8)) == "frozen"
    assert reject(scene, luma(texture(2))) == ""
    moved = scene.copy()
    moved[30:60, 50:80] = scene[30:60, 52:82]
    moved[30:60, 52:60] += 40
    assert reject(moved, scene) == "", "something small moved"


@pytest.mark.parametrize("size", [(448, 252), (336, 252), (28, 28), (33, 17), (1, 1)])
def test_numbers_are_those_of_numpy_and_the_thumbnail_is_pillows(size: tuple[int, int]) -> None:
    levels = rng("levels", *size).integers(0, 256, size=size[::-1], dtype=np.uint8)
    found = measure(levels, None)
    assert found.luma == pytest.approx(levels.mean())
    assert found.contrast == pytest.approx(levels.std(), abs=1e-6)
    small = Image.fromarray(levels).resize((THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX), Image.Resampling.BOX)
    assert found.thumbnail == small.tobytes()
    assert (found.reject == "black") == is_black(levels)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_sharpness_falls_with_blur(seed: int) -> None:
    cells = rng("sharp", seed).integers(0, 256, size=(30, 40, 3), dtype=np.uint8)
    image = Image.fromarray(cells).resize((320, 240), Image.Resampling.NEAREST)
    values = [sharpness(luma(np.asarray(image.filter(ImageFilter.GaussianBlur(r))))) for r in (0, 1, 2, 4, 8)]
    assert all(a > 1.5 * b for a, b in pairwise(values))


def test_sharpness_of_known_frames() -> None:
    assert sharpness(np.full((5, 5), 7, np.uint8)) == 0
    ramp = np.add.outer(np.arange(8), 3 * np.arange(9)).astype(np.uint8)
    assert sharpness(ramp) == pytest.approx(0, abs=1e-6), "an even slope has no edge"
    dot = np.zeros((3, 4), np.uint8)
    dot[1, 1] = 1  # Laplacians: -4 at the dot, 1 next to it
    assert sharpness(dot) == pytest.approx(6.25)
