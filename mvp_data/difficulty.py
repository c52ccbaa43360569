"""How hard a puzzle should be, in [0, 1], from what is known without solving it."""

from collections.abc import Sequence

import numpy as np

from mvp_data.corpus import Thresholds
from mvp_data.types import Vectors


def difficulty(hidden: Vectors, distractor_similarity: Sequence[float], thresholds: Thresholds) -> float:
    """The mean of two parts, each 0 at the encoder's `low` similarity and 1 at the threshold that forbids more.

    Without distractors it is the second part alone.

    *Selection*: how like the distractors are to the hidden frames (1: just below `ambiguous`).
    *Order*: how like hidden frames that follow each other are (1: just below `ambiguous`).
    """
    neighbours = (hidden[1:] * hidden[:-1]).sum(axis=1)
    order = _position(neighbours, thresholds.low, thresholds.ambiguous)
    if not distractor_similarity:
        return round(order, 4)
    selection = _position(np.asarray(distractor_similarity), thresholds.low, thresholds.ambiguous)
    return round((selection + order) / 2, 4)


def _position(values: np.typing.NDArray[np.floating], low: float, high: float) -> float:
    return float(np.clip((values - low) / (high - low), 0, 1).mean())
