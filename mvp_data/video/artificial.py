"""Recognises frames that no camera took: title cards, graphics between shots, and smears of a decoder.

Smears are part of the image in a video that was re-encoded after a faulty decode, so no decoder reports them. Where
data is lost, H.264 and its successors continue the last good line downwards; where a whole reference frame is lost,
they start from grey.
"""

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import Luma, Picture
from mvp_data.video.cells import CELL_PX, Cells

# Stripes: columns that keep their level over STRIPE_CELLS cells downwards, next to columns of other levels. Door frames
# and cartoons have up to .07 of the frame in them; smears have .15 and more. A camera that moves fast blurs sideways.
STRIPE_CELLS = 12
STRIPE_RANGE = 6  # of the levels of such a column, after compression
STRIPE_PX = 16  # columns judged together: a macroblock
STRIPE_COLUMNS = 0.9  # least share of these that keep their level
STRIPE_CHANGE = 24  # least sum of the steps between them; a calm wall has less
STRIPE_SHARE = 0.12  # of the frame

# Grey of a lost reference: 128 in limited range, 130.4 of 255. A grey drawn by a program is 128 of 255.
GREY, GREY_SLACK = 130.4, 1.2
GREY_RANGE, GREY_COLOUR = 3, 4  # of a cell's levels, and between its red, green and blue
GREY_SHARE = 0.05  # of the frame; other frames have at most .016

# Cards: large parts of one colour, and lettering with sharp edges; nothing has texture.
FLAT_RANGE = 8  # of a cell without content, compressed
EDGE_RANGE = 60  # of a cell with the edge of a letter
CARD_FLAT, CARD_EDGES = 0.55, 0.005  # least shares of such cells
CARD_TEXTURE = 0.035  # most cells that are neither, and not next to an edge either; a photograph has ten times that
CARD_GROUND, GROUND_WIDTH = 0.53, 17  # least share of the pixels within so many neighbouring levels
PURE_TEXTURE = 0.006  # with at most this much texture, the ground may be a gradient
PLAIN_GROUND = 0.85  # a graphic may move where this share of it is ground


def is_smeared(rgb: Picture, cells: Cells) -> bool:
    """Return whether a frame [H, W, 3] shows stripes or grey of a faulty decode."""
    return _stripes(cells.high_columns, cells.low_columns) >= STRIPE_SHARE or _grey(rgb, cells) >= GREY_SHARE


def _stripes(high: Luma, low: Luma) -> float:
    """Return the share of the frame in stripes."""
    rows, columns = len(high), high.shape[1] // STRIPE_PX
    if rows < STRIPE_CELLS or not columns:
        return 0.0
    top, bottom = _over_windows(np.maximum, high), _over_windows(np.minimum, low)
    windows = len(top)
    whole = columns * STRIPE_PX
    top, bottom = top[:, :whole], bottom[:, :whole]
    kept = (top - bottom <= STRIPE_RANGE).reshape(windows, columns, STRIPE_PX)
    found = np.count_nonzero(kept, axis=2) >= STRIPE_COLUMNS * STRIPE_PX
    if not found.any():
        return 0.0
    steps = np.maximum(top[:, 1:], top[:, :-1]) - np.minimum(top[:, 1:], top[:, :-1])
    steps = np.pad(steps, ((0, 0), (0, 1))).reshape(windows, columns, STRIPE_PX)
    found &= steps.sum(axis=2, dtype=np.int32) >= STRIPE_CHANGE
    covered = np.zeros((rows, columns), bool)
    for step in range(STRIPE_CELLS):
        covered[step : step + windows] |= found
    return float(covered.mean())


def _over_windows(extreme: np.ufunc, levels: Luma) -> Luma:
    """Return the extreme of each column over STRIPE_CELLS rows of [rows, W], for each first row."""
    length, found = 1, levels
    while length < STRIPE_CELLS:
        step = min(length, STRIPE_CELLS - length)
        found = extreme(found[step:], found[:-step])
        length += step
    return found


def _grey(rgb: Picture, cells: Cells) -> float:
    """Return the share of cells that have the grey of a lost reference."""
    grey = cells.high - cells.low <= GREY_RANGE
    if np.count_nonzero(grey) <= GREY_SHARE * grey.size:
        return 0.0
    middle = (cells.high.astype(np.float32) + cells.low) / 2
    grey &= np.abs(middle - GREY) <= GREY_SLACK
    if grey.mean() < GREY_SHARE:
        return 0.0
    rows, columns = grey.shape
    whole = rgb[: rows * CELL_PX, : columns * CELL_PX].reshape(rows, CELL_PX, columns, CELL_PX, 3)
    colour = whole.mean(axis=(1, 3))
    return float((grey & (np.ptp(colour, axis=2) <= GREY_COLOUR)).mean())


def looks_drawn(luma: Luma, cells: Cells) -> tuple[bool, bool]:
    """Return whether a frame [H, W] looks like a card, and whether it is a card with a plain ground.

    A card has lettering or a logo on a ground of one colour. Whether it is one depends on its neighbours as well, see
    `video.nearby`: stills of a cartoon look like cards.
    """
    spread = cells.high - cells.low
    flat, edges = spread <= FLAT_RANGE, spread >= EDGE_RANGE
    if np.count_nonzero(flat) <= CARD_FLAT * flat.size or np.count_nonzero(edges) <= CARD_EDGES * edges.size:
        return False, False
    texture = float((~flat & ~_widened(edges)).mean())
    if texture > CARD_TEXTURE:
        return False, False
    counts = np.bincount(luma.ravel(), minlength=256)
    ground = float(np.convolve(counts, np.ones(GROUND_WIDTH), "same").max()) / luma.size
    return texture <= PURE_TEXTURE or ground >= CARD_GROUND, ground >= PLAIN_GROUND


def _widened(places: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the cells and their eight neighbours."""
    padded = np.pad(places, 1)
    tall = padded[:-2] | padded[1:-1] | padded[2:]
    return tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:]
