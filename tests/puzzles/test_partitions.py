"""Partitions: every video is mined once, with similar videos, and the order of videos does not matter."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mvp_data.core.types import Vectors
from mvp_data.puzzles.corpus import KeptVideo
from mvp_data.puzzles.make import make_puzzles
from mvp_data.puzzles.overlap import without_overlap
from mvp_data.puzzles.partitions import merged, mine_all, partition_videos
from tests.builders import THRESHOLDS, config, kept_video, rng, walk

SMALL = {"hidden_frames": 3, "context_frames": 6, "distractors": 2}  # no twins, which take longer


def video_of(kind: int, number: int, **facts: object) -> KeptVideo:
    """A video whose frames have cosines of about 0.4 to those of other videos of its kind."""
    rows = walk(26, "kind", kind, number, step=1.2) + 0.8 * np.eye(16, dtype=np.float32)[kind]
    vectors: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return kept_video(vectors, name=f"kind{kind}-{number}", **facts)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def kinds() -> list[KeptVideo]:
    """Three kinds of four videos, and two videos of another split."""
    found = [video_of(kind, number) for kind in range(3) for number in range(4)]
    return [*found, *(video_of(kind, 9, split="val") for kind in range(2))]


def test_each_video_is_in_one_partition(kinds: list[KeptVideo]) -> None:
    found = list(partition_videos(kinds, 3))
    names = [[video.entry.video_id for video in partition.videos] for partition in found]
    assert sorted(name for partition in names for name in partition) == sorted(video.entry.video_id for video in kinds)
    train = [partition for partition in names if not partition[0].endswith("-9")]
    assert sorted({name[:5] for name in partition} == {partition[0][:5]} for partition in train) == [True] * 3, (
        "kinds stay together"
    )
    assert [p for p in names if p not in train] == [["kind0-9", "kind1-9"]], "a small split is one partition"
    for partition in found:
        assert len({video.split for video in (*partition.videos, *partition.neighbour_videos)}) == 1
        assert not set(partition.videos) & set(partition.neighbour_videos)
    neighbours = Counter(video.entry.video_id for partition in found for video in partition.neighbour_videos)
    assert set(neighbours.values()) == {1}
    assert len(neighbours) == 12, "all except those of the split with one partition"


def test_the_order_of_videos_does_not_matter(kinds: list[KeptVideo]) -> None:
    options = config(**SMALL, decoy_share=0.5, mine_cells=3)
    mixed = [kinds[i] for i in rng("order").permutation(len(kinds))]
    assert mine_all(mixed, options.puzzle_options, THRESHOLDS) == mine_all(kinds, options.puzzle_options, THRESHOLDS)


def test_results_of_partitions_are_merged(kinds: list[KeptVideo]) -> None:
    options = config(**SMALL, decoy_share=0.5, mine_cells=3, neighbourhood_share=0, same_video_share=0)
    calls: list[int] = []
    found = mine_all(kinds, options.puzzle_options, THRESHOLDS, lambda: calls.append(1))
    apart = [
        make_puzzles(p.videos, options.puzzle_options, THRESHOLDS, neighbour_videos=p.neighbour_videos)
        for p in partition_videos(kinds, 3)
    ]
    assert len(calls) == len(kinds)
    kept, overlap = without_overlap(merged(apart).puzzles, kinds, THRESHOLDS, seed=0, max_share=0.1)
    assert (found.puzzles, found.overlap) == (kept, overlap)
    assert sorted(p.key for p in merged(apart).puzzles) == sorted(p.key for made in apart for p in made.puzzles)
    assert found.drops == {**merged(apart).drops, "shown": len(merged(apart).puzzles) - len(kept)}
    assert found.drops["shown"] > 0
    assert sum(found.origins.values()) == sum(len(p.candidates) - p.episode.k for p in found.puzzles)
    assert sum(found.drops.values()) == sum(sum(drops.values()) for drops in found.video_drops.values())
    assert set(found.video_drops) == {video.entry.video_id for video in kinds}
    assert found.indexes["train 56x28"] == {"kind": "exact", "recall": 1.0}


def test_one_partition_equals_none(kinds: list[KeptVideo]) -> None:
    options: dict[str, Any] = {**SMALL, "decoy_share": 0.5}
    train = kinds[:12]
    whole = make_puzzles(train, config(**options).puzzle_options, THRESHOLDS)
    options["max_overlap"] = 1.0
    for cells in (0, 1):
        found = mine_all(train, config(**options, mine_cells=cells).puzzle_options, THRESHOLDS)
        assert replace(found, overlap={}) == whole
    assert whole.puzzles


def test_neighbour_videos_give_distractors_but_no_puzzles(kinds: list[KeptVideo]) -> None:
    options = config(**SMALL, decoy_share=0, neighbourhood_share=0, same_video_share=0)
    found = make_puzzles(kinds[:1], options.puzzle_options, THRESHOLDS, neighbour_videos=kinds[1:4])
    assert found.puzzles
    assert {p.episode.strip.video_id for p in found.puzzles} == {"kind0-0"}
    others = {c.frame.video_id for p in found.puzzles for c in p.candidates if c.origin == "corpus"}
    assert others
    assert others <= {f"kind0-{number}" for number in range(1, 4)}


def test_more_partitions_than_videos(kinds: list[KeptVideo]) -> None:
    found = list(partition_videos(kinds[:4], 100))
    assert [len(partition.videos) for partition in found] == [1] * 4
