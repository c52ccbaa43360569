"""Compares two frames: by difference, and by correlation at the best shift."""

import numpy as np
import numpy.typing as npt

Half = npt.NDArray[np.int16]  # [3, 18, 32], YCbCr: the tiny frame at half size

CHANGED = 5  # difference of a pixel that counts as changed
SAME_STRUCTURE = 0.8  # correlation at the best shift: two frames above it show the same content
NOISE_VARIANCE = 4.0  # keeps frames without contrast from correlating
BAR_LUMA = 30  # rows and columns darker than this in both frames are letterbox bars
SHIFT_Y, SHIFT_X = 3, 5  # of 18 x 32: a camera moves by at most a sixth of the image per frame


def half_sizes(tinies: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    """Scale [N, 3, 36, 64] to [N, 3, 18, 32] by the mean of 2 x 2 pixels."""
    rows = np.add(tinies[:, :, 0::2], tinies[:, :, 1::2], dtype=np.int16)
    return (rows[..., 0::2] + rows[..., 1::2]) >> 2


def difference(a: Half, b: Half) -> float:
    """Return the mean absolute difference over all pixels and the three channels, 0..255."""
    return float(np.abs(a - b).mean())


def active_area(a: Half, b: Half) -> tuple[slice, slice]:
    """Return the rows and columns inside the black bars that both frames have, or all of them if too few remain."""
    brightest = np.maximum(a[0], b[0])
    rows = np.flatnonzero(brightest.max(axis=1) > BAR_LUMA)
    columns = np.flatnonzero(brightest.max(axis=0) > BAR_LUMA)
    if len(rows) < 6 or len(columns) < 8:
        return slice(None), slice(None)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def best_correlation(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], shift_y: int, shift_x: int) -> float:
    """Return the highest correlation of two images over shifts by up to `shift_y` rows and `shift_x` columns.

    For each shift only the overlap counts; the sums over all overlaps are one matrix product.
    """
    height, width = a.shape
    padded = np.zeros((3, height + 2 * shift_y, width + 2 * shift_x), np.float32)
    a, b = a - a.mean(), (b - b.mean()).ravel()
    padded[:, shift_y : shift_y + height, shift_x : shift_x + width] = a, a * a, np.ones_like(a)
    shifted = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    sums = shifted.reshape(3, -1, height * width) @ np.stack([np.ones_like(b), b, b * b], axis=1)
    (sum_a, sum_ab, _), (sum_aa, _, _), (count, sum_b, sum_bb) = sums.transpose(0, 2, 1)
    spread_a = sum_aa - sum_a * sum_a / count + NOISE_VARIANCE * count
    spread_b = sum_bb - sum_b * sum_b / count + NOISE_VARIANCE * count
    return float(((sum_ab - sum_a * sum_b / count) / np.sqrt(spread_a * spread_b)).max())


def inside_bars(a: Half, b: Half) -> tuple[Half, Half]:
    """Return both frames without the black bars that both have."""
    rows, columns = active_area(a, b)
    return a[:, rows, columns], b[:, rows, columns]


def structure(a: Half, b: Half) -> float:
    """Return the correlation of luma at the best shift."""
    return best_correlation(a[0].astype(np.float32), b[0].astype(np.float32), SHIFT_Y, SHIFT_X)
