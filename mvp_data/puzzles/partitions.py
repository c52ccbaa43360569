"""Mining in cells: a corpus too large for one index, or one machine, is mined among videos of a kind, cell by cell.

A cell is a corpus of its own: its videos find distractors, and partners for decoy runs, among each other, and
distractors among its guests as well: videos that have their place in another cell, and this one next. What lies farther
away is not found; benchmarks/cells.py measures what that changes. Each cell can be mined on another machine.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mvp_data.config import PuzzleOptions
from mvp_data.neighbours import centres, nearest_centre, spread
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.make import PuzzleSet, make_puzzles
from mvp_data.types import Vectors

TRAINING_VIDEOS = 100_000  # spread through the corpus: k-means need not see more


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """Videos of one split and one picture size that are mined together."""

    videos: tuple[KeptVideo, ...]
    guests: tuple[KeptVideo, ...] = ()


def mine_all(
    videos: Sequence[KeptVideo],
    config: PuzzleOptions,
    thresholds: Thresholds,
    on_video: Callable[[], object] = lambda: None,
) -> PuzzleSet:
    """All puzzles of a build, mined in cells where that is asked for."""
    if not config.mine.mine_cells:
        return make_puzzles(videos, config, thresholds, on_video)
    return merged([mine_cell(cell, config, thresholds, on_video) for cell in cells(videos, config.mine.mine_cells)])


def mine_cell(
    cell: Cell, config: PuzzleOptions, thresholds: Thresholds, on_video: Callable[[], object] = lambda: None
) -> PuzzleSet:
    """The puzzles of one cell; nothing else of the corpus is needed."""
    return make_puzzles(cell.videos, config, thresholds, on_video, guests=cell.guests)


def cells(videos: Sequence[KeptVideo], count: int) -> Iterator[Cell]:
    """About `count` cells that hold every video once, and once more as a guest.

    Of each split and picture size, which are never mined together, there are as many as its share of the videos, at
    least one. A video's place is that of the mean of its vectors. The order of the videos changes nothing.
    """
    kinds: dict[tuple[str, int, int], list[KeptVideo]] = defaultdict(list)
    for video in sorted(videos, key=lambda v: v.entry.video_id):
        kinds[(video.split, *video.size)].append(video)
    for _, members in sorted(kinds.items()):
        yield from _cells_of(members, min(len(members), max(1, round(count * len(members) / len(videos)))))


def _cells_of(videos: Sequence[KeptVideo], count: int) -> Iterator[Cell]:
    means = _means(videos)
    found = centres(spread(means, TRAINING_VIDEOS), count)
    places = nearest_centre(means, found, min(2, count))
    for number in range(count):
        own = tuple(videos[row] for row in np.flatnonzero(places[:, 0] == number).tolist())
        guests = np.flatnonzero((places[:, 1:] == number).any(axis=1)).tolist()
        if own:
            yield Cell(videos=own, guests=tuple(videos[row] for row in guests))


def _means(videos: Sequence[KeptVideo]) -> Vectors:
    means = np.stack([video.vectors.mean(axis=0) for video in videos])
    return np.asarray(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def merged(sets: Sequence[PuzzleSet]) -> PuzzleSet:
    """The puzzles of all cells, with their counts added up and the least recall of any index."""
    indexes: dict[str, dict[str, float | str]] = {}
    for made in sets:
        for name, index in made.indexes.items():
            indexes[name] = min(indexes.get(name, index), index, key=lambda i: float(i["recall"]))
    return PuzzleSet(
        puzzles=tuple(sorted((puzzle for made in sets for puzzle in made.puzzles), key=lambda p: p.key)),
        drops=_sum(made.drops for made in sets),
        video_drops={video_id: drops for made in sets for video_id, drops in made.video_drops.items()},
        origins=_sum(made.origins for made in sets),
        shortfalls=_sum(made.shortfalls for made in sets),
        indexes=indexes,
    )


def _sum(counts: Iterator[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)
