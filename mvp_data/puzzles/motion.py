"""Finds clear motion between two frames of a fixed camera, such as people who walk through the picture.

The encoder calls such frames equal, because the place is the same. This judge compares thumbnails. What the motion of
the camera, the light, noise and compression explain is taken away first; what remains must be strong and lie together.
benchmarks/motion.py measures it on films whose truth is known.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX

Numbers = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

NOISE_LUMA = 3.0  # levels of 255 by which a block may differ; compression at a low bitrate stays below
NOISE_UNITS = 3.0  # more where the whole picture differs, as in rain: so many times the median difference
EDGE_BLOCKS = 0.4  # an edge that both frames have may be displaced by this much, in blocks
PARALLAX = 0.25  # and by this share of the displacement by the camera, since near things move more than far ones
CLEAR_LUMA = 5.0  # mean of what remains over 3 x 3 blocks, in levels of 255; as much again per block of `reach_blocks`
MOST_CHANGED = 0.6  # of all blocks; where more changed, nothing shows what the camera did
CAMERA_REACH = 0.045  # of the frame's width or height; beyond, too little is known about what else moved
# A camera moved if that explains so many more of the blocks with an edge, to a quarter of a block.
BETTER_SHARE, FITTING_BLOCKS, EDGE_LUMA = 0.05, 0.25, 10.0
MOST_FITS = 0.5  # of these blocks that a fixed camera must explain
WHITE_LUMA, RELIT_LUMA = 240.0, 8.0  # where the light changed by RELIT_LUMA, white may hide any brighter luma

STEPS = (4, 4, 3)  # most steps of the search for the camera's motion, in 16 x 9, 32 x 18 and 64 x 36 blocks
SMALL_STEP = 0.03  # blocks; the last step at a size
# The pull of each unknown of the search to zero: displacement, stretch and shear in x, the same in y, then the light.
LIGHT_PULL = (10.0, 1e-3, 1e-3, 1e-3)  # contrast, brightness, its slope in x and in y
CAMERA_PULL = (30.0, 300.0, 300.0, 30.0, 300.0, 300.0, *LIGHT_PULL)


@dataclass(frozen=True, eq=False, slots=True)
class _Level:
    """Blurred luma [H, W] and its slopes in levels per block."""

    luma: Numbers
    slope_x: Numbers
    slope_y: Numbers

    @classmethod
    def of(cls, luma: Numbers) -> "_Level":
        wide = np.pad(luma, 1, mode="edge")
        one_half = np.float32(0.5)
        return cls(luma, (wide[1:-1, 2:] - wide[1:-1, :-2]) * one_half, (wide[2:, 1:-1] - wide[:-2, 1:-1]) * one_half)

    @property
    def edges(self) -> Numbers:
        """The steepest slope of each block and the eight around it."""
        return _around(np.abs(self.slope_x) + np.abs(self.slope_y), np.maximum)


@dataclass(frozen=True, eq=False, slots=True)
class _Explained:
    """The difference of two frames that is left by one explanation of it: a camera that stayed, or moved like this."""

    rest: Numbers  # [H, W], levels of 255
    edges: Numbers  # [H, W], slopes that both frames have here
    inside: Mask  # [H, W], blocks that both frames show
    reach_blocks: float  # largest displacement by the camera

    @property
    def fits(self) -> float:
        """The share of the blocks with an edge that have the luma which the explanation says."""
        textured = self.inside & (self.edges > EDGE_LUMA)
        explained = textured & (np.abs(self.rest) < NOISE_LUMA + FITTING_BLOCKS * self.edges)
        return float(explained.sum()) / max(1.0, float(textured.sum()))

    def shows_motion(self) -> bool:
        """Whether the rest is strong somewhere, over neighbouring blocks of one sign, but not everywhere."""
        noise = NOISE_LUMA + NOISE_UNITS * _middle(np.abs(self.rest)[self.inside])
        tolerance = noise + (EDGE_BLOCKS + PARALLAX * self.reach_blocks) * self.edges
        beyond = np.where(self.inside, np.maximum(np.abs(self.rest) - tolerance, 0), 0)
        if (beyond > 0).sum() > MOST_CHANGED * self.inside.sum():
            return False
        strongest = np.abs(_around(np.copysign(beyond, self.rest), np.add)).max()
        return bool(strongest >= 9 * CLEAR_LUMA * (1 + self.reach_blocks))


def clearly_moves(first: bytes, second: bytes) -> bool:
    """Whether something in the scene clearly moved between two frames with these thumbnails (`Frame.thumbnail`).

    It says `False` in case of doubt: where little moved, where the whole picture changed, and where the camera moved
    far. It finds smaller things than `thumbnails.differ`, which needs a change of 2 % of the frame, and explains more
    by the camera and the light. The order of the two does not matter.
    """
    return _clearly_moves(*sorted((first, second)))


@lru_cache(maxsize=1 << 14)  # pairs recur with every context of a segment
def _clearly_moves(first: bytes, second: bytes) -> bool:
    a, b = _finest(first), _finest(second)
    difference = a.luma - b.luma
    if np.abs(difference - _middle(difference)).max() < NOISE_LUMA + CLEAR_LUMA:  # most pairs that are not clear
        return False
    fixed = _explained(a, b, None)
    if not fixed.shows_motion():
        return False
    camera = _camera((*_coarser(first), a), (*_coarser(second), b))
    moved = _explained(a, b, camera)
    if _reach(camera) > CAMERA_REACH:
        return moved.fits - BETTER_SHARE <= fixed.fits >= MOST_FITS  # then the camera is fixed; the search went astray
    return moved.shows_motion()


@lru_cache(maxsize=4096)
def _finest(thumbnail: bytes) -> _Level:
    """A thumbnail in 64 x 36 blocks, blurred with the kernel (1 2 1) in both directions."""
    return _Level.of(_blurred(_luma(thumbnail)))


@lru_cache(maxsize=256)
def _coarser(thumbnail: bytes) -> tuple[_Level, _Level]:
    """The same in 16 x 9 and in 32 x 18 blocks."""
    middle = _halved(_luma(thumbnail))
    return _Level.of(_blurred(_halved(middle))), _Level.of(_blurred(middle))


def _luma(thumbnail: bytes) -> Numbers:
    return np.frombuffer(thumbnail, np.uint8).reshape(THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX).astype(np.float32)


def _halved(luma: Numbers) -> Numbers:
    halved: Numbers = (luma[::2, ::2] + luma[1::2, ::2] + luma[::2, 1::2] + luma[1::2, 1::2]) * np.float32(0.25)
    return halved


def _camera(first: tuple[_Level, ...], second: tuple[_Level, ...]) -> Numbers:
    """How the camera moved: (x, stretch, shear, y, shear, stretch) in shares of the frame, from its centre.

    Iterated weighted least squares on luma (Lucas and Kanade, 1981), from coarse to fine. Blocks that fit badly weigh
    little, so that what moves in the scene does not count.
    """
    camera = np.zeros(6, np.float32)
    for a, b, steps in zip(first, second, STEPS, strict=True):
        height, width = a.luma.shape
        x, y = _places(height, width)
        for _ in range(steps):
            luma, inside = _warped(b.luma, camera)
            moved = _Level.of(luma)
            slope_x, slope_y = (a.slope_x + moved.slope_x) * (width / 2), (a.slope_y + moved.slope_y) * (height / 2)
            motion = [slope_x, slope_x * x, slope_x * y, slope_y, slope_y * x, slope_y * y]
            change, _ = _fit([*motion, *_light(luma)], a.luma - luma, inside, CAMERA_PULL, rounds=1)
            camera = np.clip(camera + change[:6], -0.3, 0.3)
            if _reach(change) * width < SMALL_STEP:
                break
    return camera


def _explained(a: _Level, b: _Level, camera: Numbers | None) -> _Explained:
    """The difference of two frames without the motion of the camera, brightness, contrast and light from a side."""
    inside = np.ones(a.luma.shape, np.bool_)
    if camera is not None:
        luma, inside = _warped(b.luma, camera)
        b = _Level.of(luma)
    difference = a.luma - b.luma
    _, rest = _fit(_light(b.luma), difference, inside, LIGHT_PULL, rounds=2)
    relit = difference - rest
    white = np.maximum(b.luma, b.luma + relit) > WHITE_LUMA
    inside = inside & ~(white & (np.abs(relit) > RELIT_LUMA))
    reach_blocks = 0.0 if camera is None else _reach(camera) * THUMBNAIL_WIDTH_PX
    return _Explained(rest=rest, edges=np.minimum(a.edges, b.edges), inside=inside, reach_blocks=reach_blocks)


def _light(luma: Numbers) -> list[Numbers]:
    """The ways in which the light may change a frame: contrast, brightness, and its slopes."""
    x, y = _places(*luma.shape)
    return [luma, np.ones_like(luma), 100 * x, 100 * y]


def _fit(
    ways: list[Numbers], difference: Numbers, inside: Mask, pull: tuple[float, ...], *, rounds: int
) -> tuple[Numbers, Numbers]:
    """The amounts of these ways to change that explain a difference [H, W], and what they leave of it."""
    rows, target, weighable = np.stack(ways).reshape(len(ways), -1), difference.ravel(), inside.ravel()
    rest = target - _middle(target[weighable])
    amounts = np.zeros(len(ways), np.float32)
    for _ in range(rounds):
        scale = max(2.0, 1.5 * _middle(np.abs(rest[weighable])))
        weight = weighable / np.square(1 + np.square(rest / scale))  # Geman and McClure's
        weighted = rows * weight
        normal = weighted @ rows.T + np.diag(np.array(pull, np.float32) * weight.sum())
        amounts = np.linalg.solve(normal, weighted @ target).astype(np.float32)
        rest = target - amounts @ rows
    return amounts, rest.reshape(difference.shape)


def _warped(luma: Numbers, camera: Numbers) -> tuple[Numbers, Mask]:
    """The frame as a camera sees it that moved so, and the blocks for which it has luma."""
    height, width = luma.shape
    x, y = _places(height, width)
    column = (x + camera[0] + camera[1] * x + camera[2] * y) * width + (width - 1) / 2
    row = (y + camera[3] + camera[4] * x + camera[5] * y) * height + (height - 1) / 2
    inside = (column > -0.5) & (column < width - 0.5) & (row > -0.5) & (row < height - 0.5)
    column, row = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
    left, top = np.minimum(column.astype(np.int32), width - 2), np.minimum(row.astype(np.int32), height - 2)
    at, right, below, flat = top * width + left, column - left, row - top, luma.ravel()
    corners = [flat.take(at + step) for step in (0, 1, width, width + 1)]
    upper = corners[0] + (corners[1] - corners[0]) * right
    lower = corners[2] + (corners[3] - corners[2]) * right
    return (upper + (lower - upper) * below).astype(np.float32), inside


def _reach(camera: Numbers) -> float:
    """The largest displacement of a corner of the frame, as a share of its width or height."""
    corners = [(x, y) for x in (-0.5, 0.5) for y in (-0.5, 0.5)]
    return max(abs(float(c[0] + c[1] * x + c[2] * y)) for c in (camera[:3], camera[3:6]) for x, y in corners)


@lru_cache(maxsize=len(STEPS))
def _places(height: int, width: int) -> tuple[Numbers, Numbers]:
    """The centres of all blocks, x and y in -0.5..0.5."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return (x - (width - 1) / 2) / width, (y - (height - 1) / 2) / height


def _blurred(luma: Numbers) -> Numbers:
    wide = np.pad(luma, 1, mode="edge")
    rows = wide[:-2] + 2 * wide[1:-1] + wide[2:]
    blurred: Numbers = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16
    return blurred


def _around(values: Numbers, join: np.ufunc) -> Numbers:
    """The sum or the maximum of each block and the eight around it; 0 beyond the border."""
    wide = np.pad(values, 1)
    rows = join(join(wide[:-2], wide[1:-1]), wide[2:])
    result: Numbers = join(join(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    return result


def _middle(values: Numbers) -> float:
    """The median; of an even number of values the higher one of the middle."""
    flat = values.ravel()
    return float(np.partition(flat, len(flat) // 2)[len(flat) // 2]) if len(flat) else 0.0
