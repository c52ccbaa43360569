"""Clocks drawn over moving scenes, and what resembles one."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mvp_data.core.types import Box, Luma
from mvp_data.video.cells import cells
from mvp_data.video.clock import ClockFinder, blank
from tests.builders import rng

WIDTH, HEIGHT = 224, 128


def scene(seed: int, time_s: float, *, moving: bool = True) -> Image.Image:
    """A texture, darker than ink, that moves by 17 px a second."""
    wide = rng("scene", seed).integers(40, 120, (HEIGHT // 8, 100), dtype=np.uint8)
    image = Image.fromarray(wide).resize((800, HEIGHT), Image.Resampling.BICUBIC)
    left = int(17 * time_s) % 500 if moving else 0
    return image.crop((left, 0, left + WIDTH, HEIGHT))


def times(fps: float) -> np.ndarray:
    return 0.3 + np.arange(64 if fps < 2 else 48) / fps


def draw(image: Image.Image, text: str, place: tuple[int, int], px: int, *, boxed: bool) -> Luma:
    font = ImageFont.load_default(px)
    pen = ImageDraw.Draw(image)
    if boxed:
        left, top, right, bottom = pen.textbbox(place, text, font=font)
        pen.rectangle((left - 3, top - 3, right + 3, bottom + 3), fill=20)
    pen.text(place, text, font=font, fill=250)
    return np.asarray(image)


def boxes(frames: list[Luma], at_s: np.ndarray) -> tuple[Box, ...]:
    finder = ClockFinder()
    for time_s, luma in zip(at_s, frames, strict=True):
        finder.add(float(time_s), luma, cells(luma))
    return finder.boxes()


@pytest.mark.parametrize("fps", [1.0, 2.0, 4.0])
@pytest.mark.parametrize(("place", "px", "boxed"), [((9, 7), 10, True), ((140, 100), 14, False), ((61, 50), 18, True)])
def test_a_running_clock_is_found_and_blanked(fps: float, place: tuple[int, int], px: int, boxed: bool) -> None:
    at_s = times(fps)
    frames = [
        draw(scene(px, t), f"{12 + int(t) // 60:02}:{int(t) % 60:02}", place, px, boxed=boxed) for t in at_s.tolist()
    ]
    (found,) = boxes(frames, at_s)
    last = ImageDraw.Draw(Image.new("L", (1, 1))).textbbox(place, "12:34", font=ImageFont.load_default(px))
    assert found[0] <= last[0] + px
    assert found[2] >= last[2] - 2
    assert found[1] <= last[1] + 1
    assert found[3] >= last[3] - 1
    assert (found[2] - found[0]) * (found[3] - found[1]) < 0.25 * WIDTH * HEIGHT
    blanked = [blank(frame, (found,)) for frame in frames]
    assert boxes(blanked, at_s) == ()
    assert all(np.ptp(frame[found[1] : found[3], found[0] : found[2]]) == 0 for frame in blanked)


@pytest.mark.parametrize("fps", [1.0, 4.0])
def test_a_score_board_and_moving_scenes_have_no_clock(fps: float) -> None:
    at_s = times(fps)
    score = [draw(scene(1, t), f"{int(t) // 20} - {int(t) // 37}", (9, 7), 14, boxed=True) for t in at_s.tolist()]
    assert boxes(score, at_s) == ()
    assert boxes([np.asarray(scene(2, t)) for t in at_s.tolist()], at_s) == ()
    slides = [np.asarray(scene(int(t), 0, moving=False)) for t in at_s.tolist()]
    assert boxes(slides, at_s) == (), "the whole picture changes once a second"


def test_blank_fills_with_the_median_colour() -> None:
    picture = np.zeros((10, 10, 3), np.uint8)
    picture[2:6, 2:6] = (10, 20, 30)
    picture[3, 3] = 255
    filled = blank(picture, ((2, 2, 6, 6),))
    assert (filled[2:6, 2:6] == (10, 20, 30)).all()
    assert (picture[3, 3] == 255).all(), "the input is unchanged"
