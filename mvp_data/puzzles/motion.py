"""Finds clear motion between two frames of a fixed camera, such as people who walk through the picture.

The encoder calls such frames equal, because the place is the same. This judge compares thumbnails. What the motion of
the camera, the light, noise and compression explain is taken away first; what remains must be strong and lie together.
benchmarks/motion.py measures it on films whose truth is known.
"""

from collections.abc import Sequence
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
# Of pairs like these, the search changes 1 in 200; without it they take a third of the time.
SURE_FITS, SURE_CLEARNESS = 0.75, 4.0
WHITE_LUMA, RELIT_LUMA = 240.0, 8.0  # where the light changed by RELIT_LUMA, white may hide any brighter luma

STEPS = (4, 4, 3)  # of the search for the camera's motion, in 16 x 9, 32 x 18 and 64 x 36 blocks
# The pull of each unknown of the search to zero: displacement, stretch and shear in x, the same in y, then the light.
LIGHT_PULL = (10.0, 1e-3, 1e-3, 1e-3)  # contrast, brightness, its slope in x and in y
CAMERA_PULL = (30.0, 300.0, 300.0, 30.0, 300.0, 300.0, *LIGHT_PULL)

BATCH = 16  # pairs judged at once; more do not fit the processor's cache
KNOWN = 1 << 14  # pairs whose answer is kept; they recur with every context of a segment


@dataclass(frozen=True, eq=False, slots=True)
class _Explained:
    """The differences of P pairs that are left by one explanation: a camera that stayed, or moved like this."""

    rest: Numbers  # [P, H, W], levels of 255
    edges: Numbers  # [P, H, W], slopes that both frames have here
    inside: Mask  # [P, H, W], blocks that both frames show
    reach_blocks: Numbers  # [P], largest displacement by the camera

    @property
    def fits(self) -> Numbers:
        """The share of the blocks with an edge that have the luma which the explanation says [P]."""
        textured = self.inside & (self.edges > EDGE_LUMA)
        explained = textured & (np.abs(self.rest) < NOISE_LUMA + FITTING_BLOCKS * self.edges)
        return np.asarray(_count(explained) / np.maximum(1, _count(textured)), np.float32)

    @property
    def clearness(self) -> Numbers:
        """How strong the rest is where it is strongest, over neighbouring blocks of one sign [P]; from 1 it is clear.

        0 where too many blocks changed.
        """
        size = np.abs(self.rest)
        reach = self.reach_blocks[:, None, None]
        tolerance = (EDGE_BLOCKS + PARALLAX * reach) * self.edges
        tolerance += NOISE_LUMA + NOISE_UNITS * _middle_inside(size, self.inside)[:, None, None]
        beyond = np.maximum(size - tolerance, 0) * self.inside
        strongest = np.abs(_around(np.copysign(beyond, self.rest), np.add)).max(axis=(1, 2))
        partly = _count(beyond > 0) <= MOST_CHANGED * _count(self.inside)
        return np.asarray(partly * strongest / (9 * CLEAR_LUMA * (1 + self.reach_blocks)), np.float32)


def clearly_moves(first: bytes, second: bytes) -> bool:
    """Whether something in the scene clearly moved between two frames with these thumbnails (`Frame.thumbnail`).

    It says `False` in case of doubt: where little moved, where the whole picture changed, and where the camera moved
    far. It finds smaller things than `thumbnails.differ`, which needs a change of 2 % of the frame, and explains more
    by the camera and the light. The order of the two does not matter.
    """
    return clear_motion([(first, second)])[0]


def clear_motion(pairs: Sequence[tuple[bytes, bytes]]) -> list[bool]:
    """`clearly_moves` of many pairs of thumbnails at once, which is several times as fast."""
    ordered = [(a, b) if a <= b else (b, a) for a, b in pairs]
    new = list(dict.fromkeys(pair for pair in ordered if pair not in _known))
    found = {pair: _known[pair] for pair in ordered if pair in _known}
    for start in range(0, len(new), BATCH):
        batch = new[start : start + BATCH]
        found.update(zip(batch, _judged(batch), strict=True))
    _known.update((pair, found[pair]) for pair in new)
    if len(_known) > KNOWN:
        for pair in list(_known)[: KNOWN // 2]:  # the oldest
            del _known[pair]
    return [found[pair] for pair in ordered]


_known: dict[tuple[bytes, bytes], bool] = {}


def _judged(pairs: Sequence[tuple[bytes, bytes]]) -> list[bool]:
    first, second = (np.stack([_finest(pair[side]) for pair in pairs]) for side in (0, 1))
    result = np.zeros(len(pairs), np.bool_)
    difference = first - second
    least = np.abs(difference - _middle(difference)[:, None, None]).max(axis=(1, 2))
    asked = np.flatnonzero(least >= NOISE_LUMA + CLEAR_LUMA)  # the others do not move; most pairs
    if not len(asked):
        return result.tolist()
    fixed = _explained(first[asked], second[asked], None)
    clearness, fits = fixed.clearness, fixed.fits
    sure = (clearness >= SURE_CLEARNESS) & (fits >= SURE_FITS)
    result[asked[sure]] = True
    shown = np.flatnonzero((clearness >= 1) & ~sure)
    if not len(shown):
        return result.tolist()
    asked, before = asked[shown], fits[shown]
    sizes = [[_sizes(pairs[number][side]) for number in asked.tolist()] for side in (0, 1)]
    camera = _camera(*([np.stack(size) for size in zip(*side, strict=True)] for side in sizes))
    moved = _explained(first[asked], second[asked], camera)
    stayed = (moved.fits - BETTER_SHARE <= before) & (before >= MOST_FITS)  # the search for a camera went astray
    result[asked] = np.where(_reach(camera) > CAMERA_REACH, stayed, moved.clearness >= 1)
    return result.tolist()


def _finest(thumbnail: bytes) -> Numbers:
    """A thumbnail in 64 x 36 blocks, blurred with the kernel (1 2 1) in both directions."""
    return _sizes(thumbnail)[-1]


@lru_cache(maxsize=1024)
def _sizes(thumbnail: bytes) -> tuple[Numbers, ...]:
    """The same in 16 x 9, 32 x 18 and 64 x 36 blocks."""
    luma = np.frombuffer(thumbnail, np.uint8).reshape(THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX).astype(np.float32)
    middle = _halved(luma)
    return _blurred(_halved(middle)), _blurred(middle), _blurred(luma)


def _halved(luma: Numbers) -> Numbers:
    halved: Numbers = (luma[::2, ::2] + luma[1::2, ::2] + luma[::2, 1::2] + luma[1::2, 1::2]) * np.float32(0.25)
    return halved


def _camera(first: Sequence[Numbers], second: Sequence[Numbers]) -> Numbers:
    """How the camera moved [P, 6]: (x, stretch, shear, y, shear, stretch) in shares of the frame, from its centre.

    Iterated weighted least squares on luma (Lucas and Kanade, 1981), from coarse to fine. Blocks that fit badly weigh
    little, so that what moves in the scene does not count.
    """
    camera = np.zeros((len(first[0]), 6), np.float32)
    for a, b, steps in zip(first, second, STEPS, strict=True):
        count, height, width = a.shape
        rows = np.empty((count, 10, height, width), np.float32)
        x, y = _places(height, width)
        own = _slopes(a)
        for _ in range(steps):
            luma, inside = _warped(b, camera)
            moved = _slopes(luma)
            for number, size in enumerate((width / 2, height / 2)):
                slope = rows[:, 3 * number]
                np.add(own[number], moved[number], out=slope)
                slope *= size
                np.multiply(slope, x, out=rows[:, 3 * number + 1])
                np.multiply(slope, y, out=rows[:, 3 * number + 2])
            _light(luma, rows[:, 6:])
            change = _fit(rows, a - luma, inside, CAMERA_PULL, rounds=1)
            camera = np.clip(camera + change[:, :6], -0.3, 0.3)
    return camera


def _explained(a: Numbers, b: Numbers, camera: Numbers | None) -> _Explained:
    """The differences of pairs without the motion of the camera, brightness, contrast and light from a side."""
    inside, reach_blocks = np.ones(a.shape, np.bool_), np.zeros(len(a), np.float32)
    if camera is not None:
        b, inside = _warped(b, camera)
        reach_blocks = _reach(camera) * np.float32(THUMBNAIL_WIDTH_PX)
    difference = a - b
    rows = np.empty((len(a), 4, *a.shape[1:]), np.float32)
    _light(b, rows)
    amounts = _fit(rows, difference, inside, LIGHT_PULL, rounds=2)
    relit = _sum_of(rows, amounts)
    white = np.maximum(b, b + relit) > WHITE_LUMA
    inside = inside & ~(white & (np.abs(relit) > RELIT_LUMA))
    edges = np.minimum(_edges(a), _edges(b))
    return _Explained(rest=difference - relit, edges=edges, inside=inside, reach_blocks=reach_blocks)


def _light(luma: Numbers, rows: Numbers) -> None:
    """Write the ways [P, 4, H, W] in which the light may change a frame: contrast, brightness, and its slopes."""
    x, y = _places(*luma.shape[1:])
    rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3] = luma, 1, 100 * x, 100 * y


def _fit(rows: Numbers, difference: Numbers, inside: Mask, pull: tuple[float, ...], *, rounds: int) -> Numbers:
    """The amounts [P, n] of these ways to change [P, n, H, W] that explain a difference [P, H, W]."""
    count, ways = rows.shape[:2]
    amounts: Numbers = np.zeros((count, ways), np.float32)
    ridge = np.diag(np.array(pull, np.float32))
    rest = difference - _middle(difference)[:, None, None]
    flat, target = rows.reshape(count, ways, -1), difference.reshape(count, -1, 1)
    for number in range(rounds):
        if number:
            rest = difference - _sum_of(rows, amounts)
        scale = np.maximum(2, 1.5 * _middle(np.abs(rest)))[:, None, None]
        weight = inside / np.square(1 + np.square(rest / scale))  # Geman and McClure's
        weighted = (rows * weight[:, None]).reshape(count, ways, -1)
        total = weight.reshape(count, -1).sum(axis=1)[:, None, None]
        normal = weighted @ flat.transpose(0, 2, 1) + ridge * total
        amounts = np.linalg.solve(normal, weighted @ target)[:, :, 0]
    return amounts


def _sum_of(rows: Numbers, amounts: Numbers) -> Numbers:
    """The change [P, H, W] by these amounts [P, n] of the ways [P, n, H, W]."""
    count, ways, height, width = rows.shape
    change = amounts[:, None] @ rows.reshape(count, ways, -1)
    return change.reshape(count, height, width)


def _warped(luma: Numbers, camera: Numbers) -> tuple[Numbers, Mask]:
    """The frames [P, H, W] as a camera sees them that moved so, and the blocks for which they have luma."""
    _, height, width = luma.shape
    x, y = _places(height, width)
    c = camera.T[:, :, None, None]
    column = (c[0] + x[:1] * (1 + c[1])) * width + c[2] * width * y[:, :1]
    row = (c[3] + y[:, :1] * (1 + c[5])) * height + c[4] * height * x[:1]
    inside = (np.abs(column) < width / 2) & (np.abs(row) < height / 2)
    column, row = (np.clip(v + np.float32((n - 1) / 2), 0, n - 1) for v, n in ((column, width), (row, height)))
    left, top = np.minimum(column.astype(np.int32), width - 2), np.minimum(row.astype(np.int32), height - 2)
    column -= left.astype(np.float32)
    row -= top.astype(np.float32)
    at = (top * width + left).astype(np.intp) + np.arange(0, luma.size, height * width)[:, None, None]
    flat = luma.ravel()
    corner, right, low, low_right = (flat[step:].take(at) for step in (0, 1, width, width + 1))
    upper, lower = corner + (right - corner) * column, low + (low_right - low) * column
    return upper + (lower - upper) * row, inside


def _reach(camera: Numbers) -> Numbers:
    """The largest displacement of a corner of the frame, as a share of its width or height [P]."""
    size = np.abs(camera[:, (1, 4)]) + np.abs(camera[:, (2, 5)])
    return np.asarray((np.abs(camera[:, (0, 3)]) + size / 2).max(axis=1))


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


def _slopes(luma: Numbers) -> tuple[Numbers, Numbers]:
    """The slopes of frames [P, H, W] in x and in y, in levels per block."""
    x, y = np.empty_like(luma), np.empty_like(luma)
    np.subtract(luma[:, :, 2:], luma[:, :, :-2], out=x[:, :, 1:-1])
    np.subtract(luma[:, 2:], luma[:, :-2], out=y[:, 1:-1])
    x[:, :, 0], x[:, :, -1] = luma[:, :, 1] - luma[:, :, 0], luma[:, :, -1] - luma[:, :, -2]
    y[:, 0], y[:, -1] = luma[:, 1] - luma[:, 0], luma[:, -1] - luma[:, -2]
    x *= 0.5
    y *= 0.5
    return x, y


def _edges(luma: Numbers) -> Numbers:
    """The steepest slope of each block and the eight around it [P, H, W]."""
    x, y = _slopes(luma)
    return _around(np.abs(x) + np.abs(y), np.maximum)


def _around(values: Numbers, join: np.ufunc) -> Numbers:
    """The sum or the maximum of each block and the eight around it [P, H, W]; 0 beyond the border."""
    for axis in (1, 2):
        inner, before, after = (_cut(axis, *ends) for ends in ((1, -1), (None, -2), (2, None)))
        low, high = _cut(axis, None, 2), _cut(axis, -2, None)
        joined = np.empty_like(values)
        joined[inner] = join(join(values[before], values[inner]), values[after])
        joined[_cut(axis, 0, 1)] = join.reduce(values[low], axis=axis, keepdims=True)
        joined[_cut(axis, -1, None)] = join.reduce(values[high], axis=axis, keepdims=True)
        values = joined
    return values


def _cut(axis: int, start: int | None, end: int | None) -> tuple[slice, ...]:
    """The index of a part of an array along one axis."""
    return (*[slice(None)] * axis, slice(start, end))


def _count(mask: Mask) -> npt.NDArray[np.int64]:
    return np.asarray(np.count_nonzero(mask, axis=(1, 2)))


def _middle(values: Numbers) -> Numbers:
    """The median of each frame [P, H, W]; the higher of the two in the middle."""
    flat = values.reshape(len(values), -1)
    half = flat.shape[1] // 2
    return np.partition(flat, half, axis=1)[:, half]


def _middle_inside(values: Numbers, inside: Mask) -> Numbers:
    """The same among the blocks inside; 0 without any."""
    ordered = np.sort(np.where(inside, values, np.float32(np.inf)).reshape(len(values), -1), axis=1)
    count = _count(inside)
    return np.where(count > 0, ordered[np.arange(len(values)), np.minimum(count // 2, ordered.shape[1] - 1)], 0)
