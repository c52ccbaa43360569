"""Estimates how hard a puzzle is, in [0, 1], without a model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvp_data.puzzles.corpus import Thresholds
from mvp_data.puzzles.similarity_solvers import Features

BUCKETS = 10

# How hard it is to tell a distractor from a hidden frame by its surroundings.
ORIGIN_HARDNESS = {"corpus": 0.0, "same_video": 0.5, "neighbourhood": 1.0, "same_strip": 1.0}
FULL_MOTION = 32.0  # mean change of luma (of 255) from one hidden frame to the next that counts as 1

# The solvers have half of the weight, because only they see the whole puzzle. Motion makes consecutive hidden frames
# less similar; similar distractors may seem to be the next frame. Origin adds a little, and spacing hardly anything
# that motion does not already measure (benchmarks/difficulty.py).
WEIGHTS = {"solvers": 0.5, "motion": 0.2, "margin": 0.15, "origin": 0.1, "spacing": 0.05}


@dataclass(frozen=True, kw_only=True, slots=True)
class Difficulty:
    """How hard a puzzle is for a solver that compares frames, in five parts from 0 (easy) to 1 (hard)."""

    margin: float  # how close the most similar distractor is to the ambiguity threshold; 0 without any
    spacing: float  # share of sampled frames between hidden ones: 0.5 if every second frame is hidden
    motion: float  # change from one hidden frame to the next: mean of vectors and pixels
    origin: float  # 0: all distractors are from other videos, 1: all from the neighbourhood; 0 without any
    solvers: float  # 0: similarity alone solves it, 1: similarity is no better than guessing

    @property
    def score(self) -> float:
        """The mean of the parts, weighted by `WEIGHTS`."""
        return round(sum(weight * float(getattr(self, name)) for name, weight in WEIGHTS.items()), 4)


def measure(
    hidden: Features,
    distractors: Sequence[tuple[str, float]],
    times_s: Sequence[float],
    step_s: float,
    thresholds: Thresholds,
    success: float,
) -> Difficulty:
    """The parts for K hidden frames at `times_s`, sampled every `step_s`, and (origin, similarity) of each distractor.

    A distractor's similarity is its highest cosine to a hidden frame; `success` is the result of
    `similarity_solvers.success`.
    """
    band = thresholds.ambiguous - thresholds.low
    motion, gap_s = 0.0, step_s
    if len(hidden.vectors) > 1:
        similarities = (hidden.vectors[1:] * hidden.vectors[:-1]).sum(axis=1)
        by_embedding = np.clip((thresholds.ambiguous - similarities) / band, 0, 1).mean()
        by_pixels = np.abs(np.diff(hidden.thumbnails, axis=0)).mean() / FULL_MOTION
        motion = (float(by_embedding) + min(1.0, float(by_pixels))) / 2
        gap_s = float(np.diff(times_s).mean())
    nearest = max((similarity for _, similarity in distractors), default=thresholds.low)
    return Difficulty(
        margin=_part((nearest - thresholds.low) / band),
        spacing=_part(1 - step_s / gap_s),
        motion=_part(motion),
        origin=_part(sum(ORIGIN_HARDNESS[origin] for origin, _ in distractors) / max(1, len(distractors))),
        solvers=_part(1 - success),
    )


def bucket(difficulty: float) -> int:
    """The bucket of a difficulty, 0 to 9: tenths of the scale.

    >>> bucket(0.0), bucket(0.29), bucket(0.3), bucket(1.0)
    (0, 2, 3, 9)
    """
    return min(BUCKETS - 1, int(difficulty * BUCKETS + 1e-9))


def _part(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 4)
