"""Same-strip twins: two puzzles with one context and one pool, whose only difference is the place of the gap.

A strip of one video has two runs of K key frames, with one to three visible bridge frames between them:

    visible ... | run A | bridge | run B | visible ...

One puzzle marks a gap at A and leaves B out without a mark, the other marks B and leaves A out. A solver that does not
relate the candidates to the place of the gap gives both the same answer, so it cannot be right on both.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from mvp_data.config.options import MaskConfig
from mvp_data.core.seeds import shuffled
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.decoys import Half, Pair, Run, Solved, distinct
from mvp_data.puzzles.mask import episode_of, least_context, visible_beside
from mvp_data.puzzles.mask_policies import POLICIES
from mvp_data.puzzles.repeats import repeats_any
from mvp_data.puzzles.rules import ambiguous, is_montage, refuse_run
from mvp_data.puzzles.types import Episode, HiddenSegment, Places

BRIDGES = (1, 2, 3)  # visible frames between the runs
SHIFTS = range(7)  # frames left out before the second run, so that a hard one is found more often
# A pair is worth this, less the success of the similarity solvers on it; one that they solve better is not taken. With
# 1.25, 0.7 and 0.55, 40 clips give 106, 102 and 98 samples; the shortest path solves .34, .28 and .25 of them.
WORTH = 0.7


@dataclass(frozen=True, kw_only=True, slots=True)
class _Option:
    """Admissible twins from the first place of the first run to the last place of the second."""

    pair: Pair
    first: int
    last: int
    worth: float


def twins_within(
    video: KeptVideo,
    config: MaskConfig,
    thresholds: Thresholds,
    solved: Solved,
    task_at: Callable[[int], str | None],
    *,
    seed: int,
) -> list[Pair]:
    """Twins of one video that hide no frame twice; with `frame_reuse` N, at most N times in the training split.

    `task_at` gives the task of a strip whose first run begins at a place, or None if it may have no twins.
    """
    search = _Search(video, config, thresholds, solved, seed)
    options = [
        option for start in range(len(video.kept)) if (task := task_at(start)) for option in search.at(start, task)
    ]
    chosen: list[_Option] = []
    for _ in range(config.frame_reuse if video.split == "train" else 1):
        # The time of its first hidden frame is in the key of a sample, so no two may share it.
        taken = {run.places[0] for option in chosen for run in _runs(option)}
        chosen += best_disjoint([o for o in options if not taken & {run.places[0] for run in _runs(o)}])
    return [option.pair for option in chosen]


def best_disjoint(options: Sequence[_Option]) -> list[_Option]:
    """The options that do not overlap and have the largest total worth (weighted interval scheduling)."""
    ordered = sorted(options, key=lambda o: (o.last, o.first))
    ends = [o.last for o in ordered]
    best: list[tuple[float, list[_Option]]] = [(0.0, [])]
    for number, option in enumerate(ordered):
        before = best[bisect_right(ends, option.first - 1, hi=number)]
        best.append(max(best[-1], (before[0] + option.worth, [*before[1], option]), key=lambda found: found[0]))
    return best[-1][1]


def _runs(option: _Option) -> tuple[Run, Run]:
    return option.pair[0].run, option.pair[1].run


class _Search:
    """Finds the admissible twins of one video."""

    def __init__(self, video: KeptVideo, config: MaskConfig, thresholds: Thresholds, solved: Solved, seed: int) -> None:
        self._video, self._config, self._thresholds = video, config, thresholds
        self._policy = POLICIES[config.mask_policy]
        self._solved, self._seed = solved, seed
        self._edge = least_context("mvp", config)[0]

    @cached_property
    def _segments(self) -> list[Places]:
        """The key frames of a run that begins at each place; empty where there is none."""
        k, size = self._config.hidden_frames, len(self._video.kept)
        choose = self._policy.choose
        found = (choose(self._video, start, size, k, self._thresholds) for start in range(size))
        return [segment[0] if segment and self._allowed(segment[0]) else () for segment in found]

    def _allowed(self, hidden: Places) -> bool:
        shots = {self._video.shot(place) for place in hidden}
        allowed = len(hidden) == self._config.hidden_frames and len(shots) <= self._config.max_hidden_shots
        return allowed and refuse_run(self._video, hidden, self._config, self._thresholds) is None

    def at(self, start: int, task: str) -> Iterator[_Option]:
        """All admissible twins whose first run begins at `start`."""
        first = self._segments[start]
        if not first or start < self._edge:
            return
        after = range(first[-1] + 1, len(self._video.kept))
        bridge = visible_beside(self._video, [first], after, max(BRIDGES), self._thresholds) or ()
        for count in range(1, len(bridge) + 1):
            for shift in SHIFTS:
                second_start = bridge[count - 1] + 1 + shift
                second = self._segments[second_start] if second_start < len(self._segments) else ()
                if second and (option := self._option(task, first, bridge[:count], second)):
                    yield option

    def _option(self, task: str, first: Places, bridge: Places, second: Places) -> _Option | None:
        video, thresholds = self._video, self._thresholds
        if any(repeats_any(video, place, second, thresholds.repeat) for place in bridge):
            return None
        episodes = self._episodes(first, bridge, second)
        if episodes is None:
            return None
        runs = tuple(Run(video=video, segment=HiddenSegment(task=task, episodes=(episode,))) for episode in episodes)
        if not distinct((runs[0], runs[1]), episodes, thresholds):
            return None
        pair = (
            Half(task=task, run=runs[0], episode=episodes[0], other=runs[1], twins=True),
            Half(task=task, run=runs[1], episode=episodes[1], other=runs[0], twins=True),
        )
        return _Option(pair=pair, first=first[0], last=second[-1], worth=WORTH - self._solved(pair))

    def _episodes(self, first: Places, bridge: Places, second: Places) -> tuple[Episode, Episode] | None:
        """Both episodes in a context that is allowed for both, or None."""
        video, config, thresholds, edge = self._video, self._config, self._thresholds, self._edge
        rest, runs = config.context_frames - len(bridge), (first, second)
        sides = range(first[0] - 1, -1, -1), range(second[-1] + 1, len(video.kept))
        nearest = [visible_beside(video, runs, side, 1, thresholds) for side in sides]
        if not nearest[0] or not nearest[1] or not self._ordered(runs, (*nearest[0], *bridge, *nearest[1])):
            return None
        left, right = (visible_beside(video, runs, side, rest - edge, thresholds) or () for side in sides)
        splits = range(max(edge, rest - len(right)), min(rest - edge, len(left)) + 1)
        for before in shuffled(splits, "twins", self._seed, video.entry.video_id, video.kept[first[0]], len(bridge)):
            start, end = left[:before][::-1], right[: rest - before]
            visible = (*start, *bridge, *end)
            if all(self._policy.allows(video, run, visible, thresholds) for run in runs):
                return (
                    episode_of(video, start, first, (*bridge, *end)),
                    episode_of(video, (*start, *bridge), second, end),
                )
        return None

    def _ordered(self, runs: tuple[Places, Places], visible: Places) -> bool:
        """Whether the frames next to the gaps show the order of both runs."""
        video, config, thresholds = self._video, self._config, self._thresholds
        return not any(
            is_montage(video, run, visible, config.max_hidden_shots)
            or ambiguous(video, run, visible, config, thresholds)
            for run in runs
        )
