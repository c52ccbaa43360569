"""Finds fades and dissolves after the last frame, from 16 x 9 luma pixels of every frame.

A dissolve from A to B shows (1 - a) A + a B, where `a` rises from 0 to 1: its frames are on a straight line in pixel
space. A window of frames is a dissolve if it stays near such a line and changes much more than equally long windows
before and after it. Motion, pans and objects that pass the camera leave the line, exposure ramps keep the structure of
the image, and titles change only a part of it. A fade has frames without contrast.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import TINY_HEIGHT_PX, TINY_WIDTH_PX
from mvp_data.video.shots.compare import NOISE_VARIANCE, SAME_STRUCTURE, best_correlation

Luma = npt.NDArray[np.uint8]  # [N, 144]: one row per frame
Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]

LENGTHS_S = (0.16, 0.24, 0.32, 0.44, 0.6, 0.8, 1.1, 1.5, 2.0)  # lengths of the windows, each 1.35 times the one before
DISTANCE_MIN = 5.0  # root mean square luma change from end to end
SAME_CONTRAST = 40.0  # standard deviation of all frames after `_equal_contrast`
LOUDER = 0.75  # weight of the side with more motion; a dissolve from a still shot into a lively one is isolated too
RESIDUAL_MAX = 0.5  # distance from the straight line, as a share of its length; motion has .5 to .9
SUPPORT_MIN = 0.7  # least isolation x (1 - residual / RESIDUAL_MAX): a straighter path may be less isolated
CORRELATION_MAX = 0.7  # of the two ends: above it the content is the same, only brighter, sharper or moved
SHARE_MIN = 0.45  # least share of the frame that changed
CHANGED = 8.0
CHANGED_SHARE = 0.35  # or of the mean contrast of both ends, in a dark scene
SHIFT_Y, SHIFT_X = 2, 4  # of 9 x 16: largest motion
PAN_MARGIN = 0.08  # of correlation, by which shifts explain the path of a pan better than a mixture of its ends
STEP_MAX = 0.6  # largest share of the path in a sixth of the length: more is a cut
CONTINUES = 0.5  # least pace, as a share of the mean, at which a transition continues beyond its window
FRACTIONS = (1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6)
ROWS = 4096  # processed at once, to bound memory

FLAT = 3.0  # standard deviation of luma up to which a frame has no contrast
FLAT_SHARE = 0.2  # or up to this share of the contrast on both sides
REACH_S = 1.0  # length of these sides
RAMP_MAX_S = 3.0  # longest fade-out or fade-in
RAMP_STEP_S = 0.1  # the contrast of a ramp rises from any frame to the one this much later
RAMP_RISE = 0.15  # by at least this share of the contrast outside, a second
PEAK = 1.25  # a fade shrinks the range of luma like its deviation; motion into the dark leaves bright parts
RANGE_MAX = 0.85  # largest range early in a ramp, as a share of that of the frame after it
RAMP_SIMILAR = 0.3  # least correlation of the two
NARROW = 4.0  # range that noise alone may have
DIP_S = 0.5  # a shorter fade with the same content on both sides is a flash
MERGE_S = 0.3  # dissolves this close are one
RAMP_MIN_FRAMES = 3  # fewer are a cut to black
RAMP_MIN_S = 0.1  # or, at low rates, fewer frames that last as long
EDGE_SHARE = 0.65  # a video that starts in the middle of a fade has at most this share of the contrast after it
EDGE_LEVELS = (-12.0, 24.0), (225.0, 270.0)  # luma of the black or the white that such a fade comes from


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Frames `[start, end)` belong to neither shot; both are equal for a cut."""

    start: int
    end: int


def find_fades(luma: Luma, *, fps: float) -> list[Span]:
    """Return the runs of frames without contrast that begin or end gradually, and the fades at both ends of the video.

    A fade at the end ends with the last frame: its `end` is the number of frames.
    """
    blocks = [luma[i : i + ROWS].astype(np.float32) for i in range(0, len(luma), ROWS)]
    contrast = np.concatenate([block.std(axis=1) for block in blocks])
    reach = max(2, round(REACH_S * fps))
    sides = np.minimum(_running_max(contrast, reach), _running_max(contrast[::-1], reach)[::-1])
    flat = contrast <= np.maximum(FLAT, FLAT_SHARE * sides)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(np.int8), [0]])))
    shortest = min(RAMP_MIN_FRAMES, max(1, round(RAMP_MIN_S * fps)))
    spans: list[Span] = []
    for first, end in zip(edges[0::2].tolist(), edges[1::2].tolist(), strict=True):
        if first == 0 or end == len(flat):
            continue  # see `_edge_fade`
        out = _ramp(luma[:first][::-1], contrast[:first][::-1], fps)
        into = _ramp(luma[end:], contrast[end:], fps)
        start, stop = first - out, min(end + into, len(flat) - 1)
        if max(out, into) >= shortest and start > 0 and stop < len(flat) - 1:
            if stop - start < DIP_S * fps and _moved(luma[start - 1], luma[stop]):
                continue
            if spans and start <= spans[-1].end:
                start = spans.pop().start
            spans.append(Span(start=start, end=stop))
    into, out = _edge_fade(luma, contrast, fps), _edge_fade(luma[::-1], contrast[::-1], fps)
    if into and not (spans and spans[0].start <= into):
        spans.insert(0, Span(start=0, end=into))
    if out and not (spans and spans[-1].end >= len(flat) - out):
        spans.append(Span(start=len(flat) - out, end=len(flat)))
    return spans


def _edge_fade(luma: Luma, contrast: Floats, fps: float) -> int:
    """Return the number of frames of the fade-in with which a video starts, or 0.

    The video may start in the middle of the fade. Then the mean of luma tells a fade from other changes of contrast:
    it approaches black or white as the contrast approaches 0.
    """
    bright = np.flatnonzero(contrast > FLAT)
    first = int(bright[0]) if len(bright) else len(contrast)
    length = _ramp(luma[first:], contrast[first:], fps)
    stop = first + length
    if length < max(RAMP_MIN_FRAMES, round(RAMP_MIN_S * fps)) or stop >= len(contrast):
        return 0
    share = float(contrast[first] / contrast[stop])
    level = float((luma[first].mean() - share * luma[stop].mean()) / (1 - share)) if share < EDGE_SHARE else -99.0
    if first == 0 and not any(low <= level <= high for low, high in EDGE_LEVELS):
        return 0
    return stop if share < EDGE_SHARE else 0


def find_dissolves(luma: Luma, *, cuts: Sequence[int], fps: float) -> list[Span]:
    """Return the straight transitions with the most support that contain no frame of `cuts`."""
    even = _equal_contrast(luma)
    found: list[tuple[float, int, int]] = []
    for length in sorted({max(4, round(length_s * fps)) for length_s in LENGTHS_S}):
        for base in range(0, max(0, len(luma) - length), ROWS):
            found += _straight(luma, even, base=base, length=length, cuts=cuts)
    spans: list[Span] = []
    taken = np.zeros(len(luma), np.bool_)
    edges = np.array([0, *cuts, len(luma)])
    for _, start, end in sorted(found, reverse=True):
        if taken[start:end].any():
            continue
        taken[start:end] = True
        shot = int(np.searchsorted(edges, start, side="right"))
        span = _extent(luma, start, end, (int(edges[shot - 1]), int(edges[shot])))
        if span.end - span.start >= RAMP_MIN_FRAMES and not _moved(luma[start], luma[end]) and not _pans(luma, span):
            spans.append(span)
    merged = _merged(spans, cuts, max_gap=round(MERGE_S * fps))
    return [span for span in merged if not _moved(luma[span.start], luma[span.end])]


def _merged(spans: Sequence[Span], cuts: Sequence[int], *, max_gap: int) -> list[Span]:
    """Return the spans with those that are at most `max_gap` frames apart as one, unless a cut is between them."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda s: s.start):
        last = merged[-1] if merged else span
        if merged and span.start - last.end <= max_gap and not any(last.end <= cut <= span.start for cut in cuts):
            merged[-1] = Span(start=last.start, end=max(last.end, span.end))
        else:
            merged.append(span)
    return merged


def _equal_contrast(luma: Luma) -> Luma:
    """Return the frames with one mean and one contrast, so that dark scenes count and changes of light do not."""
    even = np.empty_like(luma)
    for i in range(0, len(luma), ROWS):
        block = luma[i : i + ROWS].astype(np.float32)
        block -= block.mean(axis=1, keepdims=True)
        block *= SAME_CONTRAST / np.sqrt(np.square(block).mean(axis=1, keepdims=True) + NOISE_VARIANCE)
        even[i : i + ROWS] = (block + 128).clip(0, 255)
    return even


def _straight(luma: Luma, even: Luma, *, base: int, length: int, cuts: Sequence[int]) -> list[tuple[float, int, int]]:
    """Return (score, start, end) of the windows of one length that pass every test and start in [base, base + ROWS)."""
    start = np.arange(base, min(base + ROWS, len(luma) - length))
    change = _distance(even, start, start + length)
    other = change > SAME_CONTRAST * np.sqrt(2 - 2 * CORRELATION_MAX)  # frames of equal contrast: that correlation
    start, change = start[other], change[other]
    edges = np.array([0, *cuts, len(luma)])
    shot = np.searchsorted(edges, start, side="right")
    earlier = np.maximum(edges[shot - 1], start - length)
    later = np.minimum(edges[np.minimum(shot, len(edges) - 1)] - 1, start + 2 * length)
    enough = max(3, length // 3)
    has_sides = (start - earlier >= enough) & (later - start - length >= enough)
    start, change, earlier, later = start[has_sides], change[has_sides], earlier[has_sides], later[has_sides]
    before, after = _distance(even, earlier, start), _distance(even, start + length, later)
    isolation = change / (LOUDER * np.maximum(before, after) + (1 - LOUDER) * np.minimum(before, after) + 2.0)
    far = isolation > SUPPORT_MIN
    start, isolation = start[far], isolation[far]
    a, b = luma[start].astype(np.float32), luma[start + length].astype(np.float32)
    contrast = a.std(axis=1), b.std(axis=1)
    residual, step = _line_fit(luma, start, length)
    changed = np.minimum(CHANGED, CHANGED_SHARE * np.sqrt(contrast[0] * contrast[1]))
    support = isolation * (1.0 - residual / RESIDUAL_MAX)
    good = (support > SUPPORT_MIN) & (step < STEP_MAX) & (np.minimum(*contrast) > FLAT)
    good &= (np.abs(b - a) > changed[:, None]).mean(axis=1) > SHARE_MIN
    good &= _distance(luma, start, start + length) > DISTANCE_MIN
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
    return _similarity(a, b, SHIFT_Y, SHIFT_X) > SAME_STRUCTURE


def _similarity(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8], shift_y: int, shift_x: int) -> float:
    """Return the correlation of two rows at the best shift."""
    first, second = (x.reshape(TINY_HEIGHT_PX // 4, TINY_WIDTH_PX // 4).astype(np.float32) for x in (a, b))
    return best_correlation(first, second, shift_y, shift_x)


def _pans(luma: Luma, span: Span) -> bool:
    """Return whether shifts explain five frames at equal distances better than mixtures of the first and the last."""
    path = luma[np.linspace(span.start, span.end, 5).round().astype(int)]
    shifted = min(_similarity(a, b, SHIFT_Y, SHIFT_X) for a, b in pairwise(path))
    frames = path.astype(np.float32)
    way = frames[-1] - frames[0]
    along = np.clip((frames[1:-1] - frames[0]) @ way / (way @ way + 1e-6), 0, 1)
    mixed = _correlation(frames[1:-1], frames[0] + along[:, None] * way).min()
    return shifted > max(SAME_STRUCTURE, float(mixed) + PAN_MARGIN)


def _mixture(luma: Luma, start: int, end: int) -> Floats:
    """Return the share of frame `end` in each frame as a mixture of it and frame `start`; light has no influence."""
    frames = luma.astype(np.float32)
    frames -= frames.mean(axis=1, keepdims=True)
    ends = frames[[start, end]]
    parts = np.linalg.solve(ends @ ends.T + NOISE_VARIANCE * np.eye(2), ends @ frames.T)
    share: Floats = (parts[1] / parts.sum(axis=0).clip(0.05)).clip(-1.0, 2.0)
    return share


def _extent(luma: Luma, start: int, end: int, limits: tuple[int, int]) -> Span:
    """Return the exact extent of a transition, extrapolated from the middle 80 % of its path.

    The window may be inside a longer transition. So the ends move outwards while the path continues, within `limits`
    and by at most half the length.
    """
    reach = (end - start) // 2
    first, last = max(limits[0], start - reach), min(limits[1] - 1, end + reach)
    along = _mixture(luma[first : last + 1], start - first, end - first)
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


def _ramp(luma: Luma, contrast: Floats, fps: float) -> int:
    """Return the number of frames in which contrast rises, counted from a run without contrast.

    0 if they do not look like the frame after them, only flatter.
    """
    limit = max(RAMP_MIN_FRAMES, round(RAMP_MAX_S * fps))
    step = max(1, round(RAMP_STEP_S * fps))
    values = contrast[: limit + step + 1]
    if len(values) <= step:
        return 0
    usual = float(np.median(contrast[: max(1, round((RAMP_MAX_S + REACH_S) * fps))]))
    falls = values[step:] <= values[:-step] + max(0.1, RAMP_RISE * usual * step / fps)
    length = int(np.argmax(falls)) if falls.any() else len(falls)
    length = min(len(contrast) - 1, length + step - 1) if length else 0
    if length < 2:
        return length
    early, outer = length // 4, float(np.ptp(luma[length]))
    flatter = float(contrast[early]) / max(float(contrast[length]), 1.0)
    if np.ptp(luma[early]) > min(PEAK * flatter, RANGE_MAX) * outer + NARROW:
        return 0
    return length if _similarity(luma[early], luma[length], 1, 2) > RAMP_SIMILAR else 0


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
