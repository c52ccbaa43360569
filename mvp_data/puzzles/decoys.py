"""Decoy runs: pairs of hidden segments that serve as each other's distractors, so that a pool alone gives no hint.

Two hidden segments A and B make a *complementary pair*. One puzzle hides A and adds the frames of B to its pool; the
other hides B and offers the same 2 K frames. A solver that sees only the candidates gives both the same answer, so it
scores exactly chance over each pair. VQA v2 has such pairs of images (Goyal et al. 2017, arXiv 1612.00837).

Here each run has a context of its own. In the twins of `twins` both puzzles show the same context as well.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from mvp_data.core.seeds import shuffled, unit
from mvp_data.core.types import Vectors
from mvp_data.embedding.search import Neighbours
from mvp_data.puzzles.ambiguity import exchange_evidence, swap_evidence
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.repeats import any_alike, repeats_any
from mvp_data.puzzles.thumbnails import distances
from mvp_data.puzzles.types import Distractor, Episode, FrameRef, HiddenSegment

SWAP_EVIDENCE = 8.0  # by vectors or by pixels; below it, readers could not tell which run belongs to which gap
TRIED = 64  # partners of one run that are compared with it, the most similar first
JUDGED = 12  # admissible partners of one run among which the hardest pair is chosen
NEAREST = 256  # frames of other videos searched for each hidden frame


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A hidden segment of a video."""

    video: KeptVideo
    segment: HiddenSegment

    # Computed on demand: stored for all unpaired runs, they would take most of the memory of a large build.

    @property
    def places(self) -> tuple[int, ...]:
        """Its key frames, as positions among the kept frames."""
        return tuple(self.video.rows(self.segment.hidden))

    @property
    def vectors(self) -> Vectors:
        """The vectors [K, D] of its K frames."""
        return self.video.vectors[list(self.places)]

    @property
    def thumbnails(self) -> tuple[bytes, ...]:
        """The thumbnails of its K frames."""
        return tuple(self.video.entry.frames.thumbnail(frame) for frame in self.segment.hidden)

    @property
    def times_s(self) -> tuple[float, ...]:
        """Time of each key frame."""
        return tuple(self.video.entry.frames.times_s[list(self.segment.hidden)].tolist())


@dataclass(frozen=True, kw_only=True, slots=True)
class Half:
    """One puzzle of a pair: a run with its context, and the other run, whose frames the context does not show."""

    task: str
    run: Run
    episode: Episode
    other: Run | None = None  # `None` if the distractors are scattered
    twins: bool = False  # whether both halves show one context


Pair = tuple[Half, Half]
Solved = Callable[[Pair], float]  # how well similarity solves both puzzles of a pair: 0 at chance, 1 always


def pairs_within(runs: Sequence[Run], thresholds: Thresholds, solved: Solved, *, seed: int) -> Iterator[Pair]:
    """Disjoint pairs of runs of one video, in an order drawn from the seed; both runs get the task of the first."""
    if len(runs) < 2:
        return
    vectors = np.concatenate([run.vectors for run in runs])

    def most_similar(number: int) -> list[int]:
        similarities = np.round(runs[number].vectors @ vectors.T, 5).max(axis=0).reshape(len(runs), -1).max(axis=1)
        order: list[int] = np.argsort(-similarities, kind="stable").tolist()
        return order

    order = shuffled(range(len(runs)), "decoy", seed, runs[0].video.entry.video_id)
    yield from _pairs(runs, order, most_similar, thresholds, solved)


def pairs_across(runs: Sequence[Run], thresholds: Thresholds, solved: Solved, *, seed: int) -> Iterator[Pair]:
    """Disjoint pairs of runs of different videos of one split and size that are not copies of each other."""
    if len({run.video.group for run in runs}) < 2:
        return
    index = Neighbours(np.concatenate([run.vectors for run in runs]))
    k = len(runs[0].vectors)

    def most_similar(number: int) -> list[int]:
        similarities: dict[int, float] = {}
        for found in index.search(runs[number].vectors, NEAREST, without=range(number * k, (number + 1) * k)):
            for row, similarity in zip(found.rows.tolist(), found.similarity.tolist(), strict=True):
                similarities[row // k] = max(similarity, similarities.get(row // k, -1.0))
        foreign = [other for other in similarities if runs[other].video.group != runs[number].video.group]
        return sorted(foreign, key=lambda other: (-similarities[other], other))

    yield from _pairs(runs, shuffled(range(len(runs)), "decoy", seed), most_similar, thresholds, solved)


def _pairs(
    runs: Sequence[Run],
    order: Sequence[int],
    most_similar: Callable[[int], list[int]],
    thresholds: Thresholds,
    solved: Solved,
) -> Iterator[Pair]:
    """Pair each run, in `order`, with the free run that makes the hardest pair."""
    free = dict.fromkeys(order)
    while free:
        number = next(iter(free))
        del free[number]
        others = list(islice((other for other in most_similar(number) if other in free), TRIED))
        pairs = ((other, pair_of(runs[number], runs[other], thresholds)) for other in others)
        admissible = islice(((other, pair) for other, pair in pairs if pair is not None), JUDGED)
        chosen = min(admissible, key=lambda found: solved(found[1]), default=None)
        if chosen is not None:
            del free[chosen[0]]
            yield chosen[1]


def pair_of(first: Run, second: Run, thresholds: Thresholds) -> Pair | None:
    """The two runs as a pair, if they may share a pool, each in a context without the other that tells them apart."""
    if float(np.round(first.vectors @ second.vectors.T, 5).max()) < thresholds.low:
        return None
    episodes = _context_without(first, second, thresholds), _context_without(second, first, thresholds)
    if episodes[0] is None or episodes[1] is None:
        return None
    if not distinct((first, second), (episodes[0], episodes[1]), thresholds):
        return None
    if first.video is second.video and told_by_context((first, second), (episodes[0], episodes[1])):
        return None
    task = first.segment.task
    return (
        Half(task=task, run=first, episode=episodes[0], other=second),
        Half(task=task, run=second, episode=episodes[1], other=first),
    )


def distinct(runs: tuple[Run, Run], episodes: tuple[Episode, Episode], thresholds: Thresholds) -> bool:
    """Whether neither run shows the same as a frame of the other's gap, and each clearly belongs to its own gap."""
    ends = [ends_of(run.video, episode) for run, episode in zip(runs, episodes, strict=True)]
    if runs[0].video is runs[1].video and ends[0] is not None and ends[1] is not None:
        told = (runs[0].video, (runs[0].places, runs[1].places), (ends[0], ends[1]), thresholds)
        if max(swap_evidence(*told)) < SWAP_EVIDENCE or exchange_evidence(*told) <= 0:
            return False
    return not any(
        _repeated(run.video, gap_places(run.video, episode), other, thresholds.distinct)
        for run, other, episode in zip(runs, reversed(runs), episodes, strict=True)
    )


def _repeated(video: KeptVideo, places: Sequence[int], run: Run, threshold: float) -> bool:
    """Whether one of these frames of a video shows the same as a frame of the run."""
    if video is run.video:
        return any(repeats_any(video, place, run.places, threshold) for place in places)
    thumbnails = [video.thumbnail(place) for place in places]
    return any_alike(video.vectors[list(places)], thumbnails, run.vectors, run.thumbnails, threshold)


def told_by_context(runs: tuple[Run, Run], episodes: tuple[Episode, Episode]) -> bool:
    """Whether a solver that does not know where the gap is would be right more often than not.

    It takes the K candidates that are nearest to any frame of the context, by vectors or by pixels. Twins need no such
    check, since both halves have one context.
    """
    if episodes[0].after is None:  # the gap of this task is always at the end, so every solver knows where it is
        return False
    video, k = runs[0].video, episodes[0].k
    more_right = [0, 0]  # hidden frames taken minus decoys taken, over both halves, by vectors and by pixels
    for run, other, episode in zip(runs, reversed(runs), episodes, strict=True):
        context, pool = video.rows(episode.context), (*run.places, *other.places)
        by_vectors = 1 - np.round(video.vectors[list(pool)] @ video.vectors[context].T, 5)
        for judge, far in enumerate((by_vectors, distances(video, pool, context))):
            taken = np.argsort(far.min(axis=1), kind="stable")[:k]
            more_right[judge] += 2 * int((taken < k).sum()) - k
    return max(more_right) > 0


def ends_of(video: KeptVideo, episode: Episode) -> tuple[int, int] | None:
    """The visible places before and after the gap; None if the gap is at the end."""
    if episode.before is None or episode.after is None:
        return None
    before, after = video.rows((episode.before, episode.after))
    return before, after


def gap_places(video: KeptVideo, episode: Episode) -> range:
    """The places of all frames in the gap, key frames or not."""
    first, last = video.rows((episode.hidden[0], episode.hidden[-1]))
    start = first if episode.before is None else video.rows((episode.before,))[0] + 1
    return range(start, last + 1 if episode.after is None else video.rows((episode.after,))[0])


def _context_without(run: Run, other: Run, thresholds: Thresholds) -> Episode | None:
    """The first context of a run that shows no frame of the other run, or `None`."""
    same_video = run.video is other.video
    span = range(other.segment.hidden[0], other.segment.hidden[-1] + 1) if same_video else range(0)
    for episode in run.segment.episodes:
        if any(frame in span for frame in episode.context):
            continue
        if not _repeated(run.video, run.video.rows(episode.context), other, thresholds.repeat):
            return episode
    return None


def decoy_run(half: Half, count: int, neighbourhood_s: float, seed: int) -> tuple[Distractor, ...]:
    """The other run as distractors; if fewer are needed, a part of it whose position the seed draws."""
    run, other = half.run, half.other
    assert other is not None
    frames = other.segment.hidden
    most = len(frames) - min(count, len(frames))
    first = int(unit("part", seed, run.video.entry.video_id, run.segment.hidden[0]) * (most + 1))
    apart_s = max(other.times_s[0] - run.times_s[-1], run.times_s[0] - other.times_s[-1])
    origin = "neighbourhood" if apart_s <= neighbourhood_s else "same_video"
    if half.twins or run.video is not other.video:
        origin = "same_strip" if half.twins else "corpus"
    vectors, thumbnails = other.vectors, other.thumbnails
    similarities = np.round((vectors @ run.vectors.T).max(axis=1), 5)
    return tuple(
        Distractor(
            frame=FrameRef(video_id=other.video.entry.video_id, index=frames[place]),
            origin=origin,
            similarity=float(similarities[place]),
            vector=vectors[place],
            thumbnail=thumbnails[place],
            decoy=number,
        )
        for number, place in enumerate(range(first, first + min(count, len(frames))))
    )
