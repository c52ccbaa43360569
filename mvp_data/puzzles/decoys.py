"""Decoy runs: pairs of hidden segments that serve as each other's distractors, so that a pool alone gives no hint.

Two hidden segments A and B make a *complementary pair*. One puzzle hides A and adds the frames of B to its pool; the
other hides B and offers the same 2 K frames. A solver that sees only the candidates gives both the same answer, so it
scores exactly chance over each pair. VQA v2 has such pairs of images (Goyal et al. 2017, arXiv 1612.00837).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from mvp_data.core.seeds import shuffled, unit
from mvp_data.core.types import Vectors
from mvp_data.embedding.search import Neighbours
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.rules import fits_the_gap
from mvp_data.puzzles.thumbnails import differ
from mvp_data.puzzles.types import Distractor, Episode, FrameRef, HiddenSegment

SPACING = 2.0  # largest ratio of the median gaps between key frames of two runs
COHERENCE = 0.4  # largest difference of `Run.coherence`, as a share of the similarity band (`low` to `ambiguous`)
MAX_PARTNERS = 64  # tried for one run, the most similar first
NEAREST = 256  # frames of other videos searched for each hidden frame


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A hidden segment, with the values of its key frames that pairing compares."""

    video: KeptVideo
    segment: HiddenSegment
    spacing_s: float  # median time between two key frames
    coherence: float  # mean cosine of consecutive key frames

    @classmethod
    def of(cls, video: KeptVideo, segment: HiddenSegment) -> "Run":
        """The run of a hidden segment of this video."""
        vectors = video.vectors[video.rows(segment.hidden)]
        return cls(
            video=video,
            segment=segment,
            spacing_s=float(np.median(np.diff(video.entry.frames.times_s[list(segment.hidden)]))),
            coherence=float((vectors[1:] * vectors[:-1]).sum(axis=1).mean()),
        )

    # Computed on demand: stored for all unpaired runs, they would take most of the memory of a large build.

    @property
    def vectors(self) -> Vectors:
        """The vectors [K, D] of its K frames."""
        return self.video.vectors[self.video.rows(self.segment.hidden)]

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


Pair = tuple[Half, Half]
Choose = Callable[[Iterator[Pair]], Pair | None]  # one of the admissible pairs, which come most similar first


def pairs_within(runs: Sequence[Run], thresholds: Thresholds, choose: Choose, *, seed: int) -> Iterator[Pair]:
    """Disjoint pairs of runs of one video, in an order drawn from the seed; both runs get the task of the first."""
    if len(runs) < 2:
        return
    vectors = np.concatenate([run.vectors for run in runs])

    def most_similar(number: int) -> list[int]:
        similarities = np.round(runs[number].vectors @ vectors.T, 5).max(axis=0).reshape(len(runs), -1).max(axis=1)
        order: list[int] = np.argsort(-similarities, kind="stable").tolist()
        return order

    order = shuffled(range(len(runs)), "decoy", seed, runs[0].video.entry.video_id)
    yield from _pairs(runs, order, most_similar, thresholds, choose)


def pairs_across(runs: Sequence[Run], thresholds: Thresholds, choose: Choose, *, seed: int) -> Iterator[Pair]:
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

    yield from _pairs(runs, shuffled(range(len(runs)), "decoy", seed), most_similar, thresholds, choose)


def _pairs(
    runs: Sequence[Run],
    order: Sequence[int],
    most_similar: Callable[[int], list[int]],
    thresholds: Thresholds,
    choose: Choose,
) -> Iterator[Pair]:
    """Pair each run, in `order`, with the free run that `choose` takes from the most similar ones."""
    free = dict.fromkeys(order)
    while free:
        number = next(iter(free))
        del free[number]
        others = list(islice((other for other in most_similar(number) if other in free), MAX_PARTNERS))
        candidates = (_pair(runs[number], runs[other], thresholds) for other in others)
        pair = choose(pair for pair in candidates if pair is not None)
        if pair is not None:
            del free[next(other for other in others if runs[other] is pair[1].run)]
            yield pair


def _pair(first: Run, second: Run, thresholds: Thresholds) -> Pair | None:
    """The two runs as a pair, if their frames may share a pool and each has a context without the other."""
    if not _match(first, second, thresholds) or not _distinct(first, second, thresholds):
        return None
    episodes = _context_without(first, second, thresholds), _context_without(second, first, thresholds)
    if episodes[0] is None or episodes[1] is None:
        return None
    task = first.segment.task
    return (
        Half(task=task, run=first, episode=episodes[0], other=second),
        Half(task=task, run=second, episode=episodes[1], other=first),
    )


def _match(first: Run, second: Run, thresholds: Thresholds) -> bool:
    """Whether the two runs are so close in spacing and coherence that these give no hint which one is hidden."""
    spacing = sorted((first.spacing_s, second.spacing_s))
    most = COHERENCE * (thresholds.ambiguous - thresholds.low)
    return spacing[1] <= SPACING * spacing[0] and abs(first.coherence - second.coherence) <= most


def _distinct(first: Run, second: Run, thresholds: Thresholds) -> bool:
    """Whether the runs are similar, but no key frame of one repeats a frame of the other's span."""
    similarity = float(np.round(first.vectors @ second.vectors.T, 5).max())
    if similarity < thresholds.low:
        return False
    return not any(
        fits_the_gap(a.video, a.video.rows(a.segment.hidden), b.vectors, b.thumbnails, thresholds)
        for a, b in ((first, second), (second, first))
    )


def _context_without(run: Run, other: Run, thresholds: Thresholds) -> Episode | None:
    """The first context of a run that shows no frame of the other run, or `None`."""
    same_video = run.video is other.video
    span = range(other.segment.hidden[0], other.segment.hidden[-1] + 1) if same_video else range(0)
    vectors, thumbnails = other.vectors, other.thumbnails
    for episode in run.segment.episodes:
        if any(frame in span for frame in episode.context):
            continue
        if not _repeats(run.video, episode, vectors, thumbnails, thresholds):
            return episode
    return None


def _repeats(
    video: KeptVideo, episode: Episode, vectors: Vectors, thumbnails: Sequence[bytes], thresholds: Thresholds
) -> bool:
    """Whether a visible frame repeats a frame of the other run, by vector or by pixels."""
    visible = video.vectors[video.rows(episode.context)]
    if float((visible @ vectors.T).max()) >= thresholds.repeat:
        return True
    shown = [video.entry.frames.thumbnail(f) for f in episode.context]
    return not all(differ(a, b) for a in shown for b in thumbnails)


def decoy_run(run: Run, other: Run, count: int, neighbourhood_s: float, seed: int) -> tuple[Distractor, ...]:
    """The other run as distractors; if fewer are needed, a part of it whose position the seed draws."""
    frames = other.segment.hidden
    most = len(frames) - min(count, len(frames))
    first = int(unit("part", seed, run.video.entry.video_id, run.segment.hidden[0]) * (most + 1))
    if run.video is not other.video:
        origin = "corpus"
    else:
        apart_s = max(other.times_s[0] - run.times_s[-1], run.times_s[0] - other.times_s[-1])
        origin = "neighbourhood" if apart_s <= neighbourhood_s else "same_video"
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
