"""Fades at the ends of synthetic videos, and frames that do not move."""

import math

import numpy as np
import pytest

from mvp_data.core.types import Luma
from mvp_data.video.nearby import FADED, Nearby, fade_in_end
from tests.builders import rng

FPS = 25
Frames = list[tuple[float, Luma]]


def shot(seed: int, count: int = 100) -> list[Luma]:
    """A texture that moves by a pixel in ten frames."""
    wide = rng("shot", seed).integers(60, 220, (9, 26), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    return [wide[:, i // 10 : i // 10 + 64] for i in range(count)]


def faded(frames: list[Luma], colour: int, length_s: float) -> Frames:
    gains = [min(1.0, i / FPS / length_s) for i in range(len(frames))]
    mixed = [np.rint(colour * (1 - g) + frame * g).astype(np.uint8) for g, frame in zip(gains, frames, strict=True)]
    return [(i / FPS, frame) for i, frame in enumerate(mixed)]


def judged(frames: Frames, sampled: set[int]) -> tuple[Nearby, tuple[float, float]]:
    nearby = Nearby(from_start=True)
    for i, (time_s, luma) in enumerate(frames):
        nearby.push(time_s, np.stack([luma] * 3, axis=-1), sampled=i in sampled)
    return nearby, nearby.finish(at_end=True)


@pytest.mark.parametrize("length_s", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("colour", [0, 16, 90, 255])
def test_fades_at_both_ends_are_found(colour: int, length_s: float) -> None:
    frames = faded(shot(colour), colour, length_s)
    assert fade_in_end(frames) == pytest.approx(FADED * length_s, abs=0.16)
    end_s = 10 + frames[-1][0]
    both = frames + [(end_s - time_s, luma) for time_s, luma in reversed(frames)]
    begin_s, fade_s = judged(both, set())[1]
    assert begin_s == pytest.approx(FADED * length_s, abs=0.16)
    assert fade_s == pytest.approx(end_s - FADED * length_s, abs=0.16)


def test_other_starts_are_not_fades() -> None:
    plain = [(i / FPS, luma) for i, luma in enumerate(shot(1))]
    assert fade_in_end(plain) == 0
    cut = [(t, luma if t > 1 else np.zeros_like(luma)) for t, luma in plain]
    assert fade_in_end(cut) == 0, "a cut from black"
    exposure = [(t, (luma * min(1.0, 0.8 + t / 5)).astype(np.uint8)) for t, luma in plain]
    assert fade_in_end(exposure) == 0, "the exposure changes a little"
    assert judged(plain, set())[1] == (0.0, math.inf)


def test_stillness_and_what_is_around() -> None:
    card = np.zeros((36, 64), np.uint8)
    card[10:20, 10:50] = 255
    frames = [*shot(1, 50), *[card] * 12, *shot(2, 50)]
    nearby, _ = judged([(i / FPS, luma) for i, luma in enumerate(frames)], {20, 56})
    card_s, shot_s = 56 / FPS, 20 / FPS
    assert nearby.around[card_s].still
    assert nearby.around[card_s].apart
    assert not nearby.around[shot_s].apart
    moving = [np.roll(card, i, axis=1) for i in range(60)]
    nearby, _ = judged([(i / FPS, luma) for i, luma in enumerate(moving)], {30})
    assert not nearby.around[30 / FPS].still
