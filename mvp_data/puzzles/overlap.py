"""Drops pairs whose answer another sample of the same split shows.

A sample *shows* another one if its visible frames repeat all hidden frames of the other, and shows it in part if they
repeat any. Frames are compared by `likeness`, among all samples of a group of near-duplicate videos. In `val` and
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
from mvp_data.puzzles.likeness import alike
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
) -> tuple[Puzzle, ...]:
    """The puzzles that stay. At most `max_share` of the training samples are shown by another one."""
    by_id = {video.entry.video_id: video for video in videos}
    groups: dict[tuple[str, str], list[Puzzle]] = defaultdict(list)
    for puzzle in puzzles:
        video = by_id[puzzle.episode.strip.video_id]
        groups[video.split, video.group].append(puzzle)
    showing: dict[str, list[Showing]] = defaultdict(list)
    samples = Counter(split for (split, _), members in groups.items() for _ in members)
    for (split, _), members in sorted(groups.items()):
        whole, part = shown(members, by_id, thresholds)
        edges = np.argwhere(whole if split == "train" else part).tolist()
        showing[split] += [(members[row], members[column]) for row, column in edges]
    dropped: set[str] = set()
    for split, edges in sorted(showing.items()):
        dropped |= _to_drop(edges, samples[split], max_share if split == "train" else 0.0, seed)
    return tuple(puzzle for puzzle in puzzles if _unit(puzzle) not in dropped)


def shown(puzzles: Sequence[Puzzle], videos: Mapping[str, KeptVideo], thresholds: Thresholds) -> tuple[Shows, Shows]:
    """Which sample (row) shows which other one (column): all of its hidden frames, and any of them."""
    visible = _frames(videos, puzzles, [puzzle.episode.context for puzzle in puzzles])
    hidden = _frames(videos, puzzles, [puzzle.episode.hidden for puzzle in puzzles])
    count, k = len(puzzles), puzzles[0].episode.k
    cosines = np.round(visible.vectors @ hidden.vectors.T, 5)
    # Frames that show the same are at least similar; the judges look only at those.
    same = cosines >= thresholds.low
    for row, column in np.argwhere(same).tolist():
        pair = visible.thumbnails[row], hidden.thumbnails[column]
        same[row, column] = alike(float(cosines[row, column]), *pair, thresholds.repeat)
    found = same.reshape(count, -1, count, k).any(axis=1)  # [sample, sample, hidden frame]
    np.einsum("iij->ij", found)[:] = False
    return found.all(axis=2), found.any(axis=2)


def _to_drop(showing: Sequence[Showing], samples: int, max_share: float, seed: int) -> set[str]:
    """The pairs and single puzzles to drop, those with most conflicts first, until few enough samples are shown."""
    dropped: set[str] = set()
    while len({other.key for _, other in showing}) > max_share * (samples - len(dropped)):
        conflicts = Counter(unit for edge in showing for unit in {_unit(puzzle) for puzzle in edge})
        worst = max(conflicts, key=lambda unit: (conflicts[unit], stable_hash("overlap", seed, unit)))
        dropped.add(worst)
        showing = [edge for edge in showing if worst not in (_unit(edge[0]), _unit(edge[1]))]
    return dropped


def _unit(puzzle: Puzzle) -> str:
    return puzzle.pair_id or puzzle.key


def _frames(videos: Mapping[str, KeptVideo], puzzles: Sequence[Puzzle], frames: Sequence[Sequence[int]]) -> _Frames:
    vectors, thumbnails = [], []
    for puzzle, own in zip(puzzles, frames, strict=True):
        video = videos[puzzle.episode.strip.video_id]
        vectors.append(video.vectors[video.rows(own)])
        thumbnails += [video.entry.frames.thumbnail(frame) for frame in own]
    return _Frames(np.concatenate(vectors), tuple(thumbnails))
