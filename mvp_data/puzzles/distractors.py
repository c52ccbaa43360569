"""Finds hard distractors: frames similar to the hidden ones, but not so similar that they could be right."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mvp_data.config.options import MineConfig
from mvp_data.core.types import Vectors
from mvp_data.embedding.search import Neighbours
from mvp_data.puzzles.corpus import KeptVideo, Thresholds, stacked
from mvp_data.puzzles.decoys import gap_places
from mvp_data.puzzles.distractor_policies import POLICIES, Search, View
from mvp_data.puzzles.likeness import any_alike
from mvp_data.puzzles.similarity_solvers import gap_of
from mvp_data.puzzles.types import Distractor, Episode, FrameRef

# Nearest frames searched for each hidden frame; the larger number if the smaller one gives too few distractors.
NEIGHBOURS = (64, 1024)
FAR = 1e-3  # a similarity this much below the band is not in it, whatever the rounding error
ORIGINS = ("neighbourhood", "same_video", "corpus")  # of scattered distractors; each fills up what the others lack


@dataclass(frozen=True)
class _SearchGroup:
    """The videos whose frames may share a puzzle: those of one split and one frame size."""

    videos: tuple[KeptVideo, ...]
    ends: npt.NDArray[np.int64]  # row after the last row of each video

    @cached_property
    def index(self) -> Neighbours:
        """The index of their frames, built on first use: a build without scattered distractors does not need it."""
        return Neighbours(stacked(self.videos))


class Miner:
    """Finds distractors for episodes by the policy `MineConfig.mine`; `seed` is for its random draws.

    Corpus distractors come from videos of the same split, so that no test puzzle shows a frame of a training video.
    The frame size is also the same, so that traces of resampling do not reveal them.
    """

    def __init__(self, videos: Sequence[KeptVideo], config: MineConfig, thresholds: Thresholds, seed: int = 0) -> None:
        self._config = config
        self._seed = seed
        self._thresholds = thresholds
        self._videos = {video.entry.video_id: video for video in videos}
        self._groups: dict[tuple[str, int, int], _SearchGroup] = {}
        self._rows: dict[str, range] = {}
        by_kind: dict[tuple[str, int, int], list[KeptVideo]] = defaultdict(list)
        for video in sorted(videos, key=lambda v: v.entry.video_id):
            by_kind[(video.split, *video.size)].append(video)
        for key, members in by_kind.items():
            ends = np.cumsum([len(v.kept) for v in members])
            self._groups[key] = _SearchGroup(tuple(members), ends)
            for video, end in zip(members, ends.tolist(), strict=True):
                self._rows[video.entry.video_id] = range(end - len(video.kept), end)

    @property
    def indexes(self) -> Mapping[str, Neighbours]:
        """The neighbour indexes in use, by a readable name, for the report."""
        made = {key: group for key, group in self._groups.items() if "index" in vars(group)}
        return {f"{split} {w}x{h}": group.index for (split, w, h), group in made.items()}

    def mine(self, episode: Episode, count: int, decoys: Sequence[Distractor] = ()) -> tuple[Distractor, ...]:
        """Up to `count` distractors of an episode: first the `decoys`, then single frames that pass the rules.

        Each origin has a quota; if one cannot fill it, the others supply more.
        """
        video = self._videos[episode.strip.video_id]
        view = _view(video, episode)
        pools = self._own(video, episode, view.gap.hidden.vectors)
        pools["corpus"] = self._corpus(video, view.gap.hidden.vectors, count)
        search = Search(
            pools=pools,
            fill=lambda pools, tried: self._fill(pools, view, count, decoys, tried),
            view=view,
            count=count,
            decoys=len(decoys),
            key=(self._seed, video.entry.video_id, episode.hidden[0]),
        )
        return POLICIES[self._config.mine].scattered(search)

    def _fill(
        self,
        pools: Mapping[str, Sequence[Distractor]],
        view: View,
        count: int,
        decoys: Sequence[Distractor],
        tried: int,
    ) -> tuple[Distractor, ...]:
        """Fill the quota of each origin, then fill up from any origin."""
        chosen = list(decoys)
        for quota in (quotas(self._config, count - len(decoys)), dict.fromkeys(ORIGINS, count)):
            for origin in ORIGINS:
                self._take(pools[origin], min(quota[origin], count - len(chosen)), view, chosen, tried)
        return tuple(chosen)

    def _take(self, pool: Sequence[Distractor], quota: int, view: View, chosen: list[Distractor], tried: int) -> None:
        """Append up to `quota` distractors of a pool to `chosen`, without repeats of other frames of the puzzle.

        Each is the one with which the similarity solvers do worst among the next `tried` new distractors.
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
            chosen.append(window[0] if tried == 1 else min(window, key=lambda d: view.success([*chosen, d])))

    def _is_new(self, distractor: Distractor, view: View, chosen: Sequence[Distractor]) -> bool:
        """Whether a frame repeats none of the visible, hidden and chosen frames, by vector and by pixels.

        The frames between key frames count as hidden: a distractor like one of them would be as right as a key frame.
        """
        if any(distractor.frame == c.frame for c in chosen):
            return False  # with `repeat` at 1, rounding may hide the repeat
        shown = np.concatenate([view.visible, *[c.vector[None] for c in chosen]])
        thumbnails = (*view.shown, *[c.thumbnail for c in chosen])
        own, limits = (distractor.vector[None], [distractor.thumbnail]), self._thresholds
        return not (
            any_alike(*own, shown, thumbnails, limits.repeat)
            or any_alike(*own, view.span, view.hidden, limits.distinct)
        )

    def _own(self, video: KeptVideo, episode: Episode, hidden: Vectors) -> dict[str, list[Distractor]]:
        """Admissible frames of the same video, near and far, the most similar first."""
        all_times = video.entry.frames.times_s
        start_s, end_s = all_times[episode.hidden[0]], all_times[episode.hidden[-1]]
        times = all_times[list(video.kept)]
        similarities = np.round((video.vectors @ hidden.T).max(axis=1), 5)
        free = ~np.isin(video.kept, episode.strip.frames)
        free[gap_places(video, episode)] = False  # key frames or not, they belong to the hidden segment
        gap_s = np.maximum(start_s - times, times - end_s)
        near = gap_s <= self._config.neighbourhood_s
        pools: dict[str, list[Distractor]] = {"neighbourhood": [], "same_video": []}
        for p in np.lexsort((times, -similarities)):
            if free[p] and self._in_band(similarities[p]):
                origin = "neighbourhood" if near[p] else "same_video"
                pools[origin].append(_distractor(video, int(p), origin, similarities[p]))
        return pools

    def _corpus(self, video: KeptVideo, hidden: Vectors, wanted: int) -> list[Distractor]:
        """Admissible frames of other videos, the most similar first; without near-duplicates of this video."""
        group = self._groups[(video.split, *video.size)]
        pool: list[Distractor] = []
        for k in NEIGHBOURS:
            found = group.index.search(hidden, k, without=self._rows[video.entry.video_id])
            rows = np.unique(np.concatenate([f.rows for f in found]))
            pool = [d for row in rows.tolist() if (d := self._judged(group, row, video, hidden)) is not None]
            # All other frames are below the band, or there are none.
            last = all(len(f.rows) < k or f.similarity[-1] < self._thresholds.low - FAR for f in found)
            if last or len(pool) >= wanted:
                break
        return sorted(pool, key=lambda d: -d.similarity)  # stable: ties by row

    def _judged(self, group: _SearchGroup, row: int, video: KeptVideo, hidden: Vectors) -> Distractor | None:
        """The frame in a row of the index, if it is admissible with these hidden frames."""
        number = int(np.searchsorted(group.ends, row, side="right"))
        other = group.videos[number]
        place = row - int(group.ends[number]) + len(other.kept)
        # The highest similarity to any hidden frame, not only to the one whose search found this frame.
        similarity = float(np.round((hidden @ other.vectors[place]).max(), 5))
        if other.group == video.group or not self._in_band(similarity):
            return None
        return _distractor(other, place, "corpus", similarity)

    def _in_band(self, similarity: float) -> bool:
        return self._thresholds.low <= similarity < self._thresholds.ambiguous


def _view(video: KeptVideo, episode: Episode) -> View:
    gap = gap_places(video, episode)
    return View(
        gap=gap_of(video, episode),
        visible=video.vectors[video.rows(episode.context)],
        shown=tuple(video.entry.frames.thumbnail(f) for f in episode.context),
        span=video.vectors[gap.start : gap.stop],
        hidden=tuple(video.thumbnail(place) for place in gap),
    )


def _distractor(video: KeptVideo, place: int, origin: str, similarity: float) -> Distractor:
    return Distractor(
        frame=FrameRef(video_id=video.entry.video_id, index=video.kept[place]),
        origin=origin,
        similarity=float(similarity),
        vector=video.vectors[place],
        thumbnail=video.thumbnail(place),
    )


def quotas(config: MineConfig, count: int) -> dict[str, int]:
    """How many of `count` distractors each origin should give: the shares, rounded so that the sum is `count`.

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
    """The origins that gave fewer than their quota, once for each missing distractor."""
    for origin, wanted in quota.items():
        given = sum(d.origin == origin for d in distractors)
        yield from [origin] * max(0, wanted - given)
