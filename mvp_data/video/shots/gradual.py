"""Finds fades and dissolves after the last frame, from 16 x 9 luma pixels of every frame.

A dissolve from A to B shows (1 - a) A + a B, where `a` rises from 0 to 1: its frames are on a straight line in pixel
space. A window of frames is a dissolve if it stays near such a line and changes much more than equally long windows
before and after it. Motion, pans and objects that pass the camera leave the line, exposure ramps keep the structure of
the image, and titles change only a part of it. A fade has frames without contrast.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import TINY_HEIGHT_PX, TINY_WIDTH_PX
from mvp_data.video.shots.cuts import NOISE_VARIANCE, SAME_STRUCTURE, best_correlation

Luma = npt.NDArray[np.uint8]  # [N, 144]: one row per frame
Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]

LENGTHS_S = (0.16, 0.24, 0.32, 0.44, 0.6, 0.8, 1.1, 1.5, 2.0)  # lengths of the windows, each 1.35 times the one before
DISTANCE_MIN = 10.0  # root mean square luma change from end to end
RESIDUAL_MAX = 0.5  # distance from the straight line, as a share of its length; motion has .5 to .9
SUPPORT_MIN = 0.7  # least isolation x (1 - residual / RESIDUAL_MAX): a straighter path may be less isolated
CORRELATION_MAX = 0.7  # of the two ends: above it the content is the same, only brighter, sharper or moved
SHARE_MIN = 0.45  # least share of the frame that changed
CHANGED = 8.0
SHIFT_Y, SHIFT_X = 2, 4  # of 9 x 16: largest motion
STEP_MAX = 0.6  # largest share of the path in a sixth of the length: more is a cut
CONTINUES = 0.5  # least pace, as a share of the mean, at which a transition continues beyond its window
FRACTIONS = (1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6)
ROWS = 4096  # processed at once, to bound memory

FLAT = 3.0  # standard deviation of luma up to which a frame has no contrast
FLAT_SHARE = 0.2  # or up to this share of the contrast on both sides
REACH_S = 1.0  # length of these sides
RAMP_MAX_S = 3.0  # longest fade-out or fade-in
DIP_S = 0.5  # a shorter fade with the same content on both sides is a flash
RAMP_MIN_FRAMES = 3  # fewer are a cut to black


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Frames `[start, end)` belong to neither shot; both are equal for a cut."""

    start: int
    end: int


def find_fades(luma: Luma, *, fps: float) -> list[Span]:
    """Return the runs of frames without contrast that begin or end gradually, with other frames on both sides."""
    blocks = (luma[i : i + ROWS] for i in range(0, len(luma), ROWS))
    contrast = np.concatenate([block.astype(np.float32).std(axis=1) for block in blocks])
    reach = max(2, round(REACH_S * fps))
    sides = np.minimum(_running_max(contrast, reach), _running_max(contrast[::-1], reach)[::-1])
    flat = contrast <= np.maximum(FLAT, FLAT_SHARE * sides)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(np.int8), [0]])))
    spans: list[Span] = []
    limit = max(RAMP_MIN_FRAMES, round(RAMP_MAX_S * fps))
    for first, end in zip(edges[0::2].tolist(), edges[1::2].tolist(), strict=True):
        if first == 0 or end == len(flat):
            continue  # a fade-in at the start or a fade-out at the end divides nothing
        out = _ramp(contrast[max(0, first - limit) : first][::-1])
        into = _ramp(contrast[end : end + limit])
        start, stop = first - out, min(end + into, len(flat) - 1)
        if max(out, into) >= RAMP_MIN_FRAMES and start > 0 and stop < len(flat) - 1:
            if stop - start < DIP_S * fps and _moved(luma[start - 1], luma[stop]):
                continue
            if spans and start <= spans[-1].end:
                start = spans.pop().start
            spans.append(Span(start=start, end=stop))
    return spans


def find_dissolves(luma: Luma, *, cuts: Sequence[int], fps: float) -> list[Span]:
    """Return the straight transitions with the most support that contain no frame of `cuts`, best first."""
    found: list[tuple[float, int, int]] = []
    for length in sorted({max(4, round(length_s * fps)) for length_s in LENGTHS_S}):
        for base in range(0, max(0, len(luma) - length), ROWS):
            found += _straight(luma, base=base, length=length, cuts=cuts)
    spans: list[Span] = []
    taken = np.zeros(len(luma), np.bool_)
    edges = np.array([0, *cuts, len(luma)])
    for _, start, end in sorted(found, reverse=True):
        if taken[start:end].any():
            continue
        taken[start:end] = True
        shot = int(np.searchsorted(edges, start, side="right"))
        span = _extent(luma, start, end, (int(edges[shot - 1]), int(edges[shot])))
        if span.end - span.start >= RAMP_MIN_FRAMES and not _moved(luma[start], luma[end]):
            spans.append(span)
    return spans


def _straight(luma: Luma, *, base: int, length: int, cuts: Sequence[int]) -> list[tuple[float, int, int]]:
    """Return (score, start, end) of the windows of one length that pass every test and start in [base, base + ROWS)."""
    start = np.arange(base, min(base + ROWS, len(luma) - length))
    edges = np.array([0, *cuts, len(luma)])
    shot = np.searchsorted(edges, start, side="right")
    start = start[(shot == np.searchsorted(edges, start + length, side="right"))]
    shot = np.searchsorted(edges, start, side="right")
    earlier = np.maximum(edges[shot - 1], start - length)
    later = np.minimum(edges[np.minimum(shot, len(edges) - 1)] - 1, start + 2 * length)
    enough = max(3, length // 3)
    has_sides = (start - earlier >= enough) & (later - start - length >= enough)
    change = _distance(luma, start, start + length)
    around = np.maximum(_distance(luma, earlier, start), _distance(luma, start + length, later))
    isolation = change / (around + 2.0)
    far = has_sides & (change > DISTANCE_MIN) & (isolation > SUPPORT_MIN)
    start, isolation = start[far], isolation[far]
    a, b = luma[start].astype(np.float32), luma[start + length].astype(np.float32)
    residual, step = _line_fit(luma, start, length)
    share = (np.abs(b - a) > CHANGED).mean(axis=1)
    support = isolation * (1.0 - residual / RESIDUAL_MAX)
    good = (support > SUPPORT_MIN) & (step < STEP_MAX) & (share > SHARE_MIN)
    good &= (_correlation(a, b) < CORRELATION_MAX) & (np.minimum(a.std(axis=1), b.std(axis=1)) > FLAT)
    return [(float(support[i]), int(start[i]), int(start[i]) + length) for i in np.flatnonzero(good)]


def _line_fit(luma: Luma, start: Ints, length: int) -> tuple[Floats, Floats]:
    """Return the largest distance from the line between the ends, and the largest step along it; 9 if it turns back."""
    a, b = luma[start].astype(np.float32), luma[start + length].astype(np.float32)
    way = b - a
    square = (way * way).sum(axis=1) + 1e-6
    residual, step, last = np.zeros(len(start)), np.zeros(len(start)), np.zeros(len(start))
    for fraction in FRACTIONS:
        whole, rest = divmod(fraction * length, 1.0)
        before, after = luma[start + int(whole)], luma[start + int(whole) + 1]
        middle = before * np.float32(1 - rest) + after * np.float32(rest)
        along = ((middle - a) * way).sum(axis=1) / square
        off = middle - a - along[:, None] * way
        residual = np.maximum(residual, np.sqrt((off * off).sum(axis=1) / square))
        step = np.maximum(step, np.where(along - last < -0.05, 9.0, along - last))
        last = along
    return residual, np.maximum(step, 1.0 - last)


def _moved(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> bool:
    """Return whether a shift explains the change: the camera or a large object moved."""
    first, second = (x.reshape(TINY_HEIGHT_PX // 4, TINY_WIDTH_PX // 4).astype(np.float32) for x in (a, b))
    return best_correlation(first, second, SHIFT_Y, SHIFT_X) > SAME_STRUCTURE


def _extent(luma: Luma, start: int, end: int, limits: tuple[int, int]) -> Span:
    """Return the exact extent of a transition, extrapolated from the middle 80 % of the path along its line.

    The window may be inside a longer transition. So the ends move outwards while the path continues, within `limits`
    and by at most half the length.
    """
    reach = (end - start) // 2
    first, last = max(limits[0], start - reach), min(limits[1] - 1, end + reach)
    frames = luma[first : last + 1].astype(np.float32)
    way = frames[end - first] - frames[start - first]
    along = (frames - frames[start - first]) @ way / (way @ way)
    window = along[start - first : end - first + 1]
    low = float(np.flatnonzero(window < 0.1)[-1])
    high = float(np.flatnonzero(window > 0.9)[0])
    if high <= low:
        return Span(start=start + int(high), end=start + int(low) + 1)
    margin = 0.125 * (high - low)  # 10 % of the path; its middle 80 % is known
    begin = max(start, round(start + low - margin) + 1) - first
    stop = max(begin, min(end, round(start + high + margin)) - first)
    pace = CONTINUES * 0.8 / (high - low)
    while begin >= 2 and along[begin] - along[begin - 2] > 2 * pace:
        begin -= 1
    while stop + 2 < len(along) and along[stop + 2] - along[stop] > 2 * pace:
        stop += 1
    return Span(start=first + begin, end=first + stop)


def _ramp(contrast: Floats) -> int:
    """Return the number of frames in which contrast rises, counted from a run without contrast."""
    length = 0
    while length + 2 < len(contrast) and contrast[length + 2] > contrast[length] + 0.5:
        length += 1
    return length + 1 if length else 0


def _running_max(values: Floats, reach: int) -> Floats:
    """Return the largest of each value and its `reach` predecessors."""
    padded = np.concatenate([np.repeat(values[:1], reach), values])
    highest: Floats = np.lib.stride_tricks.sliding_window_view(padded, reach + 1).max(axis=1)
    return highest


def _distance(luma: Luma, i: Ints, j: Ints) -> Floats:
    """Return the root mean square luma difference of frames i and j."""
    difference = luma[i].astype(np.float32) - luma[j]
    rms: Floats = np.sqrt((difference * difference).mean(axis=1))
    return rms


def _correlation(a: Floats, b: Floats) -> Floats:
    """Return the correlation row by row; brightness, contrast and noise have no influence."""
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    floor = NOISE_VARIANCE * a.shape[1]
    norm = np.sqrt(((a * a).sum(axis=1) + floor) * ((b * b).sum(axis=1) + floor))
    correlation: Floats = (a * b).sum(axis=1) / norm
    return correlation
