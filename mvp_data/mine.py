"""Hard distractors: frames like the hidden ones, yet not so like them that the answer becomes a matter of opinion."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mvp_data import schema
from mvp_data.config import MineConfig
from mvp_data.corpus import KeptVideo, Thresholds, stacked
from mvp_data.neighbours import Neighbours
from mvp_data.rules import differ
from mvp_data.seeds import shuffled
from mvp_data.solve import Sights, lures, sights, sights_of, success
from mvp_data.types import Episode, FrameRef, Vectors

NEIGHBOURS = (
    64,
    1024,
)  # looked up in the corpus for each hidden frame: more where the nearest are all too alike
FAR = 1e-3  # below the band by more than what the last bits may change
TRIED = 32  # candidates that the solvers try for a puzzle, where distractors are to mislead them
ORIGINS = schema.ORIGINS[1:]  # all but `hidden`; also the order in which shortfalls are filled


@dataclass(frozen=True, kw_only=True, slots=True)
class Distractor:
    """A mined frame with the vector it was judged by."""

    frame: FrameRef
    origin: str
    similarity: float  # highest cosine to a hidden frame
    vector: npt.NDArray[np.float32]
    thumbnail: bytes
    decoy: int = -1  # its place in a decoy run, or -1


@dataclass(frozen=True)
class _Shelf:
    """The frames that may stand beside each other in one puzzle: of one split and of one picture size."""

    videos: tuple[KeptVideo, ...]
    ends: npt.NDArray[np.int64]  # row after the last one of each video

    @cached_property
    def index(self) -> Neighbours:
        """Made when first asked: a build of decoy runs alone never does."""
        return Neighbours(stacked(self.videos))


@dataclass(frozen=True, kw_only=True, slots=True)
class _View:
    """An episode as miners see it: the hidden frames and all that is shown."""

    hidden: Sights
    before: Sights | None  # the frame next to the gap, where there is one
    after: Sights | None
    visible: Vectors
    span: Vectors  # of all frames from the first hidden one to the last, asked for or not
    shown: tuple[bytes, ...]  # thumbnails of the context and of the span


class Miner:
    """Finds distractors for episodes, in the order that `MineConfig.mine` says; `seed` decides what `random` means.

    Corpus distractors come from videos of the same split, so that no frame of a training video is seen in a test
    puzzle, and with the same picture size, so that no resampling sets them apart.
    """

    def __init__(self, videos: Sequence[KeptVideo], config: MineConfig, thresholds: Thresholds, seed: int = 0) -> None:
        self._config = config
        self._seed = seed
        self._thresholds = thresholds
        self._videos = {video.entry.video_id: video for video in videos}
        self._shelves: dict[tuple[str, int, int], _Shelf] = {}
        self._rows: dict[str, range] = {}
        by_shelf: dict[tuple[str, int, int], list[KeptVideo]] = defaultdict(list)
        for video in sorted(videos, key=lambda v: v.entry.video_id):
            by_shelf[(video.split, *video.size)].append(video)
        for key, members in by_shelf.items():
            ends = np.cumsum([len(v.kept) for v in members])
            self._shelves[key] = _Shelf(tuple(members), ends)
            for video, end in zip(members, ends.tolist(), strict=True):
                self._rows[video.entry.video_id] = range(end - len(video.kept), end)

    @property
    def indexes(self) -> Mapping[str, Neighbours]:
        """The neighbour indexes that were made, by a readable name, for the report."""
        made = {key: shelf for key, shelf in self._shelves.items() if "index" in vars(shelf)}
        return {f"{split} {w}x{h}": shelf.index for (split, w, h), shelf in made.items()}

    def mine(self, episode: Episode, count: int, beside: Sequence[Distractor] = ()) -> tuple[Distractor, ...]:
        """`count` distractors of an episode, `beside` and scattered ones; fewer where no more are admissible.

        Each origin gives its quota; what an origin cannot give is taken from the others.
        """
        video = self._videos[episode.strip.video_id]
        view = _view(video, episode)
        pools = self._own(video, episode, view.hidden.vectors)
        pools["corpus"] = self._corpus(video, view.hidden.vectors, count)
        if self._config.mine == "random":
            name = (self._seed, video.entry.video_id, episode.hidden[0])
            pools = {origin: shuffled(pool, "mine", origin, *name) for origin, pool in pools.items()}
        chosen = self._choose(pools, view, count, beside, tried=1)
        if self._config.mine != "adversarial" or len(chosen) == len(beside):
            return chosen
        pools = {origin: _by_lure(pool, view) for origin, pool in pools.items()}
        misleading = self._choose(pools, view, count, beside, tried=max(2, TRIED // count))
        # One that misleads may forbid others; and a solver misled by each of two may be right again with both.
        worse = len(misleading) < len(chosen) or _success(view, misleading) > _success(view, chosen)
        return chosen if worse else misleading

    def _choose(
        self,
        pools: Mapping[str, Sequence[Distractor]],
        view: _View,
        count: int,
        beside: Sequence[Distractor],
        tried: int,
    ) -> tuple[Distractor, ...]:
        """Fill the quota of each origin, then what is missing from any of them."""
        chosen = list(beside)
        for quota in (quotas(self._config, count - len(beside)), dict.fromkeys(ORIGINS, count)):
            for origin in ORIGINS:
                self._take(pools[origin], min(quota[origin], count - len(chosen)), view, chosen, tried)
        return tuple(chosen)

    def _take(self, pool: Sequence[Distractor], quota: int, view: _View, chosen: list[Distractor], tried: int) -> None:
        """Move up to `quota` distractors of a pool to the chosen ones, leaving out repeats of what is shown.

        Each is the one of the next `tried` new ones that leaves the solvers least success.
        """
        rest = iter(pool)
        window: list[Distractor] = []
        for _ in range(quota):
            window = [d for d in window if self._is_new(d, view, chosen)]
            while len(window) < tried and (distractor := next(rest, None)) is not None:
                if self._is_new(distractor, view, chosen):
                    window.append(distractor)
            if not window:
                return
            chosen.append(window[0] if tried == 1 else min(window, key=lambda d: _success(view, [*chosen, d])))

    def _is_new(self, distractor: Distractor, view: _View, chosen: Sequence[Distractor]) -> bool:
        """Whether a frame repeats nothing of what is shown or hidden.

        Two judges must find it new: the encoder, and the pixels of its thumbnail. Frames between the key frames count
        as well: one like them would be as right as a key frame.
        """
        if any(distractor.frame == c.frame for c in chosen):
            return False  # a vector's product with itself may be a little below a `repeat` of 1
        shown = np.concatenate([view.visible, *[c.vector[None] for c in chosen]])
        if float((shown @ distractor.vector).max()) >= self._thresholds.repeat:
            return False
        if float(np.round((view.span @ distractor.vector).max(), 5)) >= self._thresholds.distinct:
            return False
        return all(differ(distractor.thumbnail, t) for t in (*view.shown, *[c.thumbnail for c in chosen]))

    def _own(self, video: KeptVideo, episode: Episode, hidden: Vectors) -> dict[str, list[Distractor]]:
        """Admissible frames of the same video, near and far, hardest first."""
        all_times = video.entry.frames.times_s
        start_s, end_s = all_times[episode.hidden[0]], all_times[episode.hidden[-1]]
        times = all_times[list(video.kept)]
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

    def _corpus(self, video: KeptVideo, hidden: Vectors, wanted: int) -> list[Distractor]:
        """Admissible frames of other videos, hardest first; never of a near-duplicate of this one."""
        shelf = self._shelves[(video.split, *video.size)]
        pool: list[Distractor] = []
        for k in NEIGHBOURS:
            found = shelf.index.search(hidden, k, without=self._rows[video.entry.video_id])
            rows = np.unique(np.concatenate([f.rows for f in found]))
            pool = [d for row in rows.tolist() if (d := self._judged(shelf, row, video, hidden)) is not None]
            # What lies farther is too easy, or is not there.
            last = all(len(f.rows) < k or f.similarity[-1] < self._thresholds.low - FAR for f in found)
            if last or len(pool) >= wanted:
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


def _view(video: KeptVideo, episode: Episode) -> _View:
    context, at = episode.context, episode.mask_start
    first, last = video.rows((episode.hidden[0], episode.hidden[-1]))
    shown = (*context, *video.kept[first : last + 1])
    return _View(
        hidden=sights_of(video, episode.hidden),
        before=sights_of(video, context[at - 1 : at]) if at else None,
        after=sights_of(video, context[at : at + 1]) if at < len(context) else None,
        visible=video.vectors[video.rows(context)],
        span=video.vectors[first : last + 1],
        shown=tuple(video.entry.frames.thumbnail(f) for f in shown),
    )


def _pooled(pool: Sequence[Distractor]) -> Sights:
    return sights(np.stack([d.vector for d in pool]), [d.thumbnail for d in pool])


def _success(view: _View, others: Sequence[Distractor]) -> float:
    return success(view.hidden, _pooled(others), view.before, view.after)


def _by_lure(pool: Sequence[Distractor], view: _View) -> list[Distractor]:
    """The most misleading ones first."""
    if not pool:
        return []
    gains = np.round(lures(view.hidden, _pooled(pool), view.before, view.after), 5)
    return [pool[i] for i in np.argsort(-gains, kind="stable")]


def _distractor(video: KeptVideo, place: int, origin: str, similarity: float) -> Distractor:
    return Distractor(
        frame=FrameRef(video_id=video.entry.video_id, index=video.kept[place]),
        origin=origin,
        similarity=float(similarity),
        vector=video.vectors[place],
        thumbnail=video.thumbnail(place),
    )


def quotas(config: MineConfig, count: int) -> dict[str, int]:
    """How many of `count` distractors each origin should give: the shares, rounded so that they add up to it.

    Shares 0.5, 0.25 (and so 0.25 from the corpus), 4 distractors -> neighbourhood 2, same_video 1, corpus 1.
    """
    near, same = config.neighbourhood_share, config.same_video_share
    ideal = [share * count for share in (near, same, 1 - near - same)]
    counts = [int(x + 1e-9) for x in ideal]
    missing = count - sum(counts)
    for place in sorted(range(3), key=lambda i: (round(counts[i] - ideal[i], 9), i))[:missing]:
        counts[place] += 1
    return dict(zip(ORIGINS, counts, strict=True))


def shortfall(quota: Mapping[str, int], distractors: Sequence[Distractor]) -> Iterator[str]:
    """The origins that gave fewer than their quota, once per missing distractor."""
    for origin, wanted in quota.items():
        given = sum(d.origin == origin for d in distractors)
        yield from [origin] * max(0, wanted - given)
