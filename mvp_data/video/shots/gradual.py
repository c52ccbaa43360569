"""Fades and dissolves, found at the end from the 16 x 9 luma pictures of all frames.

A dissolve from A to B is the line (1 - a) A + a B with `a` rising from 0 to 1. So over its length the picture
goes far (much farther than in as many frames before and after it) and stays near the straight line; motion,
pans and things that pass the camera leave that line, exposure ramps keep the structure, titles change a part.
A fade goes through a picture without contrast.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import TINY_HEIGHT_PX, TINY_WIDTH_PX
from mvp_data.video.shots.cuts import NOISE_VARIANCE, SAME_STRUCTURE, best_correlation

Luma = npt.NDArray[np.uint8]  # [N, 144]
Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]

LENGTHS_S = (0.16, 0.24, 0.32, 0.44, 0.6, 0.8, 1.1, 1.5, 2.0)  # tried for dissolves, each x 1.35 the last
DISTANCE_MIN = 10.0  # root mean square luma change from end to end
RESIDUAL_MAX = 0.5  # distance from the straight line, of its length; motion gives .5 to .9
SUPPORT_MIN = 0.7  # isolation x (1 - residual / RESIDUAL_MAX): the straighter, the less isolated it may be
CORRELATION_MAX = 0.7  # of the two ends: above it the picture is the same, only brighter, sharper or moved
SHARE_MIN = 0.45  # of the picture that changed
CHANGED = 8.0
SHIFT_Y, SHIFT_X = 2, 4  # of 9 x 16: how far things may have moved
STEP_MAX = 0.6  # of the way within a sixth of the length: more is a cut
GOES_ON = 0.5  # of its mean pace: so fast a transition goes on beyond the window that found it
FRACTIONS = (1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6)
ROWS = 4096  # worked on at once, to bound memory

FLAT = 3.0  # deviation of luma below which a picture shows nothing
FLAT_SHARE = 0.2  # or this share of the contrast on both sides
REACH_S = 1.0  # how far those sides reach
RAMP_MAX_S = 3.0  # longest fade-out or fade-in
DIP_S = 0.5  # a shorter one that ends where it began is a flash
RAMP_MIN_FRAMES = 3  # a fade, not a cut to black


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Frames `[start, end)` belong to neither shot; equal for a cut."""

    start: int
    end: int


def find_fades(luma: Luma, *, fps: float) -> list[Span]:
    """Runs of pictures without contrast that are reached or left gradually, with a picture on both sides."""
    contrast = np.concatenate([part.astype(np.float32).std(axis=1) for part in _parts(luma)])
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
    """The best-supported straight transitions that contain no frame of `cuts`, best first."""
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
    """(score, start, end) of the windows of one length in one part that pass every test."""
    start = np.arange(base, min(base + ROWS, len(luma) - length))
    edges = np.array([0, *cuts, len(luma)])
    shot = np.searchsorted(edges, start, side="right")
    start = start[(shot == np.searchsorted(edges, start + length, side="right"))]
    shot = np.searchsorted(edges, start, side="right")
    earlier = np.maximum(edges[shot - 1], start - length)
    later = np.minimum(edges[np.minimum(shot, len(edges) - 1)] - 1, start + 2 * length)
    enough = max(3, length // 3)
    seen = (start - earlier >= enough) & (later - start - length >= enough)
    change = _distance(luma, start, start + length)
    around = np.maximum(_distance(luma, earlier, start), _distance(luma, start + length, later))
    isolation = change / (around + 2.0)
    far = seen & (change > DISTANCE_MIN) & (isolation > SUPPORT_MIN)
    start, isolation = start[far], isolation[far]
    a, b = luma[start].astype(np.float32), luma[start + length].astype(np.float32)
    residual, step = _line_fit(luma, start, length)
    share = (np.abs(b - a) > CHANGED).mean(axis=1)
    support = isolation * (1.0 - residual / RESIDUAL_MAX)
    good = (support > SUPPORT_MIN) & (step < STEP_MAX) & (share > SHARE_MIN)
    good &= (_correlation(a, b) < CORRELATION_MAX) & (np.minimum(a.std(axis=1), b.std(axis=1)) > FLAT)
    return [(float(support[i]), int(start[i]), int(start[i]) + length) for i in np.flatnonzero(good)]


def _line_fit(luma: Luma, start: Ints, length: int) -> tuple[Floats, Floats]:
    """Largest distance from the line between the ends, and largest step along it; 9 where it turns back."""
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
    """Whether a shift explains the change: the camera or a large thing moved."""
    first, second = (x.reshape(TINY_HEIGHT_PX // 4, TINY_WIDTH_PX // 4).astype(np.float32) for x in (a, b))
    return best_correlation(first, second, SHIFT_Y, SHIFT_X) > SAME_STRUCTURE


def _extent(luma: Luma, start: int, end: int, limits: tuple[int, int]) -> Span:
    """Where a transition really begins and ends: the way along its line, prolonged from its middle 80 %.

    A window may lie inside a longer transition; so the ends move on, within `limits` and by half the length
    at most, as long as the way goes on.
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
    margin = 0.125 * (high - low)  # 10 % of a way of which 80 % is known
    begin = max(start, round(start + low - margin) + 1) - first
    stop = max(begin, min(end, round(start + high + margin)) - first)
    pace = GOES_ON * 0.8 / (high - low)
    while begin >= 2 and along[begin] - along[begin - 2] > 2 * pace:
        begin -= 1
    while stop + 2 < len(along) and along[stop + 2] - along[stop] > 2 * pace:
        stop += 1
    return Span(start=first + begin, end=first + stop)


def _ramp(contrast: Floats) -> int:
    """Frames over which contrast keeps rising, away from a flat run."""
    length = 0
    while length + 2 < len(contrast) and contrast[length + 2] > contrast[length] + 0.5:
        length += 1
    return length + 1 if length else 0


def _running_max(values: Floats, reach: int) -> Floats:
    """The largest of each value and its `reach` predecessors."""
    padded = np.concatenate([np.repeat(values[:1], reach), values])
    highest: Floats = np.lib.stride_tricks.sliding_window_view(padded, reach + 1).max(axis=1)
    return highest


def _distance(luma: Luma, i: Ints, j: Ints) -> Floats:
    """Root mean square luma difference of frames i and j."""
    difference = luma[i].astype(np.float32) - luma[j]
    rms: Floats = np.sqrt((difference * difference).mean(axis=1))
    return rms


def _correlation(a: Floats, b: Floats) -> Floats:
    """Row by row, blind to brightness and contrast; noise counts as none."""
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    floor = NOISE_VARIANCE * a.shape[1]
    norm = np.sqrt(((a * a).sum(axis=1) + floor) * ((b * b).sum(axis=1) + floor))
    correlation: Floats = (a * b).sum(axis=1) / norm
    return correlation


def _parts(luma: Luma) -> list[Luma]:
    """Views of at most ROWS rows."""
    return [luma[i : i + ROWS] for i in range(0, len(luma), ROWS)]
