"""Samples that show the hidden frames of others, on hand-made samples of several videos."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from mvp_data.puzzles.corpus import KeptVideo
from mvp_data.puzzles.mask import episode_of
from mvp_data.puzzles.overlap import without_overlap
from mvp_data.puzzles.repeats import alike
from mvp_data.puzzles.types import Puzzle
from tests.builders import THRESHOLDS, kept_video, noise, walk

K, FRAMES = 2, 40


def video_of(name: str, like: str, split: str) -> KeptVideo:
    """A video whose frames are those of all others made `like` the same one; so they are copies, and one group."""
    thumbnails = [noise(like, place) for place in range(FRAMES)]
    return kept_video(walk(FRAMES, like, step=0.6), name=name, group=like, split=split, thumbnails=thumbnails)


VIDEOS = [
    video_of(f"{split}{number}", f"{split}{number // 2}", split) for split in ("train", "val") for number in range(4)
]


def sample(video: KeptVideo, start: int, pair: int = -1) -> Puzzle:
    """Two hidden frames from `start` on, with two visible ones on each side; they belong to a pair of this number."""
    hidden, name = (start, start + 1), video.entry.video_id
    return Puzzle(
        key=f"{name}-{start:03d}",
        task="mvp",
        pair_id=f"{name}-pair{pair}" if pair >= 0 else "",
        episode=episode_of(video, (start - 2, start - 1), hidden, (start + 2, start + 3)),
        candidates=(),
        difficulty=0.5,
        doubt="",
        margin=0.1,
    )


def samples_of(video: KeptVideo, step: int) -> list[Puzzle]:
    """Pairs whose first sample is followed by the second one after `step` places, then single samples."""
    starts = list(range(2, FRAMES - 3, step))
    return [sample(video, start, number // 2 if number < 8 else -1) for number, start in enumerate(starts)]


def shows(videos: Sequence[KeptVideo], one: Puzzle, other: Puzzle) -> int:
    """The number of hidden frames of the other sample that one sample shows."""
    by_id = {video.entry.video_id: video for video in videos}
    own, its = by_id[one.episode.strip.video_id], by_id[other.episode.strip.video_id]
    if one is other or own.group != its.group:
        return 0

    def same(visible: int, hidden: int) -> bool:
        a, b = own.rows([visible])[0], its.rows([hidden])[0]
        cosine = round(float(own.vectors[a] @ its.vectors[b]), 5)
        return alike(cosine, own.thumbnail(a), its.thumbnail(b), THRESHOLDS.repeat)

    return sum(any(same(v, h) for v in one.episode.context) for h in other.episode.hidden)


@pytest.fixture(scope="module", params=[2, 3], ids=["whole", "part"])
def puzzles(request: pytest.FixtureRequest) -> list[Puzzle]:
    """At a step of 2 each sample shows the next one; at 3 it shows half of it, and more of those of its copy."""
    return [puzzle for video in VIDEOS for puzzle in samples_of(video, request.param)]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.99])
def test_limits(puzzles: list[Puzzle], share: float) -> None:
    kept, shares = without_overlap(puzzles, VIDEOS, THRESHOLDS, seed=0, max_share=share)
    in_split = {split: [p for p in kept if p.key.startswith(split)] for split in ("train", "val")}
    assert all(shows(VIDEOS, one, other) == 0 for one in in_split["val"] for other in in_split["val"])
    train = in_split["train"]
    shown = [other for other in train if any(shows(VIDEOS, one, other) == K for one in train)]
    assert shares == {"train": pytest.approx(len(shown) / len(train), abs=1e-4), "val": 0.0}
    assert shares["train"] <= share
    assert len(in_split["val"]) >= 4
    assert len(train) >= len(in_split["val"])
    whole = Counter(p.pair_id for p in puzzles if p.pair_id)
    assert {p.pair_id: whole[p.pair_id] for p in kept if p.pair_id} == Counter(p.pair_id for p in kept if p.pair_id)
    assert list(kept) == [p for p in puzzles if p in kept], "the order stays"
    if share == 1:
        assert len(train) == sum(p.key.startswith("train") for p in puzzles)


def test_only_as_many_are_dropped_as_needed() -> None:
    """Each of twelve samples shows the one before it and the next one."""
    puzzles = [sample(VIDEOS[0], start) for start in range(2, 26, 2)]
    sizes = [
        len(without_overlap(puzzles, VIDEOS, THRESHOLDS, seed=0, max_share=share)[0]) for share in (1.0, 0.7, 0.3, 0.0)
    ]
    assert sizes[0] == 12
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 2
    assert sizes[-1] >= 6, "every second one"


def test_the_sample_with_most_conflicts_is_dropped_first() -> None:
    outer, inner = (sample(VIDEOS[0], 8), sample(VIDEOS[0], 12)), sample(VIDEOS[0], 10)
    for seed in range(6):
        kept = without_overlap([*outer, inner], VIDEOS, THRESHOLDS, seed=seed, max_share=0.0)[0]
        assert kept == outer


def test_order_and_seed() -> None:
    puzzles = [p for video in VIDEOS for p in samples_of(video, 2)]
    results = [
        frozenset(p.key for p in without_overlap(some, VIDEOS, THRESHOLDS, seed=seed, max_share=0.1)[0])
        for some, seed in ((puzzles, 0), (puzzles[::-1], 0), (puzzles, 1))
    ]
    assert results[0] == results[1] != results[2]


def test_frames_that_clearly_differ_are_not_shown() -> None:
    """In the copy all frames have other vectors and pixels, so that nothing repeats."""
    copy = kept_video(-VIDEOS[4].vectors, name="val9", group=VIDEOS[4].group, split="val")
    puzzles = [sample(VIDEOS[4], 10), sample(copy, 8), sample(copy, 20)]
    assert without_overlap(puzzles, [VIDEOS[4], copy], THRESHOLDS, seed=0, max_share=0.0) == (
        tuple(puzzles),
        {"val": 0},
    )
    near = kept_video(VIDEOS[4].vectors.astype(np.float32), name="val9", group=VIDEOS[4].group, split="val")
    again = [sample(VIDEOS[4], 10), sample(near, 8), sample(near, 20)]
    assert len(without_overlap(again, [VIDEOS[4], near], THRESHOLDS, seed=0, max_share=0.0)[0]) == 2


def test_no_samples() -> None:
    assert without_overlap([], VIDEOS, THRESHOLDS, seed=0, max_share=0.1) == ((), {})
