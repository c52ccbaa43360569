"""Finds frames that repeat the last kept frame, and videos that are copies of each other."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import Vectors
from mvp_data.embedding.search import Neighbours

PROBES = 16  # frames of a video that are looked up among all others; spread over its length
COPY_SHARE = 0.4  # of the probes must match the other video at one time offset; by chance a third does
MIN_MATCHES = 3  # so that a shared title card or logo alone does not make two videos copies
# Time offsets agree within this many sampling intervals. They vary because the two sampling grids are shifted, and
# because the nearest match may be a frame next to the right one.
WINDOW_GAPS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """The frames of a video, for copy detection."""

    times_s: npt.NDArray[np.float64]  # [N], rising
    rows: range  # N rows of the matrix of all vectors


def deduplicate(
    vectors: Vectors, threshold: float, moved: Callable[[int, int], bool] = lambda first, second: False
) -> tuple[int, ...]:
    """Rows kept by the greedy rule of the MVP paper (arXiv 2601.03781), and those with motion that vectors miss.

    The first row is kept. A later row is dropped if its cosine similarity to the last kept row is at or above
    `threshold`, unless something in the scene has `moved` between them.
    """
    kept: list[int] = []
    for row in range(len(vectors)):
        if not kept or float(vectors[row] @ vectors[kept[-1]]) < threshold or moved(row, kept[-1]):
            kept.append(row)
    return tuple(kept)


def group_videos(tracks: Mapping[str, Track], vectors: Vectors, threshold: float) -> dict[str, str]:
    """Return the group of every video; copies of each other (re-encodes, crops, trims) share one.

    `vectors` [N, D] has the frames of all tracks, and no other rows.

    A video joins another when enough of its frames have their nearest match there, at `threshold` or above, and these
    matches have one time offset (temporal voting in video copy detection: Douze et al. 2010, arXiv 0902.2123). The vote
    keeps apart videos that only look similar, such as those of one studio, game or street. The name of a group is its
    smallest video id, so it does not depend on the order of the videos.
    """
    ids = sorted((video for video, track in tracks.items() if track.rows), key=lambda video: tracks[video].rows.start)
    parent = {video: video for video in tracks}

    def root(video: str) -> str:
        while parent[video] != video:
            parent[video] = parent[parent[video]]
            video = parent[video]
        return video

    gaps_s = {video: _gap_s(tracks[video]) for video in ids}
    for video, offsets in _offsets(ids, tracks, vectors, threshold):
        probes = min(PROBES, len(tracks[video].rows))
        for other, offsets_s in offsets.items():
            window_s = WINDOW_GAPS * max(gaps_s[video], gaps_s[other])
            if _agreeing(offsets_s, window_s) >= max(COPY_SHARE * probes, min(MIN_MATCHES, probes)):
                low, high = sorted((root(video), root(other)))
                parent[high] = low
    return {video: root(video) for video in tracks}


def _offsets(
    ids: Sequence[str], tracks: Mapping[str, Track], vectors: Vectors, threshold: float
) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """For each video, the time offsets from its probes to their nearest matches, by matched video."""
    if len(ids) < 2:
        return
    starts = np.array([tracks[video].rows.start for video in ids])
    index = Neighbours(vectors)
    for video in ids:
        track = tracks[video]
        picked = np.unique(np.linspace(0, len(track.rows) - 1, PROBES).round().astype(int))
        found: dict[str, list[float]] = defaultdict(list)
        hits = index.search(vectors[track.rows.start + picked], 32, without=track.rows)
        for time_s, hit in zip(track.times_s[picked].tolist(), hits, strict=True):
            matches: dict[str, float] = {}
            for row in hit.rows[hit.similarity >= threshold].tolist():  # nearest first
                name = ids[int(np.searchsorted(starts, row, side="right")) - 1]
                matches.setdefault(name, float(tracks[name].times_s[row - tracks[name].rows.start]))
            for name, match_s in matches.items():
                found[name].append(match_s - time_s)
        yield video, found


def _gap_s(track: Track) -> float:
    """The median time between two consecutive frames; 0 for a single frame."""
    return float(np.median(np.diff(track.times_s))) if len(track.times_s) > 1 else 0.0


def _agreeing(offsets_s: Sequence[float], window_s: float) -> int:
    """The largest number of offsets within one window."""
    ordered = np.sort(offsets_s)
    return int((np.searchsorted(ordered, ordered + window_s, side="right") - np.arange(len(ordered))).max())
