"""People who walk, wave or rest before a camera that is fixed, shakes, pans or zooms; the truth is in the arguments.

    stage = Stage(seed=3, people=2, height=0.2)
    stage.picture(Moment(step=0.1, stride=0.4), View(x=0.01))  # RGB, everybody a tenth of the width further

Everything depends on the arguments alone. Lengths are shares of the frame width, except heights of people, which are
shares of the frame height. People are simple figures: head, shirt, arms, trousers, in colours of their own.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from mvp_data.core.types import Picture

SIZE = (448, 252)
MARGIN = 0.2  # painted around the frame, as a share of its width, so that the camera can move
FIGURE = 0.4  # widest extent of a figure with spread arms and legs, as a share of its height


@dataclass(frozen=True, kw_only=True)
class View:
    """How the camera sees the stage."""

    x: float = 0.0
    y: float = 0.0
    zoom: float = 1.0
    roll_deg: float = 0.0
    depth: float = 0.0  # people in front are displaced by this share of x more than the ground
    gain: float = 1.0  # brightness
    lamp: float = 0.0  # light that falls off from left to right, in levels of 255
    blur_px: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The actions of the people."""

    step: float = 0.0  # how far each has gone
    stride: float = 0.0  # phase of legs and arms; 1 is a whole cycle


STILL, FIXED = Moment(), View()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A textured ground with people; `ground` replaces the painted one by a picture of any size."""

    seed: int
    people: int = 1
    height: float = 0.2
    ground: Picture | None = None

    def picture(self, moment: Moment = STILL, view: View = FIXED, *, noise: float = 0.0, frame: int = 0) -> Picture:
        """RGB [252, 448, 3]; `frame` draws the noise (standard deviation in levels of 255)."""
        canvas = self._ground().copy()
        for number in range(self.people):
            self._person(canvas, number, moment, view)
        image = _seen(canvas, view)
        pixels = np.asarray(image, np.float32) * view.gain
        pixels += view.lamp * np.linspace(1, 0, SIZE[0], dtype=np.float32)[:, None]
        if noise:
            pixels += np.random.default_rng([self.seed, frame]).normal(0, noise, (SIZE[1], SIZE[0], 1))
        levels: Picture = np.clip(pixels, 0, 255).round().astype(np.uint8)
        return levels

    def _ground(self) -> Image.Image:
        if self.ground is None:
            return _painted_ground(self.seed)
        return Image.fromarray(self.ground).resize(_canvas(), Image.Resampling.BICUBIC)

    def _person(self, canvas: Image.Image, number: int, moment: Moment, view: View) -> None:
        rng = np.random.default_rng([self.seed, 7, number])
        colours = rng.integers(20, 236, (3, 3))
        tall = self.height * SIZE[1] * rng.uniform(0.9, 1.1)
        room = max(0.0, 1 - FIGURE * tall / SIZE[0])
        # Steps go to the side with more room, so that nobody leaves the frame as long as a step is below 0.4.
        place, foot = rng.uniform(0.05, 0.95) * room, rng.uniform(max(0.55, self.height + 0.05), 0.97)
        way = 1 if place < room / 2 else -1
        x = (MARGIN + place + way * moment.step + view.depth * view.x) * SIZE[0] + FIGURE * tall / 2
        swing = 0.35 * np.sin(2 * np.pi * (moment.stride + rng.random()))
        draw_person(canvas, x, (MARGIN + foot) * SIZE[1], tall, swing, colours)


def _canvas() -> tuple[int, int]:
    return round(SIZE[0] * (1 + 2 * MARGIN)), round(SIZE[1] * (1 + 2 * MARGIN))


def draw_person(
    canvas: Image.Image, x: float, foot: float, tall: float, swing: float, colours: npt.NDArray[np.integer]
) -> None:
    """Draw a person with the feet at (x, foot), in pixels, and legs and arms at an angle of `swing` (rad)."""
    draw = ImageDraw.Draw(canvas)
    skin, shirt, trousers = ((int(r), int(g), int(b)) for r, g, b in colours)
    hip, neck, limb = foot - 0.47 * tall, foot - 0.84 * tall, max(1, round(0.09 * tall))
    for side in (-1, 1):
        draw.line((x, hip, x + side * swing * 0.47 * tall, foot), fill=trousers, width=limb)
        hand = (x + side * 0.35 * tall * np.sin(swing + 0.15), neck + 0.38 * tall * np.cos(swing))
        draw.line((x + side * 0.08 * tall, neck + 0.03 * tall, *hand), fill=skin, width=max(1, round(0.06 * tall)))
    draw.rounded_rectangle((x - 0.11 * tall, neck, x + 0.11 * tall, hip), radius=0.05 * tall, fill=shirt)
    draw.ellipse((x - 0.07 * tall, foot - tall, x + 0.07 * tall, neck), fill=skin)


def _seen(canvas: Image.Image, view: View) -> Image.Image:
    """The part of the canvas that the camera sees."""
    turn = np.deg2rad(view.roll_deg)
    a, b = np.cos(turn) / view.zoom, np.sin(turn) / view.zoom
    middle_x, middle_y = canvas.width / 2 + view.x * SIZE[0], canvas.height / 2 + view.y * SIZE[0]
    left = middle_x - a * SIZE[0] / 2 + b * SIZE[1] / 2
    top = middle_y - b * SIZE[0] / 2 - a * SIZE[1] / 2
    seen = canvas.transform(SIZE, Image.Transform.AFFINE, (a, -b, left, b, a, top), resample=Image.Resampling.BICUBIC)
    return seen.filter(ImageFilter.GaussianBlur(view.blur_px)) if view.blur_px else seen


@lru_cache(maxsize=8)
def _painted_ground(seed: int) -> Image.Image:
    """Soft spots, boxes with hard edges, and a fine texture."""
    rng, (width, height) = np.random.default_rng([seed, 99]), _canvas()
    cells = rng.integers(40, 216, (7, 12, 3), dtype=np.uint8)
    soft = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(soft)
    for _ in range(12):
        x, y, far = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(10, 90, 2)
        red, green, blue = (int(c) for c in rng.integers(0, 256, 3))
        draw.rectangle((x, y, x + far[0], y + far[1]), fill=(red, green, blue))
    fine = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return Image.blend(soft, fine.filter(ImageFilter.GaussianBlur(1.5)), 0.25)
