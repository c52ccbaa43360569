"""Two kinds of sameness: frames that repeat the last kept one, and videos that are copies of each other."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from mvp_data.neighbours import Neighbours
from mvp_data.types import Vectors

PROBES = 16  # frames of a video that are looked up among all others; spread over its length
COPY_SHARE = 0.3  # of a video's probes found in another one: a re-encode, crop or trim keeps far more, a studio less
MIN_MATCHES = 3  # a shared title card or logo alone does not make two videos copies


def deduplicate(vectors: Vectors, threshold: float) -> tuple[int, ...]:
    """Rows kept by the greedy rule of the MVP paper (arXiv 2601.03781).

    The first row is kept; each next one is dropped while its cosine similarity to the last kept row is at or above
    `threshold`.
    """
    kept: list[int] = []
    for row in range(len(vectors)):
        if not kept or float(vectors[row] @ vectors[kept[-1]]) < threshold:
            kept.append(row)
    return tuple(kept)


def group_videos(vectors: Mapping[str, Vectors], threshold: float) -> dict[str, str]:
    """Name a group for every video; copies of each other (re-encodes, crops, trims) share one.

    A video joins another when enough of its frames are found there at `threshold` or above. The name of a group is
    its smallest video id, so it does not depend on the order of the videos.
    """
    ids = sorted(video for video, rows in vectors.items() if len(rows))
    parent = {video: video for video in vectors}

    def root(video: str) -> str:
        while parent[video] != video:
            parent[video] = parent[parent[video]]
            video = parent[video]
        return video

    for video, matches in _matches(ids, vectors, threshold).items():
        probes = min(PROBES, len(vectors[video]))
        for other, count in matches.items():
            if count >= max(COPY_SHARE * probes, min(MIN_MATCHES, probes)):
                low, high = sorted((root(video), root(other)))
                parent[high] = low
    return {video: root(video) for video in vectors}


def _matches(ids: Sequence[str], vectors: Mapping[str, Vectors], threshold: float) -> dict[str, Counter[str]]:
    """For each video, in how many of its probes each other video has a frame at or above the threshold."""
    if len(ids) < 2:
        return {}
    ends = np.cumsum([len(vectors[video]) for video in ids])
    index = Neighbours(np.concatenate([vectors[video] for video in ids]))
    found: dict[str, Counter[str]] = {}
    for video, end in zip(ids, ends.tolist(), strict=True):
        rows = vectors[video]
        probes = rows[np.unique(np.linspace(0, len(rows) - 1, PROBES).round().astype(int))]
        found[video] = Counter()
        for hit in index.search(probes, 32, without=range(end - len(rows), end)):
            close = hit.rows[hit.similarity >= threshold]
            found[video].update({ids[number] for number in np.searchsorted(ends, close, side="right")})
    return found
