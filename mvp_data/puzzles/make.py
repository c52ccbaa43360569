"""Makes the puzzles of a build from the kept frames of all videos, and counts every refused segment."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mvp_data.config.options import PuzzleOptions
from mvp_data.core.seeds import shuffled, unit
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.decoys import Half, Pair, Run, decoy_run, pairs_across, pairs_within
from mvp_data.puzzles.distractor_policies import POLICIES
from mvp_data.puzzles.distractors import Miner, quotas, shortfall
from mvp_data.puzzles.label import label, similarity_success
from mvp_data.puzzles.mask import openings
from mvp_data.puzzles.rules import forget
from mvp_data.puzzles.types import Distractor, Drop, Opening, Puzzle
from mvp_data.tasks.catalogue import TASKS


@dataclass(frozen=True, kw_only=True, slots=True)
class PuzzleSet:
    """The puzzles of a build, sorted by key, and the counts for its report."""

    puzzles: tuple[Puzzle, ...]
    drops: dict[str, int]  # refused hidden segments, by reason
    video_drops: dict[str, dict[str, int]]  # the same, for each video
    origins: dict[str, int]  # distractors by origin
    shortfalls: dict[str, int]  # scattered distractors missing from the quota of an origin, taken from another one
    indexes: dict[str, dict[str, float | str]] = field(default_factory=dict)


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
    alone: dict[tuple[bool, bool, str, int, int], list[Run]] = defaultdict(list)
    for video in sorted(videos, key=lambda v: v.entry.video_id):
        for run in maker.within(video):
            alone[(*_pairing(run), video.split, *video.size)].append(run)
        on_video()
    for key in sorted(alone):
        maker.across(alone[key])
    forget()
    return PuzzleSet(
        puzzles=tuple(sorted(maker.puzzles, key=lambda p: p.key)),
        drops=dict(sum(maker.drops.values(), Counter())),
        video_drops={video_id: dict(drops) for video_id, drops in maker.drops.items()},
        origins=dict(Counter(c.origin for p in maker.puzzles for c in p.candidates if c.order < 0)),
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
        for outcome in openings(video, self._config.mask, self._thresholds, seed, self._config.puzzle.task_shares):
            if isinstance(outcome, Drop):
                drops[outcome.value] += 1
            elif self._has_decoys(video, outcome):
                run = Run.of(video, outcome)
                waiting[_pairing(run)].append(run)
            else:
                units.append((Half(task=outcome.task, run=Run.of(video, outcome), episode=outcome.episodes[0]),))
        alone: list[Run] = []
        for runs in waiting.values():
            if self._config.mask.samples_per_video == 1:  # a pair needs two
                alone += runs
                continue
            pairs = list(pairs_within(runs, self._thresholds, self._choose, seed=seed))
            paired = {id(half.run) for pair in pairs for half in pair}
            alone += [run for run in runs if id(run) not in paired]
            units += pairs
        for halves in shuffled(units, "samples", seed, video_id):
            self._make(halves)
        return alone

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
        puzzle = label(run.video, task, half.episode, distractors, self._thresholds, self._config)
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
                total += similarity_success(half.run.video, half.task, half.episode, decoys)
            return total

        return POLICIES[mine.mine].partner(pairs, solved, seed)

    def _has_decoys(self, video: KeptVideo, opening: Opening) -> bool:
        mine = self._config.mine
        if not TASKS[opening.task].decoys or not mine.distractors:
            return False
        return unit("decoy", self._config.seed, video.entry.video_id, opening.hidden[0]) < mine.decoy_share

    def _room(self, run: Run) -> bool:
        limit = self._config.mask.samples_per_video
        return not limit or self._made[run.video.entry.video_id] < limit


def _pairing(run: Run) -> tuple[bool, bool]:
    """The facts in which the two runs of a pair must agree, since both get the same task."""
    task = TASKS[run.opening.task]
    return task.gap_at_end, task.needs_order
