"""Makes the puzzles of a build from the kept frames of all videos, and counts the refused segments."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mvp_data.config.options import PuzzleOptions
from mvp_data.core.seeds import shuffled, unit
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.decoys import Half, Pair, Run, decoy_run, pairs_across, pairs_within
from mvp_data.puzzles.difficulty import measure
from mvp_data.puzzles.distractor_policies import POLICIES
from mvp_data.puzzles.distractors import Miner, quotas, shortfall
from mvp_data.puzzles.mask import hidden_segments
from mvp_data.puzzles.rules import clear_caches, doubt
from mvp_data.puzzles.similarity_solvers import Gap, features_of, gap_of, success
from mvp_data.puzzles.types import Candidate, Distractor, Drop, Episode, FrameRef, HiddenSegment, Puzzle
from mvp_data.shards.record import LABELS
from mvp_data.tasks.catalogue import TASKS


@dataclass(frozen=True, kw_only=True, slots=True)
class PuzzleSet:
    """The puzzles of a build, sorted by key, and the counts for its report."""

    puzzles: tuple[Puzzle, ...]
    video_drops: dict[str, dict[str, int]]  # refused hidden segments of each video, by reason
    shortfalls: dict[str, int]  # scattered distractors missing from the quota of an origin, taken from another one
    indexes: dict[str, dict[str, float | str]]  # kind and recall of each neighbour index, by name

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
    """Makes the puzzles of one build: first pairs within a video, then pairs of two videos."""

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
        video_id, seed = video.entry.video_id, self._config.seed
        drops = self.drops[video_id] = Counter()
        units: list[tuple[Half, ...]] = []
        waiting: dict[tuple[bool, bool], list[Run]] = defaultdict(list)
        for outcome in hidden_segments(
            video, self._config.mask, self._thresholds, seed, self._config.puzzle.task_shares
        ):
            if isinstance(outcome, Drop):
                drops[outcome.value] += 1
            elif self._has_decoys(video, outcome):
                run = Run.of(video, outcome)
                waiting[_pairing(run)].append(run)
            else:
                units.append((Half(task=outcome.task, run=Run.of(video, outcome), episode=outcome.episodes[0]),))
        unpaired: list[Run] = []
        for runs in waiting.values():
            if self._config.mask.samples_per_video == 1:  # a pair needs two
                unpaired += runs
                continue
            pairs = list(pairs_within(runs, self._thresholds, self._choose, seed=seed))
            paired = {id(half.run) for pair in pairs for half in pair}
            unpaired += [run for run in runs if id(run) not in paired]
            units += pairs
        for halves in shuffled(units, "samples", seed, video_id):
            self._make(halves)
        return unpaired

    def across(self, runs: Sequence[Run]) -> None:
        """Make the puzzles of runs that have a partner in another video."""
        paired: set[int] = set()
        for pair in pairs_across(runs, self._thresholds, self._choose, seed=self._config.seed):
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
        made: list[Puzzle] = []
        for half in halves:
            outcome = self._puzzle(half)
            if isinstance(outcome, Drop):
                for other in halves:
                    self.drops[other.run.video.entry.video_id][outcome.value] += 1
                return
            made.append(outcome)
        self.puzzles += made
        self._made.update(ids)

    def _puzzle(self, half: Half) -> Puzzle | Drop:
        """The puzzle of a run, or the reason to refuse it: too few distractors, or a difficulty outside the range."""
        task, run, mine = half.task, half.run, self._config.mine
        count = TASKS[task].pool_size(mine.distractors)
        decoys: tuple[Distractor, ...] = ()
        if half.other is not None:
            decoys = decoy_run(run, half.other, count, mine.neighbourhood_s, self._config.seed)
        distractors = self.miner.mine(half.episode, count, decoys) if len(decoys) < count else decoys
        if len(distractors) < count:
            return Drop.FEW_DISTRACTORS
        puzzle = _label(run.video, task, half.episode, distractors, self._thresholds, self._config)
        low, high = self._config.puzzle.difficulty_range
        if not low <= puzzle.difficulty <= high:
            return Drop.DIFFICULTY
        self.shortfalls.update(shortfall(quotas(mine, count - len(decoys)), distractors[len(decoys) :]))
        return puzzle

    def _choose(self, pairs: Iterator[Pair]) -> Pair | None:
        """One of the admissible pairs of a run, by the distractor policy."""
        mine, seed = self._config.mine, self._config.seed

        def solved(pair: Pair) -> float:
            total = 0.0
            for half, other in zip(pair, reversed(pair), strict=True):
                decoys = decoy_run(half.run, other.run, mine.distractors, mine.neighbourhood_s, seed)
                total += _success(gap_of(half.run.video, half.episode), half.task, half.episode.k, decoys)
            return total

        return POLICIES[mine.mine].partner(pairs, solved, seed)

    def _has_decoys(self, video: KeptVideo, segment: HiddenSegment) -> bool:
        mine = self._config.mine
        if not TASKS[segment.task].decoys or not mine.distractors:
            return False
        return unit("decoy", self._config.seed, video.entry.video_id, segment.hidden[0]) < mine.decoy_share

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
