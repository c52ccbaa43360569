"""From the kept frames of all videos to labelled puzzles, with every refusal counted."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mvp_data.config import BuildConfig
from mvp_data.corpus import KeptVideo, Thresholds
from mvp_data.difficulty import difficulty
from mvp_data.mask import Drop, episodes
from mvp_data.mine import Distractor, Miner, shortfall
from mvp_data.schema import LABELS
from mvp_data.seeds import shuffled
from mvp_data.types import Candidate, Episode, FrameRef, Puzzle


@dataclass(frozen=True, kw_only=True, slots=True)
class PuzzleSet:
    """All puzzles of a build, by video id then time, and what was refused on the way."""

    puzzles: tuple[Puzzle, ...]
    drops: dict[str, int]  # hidden segments refused, by reason
    video_drops: dict[str, dict[str, int]]  # the same for each video
    origins: dict[str, int]  # distractors by origin
    shortfalls: dict[str, int]  # distractors an origin's quota asked for and another origin gave
    indexes: dict[str, dict[str, float | str]] = field(default_factory=dict)


def make_puzzles(
    videos: Sequence[KeptVideo],
    config: BuildConfig,
    thresholds: Thresholds,
    on_video: Callable[[], object] = lambda: None,
) -> PuzzleSet:
    """Mask, mine and label; `on_video` is called after each video."""
    miner = Miner(videos, config.mine, thresholds)
    puzzles: list[Puzzle] = []
    video_drops: dict[str, Counter[str]] = {}
    origins: Counter[str] = Counter()
    shortfalls: Counter[str] = Counter()
    for video in sorted(videos, key=lambda v: v.entry.video_id):
        drops = video_drops[video.entry.video_id] = Counter()
        found: list[Episode] = []
        for outcome in episodes(video, config.mask, thresholds, config.seed):
            if isinstance(outcome, Drop):
                drops[outcome.value] += 1
            else:
                found.append(outcome)
        made = 0
        for episode in shuffled(found, "samples", config.seed, video.entry.video_id):
            if made == config.mask.samples_per_video > 0:
                break
            distractors = miner.mine(episode)
            if len(distractors) < config.mine.distractors:
                drops[Drop.FEW_DISTRACTORS.value] += 1
                continue
            made += 1
            origins.update(d.origin for d in distractors)
            shortfalls.update(shortfall(miner.quota, distractors))
            puzzles.append(_label(video, episode, distractors, thresholds, config.seed))
        on_video()
    return PuzzleSet(
        puzzles=tuple(sorted(puzzles, key=lambda p: p.key)),
        drops=dict(sum(video_drops.values(), Counter())),
        video_drops={video_id: dict(drops) for video_id, drops in video_drops.items()},
        origins=dict(origins),
        shortfalls=dict(shortfalls),
        indexes={name: {"kind": i.kind, "recall": i.recall} for name, i in miner.indexes.items()},
    )


def _label(
    video: KeptVideo, episode: Episode, distractors: Sequence[Distractor], thresholds: Thresholds, seed: int
) -> Puzzle:
    """Shuffle hidden frames and distractors into one pool, in an order that only the sample's key and seed decide."""
    video_id = video.entry.video_id
    key = f"{video_id}-{round(video.entry.frames[episode.hidden[0]].time_s * 1000):09d}"
    place = {frame: p for p, frame in enumerate(video.kept)}
    hidden = video.vectors[[place[f] for f in episode.hidden]]
    to_others = np.round((hidden @ hidden.T - 2 * np.eye(len(hidden))).max(axis=1), 5)
    pool = [
        (FrameRef(video_id=video_id, index=frame), order, "hidden", float(to_others[order]))
        for order, frame in enumerate(episode.hidden)
    ] + [(d.frame, -1, d.origin, d.similarity) for d in distractors]
    candidates = tuple(
        Candidate(label=label, frame=frame, order=order, origin=origin, similarity=similarity)
        for label, (frame, order, origin, similarity) in zip(LABELS, shuffled(pool, "label", seed, key), strict=False)
    )
    hardness = difficulty(hidden, [d.similarity for d in distractors], thresholds)
    return Puzzle(key=key, episode=episode, candidates=candidates, difficulty=hardness)
