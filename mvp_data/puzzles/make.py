"""Makes the puzzles of a build from the kept frames of all videos, and counts the refused segments."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mvp_data.config.options import PuzzleOptions
from mvp_data.core.seeds import shuffled, unit
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.decoys import Half, Pair, Run, decoy_run, pairs_across, pairs_within
from mvp_data.puzzles.difficulty import measure
from mvp_data.puzzles.distractors import Miner, quotas, shortfall
from mvp_data.puzzles.mask import STRETCH, hidden_segments, task_of
from mvp_data.puzzles.rules import clear_caches, doubt
from mvp_data.puzzles.similarity_solvers import Gap, features_of, gap_of, success
from mvp_data.puzzles.twins import twins_within
from mvp_data.puzzles.types import Candidate, Distractor, Drop, Episode, FrameRef, Puzzle
from mvp_data.shards.record import LABELS
from mvp_data.tasks.catalogue import TASKS


@dataclass(frozen=True, kw_only=True, slots=True)
class PuzzleSet:
    """The puzzles of a build, sorted by key, and the counts for its report."""

    puzzles: tuple[Puzzle, ...]
    video_drops: dict[str, dict[str, int]]  # refused hidden segments of each video, by reason
    shortfalls: dict[str, int]  # scattered distractors missing from the quota of an origin, taken from another one
    indexes: dict[str, dict[str, float | str]]  # kind and recall of each neighbour index, by name
    overlap: dict[str, float] = field(default_factory=dict)  # share of the samples that another one shows, by split

    @property
    def drops(self) -> dict[str, int]:
        """Refused hidden segments of all videos, by reason."""
        return add_up(self.video_drops.values())

    @property
    def origins(self) -> dict[str, int]:
        """Number of distractors from each origin."""
        return dict(Counter(c.origin for puzzle in self.puzzles for c in puzzle.candidates if c.order < 0))


def add_up(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of these counts, by key."""
    return dict(sum(map(Counter, counts), Counter()))


def make_puzzles(
    videos: Sequence[KeptVideo],
    config: PuzzleOptions,
    thresholds: Thresholds,
    on_video: Callable[[], object] = lambda: None,
    *,
    neighbour_videos: Sequence[KeptVideo] = (),
) -> PuzzleSet:
    """Hide segments, find distractors and label the pools; `on_video` is called after each video.

    Scattered distractors may also come from `neighbour_videos`, which give no puzzles here.
    """
    maker = _Maker(videos, config, thresholds, neighbour_videos)
    unpaired: dict[tuple[bool, bool, str, int, int], list[Run]] = defaultdict(list)
    for video in sorted(videos, key=lambda v: v.entry.video_id):
        for run in maker.within(video):
            unpaired[(*_pairing(run), video.split, *video.size)].append(run)
        on_video()
    for key in sorted(unpaired):
        maker.across(unpaired[key])
    clear_caches()
    return PuzzleSet(
        puzzles=tuple(sorted(maker.puzzles, key=lambda p: p.key)),
        video_drops={video_id: dict(drops) for video_id, drops in maker.drops.items()},
        shortfalls=dict(maker.shortfalls),
        indexes={name: {"kind": i.kind, "recall": i.recall} for name, i in maker.miner.indexes.items()},
    )


class _Maker:
    """Makes the puzzles of one build: same-strip twins, then other pairs within a video, then pairs of two videos."""

    def __init__(
        self,
        videos: Sequence[KeptVideo],
        config: PuzzleOptions,
        thresholds: Thresholds,
        neighbour_videos: Sequence[KeptVideo],
    ) -> None:
        self._config = config
        self._thresholds = thresholds
        self.miner = Miner([*videos, *neighbour_videos], config.mine, thresholds, config.seed)
        self.puzzles: list[Puzzle] = []
        self.drops: dict[str, Counter[str]] = {}
        self.shortfalls: Counter[str] = Counter()
        self._made: Counter[str] = Counter()  # puzzles by video

    def within(self, video: KeptVideo) -> list[Run]:
        """Make the puzzles of one video; returns its runs that found no partner in the same video."""
        video_id, seed, mask = video.entry.video_id, self._config.seed, self._config.mask
        shares = self._config.puzzle.task_shares
        twins = twins_within(
            video, mask, self._thresholds, self._solved, lambda place: self._twin_task(video, place), seed=seed
        )
        hidden = {p for pair in twins for half in pair for p in range(half.run.places[0], half.run.places[-1] + 1)}
        segments = hidden_segments(
            video,
            mask,
            self._thresholds,
            seed,
            lambda place: task_of(video, place, seed, shares),
            hidden.isdisjoint,
        )
        drops = self.drops[video_id] = Counter()
        units: list[tuple[Half, ...]] = list(twins)
        waiting: dict[tuple[bool, bool], list[Run]] = defaultdict(list)
        for outcome in segments:
            if isinstance(outcome, Drop):
                drops[outcome.value] += 1
            elif self._has_decoys(video, outcome.task, video.rows(outcome.hidden[:1])[0]):
                run = Run(video=video, segment=outcome)
                waiting[_pairing(run)].append(run)
            else:
                run = Run(video=video, segment=outcome)
                units.append((Half(task=outcome.task, run=run, episode=outcome.episodes[0]),))
        unpaired: list[Run] = []
        for _, runs in sorted(waiting.items()):
            pairs = list(pairs_within(runs, self._thresholds, self._solved, seed=seed))
            paired = {id(half.run) for pair in pairs for half in pair}
            unpaired += [run for run in runs if id(run) not in paired]
            units += pairs
        for halves in shuffled(units, "samples", seed, video_id):
            self._make(halves)
        return unpaired

    def _twin_task(self, video: KeptVideo, place: int) -> str | None:
        """The task of twins whose first run begins at `place`; None if they cannot have it."""
        task = task_of(video, place, self._config.seed, self._config.puzzle.task_shares)
        whole = self._config.mine.distractors == self._config.mask.hidden_frames
        return task if whole and not TASKS[task].gap_at_end and self._has_decoys(video, task, place) else None

    def across(self, runs: Sequence[Run]) -> None:
        """Make the puzzles of runs that have a partner in another video, if that is asked for; count the others."""
        paired: set[int] = set()
        if self._config.mine.cross_video_decoys:
            for pair in pairs_across(runs, self._thresholds, self._solved, seed=self._config.seed):
                paired |= {id(half.run) for half in pair}
                self._make(pair)
        for run in runs:
            if id(run) not in paired and self._room(run):
                self.drops[run.video.entry.video_id][Drop.NO_DECOY.value] += 1

    def _make(self, halves: tuple[Half, ...]) -> None:
        """Make the puzzle of a run, or both puzzles of a pair. If one of a pair is refused, so is the other."""
        ids = Counter(half.run.video.entry.video_id for half in halves)
        limit = self._config.mask.samples_per_video
        if limit and any(self._made[video_id] + count > limit for video_id, count in ids.items()):
            return
        outcomes = [self._puzzle(half) for half in halves]
        refused = next((outcome for outcome in outcomes if isinstance(outcome, Drop)), None)
        made = [outcome for outcome in outcomes if isinstance(outcome, Puzzle)]
        low, high = self._config.puzzle.difficulty_range
        if refused is None and not low <= sum(puzzle.difficulty for puzzle in made) / len(made) <= high:
            refused = Drop.DIFFICULTY
        if refused is not None:
            for half in halves:
                self.drops[half.run.video.entry.video_id][refused.value] += 1
            return
        pair_id = min(puzzle.key for puzzle in made) if len(made) > 1 else ""
        self.puzzles += [replace(puzzle, pair_id=pair_id) for puzzle in made]
        self._made.update(ids)

    def _puzzle(self, half: Half) -> Puzzle | Drop:
        """The puzzle of a run, or `FEW_DISTRACTORS`."""
        task, run, mine = half.task, half.run, self._config.mine
        count = TASKS[task].pool_size(mine.distractors)
        decoys: tuple[Distractor, ...] = ()
        if half.other is not None:
            decoys = decoy_run(half, count, mine.neighbourhood_s, self._config.seed)
        distractors = self.miner.mine(half.episode, count, decoys) if len(decoys) < count else decoys
        if len(distractors) < count:
            return Drop.FEW_DISTRACTORS
        self.shortfalls.update(shortfall(quotas(mine, count - len(decoys)), distractors[len(decoys) :]))
        return _label(run.video, task, half.episode, distractors, self._thresholds, self._config)

    def _solved(self, pair: Pair) -> float:
        """How well the similarity solvers do on both puzzles of a pair, in [0, 1]."""
        mine = self._config.mine
        scores = []
        for half in pair:
            decoys = decoy_run(half, mine.distractors, mine.neighbourhood_s, self._config.seed)
            scores.append(_success(gap_of(half.run.video, half.episode), half.task, half.episode.k, decoys))
        return sum(scores) / len(scores)

    def _has_decoys(self, video: KeptVideo, task: str, place: int) -> bool:
        """Whether the distractors of a segment that begins at `place` are a decoy run; drawn as `decoy_share` says."""
        mine = self._config.mine
        if not TASKS[task].decoys or not mine.distractors:
            return False
        return unit("decoy", self._config.seed, video.entry.video_id, place // STRETCH) < mine.decoy_share

    def _room(self, run: Run) -> bool:
        limit = self._config.mask.samples_per_video
        return not limit or self._made[run.video.entry.video_id] < limit


def _pairing(run: Run) -> tuple[bool, bool]:
    """The properties that must be equal in both runs of a pair, since both get the same task."""
    task = TASKS[run.segment.task]
    return task.gap_at_end, task.needs_order


def _label(
    video: KeptVideo,
    task: str,
    episode: Episode,
    distractors: Sequence[Distractor],
    thresholds: Thresholds,
    config: PuzzleOptions,
) -> Puzzle:
    """The puzzle with one pool of hidden frames and distractors; its key and the seed decide the order of the pool."""
    video_id = video.entry.video_id
    times_s = [video.entry.frames[f].time_s for f in episode.hidden]
    key = f"{video_id}-{round(times_s[0] * 1000):09d}{TASKS[task].key_suffix}"
    gap = gap_of(video, episode)
    to_others = np.round((gap.hidden.vectors @ gap.hidden.vectors.T - 2 * np.eye(episode.k)).max(axis=1), 5)
    pool = [
        (FrameRef(video_id=video_id, index=frame), order, -1, "hidden", float(to_others[order]))
        for order, frame in enumerate(episode.hidden)
    ] + [(d.frame, -1, d.decoy, d.origin, d.similarity) for d in distractors]
    shown = shuffled(pool, "label", config.seed, key)
    if TASKS[task].in_a_row:
        shown = pool if unit("label", config.seed, key) < 1 / 2 else pool[::-1]
    difficulty = measure(
        hidden=gap.hidden,
        distractors=[(d.origin, d.similarity) for d in distractors],
        times_s=times_s,
        step_s=1 / video.entry.rate_fps,
        thresholds=thresholds,
        success=_success(gap, task, episode.k, distractors),
    )
    return Puzzle(
        key=key,
        task=task,
        episode=episode,
        candidates=tuple(
            Candidate(label=letter, frame=frame, order=order, decoy=decoy, origin=origin, similarity=similarity)
            for letter, (frame, order, decoy, origin, similarity) in zip(LABELS, shown, strict=False)
        ),
        difficulty=difficulty.score,
        doubt=_doubt(video, task, episode, thresholds, config),
        margin=thresholds.ambiguous - max(similarity for *_, similarity in pool),
    )


def _doubt(video: KeptVideo, task: str, episode: Episode, thresholds: Thresholds, config: PuzzleOptions) -> str:
    """The reason why the order of the hidden frames is ambiguous, or an empty string.

    Always empty where the options already refuse such segments.
    """
    if config.mask.reversible == "drop" and TASKS[task].needs_order:
        return ""
    found = doubt(video, video.rows(episode.hidden), video.rows(episode.context), thresholds)
    return found.value if found else ""


def _success(gap: Gap, task: str, k: int, distractors: Sequence[Distractor]) -> float:
    """How well the similarity solvers do on a puzzle, in [0, 1]."""
    others = features_of(distractors, gap.hidden.vectors.shape[1])
    return success(gap, others, ordered=TASKS[task].asks_order(k, len(distractors)))
