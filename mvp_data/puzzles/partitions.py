"""Makes puzzles partition by partition, for a corpus that is too large for one index or one machine.

A partition holds videos with similar vectors. Their decoy runs find partners only in their own partition. Distractors
may also come from *neighbour videos*: those whose second nearest partition it is. Distractors farther away are not
found; benchmarks/partitions.py measures the effect. Each partition can be processed on another machine.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mvp_data.config.options import PuzzleOptions
from mvp_data.core.types import Vectors
from mvp_data.embedding.search import centres, nearest_centre, spread
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.make import PuzzleSet, add_up, make_puzzles
from mvp_data.puzzles.overlap import without_overlap
from mvp_data.puzzles.types import Drop, Puzzle

TRAINING_VIDEOS = 100_000  # for k-means, evenly spread over the corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """Videos of one split and one frame size whose puzzles are made together."""

    videos: tuple[KeptVideo, ...]
    neighbour_videos: tuple[KeptVideo, ...] = ()  # give distractors, but no puzzles


def mine_all(
    videos: Sequence[KeptVideo],
    config: PuzzleOptions,
    thresholds: Thresholds,
    on_video: Callable[[], object] = lambda: None,
) -> PuzzleSet:
    """All puzzles of a build, without those that other samples show; by partitions if `mine_cells` is set."""
    if not config.mine.mine_cells:
        made = make_puzzles(videos, config, thresholds, on_video)
    else:
        parts = partition_videos(videos, config.mine.mine_cells)
        made = merged(
            [make_puzzles(p.videos, config, thresholds, on_video, neighbour_videos=p.neighbour_videos) for p in parts]
        )
    share = config.mask.max_overlap
    kept, shares = without_overlap(made.puzzles, videos, thresholds, seed=config.seed, max_share=share)
    return replace(made, puzzles=kept, video_drops=_with_shown(made, kept), overlap=shares)


def _with_shown(made: PuzzleSet, kept: Sequence[Puzzle]) -> dict[str, dict[str, int]]:
    """The refused segments, with those of the puzzles that were dropped because another sample shows them."""
    lost = Counter(puzzle.episode.strip.video_id for puzzle in made.puzzles)
    lost -= Counter(puzzle.episode.strip.video_id for puzzle in kept)
    return {
        video_id: drops | ({Drop.SHOWN.value: lost[video_id]} if lost[video_id] else {})
        for video_id, drops in made.video_drops.items()
    }


def partition_videos(videos: Sequence[KeptVideo], count: int) -> Iterator[Partition]:
    """About `count` partitions; each video is in one of them, and is a neighbour video of at most one other.

    Videos of different splits or frame sizes are never in one partition. Each split and size gets partitions in
    proportion to its videos, at least one. The mean of a video's vectors decides its partition; the order of the videos
    does not matter.
    """
    kinds: dict[tuple[str, int, int], list[KeptVideo]] = defaultdict(list)
    for video in sorted(videos, key=lambda v: v.entry.video_id):
        kinds[(video.split, *video.size)].append(video)
    for _, members in sorted(kinds.items()):
        yield from _partitions_of(members, min(len(members), max(1, round(count * len(members) / len(videos)))))


def _partitions_of(videos: Sequence[KeptVideo], count: int) -> Iterator[Partition]:
    means = _means(videos)
    found = centres(spread(means, TRAINING_VIDEOS), count)
    places = nearest_centre(means, found, min(2, count))
    for number in range(count):
        own = tuple(videos[row] for row in np.flatnonzero(places[:, 0] == number).tolist())
        others = np.flatnonzero((places[:, 1:] == number).any(axis=1)).tolist()
        if own:
            yield Partition(videos=own, neighbour_videos=tuple(videos[row] for row in others))


def _means(videos: Sequence[KeptVideo]) -> Vectors:
    means = np.stack([video.vectors.mean(axis=0) for video in videos])
    return np.asarray(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def merged(sets: Sequence[PuzzleSet]) -> PuzzleSet:
    """The puzzles of all partitions, the sums of their counts, and for each index the lowest recall."""
    indexes: dict[str, dict[str, float | str]] = {}
    for made in sets:
        for name, index in made.indexes.items():
            indexes[name] = min(indexes.get(name, index), index, key=lambda i: float(i["recall"]))
    return PuzzleSet(
        puzzles=tuple(sorted((puzzle for made in sets for puzzle in made.puzzles), key=lambda p: p.key)),
        video_drops={video_id: drops for made in sets for video_id, drops in made.video_drops.items()},
        shortfalls=add_up(made.shortfalls for made in sets),
        indexes=indexes,
    )
