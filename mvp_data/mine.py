"""Hard distractors: frames like the hidden ones, yet not so like them that the answer becomes a matter of opinion."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mvp_data import schema
from mvp_data.config import MineConfig
from mvp_data.corpus import KeptVideo, Thresholds
from mvp_data.mask import differ
from mvp_data.neighbours import Neighbours
from mvp_data.types import Episode, FrameRef, Vectors

NEIGHBOURS = (
    64,
    1024,
)  # looked up in the corpus for each hidden frame: more where the nearest are all too alike
ORIGINS = schema.ORIGINS[1:]  # all but `hidden`; also the order in which shortfalls are filled


@dataclass(frozen=True, kw_only=True, slots=True)
class Distractor:
    """A mined frame with the vector it was judged by."""

    frame: FrameRef
    origin: str
    similarity: float  # highest cosine to a hidden frame
    vector: npt.NDArray[np.float32]
    thumbnail: bytes


@dataclass(frozen=True, slots=True)
class _Shelf:
    """The frames that may stand beside each other in one puzzle: of one split and of one picture size."""

    index: Neighbours
    videos: tuple[KeptVideo, ...]
    ends: npt.NDArray[np.int64]  # row after the last one of each video


class Miner:
    """Finds distractors for episodes.

    Corpus distractors come from videos of the same split, so that no frame of a training video is seen in a test
    puzzle, and with the same picture size, so that no resampling sets them apart.
    """

    def __init__(self, videos: Sequence[KeptVideo], config: MineConfig, thresholds: Thresholds) -> None:
        self._config = config
        self._thresholds = thresholds
        self._videos = {video.entry.video_id: video for video in videos}
        self._shelves: dict[tuple[str, int, int], _Shelf] = {}
        self._rows: dict[str, range] = {}
        by_shelf: dict[tuple[str, int, int], list[KeptVideo]] = defaultdict(list)
        for video in sorted(videos, key=lambda v: v.entry.video_id):
            by_shelf[(video.split, *video.size)].append(video)
        for key, members in by_shelf.items():
            ends = np.cumsum([len(v.kept) for v in members])
            self._shelves[key] = _Shelf(Neighbours(np.concatenate([v.vectors for v in members])), tuple(members), ends)
            for video, end in zip(members, ends.tolist(), strict=True):
                self._rows[video.entry.video_id] = range(end - len(video.kept), end)
        self.quota = quotas(config)

    @property
    def indexes(self) -> Mapping[str, Neighbours]:
        """The neighbour indexes by a readable name, for the report."""
        return {f"{split} {w}x{h}": s.index for (split, w, h), s in self._shelves.items()}

    def mine(self, episode: Episode) -> tuple[Distractor, ...]:
        """The distractors of an episode, fewer than asked for where there are no more admissible ones.

        Each origin gives its quota, hardest first; what an origin cannot give is taken from the others.
        """
        video = self._videos[episode.strip.video_id]
        position = {frame: p for p, frame in enumerate(video.kept)}
        hidden = video.vectors[[position[f] for f in episode.hidden]]
        visible = video.vectors[[position[f] for f in episode.context]]
        thumbnails = [video.entry.frames[f].thumbnail for f in episode.strip.frames]
        pools = self._own(video, episode, hidden)
        pools["corpus"] = self._corpus(video, hidden)
        chosen: list[Distractor] = []
        for quota in (self.quota, dict.fromkeys(ORIGINS, self._config.distractors)):
            for origin in ORIGINS:
                self._take(pools[origin], quota[origin], visible, thumbnails, chosen)
        return tuple(chosen)

    def _take(
        self,
        pool: Iterable[Distractor],
        quota: int,
        visible: Vectors,
        thumbnails: Sequence[bytes],
        chosen: list[Distractor],
    ) -> None:
        """Move up to `quota` distractors of a pool to the chosen ones, leaving out repeats of what is shown.

        Two judges must find a frame new: the encoder, and the pixels of its thumbnail beside those of the strip.
        """
        taken = {c.frame for c in chosen}  # a vector's product with itself may be a little below a `repeat` of 1
        for distractor in pool:
            if not quota or len(chosen) == self._config.distractors:
                return
            if distractor.frame in taken:
                continue
            shown = np.concatenate([visible, *[c.vector[None] for c in chosen]])
            beside = [*thumbnails, *[c.thumbnail for c in chosen]]
            new_to_encoder = float((shown @ distractor.vector).max()) < self._thresholds.repeat
            if new_to_encoder and all(differ(distractor.thumbnail, other) for other in beside):
                chosen.append(distractor)
                quota -= 1

    def _own(self, video: KeptVideo, episode: Episode, hidden: Vectors) -> dict[str, list[Distractor]]:
        """Admissible frames of the same video, near and far, hardest first."""
        frames = video.entry.frames
        start_s, end_s = frames[episode.hidden[0]].time_s, frames[episode.hidden[-1]].time_s
        times = np.array(video.times_s)
        likeness = np.round((video.vectors @ hidden.T).max(axis=1), 5)
        # A frame between two hidden ones would belong to the hidden segment, so it is no distractor.
        outside = (times < start_s) | (times > end_s)
        free = outside & ~np.isin(video.kept, episode.strip.frames)
        gap_s = np.maximum(start_s - times, times - end_s)
        near = gap_s <= self._config.neighbourhood_s
        pools: dict[str, list[Distractor]] = {"neighbourhood": [], "same_video": []}
        for p in np.lexsort((times, -likeness)):
            if free[p] and self._in_band(likeness[p]):
                origin = "neighbourhood" if near[p] else "same_video"
                pools[origin].append(_distractor(video, int(p), origin, likeness[p]))
        return pools

    def _corpus(self, video: KeptVideo, hidden: Vectors) -> list[Distractor]:
        """Admissible frames of other videos, hardest first; never of a near-duplicate of this one."""
        shelf = self._shelves[(video.split, *video.size)]
        pool: list[Distractor] = []
        for k in NEIGHBOURS:
            found = shelf.index.search(hidden, k, without=self._rows[video.entry.video_id])
            rows = np.unique(np.concatenate([f.rows for f in found]))
            pool = [d for row in rows.tolist() if (d := self._judged(shelf, row, video, hidden)) is not None]
            if len(pool) >= self._config.distractors:
                break
        return sorted(pool, key=lambda d: -d.similarity)  # stable: ties by row

    def _judged(self, shelf: _Shelf, row: int, video: KeptVideo, hidden: Vectors) -> Distractor | None:
        """The frame in a row of the index, if it is admissible beside these hidden frames."""
        number = int(np.searchsorted(shelf.ends, row, side="right"))
        other = shelf.videos[number]
        place = row - int(shelf.ends[number]) + len(other.kept)
        # To all hidden frames: it may be ambiguous to one that has still nearer neighbours.
        similarity = float(np.round((hidden @ other.vectors[place]).max(), 5))
        if other.group == video.group or not self._in_band(similarity):
            return None
        return _distractor(other, place, "corpus", similarity)

    def _in_band(self, similarity: float) -> bool:
        return self._thresholds.low <= similarity < self._thresholds.ambiguous


def _distractor(video: KeptVideo, place: int, origin: str, similarity: float) -> Distractor:
    return Distractor(
        frame=FrameRef(video_id=video.entry.video_id, index=video.kept[place]),
        origin=origin,
        similarity=float(similarity),
        vector=video.vectors[place],
        thumbnail=video.entry.frames[video.kept[place]].thumbnail,
    )


def quotas(config: MineConfig) -> dict[str, int]:
    """How many distractors each origin should give: the shares, rounded so that they add up to l.

    Shares 0.5, 0.25 (and so 0.25 from the corpus), l=4 -> neighbourhood 2, same_video 1, corpus 1.
    """
    near, same = config.neighbourhood_share, config.same_video_share
    ideal = [share * config.distractors for share in (near, same, 1 - near - same)]
    counts = [int(x + 1e-9) for x in ideal]
    missing = config.distractors - sum(counts)
    for place in sorted(range(3), key=lambda i: (round(counts[i] - ideal[i], 9), i))[:missing]:
        counts[place] += 1
    return dict(zip(ORIGINS, counts, strict=True))


def shortfall(quota: Mapping[str, int], distractors: Sequence[Distractor]) -> Iterator[str]:
    """The origins that gave fewer than their quota, once per missing distractor."""
    for origin, wanted in quota.items():
        given = sum(d.origin == origin for d in distractors)
        yield from [origin] * max(0, wanted - given)
