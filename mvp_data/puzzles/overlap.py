"""Drops pairs whose answer another sample of the same split shows.

A sample *shows* another one if its visible frames repeat all hidden frames of the other, and shows it in part if they
repeat any. Frames are compared by `repeats`, among all samples of a group of near-duplicate videos. In `val` and
`test` no sample may show a part of another; in `train` the share of shown samples is limited. A pair is dropped as a
whole.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mvp_data.core.seeds import stable_hash
from mvp_data.core.types import Vectors
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.repeats import alike_pairs
from mvp_data.puzzles.types import Puzzle

Showing: TypeAlias = tuple[Puzzle, Puzzle]  # the first shows the second
Shows: TypeAlias = npt.NDArray[np.bool_]  # [samples, samples]: row shows column


@dataclass(frozen=True, slots=True)
class _Frames:
    """The visible or the hidden frames of some samples, one after the other."""

    vectors: Vectors
    thumbnails: tuple[bytes, ...]


def without_overlap(
    puzzles: Sequence[Puzzle], videos: Sequence[KeptVideo], thresholds: Thresholds, *, seed: int, max_share: float
) -> tuple[tuple[Puzzle, ...], dict[str, float]]:
    """The puzzles that stay, and by split the share of them that another one shows: in `train` at most `max_share`.

    With 1 nothing is checked, in no split.
    """
    if max_share == 1:
        return tuple(puzzles), {}
    by_id = {video.entry.video_id: video for video in videos}
    groups: dict[tuple[str, str], list[Puzzle]] = defaultdict(list)
    samples: Counter[str] = Counter()
    for puzzle in puzzles:
        video = by_id[puzzle.episode.strip.video_id]
        groups[video.split, video.group].append(puzzle)
        samples[video.split] += 1
    showing: dict[str, list[Showing]] = {split: [] for split in sorted(samples)}
    for (split, _), members in sorted(groups.items()):
        whole, part = shown(members, by_id, thresholds)
        places = np.argwhere(whole if split == "train" else part).tolist()
        showing[split] += [(members[row], members[column]) for row, column in places]
    dropped: set[str] = set()
    shares = {}
    for split, edges in showing.items():
        lost, shares[split] = _drop(edges, samples[split], max_share if split == "train" else 0.0, seed)
        dropped |= lost
    return tuple(puzzle for puzzle in puzzles if _unit(puzzle) not in dropped), shares


def shown(puzzles: Sequence[Puzzle], videos: Mapping[str, KeptVideo], thresholds: Thresholds) -> tuple[Shows, Shows]:
    """Which sample (row) shows which other one (column): all of its hidden frames, and any of them."""
    visible = _frames(videos, puzzles, [puzzle.episode.context for puzzle in puzzles])
    hidden = _frames(videos, puzzles, [puzzle.episode.hidden for puzzle in puzzles])
    count, k = len(puzzles), puzzles[0].episode.k
    cosines = np.round(visible.vectors @ hidden.vectors.T, 5)
    # Frames that show the same are at least similar; the judges look only at those.
    same = cosines >= thresholds.low
    pairs = [(visible.thumbnails[row], hidden.thumbnails[column]) for row, column in np.argwhere(same).tolist()]
    same[same] = alike_pairs(cosines[same].tolist(), pairs, thresholds.repeat)
    found = np.asarray(same.reshape(count, -1, count, k).any(axis=1))  # [sample, sample, hidden frame]
    found[np.arange(count), np.arange(count)] = False
    return np.all(found, axis=2), np.any(found, axis=2)


def _drop(showing: Sequence[Showing], samples: int, max_share: float, seed: int) -> tuple[set[str], float]:
    """The pairs and single puzzles to drop, those with most conflicts first, and the share of samples still shown."""
    sizes = {_unit(puzzle): 2 if puzzle.pair_id else 1 for edge in showing for puzzle in edge}
    dropped: set[str] = set()
    while True:
        left = samples - sum(sizes[unit] for unit in dropped)
        share = len({other.key for _, other in showing}) / max(1, left)
        if share <= max_share:
            return dropped, round(share, 4)
        conflicts = Counter(unit for edge in showing for unit in {_unit(puzzle) for puzzle in edge})
        worst = max(conflicts, key=lambda unit: (conflicts[unit], stable_hash("overlap", seed, unit)))
        dropped.add(worst)
        showing = [edge for edge in showing if worst not in (_unit(edge[0]), _unit(edge[1]))]


def _unit(puzzle: Puzzle) -> str:
    return puzzle.pair_id or puzzle.key


def _frames(videos: Mapping[str, KeptVideo], puzzles: Sequence[Puzzle], frames: Sequence[Sequence[int]]) -> _Frames:
    vectors, thumbnails = [], []
    for puzzle, own in zip(puzzles, frames, strict=True):
        video = videos[puzzle.episode.strip.video_id]
        vectors.append(video.vectors[video.rows(own)])
        thumbnails += [video.entry.frames.thumbnail(frame) for frame in own]
    return _Frames(np.concatenate(vectors), tuple(thumbnails))
