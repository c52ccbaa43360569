"""The effect of mining in partitions: true neighbours outside a frame's partition, other distractors, other difficulty.

    python benchmarks/partitions.py
    python benchmarks/partitions.py --quick               # 200 videos

The videos are those of benchmarks/pass2.py, in a single split. All distractors are scattered, half of them from other
videos. Puzzles of a hundred videos are made among all videos and then in 4, 16 and 64 partitions. *Lost* is the share
of the true 64 nearest frames of other videos that are in no video of the partition, with and without its neighbour
videos.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from pass2 import CONFIG, ENCODER, name_of, write_bank

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mvp_data.bank.bank import Bank
from mvp_data.config.options import MineConfig, PackConfig
from mvp_data.core.types import Source
from mvp_data.embedding.calibration import SHIPPED
from mvp_data.puzzles.corpus import KeptVideo, Thresholds, kept_videos, read_entries
from mvp_data.puzzles.make import PuzzleSet, make_puzzles
from mvp_data.puzzles.partitions import Partition, merged, partition_videos

OPTIONS = {
    "mine": MineConfig(decoy_share=0, neighbourhood_share=0.25, same_video_share=0.25),
    "pack": PackConfig(val_share=0, test_share=0),
}
QUERIES, K = 500, 64


@dataclass(frozen=True, kw_only=True)
class Result:
    """One number of partitions compared with none."""

    partitions: int
    largest: float  # share of the videos in the largest one, with its neighbour videos
    lost: float
    lost_without_neighbours: float
    puzzles: int
    more: int  # puzzles that only partitions give
    fewer: int  # puzzles that only the whole corpus gives
    changed: float  # share of the common puzzles that have another distractor
    other_distractors: float  # share of their distractors
    difficulty: float  # mean over the common puzzles, less that of the whole corpus


def corpus(root: Path, videos: int) -> tuple[list[KeptVideo], Thresholds]:
    """Synthetic videos in the form that mining reads."""
    write_bank(root, range(videos))
    bank, config = Bank(root, CONFIG.extract_hash()), replace(CONFIG, **OPTIONS)
    thresholds = Thresholds.resolve(SHIPPED[ENCODER.name], config.embed, config.mine)
    names = sorted(map(name_of, range(videos)))
    sources = {name: Source(location=f"/{name}.mp4", path=f"{name}.mp4") for name in names}
    entries = read_entries(bank, names)
    return kept_videos(sources, entries, bank, ENCODER, thresholds, config.pack, config.seed), thresholds


def lost(videos: Sequence[KeptVideo], within: Sequence[Sequence[KeptVideo]], own: Sequence[Partition]) -> float:
    """Share of the true nearest frames of other videos that are in no video that a partition can search."""
    home = {id(video): number for number, partition in enumerate(own) for video in partition.videos}
    inside = [{id(video) for video in members} for members in within]
    everything = np.concatenate([video.vectors for video in videos])
    owner = np.repeat(np.arange(len(videos)), [len(video.vectors) for video in videos])
    shares = []
    for row in np.linspace(0, len(everything) - 1, QUERIES).astype(int).tolist():
        similarity = everything @ everything[row]
        similarity[owner == owner[row]] = -1
        nearest = np.argpartition(-similarity, K)[:K]
        reach = inside[home[id(videos[owner[row]])]]
        shares.append(np.mean([id(videos[owner[other]]) not in reach for other in nearest]))
    return float(np.mean(shares))


def compare(whole: PuzzleSet, found: PuzzleSet) -> dict[str, float]:
    """Puzzles by hidden segment, with their distractors."""
    one, two = ({puzzle.key: puzzle for puzzle in made.puzzles} for made in (whole, found))
    both = sorted(one.keys() & two.keys())
    wrong = [
        [{(c.frame.video_id, c.frame.index) for c in made[key].candidates if c.order < 0} for made in (one, two)]
        for key in both
    ]
    return {
        "puzzles": len(two),
        "more": len(two.keys() - one.keys()),
        "fewer": len(one.keys() - two.keys()),
        "changed": float(np.mean([a != b for a, b in wrong])),
        "other_distractors": float(np.mean([len(b - a) / len(b) for a, b in wrong])),
        "difficulty": float(np.mean([two[key].difficulty - one[key].difficulty for key in both])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--mined", type=int, default=100, help="videos to make puzzles of")
    parser.add_argument("--quick", action="store_true", help="200 videos, puzzles of 20")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    count, mined = (200, 20) if options.quick else (options.videos, options.mined)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        videos, thresholds = corpus(Path(folder), count)
        chosen = {id(videos[place]) for place in np.linspace(0, count - 1, mined).astype(int).tolist()}

        def made(partition: Partition) -> PuzzleSet:
            own = [video for video in partition.videos if id(video) in chosen]
            others = [video for video in (*partition.videos, *partition.neighbour_videos) if id(video) not in chosen]
            others += [video for video in partition.neighbour_videos if id(video) in chosen]
            return make_puzzles(own, replace(CONFIG, **OPTIONS).puzzle_options, thresholds, neighbour_videos=others)

        whole = made(Partition(videos=tuple(videos)))
        for number in (4, 16, 64):
            found = list(partition_videos(videos, number))
            reach = [(*partition.videos, *partition.neighbour_videos) for partition in found]
            results.append(
                Result(
                    partitions=len(found),
                    largest=max(map(len, reach)) / count,
                    lost=lost(videos, reach, found),
                    lost_without_neighbours=lost(videos, [partition.videos for partition in found], found),
                    **compare(whole, merged([made(partition) for partition in found])),
                )
            )
    print(json.dumps([asdict(r) for r in results], indent=1) if options.json else table(results, len(whole.puzzles)))


def table(results: Sequence[Result], puzzles: int) -> str:
    """The Markdown tables."""
    lines = [
        f"{puzzles} puzzles among all videos.",
        "",
        "| partitions | largest, share of videos | 64 nearest lost | without neighbour videos | puzzles | new | gone "
        "| with another distractor | other distractors | difficulty |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.partitions} | {r.largest:.3f} | {r.lost:.3f} | {r.lost_without_neighbours:.3f} | {r.puzzles} | {r.more} "
        f"| {r.fewer} | {r.changed:.3f} | {r.other_distractors:.3f} | {r.difficulty:+.4f} |"
        for r in results
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
