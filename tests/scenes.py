"""Little films with a story: a pan over a long landscape, so that order matters and no two moments repeat."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from mvp_data.core.types import Picture
from tests.clips import render

SIZE = (224, 126)
SAME_BYTES = {"x264-params": "mbtree=0"}  # with it x264's rate control gives other bytes from run to run
STYLES = ("discs", "towers", "strokes", "mosaic")
TINTS = ((255, 60, 60), (60, 255, 60), (90, 90, 255), (255, 255, 255))  # else two films would look like copies


def journey(seed: int, frames: int) -> Callable[[int, int, int], Picture]:
    """A painter: the camera pans once, from left to right, over a landscape of its own."""
    rng = np.random.default_rng(seed)
    width, height = SIZE
    span = 14 * width
    world = Image.new("RGB", (span, height))
    draw = ImageDraw.Draw(world)
    for left in range(0, span, width):  # a place of its own each picture's width
        draw.rectangle((left, 0, left + width, height), fill=_colour(rng, 0, 255))
        style = STYLES[int(rng.integers(len(STYLES)))]
        for _ in range(12):
            _shape(draw, rng, style, left + int(rng.integers(width)), int(rng.integers(height)))

    red, green, blue = TINTS[seed % len(TINTS)]
    world = ImageChops.multiply(world, Image.new("RGB", world.size, (red, green, blue)))

    def paint(n: int, w: int, h: int) -> Picture:
        left = round(n / max(1, frames - 1) * (span - width))
        return np.asarray(world.crop((left, 0, left + width, height)).resize((w, h)))

    return paint


def film(path: Path, *, seed: int, seconds: float, fps: int = 12) -> Path:
    """Render a journey as an H.264 clip."""
    frames = round(seconds * fps)
    return render(path, frames=frames, fps=fps, size=SIZE, paint=journey(seed, frames), options=SAME_BYTES)


def _shape(draw: ImageDraw.ImageDraw, rng: np.random.Generator, style: str, x: int, y: int) -> None:
    r, colour = int(rng.integers(7, 60)), _colour(rng, 0, 255)
    if style == "discs":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif style == "towers":
        draw.rectangle((x, y, x + r, SIZE[1]), fill=colour)
        for window in range(y + 4, SIZE[1], 8):
            draw.rectangle((x + 3, window, x + r - 3, window + 3), fill=_colour(rng, 200, 255))
    elif style == "strokes":
        draw.line((x, y, x + 3 * r, y + int(rng.integers(-r, r))), fill=colour, width=int(rng.integers(1, 9)))
    else:
        for column in range(0, 2 * r, 8):
            draw.rectangle((x + column, y, x + column + 7, y + r), fill=_colour(rng, 0, 255))


def _colour(rng: np.random.Generator, low: int, high: int) -> tuple[int, int, int]:
    red, green, blue = (int(c) for c in rng.integers(low, high, 3))
    return red, green, blue
