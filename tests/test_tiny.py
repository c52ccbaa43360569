"""Tiny frames from picked lines: near the mean of the area, whatever the size, and steady where the picture is."""

import numpy as np
import numpy.typing as npt
import pytest

from mvp_data.tiny import can_be_picked, tiny_of_planes, tiny_of_samples
from mvp_data.types import Tiny
from tests.builders import rng

Grey = npt.NDArray[np.uint8]
SIZES = [(1280, 720), (640, 360), (568, 320), (1920, 1080), (641, 361), (204, 360), (3840, 2160)]


def tiny_of(luma: Grey, blue: int = 128, red: int = 128, *, full_range: bool = True, padding: int = 0) -> Tiny:
    """Of a picture in 4:2:0 whose colour is the same everywhere and whose lines are longer than it is wide."""
    height, width = luma.shape
    colours = [np.full(((height + 1) // 2, (width + 1) // 2 + padding), level, np.uint8) for level in (blue, red)]
    padded = np.pad(luma, ((0, 0), (0, padding)), constant_values=255)
    return tiny_of_planes([padded, *colours], width, full_range=full_range)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_slope_comes_out_as_one(width: int, height: int) -> None:
    """Truth: luma rises by 120 from left to right and by 80 from top to bottom."""
    across, down = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    luma = (20 + 120 * across + 80 * down[:, None]).astype(np.uint8)
    across, down = (np.arange(64) + 0.5) / 64, (np.arange(36) + 0.5) / 36
    exact = 20 + 120 * across + 80 * down[:, None]
    found = tiny_of(luma, 90, 170, padding=32)
    assert found.shape == (36, 64, 3)
    assert np.abs(found[..., 0] - exact).max() < 2.5
    assert set(found[..., 1].ravel().tolist()) == {90}
    assert set(found[..., 2].ravel().tolist()) == {170}


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_grain_averages_out(width: int, height: int) -> None:
    """Truth: grey with grain of 20 levels; no tiny pixel is off by more than what so few samples explain."""
    grain = rng("grain", width, height).normal(120, 20, (height, width)).clip(0, 255).astype(np.uint8)
    found = tiny_of(grain)[..., 0].astype(float)
    samples = 2 * (width // 64)
    assert abs(found.mean() - 120) < 1.5
    assert found.std() < 1.5 * 20 / samples**0.5 + 0.5


@pytest.mark.parametrize("period", [2, 3, 4, 8])
def test_fine_columns_do_not_flicker_when_they_move(period: int) -> None:
    """Truth: columns of one width drift sideways; single picked pixels would turn from black to white."""
    columns = np.where(np.arange(1280 + period) % period < period / 2, 40, 200).astype(np.uint8)
    shown = [tiny_of(np.tile(columns[shift : shift + 1280], (720, 1)))[..., 0].astype(int) for shift in range(period)]
    assert max(np.abs(a - shown[0]).max() for a in shown) <= 170 / 20 * period / 2 + 1


def test_both_fields_of_interlaced_video_are_seen() -> None:
    """Truth: odd lines are 80 brighter than even ones."""
    lines = np.where(np.arange(576) % 2, 140, 60).astype(np.uint8)
    assert set(tiny_of(np.tile(lines[:, None], (1, 720)))[..., 0].ravel().tolist()) == {100}


def test_limited_range_is_stretched() -> None:
    for level, full in ((16, 0), (126, 128), (235, 255), (0, 0), (255, 255)):
        found = tiny_of(np.full((360, 640), level, np.uint8), 128, 240, full_range=False)
        assert set(found[..., 0].ravel().tolist()) == {full}
        assert set(found[..., 1].ravel().tolist()) == {128}
        assert set(found[..., 2].ravel().tolist()) == {255}


def test_samples_are_put_in_place() -> None:
    luma, colour = rng("y").integers(0, 256, (36, 64)), rng("c").integers(0, 256, (2, 18, 32))
    found = tiny_of_samples(np.concatenate([luma.ravel(), colour.ravel()]).astype(np.uint8))
    assert (found[..., 0] == luma).all()
    assert all((found[y, x, 1:] == colour[:, y // 2, x // 2]).all() for y in range(36) for x in range(64))


@pytest.mark.parametrize(("width", "height"), [(128, 144), (8192, 4320)])
def test_the_smallest_and_the_largest(width: int, height: int) -> None:
    assert can_be_picked(width, height)
    assert not can_be_picked(127, 1000)
    assert not can_be_picked(1000, 143)
    assert set(tiny_of(np.full((height, width), 255, np.uint8)).ravel().tolist()) == {255, 128}
