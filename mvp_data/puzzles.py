"""From the kept frames of all videos to labelled puzzles, with every refusal counted."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from mvp_data.config import BuildConfig
from mvp_data.corpus import KeptVideo, Thresholds
from mvp_data.decoys import Half, Pair, Run, decoy_run, pairs_across, pairs_within
from mvp_data.label import label, likeness_solves
from mvp_data.mask import Opening, openings
from mvp_data.mine import Distractor, Miner, quotas, shortfall
from mvp_data.rules import Drop, forget
from mvp_data.seeds import shuffled, stable_hash, unit
from mvp_data.tasks.catalogue import TASKS
from mvp_data.types import Puzzle

PARTNERS = 12  # pairs whose puzzles are tried out by `--mine adversarial`


@dataclass(frozen=True, kw_only=True, slots=True)
class PuzzleSet:
    """All puzzles of a build, by video id then time, and what was refused on the way."""

    puzzles: tuple[Puzzle, ...]
    drops: dict[str, int]  # hidden segments refused, by reason
    video_drops: dict[str, dict[str, int]]  # the same for each video
    origins: dict[str, int]  # distractors by origin
    shortfalls: dict[str, int]  # scattered distractors that a quota asked for and another origin gave
    indexes: dict[str, dict[str, float | str]] = field(default_factory=dict)


def make_puzzles(
    videos: Sequence[KeptVideo],
    config: BuildConfig,
    thresholds: Thresholds,
    on_video: Callable[[], object] = lambda: None,
    *,
    guests: Sequence[KeptVideo] = (),
) -> PuzzleSet:
    """Mask, mine and label; `on_video` is called after each video.

    Scattered distractors may come from `guests` as well, other videos that give no puzzles here.
    """
    maker = _Maker(videos, config, thresholds, guests)
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
    """Makes the puzzles of one build: first those of one video, then those that need two."""

    def __init__(
        self,
        videos: Sequence[KeptVideo],
        config: BuildConfig,
        thresholds: Thresholds,
        guests: Sequence[KeptVideo],
    ) -> None:
        self._config = config
        self._thresholds = thresholds
        self.miner = Miner([*videos, *guests], config.mine, thresholds, config.seed)
        self.puzzles: list[Puzzle] = []
        self.drops: dict[str, Counter[str]] = {}
        self.shortfalls: Counter[str] = Counter()
        self._made: Counter[str] = Counter()  # puzzles by video

    def within(self, video: KeptVideo) -> list[Run]:
        """Make the puzzles that one video gives; its runs that found no partner there are returned."""
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
            if self._config.mask.samples_per_video == 1:  # no room for both of a pair
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
        """Make the puzzles of runs that find a partner in another video."""
        paired: set[int] = set()
        for pair in pairs_across(runs, self._thresholds, self._choose, seed=self._config.seed):
            paired |= {id(half.run) for half in pair}
            self._make(pair)
        for run in runs:
            if id(run) not in paired and self._room(run):
                self.drops[run.video.entry.video_id][Drop.NO_DECOY.value] += 1

    def _make(self, halves: tuple[Half, ...]) -> None:
        """The puzzle of a run, or both of a pair; none where one is refused, since the two belong together."""
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
        """The puzzle of a run with its distractors, if there are enough and it is as hard as asked for."""
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
        """One of the admissible pairs of a run: the most alike, any, or the one that likeness solves least."""
        mine, seed = self._config.mine, self._config.seed
        if mine.mine == "band":
            return next(pairs, None)
        if mine.mine == "random":
            found = list(pairs)
            return found[_draw(found[0][0].run, seed) % len(found)] if found else None

        def solved(pair: Pair) -> float:
            total = 0.0
            for half, other in zip(pair, reversed(pair), strict=True):
                decoys = decoy_run(half.run, other.run, mine.distractors, mine.neighbourhood_s, seed)
                total += likeness_solves(half.run.video, half.task, half.episode, decoys)
            return total

        return min(islice(pairs, PARTNERS), key=solved, default=None)

    def _has_decoys(self, video: KeptVideo, opening: Opening) -> bool:
        mine = self._config.mine
        if not TASKS[opening.task].decoys or not mine.distractors:
            return False
        return unit("decoy", self._config.seed, video.entry.video_id, opening.hidden[0]) < mine.decoy_share

    def _room(self, run: Run) -> bool:
        limit = self._config.mask.samples_per_video
        return not limit or self._made[run.video.entry.video_id] < limit


def _pairing(run: Run) -> tuple[bool, bool]:
    """What two runs must have in common to be a pair, since both get one task: how they are shown, and their rules."""
    task = TASKS[run.opening.task]
    return task.gap_at_end, task.needs_order


def _draw(run: Run, seed: int) -> int:
    return stable_hash("mine", seed, run.video.entry.video_id, run.opening.hidden[0])
