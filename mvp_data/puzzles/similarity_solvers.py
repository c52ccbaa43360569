"""Solvers that only compare frames by similarity. They measure how easy a puzzle is; the audit uses them too.

A build gives them the vectors and thumbnails of the bank, so nothing is decoded. The audit gives them the images of
finished shards.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.core.seeds import shuffled
from mvp_data.core.types import Vectors
from mvp_data.puzzles.corpus import KeptVideo
from mvp_data.puzzles.shortest_path import Floats, Places, Space, searchable, shortest_path, space
from mvp_data.puzzles.thumbnails import COARSE_BLOCKS, coarse
from mvp_data.puzzles.types import Distractor, Episode
from mvp_data.tasks.chance import chance
from mvp_data.tasks.grading import grade

SPACES = ("vectors", "thumbnails")


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """Frames as the solvers of a build see them."""

    vectors: Vectors  # [n, D], rows of length 1
    thumbnails: npt.NDArray[np.float32]  # [n, 576], luma 0..255 of `thumbnails.coarse`


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """The K hidden frames in order, and the frames next to them. At least one of `before` and `after` is given."""

    hidden: Features
    before: Features | None  # one frame
    after: Features | None  # one frame

    def __post_init__(self) -> None:
        if self.before is None and self.after is None:
            raise ValueError("no frame before the gap and none after it: nothing to compare candidates with")


def features(vectors: Vectors, thumbnails: Sequence[bytes]) -> Features:
    """The frames with these vectors [n, D] and thumbnails (`Frame.thumbnail`)."""
    pixels = coarse(thumbnails).reshape(len(thumbnails), COARSE_BLOCKS)
    if len(pixels) != len(vectors):
        raise ValueError(f"one thumbnail per vector is needed, got {len(vectors)} vectors and {len(pixels)} thumbnails")
    return Features(vectors=vectors, thumbnails=pixels.astype(np.float32))


def features_of(distractors: Sequence[Distractor], dimension: int) -> Features:
    """The frames of these distractors (may be empty), whose vectors have this dimension."""
    vectors = np.array([d.vector for d in distractors], np.float32).reshape(-1, dimension)
    return features(vectors, [d.thumbnail for d in distractors])


def gap_of(video: KeptVideo, episode: Episode) -> Gap:
    """The gap of an episode of this video."""

    def of(frames: Sequence[int]) -> Features:
        return features(video.vectors[video.rows(frames)], [video.entry.frames.thumbnail(f) for f in frames])

    before, after = episode.context[: episode.mask_start][-1:], episode.context[episode.mask_start :][:1]
    return Gap(hidden=of(episode.hidden), before=of(before) if before else None, after=of(after) if after else None)


def success(gap: Gap, others: Features, *, ordered: bool = True) -> float:
    """How well similarity solves a puzzle: 1 if every solver is right, 0 if no solver is better than guessing.

    `others` are the l distractors (may be empty). There are four solvers, as in docs/audit.md: the candidates nearest
    to the gap and the shortest path through it, each by vectors and by pixels. If there are too many answers to search
    for a path, only the two nearest-candidate solvers run. The result is the mean of their `graded` answers.

    Ties are broken by a shuffle of the pool that depends only on its pixels, never on the true order.
    """
    k, l = len(gap.hidden.vectors), len(others.vectors)  # noqa: E741 - the name of the paper
    seed = zlib.crc32(others.thumbnails.tobytes(), zlib.crc32(gap.hidden.thumbnails.tobytes()))
    order = shuffled(range(k + l), "solve", seed)
    scores: list[float] = []
    for name in SPACES:
        before, hidden, after = _parts(gap, name)
        pool = np.concatenate([hidden, getattr(others, name)])[order]
        distances = space(np.concatenate([pool, *before, *after]).astype(np.float64), k + l, len(before))
        answers = [nearest(distances, k)]
        if searchable(k + l, k):
            answers.append(path(distances, k))
        # Position of each in the hidden segment; K or more is a distractor.
        scores += [graded([order[place] for place in answer], l, ordered=ordered) for answer in answers]
    return round(sum(scores) / len(scores), 4)


def path_gains(gap: Gap, others: Features) -> Floats:
    """How much each distractor [l] shortens the right path if it replaces the hidden frame that it fits best.

    A gain is a share of the length of that path, summed over both spaces. Above 0, the shortest path is a wrong one.
    """
    total = np.zeros(len(others.vectors))
    for name in SPACES:
        before, hidden, after = _parts(gap, name)
        chain = np.concatenate([*before, hidden, *after]).astype(np.float64)
        apart = getattr(others, name).astype(np.float64)
        far = (chain**2).sum(axis=1)[:, None] + (apart**2).sum(axis=1) - 2 * chain @ apart.T  # [chain, l]
        steps = (np.diff(chain, axis=0) ** 2).sum(axis=1)
        gains = []
        for place in range(len(before), len(before) + len(hidden)):
            adjacent = [p for p in (place - 1, place + 1) if 0 <= p < len(chain)]
            gains.append(sum(steps[min(p, place)] - far[p] for p in adjacent))
        total += np.max(gains, axis=0) / max(steps.sum(), 1e-12)
    return total


def _parts(gap: Gap, name: str) -> tuple[list[Any], Any, list[Any]]:
    """The frames before, in and after the gap in one space; the first and the last list have at most one array."""
    before, after = ([] if end is None else [getattr(end, name)] for end in (gap.before, gap.after))
    return before, getattr(gap.hidden, name), after


def nearest(space: Space, k: int) -> Places:
    """The K candidates nearest to a frame next to the gap, ordered so that each is the nearest to the previous one."""
    ends = [end for end in (space.before, space.after) if end is not None]
    left = [int(i) for i in np.argsort(np.minimum.reduce(ends), kind="stable")[:k]]
    distance = ends[0]
    answer: list[int] = []
    while left:
        answer.append(min(left, key=distance.__getitem__))
        left.remove(answer[-1])
        distance = space.pool[answer[-1]]
    return tuple(answer if space.before is not None else reversed(answer))


def path(space: Space, k: int) -> Places:
    """The shortest path through K candidates from the frame before the gap to the frame after it."""
    return shortest_path(space.pool, space.before, space.after, k)


def graded(answer: Sequence[int], l: int, *, ordered: bool = True) -> float:  # noqa: E741
    """The score in [0, 1] of an answer: K positions in the hidden segment, with K or more for a distractor.

    It is the mean of selection (if l > 0), order and exact, or of selection and set where order does not count. Each
    is rescaled so that a random answer scores 0 on average. A mean below 0 counts as 0.

    >>> graded((0, 1, 2, 3), 4), graded((4, 5, 6, 7), 4), round(graded((0, 1, 2, 4), 4), 2)
    (1.0, 0.0, 0.31)
    """
    k = len(answer)
    values = grade([place if place < k else -1 for place in answer], k + l, ordered=ordered)
    corrected = [(values[name] - guessed) / (1 - guessed) for name, guessed in _levels(k, l, ordered)]
    return max(0.0, sum(corrected) / len(corrected)) if corrected else 0.0


@lru_cache(maxsize=64)
def _levels(k: int, l: int, ordered: bool) -> tuple[tuple[str, float], ...]:  # noqa: E741
    """The metrics that count, with their chance levels; metrics in which every answer scores 1 are left out."""
    names = (["selection"] if l else []) + (["order", "exact"] if ordered else ["set"])
    levels = [(name, chance(name, k, l).mean) for name in names]
    return tuple((name, mean) for name, mean in levels if mean < 1)
