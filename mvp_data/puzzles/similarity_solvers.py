"""Solvers that only compare frames by similarity. They measure how easy a puzzle is; the audit uses them too.

A build gives them the vectors and thumbnails of the bank, so nothing is decoded. The audit gives them the images of
finished shards.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mvp_data.core.seeds import shuffled
from mvp_data.core.types import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX, Vectors
from mvp_data.puzzles.corpus import KeptVideo
from mvp_data.puzzles.shortest_path import Floats, Places, Space, searchable, shortest_path, space
from mvp_data.tasks.chance import chance
from mvp_data.tasks.grading import grade


@dataclass(frozen=True, kw_only=True, slots=True)
class Sights:
    """Frames as the solvers of a build see them."""

    vectors: Vectors  # [n, D], rows of length 1
    thumbnails: npt.NDArray[np.float32]  # [n, 576], luma 0..255


def sights(vectors: Vectors, thumbnails: Sequence[bytes]) -> Sights:
    """The frames with these vectors [n, D] and thumbnails (`Frame.thumbnail`)."""
    pixels = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, THUMBNAIL_WIDTH_PX * THUMBNAIL_HEIGHT_PX)
    if len(pixels) != len(vectors):
        raise ValueError(f"{len(vectors)} vectors and {len(pixels)} thumbnails")
    return Sights(vectors=vectors, thumbnails=pixels.astype(np.float32))


def sights_of(video: KeptVideo, frames: Sequence[int]) -> Sights:
    """Kept frames of a video, by their indices in the bank."""
    return sights(video.vectors[video.rows(frames)], [video.entry.frames.thumbnail(f) for f in frames])


def success(
    hidden: Sights, others: Sights, before: Sights | None, after: Sights | None, *, ordered: bool = True
) -> float:
    """How well similarity solves a puzzle: 1 if every solver is right, 0 if no solver is better than guessing.

    `hidden` are the K hidden frames in order, `others` the l distractors (may be empty). Of the context only the last
    frame `before` the gap and the first one `after` it are used; at least one must be given. There are four solvers, as
    in docs/audit.md: the candidates nearest to the gap and the shortest path through it, each by vectors and by pixels.
    If there are too many answers to search for a path, only the two nearest-candidate solvers run. The result is the
    mean of their `graded` answers.

    Ties are broken by a shuffle of the pool that depends only on its pixels, never on the true order.
    """
    if before is None and after is None:
        raise ValueError("no frame before the gap and none after it: nothing to compare candidates with")
    k, l = len(hidden.vectors), len(others.vectors)  # noqa: E741 - the name of the paper
    seed = zlib.crc32(others.thumbnails.tobytes(), zlib.crc32(hidden.thumbnails.tobytes()))
    order = shuffled(range(k + l), "solve", seed)
    scores: list[float] = []
    for name in ("vectors", "thumbnails"):
        pool = np.concatenate([getattr(hidden, name), getattr(others, name)])[order]
        ends = ([getattr(before, name)[-1:]] if before else []) + ([getattr(after, name)[:1]] if after else [])
        seen = space(np.concatenate([pool, *ends]).astype(np.float64), k + l, int(before is not None))
        answers = [nearest(seen, k)]
        if searchable(k + l, k):
            answers.append(path(seen, k))
        # Place of each in the hidden segment; those from K on are distractors.
        scores += [graded([order[place] for place in answer], l, ordered=ordered) for answer in answers]
    return round(sum(scores) / len(scores), 4)


def lures(hidden: Sights, others: Sights, before: Sights | None, after: Sights | None) -> Floats:
    """How much each of the others [l] would shorten the right path in place of the best suited hidden frame.

    In shares of the length of that path, summed over both spaces. Above 0 the shortest path is a wrong one. For the
    arguments see `success`.
    """
    total = np.zeros(len(others.vectors))
    first = int(before is not None)
    for name in ("vectors", "thumbnails"):
        chain = np.concatenate(
            [
                *([getattr(before, name)[-1:]] if before else []),
                getattr(hidden, name),
                *([getattr(after, name)[:1]] if after else []),
            ]
        ).astype(np.float64)
        apart = getattr(others, name).astype(np.float64)
        far = (chain**2).sum(axis=1)[:, None] + (apart**2).sum(axis=1) - 2 * chain @ apart.T  # [chain, l]
        steps = (np.diff(chain, axis=0) ** 2).sum(axis=1)
        gains = []
        for place in range(first, first + len(hidden.vectors)):
            beside = [p for p in (place - 1, place + 1) if 0 <= p < len(chain)]
            gains.append(sum(steps[min(p, place)] - far[p] for p in beside))
        total += np.max(gains, axis=0) / max(steps.sum(), 1e-12)
    return total


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
    """The score in [0, 1] of an answer: places in the hidden segment, from K on those of distractors.

    The mean of selection (if l > 0), order and exact, or of selection and set where order does not count; each is
    moved so that guessing earns 0 on average. An answer below that scores 0.

    >>> graded((0, 1, 2, 3), 4), graded((4, 5, 6, 7), 4), round(graded((0, 1, 2, 4), 4), 2)
    (1.0, 0.0, 0.31)
    """
    k = len(answer)
    values = grade([place if place < k else -1 for place in answer], k + l, ordered=ordered)
    corrected = [(values[name] - guessed) / (1 - guessed) for name, guessed in _levels(k, l, ordered)]
    return max(0.0, sum(corrected) / len(corrected)) if corrected else 0.0


@lru_cache(maxsize=64)
def _levels(k: int, l: int, ordered: bool) -> tuple[tuple[str, float], ...]:  # noqa: E741
    """The metrics that count, with what guessing earns; those that every answer earns in full are left out."""
    names = (["selection"] if l else []) + (["order", "exact"] if ordered else ["set"])
    levels = [(name, chance(name, k, l).mean) for name in names]
    return tuple((name, mean) for name, mean in levels if mean < 1)
