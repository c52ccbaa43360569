"""Makes a puzzle from an episode and its distractors: shuffles and labels the pool, computes difficulty and margin."""

from collections.abc import Sequence

import numpy as np

from mvp_data.config.options import PuzzleOptions
from mvp_data.core.seeds import shuffled, unit
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.difficulty import measure
from mvp_data.puzzles.rules import doubt
from mvp_data.puzzles.similarity_solvers import sights, sights_of, success
from mvp_data.puzzles.types import Candidate, Distractor, Episode, FrameRef, Puzzle
from mvp_data.shards.record import LABELS
from mvp_data.tasks.catalogue import TASKS


def label(
    video: KeptVideo,
    task: str,
    episode: Episode,
    distractors: Sequence[Distractor],
    thresholds: Thresholds,
    config: PuzzleOptions,
) -> Puzzle:
    """The puzzle with one pool of hidden frames and distractors. Key and seed alone decide the order of the pool."""
    video_id = video.entry.video_id
    frames = [video.entry.frames[f] for f in episode.hidden]
    key = f"{video_id}-{round(frames[0].time_s * 1000):09d}{TASKS[task].key_suffix}"
    hidden = video.vectors[video.rows(episode.hidden)]
    to_others = np.round((hidden @ hidden.T - 2 * np.eye(len(hidden))).max(axis=1), 5)
    pool = [
        (FrameRef(video_id=video_id, index=frame), order, -1, "hidden", float(to_others[order]))
        for order, frame in enumerate(episode.hidden)
    ] + [(d.frame, -1, d.decoy, d.origin, d.similarity) for d in distractors]
    shown = shuffled(pool, "label", config.seed, key)
    if TASKS[task].in_a_row:
        shown = pool if unit("label", config.seed, key) < 1 / 2 else pool[::-1]
    difficulty = measure(
        hidden=sights_of(video, episode.hidden),
        distractors=[(d.origin, d.similarity) for d in distractors],
        times_s=[frame.time_s for frame in frames],
        step_s=1 / video.entry.rate_fps,
        thresholds=thresholds,
        success=similarity_success(video, task, episode, distractors),
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
    """Why the order of the hidden run may be argued about; such runs are there only where they were to be kept."""
    if config.mask.reversible == "drop" and TASKS[task].needs_order:
        return ""
    found = doubt(video, video.rows(episode.hidden), video.rows(episode.context), thresholds)
    return found.value if found else ""


def similarity_success(video: KeptVideo, task: str, episode: Episode, distractors: Sequence[Distractor]) -> float:
    """How well the similarity solvers do on a puzzle, in [0, 1]; see `similarity_solvers.success`."""
    dimension = video.vectors.shape[1]
    others = np.stack([d.vector for d in distractors]) if distractors else np.empty((0, dimension), np.float32)
    before, after = episode.context[: episode.mask_start], episode.context[episode.mask_start :]
    return success(
        sights_of(video, episode.hidden),
        sights(others, [d.thumbnail for d in distractors]),
        sights_of(video, before[-1:]) if before else None,
        sights_of(video, after[:1]) if after else None,
        ordered=TASKS[task].asks_order(episode.k, len(distractors)),
    )
