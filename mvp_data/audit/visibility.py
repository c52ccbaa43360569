"""Finds hidden frames of a sample that another sample shows in its context.

Samples are compared within a split and a group of near-duplicate videos, by the images themselves: two images show the
same if their thumbnails differ by no more than noise, brightness and camera shake (`puzzles.thumbnails.differ`).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mvp_data.puzzles.motion import clearly_moves
from mvp_data.puzzles.thumbnails import BLUR_SUM, MOVED_LUMA, MOVED_SHARE, blurred, middle
from mvp_data.shards.record import SPLITS

Luma = npt.NDArray[np.int16]
Pairs = npt.NDArray[np.intp]  # [pairs, 2]

# Thumbnails that repeat each other differ by less than this: root mean square of 8 x 6 areas without the mean, in
# levels. On real clips the largest difference of a repeat is 11.
MOST_DIFFERENCE = 20.0
BLOCK = 2048  # images or pairs that are compared at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """The samples of a split whose hidden frames are visible in the context of another sample."""

    split: str
    samples: int
    one: int  # samples with at least one hidden frame that is visible
    whole: int  # samples whose hidden frames are all visible in a single other sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One sample for the comparison; images are numbers in `Gallery`."""

    place: tuple[str, str]  # split and video group
    context: tuple[int, ...]
    pool: tuple[int, ...]
    hidden: tuple[int, ...]  # places of the pool
    at: int  # context frames before the gap


class Gallery:
    """The thumbnails of all audited images, each once, and the samples that show them."""

    def __init__(self) -> None:
        self.samples: list[Seen] = []
        self._thumbnails: list[bytes] = []
        self._numbers: dict[int, int] = {}
        self._shows: dict[int, set[tuple[int, int]]] | None = None

    def number(self, data: bytes, thumbnail: bytes) -> int:
        """The number of an image, from its file and its thumbnail."""
        number = self._numbers.setdefault(hash(data), len(self._thumbnails))
        if number == len(self._thumbnails):
            self._thumbnails.append(thumbnail)
        return number

    def add(self, sample: Seen) -> None:
        """Add the next sample."""
        self.samples.append(sample)

    def shown(self) -> tuple[Shown, ...]:
        """The counts of each split, in the order of `SPLITS`."""
        found: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
        for number, sample in enumerate(self.samples):
            others = [self._others(number, sample.pool[place]) for place in sample.hidden]
            found[sample.place[0]].append((any(others), bool(set.intersection(*others)) if others else False))
        return tuple(
            Shown(
                split=split,
                samples=len(found[split]),
                one=sum(some for some, _ in found[split]),
                whole=sum(whole for _, whole in found[split]),
            )
            for split in SPLITS
            if split in found
        )

    def answer(self, number: int) -> tuple[int, ...]:
        """The K places of the pool that other samples show inside the gap, in their order there.

        A context that shows both frames next to the gap shows a candidate either between them, which speaks for it, or
        elsewhere, which speaks against it. Candidates that no context shows come in the order of the pool.
        """
        sample = self.samples[number]
        votes, when = np.zeros(len(sample.pool)), np.zeros(len(sample.pool))
        ends = [self._places(number, image) for image in sample.context[max(0, sample.at - 1) : sample.at + 1]]
        for place, image in enumerate(sample.pool):
            for other, at in self._places(number, image).items():
                sides = [end[other] for end in ends if other in end]
                if len(sides) == len(ends) == 2:
                    inside = min(sides) < at < max(sides)
                    votes[place] += 1 if inside else -1
                    when[place] = (at - sides[0]) / (sides[1] - sides[0]) if inside else when[place]
        chosen = np.argsort(-votes, kind="stable")[: len(sample.hidden)]
        return tuple(chosen[np.argsort(when[chosen], kind="stable")].tolist())

    def _others(self, number: int, image: int) -> set[int]:
        return set(self._places(number, image))

    def _places(self, number: int, image: int) -> dict[int, int]:
        """The other samples of its split and group whose context shows this image, and where."""
        if self._shows is None:
            self._shows = self._index()
        where = self.samples[number].place
        found = sorted(self._shows.get(image, ()), reverse=True)  # the first place of each context comes last
        return {other: at for other, at in found if other != number and self.samples[other].place == where}

    def _index(self) -> dict[int, set[tuple[int, int]]]:
        """For each image of a pool or next to a gap, the samples and places whose context shows it."""
        by_place: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number, sample in enumerate(self.samples):
            by_place[sample.place].append(number)
        index: dict[int, set[tuple[int, int]]] = defaultdict(set)
        for members in by_place.values():
            shown: dict[int, list[tuple[int, int]]] = defaultdict(list)
            asked: set[int] = set()
            for number in members:
                sample = self.samples[number]
                for at, image in enumerate(sample.context):
                    shown[image].append((number, at))
                asked.update(sample.pool, sample.context[max(0, sample.at - 1) : sample.at + 1])
            wanted, visible = sorted(asked), sorted(shown)
            for a, b in repeats(self._of(wanted), self._of(visible)):
                index[wanted[a]].update(shown[visible[b]])
        return index

    def _of(self, numbers: Sequence[int]) -> list[bytes]:
        return [self._thumbnails[number] for number in numbers]


def repeats(first: Sequence[bytes], second: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """The pairs of two lists of thumbnails that show the same: `differ` is false, and nothing in the scene moved.

    Pairs that differ much are left out by a quick comparison of larger areas.
    """
    if not first or not second:
        return
    (a, low_a, high_a), (b, low_b, high_b) = (_ranges(thumbnails) for thumbnails in (first, second))
    for pairs in _alike(a, b):
        i, j = pairs[:, 0], pairs[:, 1]
        light = middle((a[i] - b[j]).reshape(len(pairs), -1))[..., None]
        outside = np.maximum(a[i] - light - high_b[j], low_b[j] - a[i] + light)
        outside = np.maximum(outside, np.maximum(b[j] + light - high_a[i], low_a[i] - b[j] - light))
        changed = (outside >= MOVED_LUMA * BLUR_SUM).reshape(len(pairs), -1)
        for x, y in pairs[np.count_nonzero(changed, axis=1) < MOVED_SHARE * changed.shape[1]].tolist():
            if not clearly_moves(first[x], second[y]):
                yield x, y


def _ranges(thumbnails: Sequence[bytes]) -> tuple[Luma, Luma, Luma]:
    """The blurred luma [n, 18, 32] of thumbnails, and its least and greatest in the 3 x 3 blocks around each block."""
    luma = np.stack([blurred(thumbnail) for thumbnail in thumbnails])
    wide = np.pad(luma, [(0, 0), (1, 1), (1, 1)], mode="edge")
    height, width = luma.shape[1:]
    shifted = [wide[:, r : r + height, c : c + width] for r in range(3) for c in range(3)]
    return luma, np.minimum.reduce(shifted), np.maximum.reduce(shifted)


def _alike(a: Luma, b: Luma) -> Iterator[Pairs]:
    """Pairs of rows whose areas differ by at most `MOST_DIFFERENCE`, at most `BLOCK` at a time."""
    (areas_a, areas_b) = (_areas(luma) for luma in (a, b))
    most = areas_a.shape[1] * MOST_DIFFERENCE**2
    norms = (areas_b**2).sum(axis=1)
    for start in range(0, len(areas_a), BLOCK):
        rows = areas_a[start : start + BLOCK]
        far = (rows**2).sum(axis=1)[:, None] + norms - 2 * rows @ areas_b.T
        pairs = np.argwhere(far <= most + 1)
        pairs[:, 0] += start
        yield from (pairs[at : at + BLOCK] for at in range(0, len(pairs), BLOCK))


def _areas(luma: Luma) -> npt.NDArray[np.float32]:
    """The mean luma of 8 x 6 areas of each thumbnail, minus the mean of all: [n, 48], in levels."""
    count, height, width = luma.shape
    means = luma.reshape(count, 6, height // 6, 8, width // 8).mean(axis=(2, 4)).reshape(count, -1) / BLUR_SUM
    areas: npt.NDArray[np.float32] = (means - means.mean(axis=1, keepdims=True)).astype(np.float32)
    return areas
