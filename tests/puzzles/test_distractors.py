"""Distractors: which frames are admissible, which are taken first, and what happens when there are too few."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.config.options import MINE_ORDERS, MineConfig
from mvp_data.core.types import Vectors
from mvp_data.embedding.search import Found, Neighbours
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.distractors import NEIGHBOURS, ORIGINS, Miner, quotas, shortfall
from mvp_data.puzzles.similarity_solvers import features_of, gap_of, success
from mvp_data.puzzles.thumbnails import differ
from mvp_data.puzzles.types import Distractor, Episode, FrameRef, Strip
from tests.builders import THRESHOLDS, kept_video, noise, rng, thumbnail_from, walk


def episode_of(video: KeptVideo, first: int, *, before: int, after: int, k: int) -> Episode:
    """Hide the kept frames `first` to `first + k - 1` between so many visible ones."""
    places = range(first - before, first + k + after)
    strip = Strip(
        video_id=video.entry.video_id,
        frames=tuple(video.kept[p] for p in places),
        shots=tuple(video.shots[p] for p in places),
    )
    return Episode(strip=strip, mask_start=before, k=k)


def vectors_of(videos: list[KeptVideo], found: tuple[Distractor, ...]) -> Vectors:
    by_id = {v.entry.video_id: v for v in videos}
    return np.stack([by_id[d.frame.video_id].vectors[by_id[d.frame.video_id].kept.index(d.frame.index)] for d in found])


def thumbnail_of(videos: list[KeptVideo], frame: FrameRef) -> bytes:
    return next(v for v in videos if v.entry.video_id == frame.video_id).entry.frames[frame.index].thumbnail


def options(**values: Any) -> MineConfig:
    return MineConfig(**values)


def mine(
    videos: list[KeptVideo], config: MineConfig, episode: Episode, thresholds: Thresholds = THRESHOLDS, seed: int = 0
) -> tuple[Distractor, ...]:
    return Miner(videos, config, thresholds, seed).mine(episode, config.distractors)


@settings(max_examples=35, deadline=None)
@given(st.sampled_from(MINE_ORDERS), st.integers(0, 10**6), st.integers(1, 8), st.integers(0, 10), st.integers(0, 10))
def test_every_distractor_is_admissible(order: str, seed: int, count: int, near: int, same: int) -> None:
    """The corpora are random, with copies, other splits, other sizes and repeated thumbnails."""
    shares = {"neighbourhood_share": min(near, 10 - same) / 10, "same_video_share": same / 10}
    videos = [
        kept_video(
            walk(40, "mine", seed, n, dimension=6),
            name=f"v{n}",
            group=f"v{n - n % 2}",
            # A third of the thumbnails are the same in all videos.
            thumbnails=[noise(p % 30) if p % 3 == 0 else noise(n, p) for p in range(40)],
        )
        for n in range(4)
    ]
    videos.append(kept_video(walk(40, "mine", seed, 4, dimension=6), name="v4", split="val"))
    videos.append(kept_video(walk(40, "mine", seed, 5, dimension=6), name="v5", size=(28, 56)))
    video = videos[0]
    episode = episode_of(video, 15, before=5, after=4, k=3)
    config = options(mine=order, distractors=count, neighbourhood_s=6.0, **shares)
    found = mine(videos, config, episode)
    assert len(found) <= count
    assert len({d.frame for d in found}) == len(found)
    if not found:
        return
    hidden = video.vectors[15:18]
    visible = video.vectors[[*range(10, 15), *range(18, 22)]]
    rows = vectors_of(videos, found)
    for distractor, row in zip(found, rows, strict=True):
        assert distractor.similarity == pytest.approx(float((hidden @ row).max()), abs=2e-5)
        assert THRESHOLDS.low <= distractor.similarity < THRESHOLDS.ambiguous
        assert float((visible @ row).max()) < THRESHOLDS.repeat
        assert np.array_equal(distractor.vector, row)
        if distractor.origin == "corpus":
            assert distractor.frame.video_id in ("v2", "v3"), "not from its own group, another split or another size"
            continue
        assert distractor.frame.video_id == "v0"
        time_s = video.entry.frames[distractor.frame.index].time_s
        assert not 10 <= time_s <= 21, "not from the strip"
        gap_s = 15 - time_s if time_s < 15 else time_s - 17
        assert distractor.origin == ("neighbourhood" if gap_s <= 6 else "same_video")
    among = rows @ rows.T - 2 * np.eye(len(rows))
    assert float(among.max()) < THRESHOLDS.repeat
    shown = [video.entry.frames[f].thumbnail for f in episode.strip.frames] + [d.thumbnail for d in found]
    assert [d.thumbnail for d in found] == [thumbnail_of(videos, d.frame) for d in found]
    assert all(differ(a, b) for n, a in enumerate(shown[12:], start=12) for b in shown[:n]), "all differ by pixels"
    again = mine(videos[::-1], config, episode)
    assert [(d.frame, d.origin, d.similarity) for d in again] == [(d.frame, d.origin, d.similarity) for d in found]


@pytest.mark.parametrize(
    ("near", "same", "count", "expected"),
    [
        (0.5, 0.25, 4, (2, 1, 1)),
        (0.5, 0.25, 1, (1, 0, 0)),
        (0.5, 0.25, 2, (1, 1, 0)),
        (0.5, 0.25, 3, (1, 1, 1)),
        (0.5, 0.25, 7, (3, 2, 2)),  # 3.5, 1.75, 1.75: the largest remainders are rounded up
        (0.5, 0.25, 8, (4, 2, 2)),
        (1.0, 0.0, 5, (5, 0, 0)),
        (0.0, 0.0, 5, (0, 0, 5)),
        (0.9, 0.1, 10, (9, 1, 0)),
        (0.7, 0.2, 10, (7, 2, 1)),
        (1 / 3, 1 / 3, 14, (5, 5, 4)),
    ],
)
def test_quotas(near: float, same: float, count: int, expected: tuple[int, int, int]) -> None:
    found = quotas(options(neighbourhood_share=near, same_video_share=same), count)
    assert tuple(found[origin] for origin in ORIGINS) == expected


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 14))
def test_quotas_add_up_and_are_near_the_shares(near: int, same: int, count: int) -> None:
    same = min(same, 100 - near)
    found = quotas(options(neighbourhood_share=near / 100, same_video_share=same / 100), count)
    assert sum(found.values()) == count
    for origin, share in zip(ORIGINS, (near, same, 100 - near - same), strict=True):
        assert abs(found[origin] - share * count / 100) < 1
        assert found[origin] >= 0


def scene(*cosines: float, hidden: int = 2, dimension: int = 40) -> Vectors:
    """Hidden frames, then frames with these cosines to the first one."""
    first, *others = np.eye(dimension)
    rows = [c * first + (1 - c * c) ** 0.5 * others[hidden - 1 + i] for i, c in enumerate(cosines)]
    return np.stack([first, *others[: hidden - 1], *rows]).astype(np.float32)


def film(near: list[float], far: list[float], **kept: Any) -> tuple[KeptVideo, Episode]:
    """2 visible, 2 hidden and 2 visible frames, then near and far frames with these cosines to a hidden one."""
    body = scene(*[0.0] * 4, *near, *far)
    order = [2, 3, 0, 1, 4, 5, *range(6, len(body))]
    times = [float(i) for i in range(6 + len(near))] + [100.0 + i for i in range(len(far))]
    video = kept_video(body[order], times_s=times, **kept)
    return video, episode_of(video, 2, before=2, after=2, k=2)


def summary(found: tuple[Distractor, ...]) -> list[tuple[str, float]]:
    return [(d.origin, round(d.similarity, 3)) for d in found]


def test_the_most_similar_inside_the_band_come_first() -> None:
    video, episode = film([0.3, 0.91, 0.7, 0.04, 0.5], [0.2, 0.6, 0.899, 0.9])
    config = options(neighbourhood_share=0.5, same_video_share=0.5)
    assert summary(mine([video], config, episode)) == [
        ("neighbourhood", 0.7),
        ("neighbourhood", 0.5),
        ("same_video", 0.899),
        ("same_video", 0.6),
    ]


def test_the_band_is_half_open() -> None:
    edges = replace(THRESHOLDS, low=0.25, ambiguous=0.5)
    video, episode = film([0.5, 0.4999, 0.25, 0.2499], [])
    found = mine([video], options(distractors=9), episode, edges)
    assert [round(d.similarity, 4) for d in found] == [0.4999, 0.25]


@pytest.mark.parametrize(
    ("near", "far", "origins"),
    [
        ([0.7, 0.6, 0.5], [0.4, 0.3], ["neighbourhood"] * 2 + ["same_video"] + ["neighbourhood"]),
        ([0.7], [0.6, 0.5, 0.4, 0.3], ["neighbourhood"] + ["same_video"] * 3),
        ([], [0.6, 0.5, 0.4], ["same_video"] * 3),
        ([0.7, 0.6, 0.5, 0.4, 0.3], [], ["neighbourhood"] * 4),
        ([], [], []),
    ],
)
def test_shortfalls_are_filled_from_other_origins(near: list[float], far: list[float], origins: list[str]) -> None:
    """The quotas are 2, 1 and 1, and the corpus is empty."""
    video, episode = film(near, far)
    found = mine([video], options(), episode)
    assert [d.origin for d in found] == origins
    missing = Counter(shortfall(quotas(options(), 4), found))
    assert missing["corpus"] == 1
    assert missing["neighbourhood"] == max(0, 2 - len(near))
    assert missing["same_video"] == max(0, 1 - len(far))


def test_corpus_distractors_have_the_split_and_the_frame_size_of_the_video() -> None:
    """Frames of another split, another size and a copy are more similar, but not admissible."""
    video, episode = film([], [], group="film")
    others = {
        "split": kept_video(scene(0.8)[2:], name="a", split="val"),
        "size": kept_video(scene(0.79)[2:], name="b", size=(28, 56)),
        "copy": kept_video(scene(0.78)[2:], name="c", group="film"),
        "other": kept_video(scene(0.5, 0.4)[2:], name="d"),
    }
    found = mine([video, *others.values()], options(), episode)
    assert [(d.frame.video_id, round(d.similarity, 3), d.frame.index) for d in found] == [
        ("d", 0.5, 1),
        ("d", 0.4, 3),
    ]


def test_a_repeat_of_the_context_or_of_another_distractor_is_not_admissible() -> None:
    video, episode = film([0.7, 0.6, 0.5], [])
    vectors = video.vectors.copy()
    vectors[7] = vectors[6]  # 0.7 twice
    vectors[0] = vectors[8]  # 0.5 is visible
    found = mine([replace(video, matrix=vectors)], options(), episode)
    assert summary(found) == [("neighbourhood", 0.7)]


def lit(thumbnail: bytes, by: int) -> bytes:
    """A darker copy of a thumbnail, brightened by `by`."""
    return (np.frombuffer(thumbnail, np.uint8) // 2 + by).astype(np.uint8).tobytes()


@pytest.mark.parametrize("shown", [1, 2, 3, 4])  # before, the two hidden ones, after
def test_a_repeat_of_the_strip_by_pixels_is_not_admissible(shown: int) -> None:
    """The most similar frame of each origin is a brighter copy of a strip frame, but its vector differs."""
    thumbnails = [lit(noise(place), 0) for place in range(10)]
    for hardest in (6, 8):
        thumbnails[hardest] = lit(noise(shown), 20 + hardest)
    video, episode = film([0.7, 0.6], [0.65, 0.5], thumbnails=thumbnails)
    other = kept_video(scene(0.8, 0.4)[2:], name="other", thumbnails=[lit(noise(shown), 40), lit(noise("other"), 0)])
    found = mine([video, other], options(distractors=6), episode)
    assert summary(found) == [("neighbourhood", 0.6), ("same_video", 0.5), ("corpus", 0.4)]


def test_a_repeat_of_another_distractor_by_pixels_is_not_admissible() -> None:
    """One thumbnail occurs near, far and in another video; only the first is taken."""
    thumbnails = [lit(noise(place), 0) for place in range(10)]
    thumbnails[8] = lit(noise(6), 10)
    video, episode = film([0.7, 0.6], [0.65, 0.5], thumbnails=thumbnails)
    other = kept_video(scene(0.8, 0.4)[2:], name="other", thumbnails=[lit(noise(6), 40), lit(noise("other"), 0)])
    found = mine([video, other], options(distractors=6), episode)
    assert summary(found) == [("neighbourhood", 0.7), ("neighbourhood", 0.6), ("same_video", 0.5), ("corpus", 0.4)]


def test_a_repeat_of_a_frame_outside_the_strip_is_admissible() -> None:
    thumbnails = [noise(place) for place in range(8)]
    thumbnails[6] = thumbnails[7]
    video, episode = film([0.7, 0.04], [], thumbnails=thumbnails)
    assert summary(mine([video], options(), episode)) == [("neighbourhood", 0.7)]


@pytest.mark.parametrize(
    ("distractors", "expected"),
    [
        (3, [0.5, 0.49, 0.48]),  # the nearest are enough
        (4, [0.85, 0.5, 0.49, 0.48]),  # one is missing: the wider search finds the most similar frame
    ],
)
def test_the_search_is_widened_if_the_nearest_give_too_few(distractors: int, expected: list[float]) -> None:
    """Many frames are too similar to the second hidden frame; the one with a cosine of 0.85 comes after them."""
    near, eye = NEIGHBOURS[0], np.eye(NEIGHBOURS[0] + 20)
    crowd = [0.97 * eye[1] + (1 - 0.97**2) ** 0.5 * eye[20 + i] for i in range(near)]
    easy = [c * eye[0] + (1 - c * c) ** 0.5 * eye[8 + i] for i, c in enumerate((0.5, 0.49, 0.48))]
    # Less similar to the first hidden frame than all the others, so that only the second one can find it.
    hard = -0.1 * eye[0] + 0.85 * eye[1] + (1 - 0.1**2 - 0.85**2) ** 0.5 * eye[7]
    video = kept_video(eye[[2, 3, 0, 1, 4, 5]].astype(np.float32))
    other = kept_video(np.stack([*crowd, *easy, hard]).astype(np.float32), name="other")
    config = options(distractors=distractors)
    found = mine([video, other], config, episode_of(video, 2, before=2, after=2, k=2))
    assert summary(found) == [("corpus", c) for c in expected]


def test_frames_between_key_frames_are_not_admissible() -> None:
    vectors = scene(*np.linspace(0.85, 0.5, 12), hidden=1)
    video = kept_video(vectors, times_s=[float(i) for i in range(13)])
    frames = tuple(video.kept[p] for p in (0, 1, 3, 5, 7, 9, 10, 11))
    episode = Episode(strip=Strip(video_id="v0", frames=frames, shots=(0,) * 8), mask_start=1, k=5)
    assert [video.kept.index(f) for f in episode.hidden] == [1, 3, 5, 7, 9]
    found = mine([video], options(distractors=9), episode, replace(THRESHOLDS, low=-1.0))
    assert [video.kept.index(d.frame.index) for d in found] == [12]


def test_a_frame_ambiguous_with_one_hidden_frame_is_not_admissible_for_another() -> None:
    """Its cosine is 0.3 to the first hidden frame, and 0.92 to the second, which has nearer neighbours."""
    dimension = NEIGHBOURS[-1] + 20
    eye = np.eye(dimension, dtype=np.float64)
    crowd = [0.97 * eye[1] + (1 - 0.97**2) ** 0.5 * eye[10 + i] for i in range(NEIGHBOURS[-1])]
    trap = 0.3 * eye[0] + 0.92 * eye[1] + (1 - 0.3**2 - 0.92**2) ** 0.5 * eye[9]
    video = kept_video(eye[[2, 3, 0, 1, 4, 5]].astype(np.float32))
    other = kept_video(np.stack([*crowd, trap]).astype(np.float32), name="other")
    episode = episode_of(video, 2, before=2, after=2, k=2)
    assert mine([video, other], options(), episode) == ()


def test_no_frame_is_chosen_twice_with_a_repeat_threshold_of_1() -> None:
    """Then rounding decides whether a frame repeats itself."""
    loose = Thresholds(repeat=1.0, ambiguous=0.99, scene=0.5, low=-1.0)
    for seed in range(10):
        video = kept_video(walk(24, "loose", seed))
        found = mine([video], options(distractors=14), episode_of(video, 6, before=4, after=4, k=4), loose)
        assert len(found) == 12, "all except the strip"
        assert len({d.frame for d in found}) == len(found)


def test_ties_go_to_the_first_video_by_id() -> None:
    video, episode = film([], [])
    others = [kept_video(scene(0.5)[2:], name=name) for name in ("d", "b", "c")]
    for order in (others, others[::-1]):
        (found,) = mine([*order, video], options(distractors=1), episode)
        assert found.frame.video_id == "b"


def test_indexes_are_built_on_first_use_and_have_names() -> None:
    videos = [kept_video(walk(5, n), name=f"v{n}", split=s) for n, s in enumerate(("train", "train", "val"))]
    miner = Miner(videos, options(), THRESHOLDS)
    assert dict(miner.indexes) == {}
    miner.mine(episode_of(videos[0], 0, before=1, after=1, k=2), 1)
    assert list(miner.indexes) == ["train 56x28"]


def smooth(name: str) -> KeptVideo:
    """A video whose frames are similar by pixels where they are similar by vectors."""
    vectors = walk(60, "smooth", name, dimension=6, step=1.0)
    pixels = 128 + 60 * vectors @ rng("lens").normal(size=(6, 576)) + rng("grain", name).normal(0, 12, size=(60, 576))
    thumbnails = [thumbnail_from(row) for row in np.clip(pixels, 0, 255).astype(np.uint8)]
    return kept_video(vectors, name=name, thumbnails=thumbnails)


def solved(videos: list[KeptVideo], episode: Episode, found: tuple[Distractor, ...]) -> float:
    video = next(v for v in videos if v.entry.video_id == episode.strip.video_id)
    return success(gap_of(video, episode), features_of(found, video.vectors.shape[1]))


def test_adversarial_is_harder_than_band_and_band_is_harder_than_random() -> None:
    videos = [smooth(f"v{n}") for n in range(6)]
    scores: dict[str, list[float]] = {order: [] for order in MINE_ORDERS}
    for video in videos:
        for first in (8, 40):
            episode = episode_of(video, first, before=4, after=4, k=4)
            for order in MINE_ORDERS:
                found = mine(videos, options(mine=order, neighbourhood_s=12.0), episode)
                assert Counter(d.origin for d in found) == quotas(options(), 4)
                scores[order].append(solved(videos, episode, found))
    pairs = list(zip(scores["adversarial"], scores["band"], strict=True))
    assert all(adversarial <= band for adversarial, band in pairs), "never easier"
    assert sum(adversarial < band - 0.1 for adversarial, band in pairs) >= 4
    means = {order: np.mean(values) for order, values in scores.items()}
    assert means["adversarial"] < means["band"] < means["random"]


@pytest.mark.parametrize("order", ["random", "adversarial"])
def test_only_random_depends_on_the_seed_and_none_on_the_order_of_videos(order: str) -> None:
    videos = [smooth(f"v{n}") for n in range(4)]
    episode = episode_of(videos[0], 12, before=4, after=4, k=4)
    config = options(mine=order, distractors=6)
    sets = [
        tuple(d.frame for d in mine(videos[::step], config, episode, seed=seed)) for seed in (0, 1) for step in (1, -1)
    ]
    assert sets[0] == sets[1]
    assert sets[2] == sets[3]
    assert (sets[0] != sets[2]) == (order == "random")


@pytest.mark.parametrize("order", MINE_ORDERS)
def test_scattered_distractors_are_added_to_a_decoy_run(order: str) -> None:
    """The decoys stay, count, and are not repeated; the quotas apply to the others."""
    videos = [smooth(f"v{n}") for n in range(4)]
    episode = episode_of(videos[0], 12, before=4, after=4, k=4)
    miner = Miner(videos, options(mine=order, neighbourhood_s=12.0), THRESHOLDS)
    first = miner.mine(episode, 2)
    found = miner.mine(episode, 6, decoys=first)
    assert found[:2] == first
    assert len({d.frame for d in found}) == 6
    assert Counter(d.origin for d in found[2:]) == quotas(options(), 4)
    assert miner.mine(episode, 2, decoys=first) == first


@pytest.mark.parametrize(
    ("cosine", "searched"),
    [
        (0.0, NEIGHBOURS[:1]),  # below the band: all others are easier
        (0.95, NEIGHBOURS),  # the nearest are all ambiguous: admissible frames come after them
        (0.5, NEIGHBOURS[:1]),
    ],
)
def test_the_search_is_widened_only_if_that_may_help(
    monkeypatch: pytest.MonkeyPatch, cosine: float, searched: tuple[int, ...]
) -> None:
    video = kept_video(np.eye(200, dtype=np.float32)[:20], name="v0")
    others = np.zeros((80, 200), np.float32)
    others[:, 5:8] = cosine / 3**0.5 if cosine < 0.9 else 0
    others[:, 5] += cosine if cosine >= 0.9 else 0
    others[np.arange(80), 20 + np.arange(80)] = np.sqrt(1 - (others**2).sum(axis=1))
    calls: list[int] = []
    search = Neighbours.search

    def counting(self: Neighbours, queries: Vectors, k: int, *, without: range) -> list[Found]:
        calls.append(k)
        return search(self, queries, k, without=without)

    monkeypatch.setattr(Neighbours, "search", counting)
    mine([video, kept_video(others, name="v1")], options(distractors=2), episode_of(video, 5, before=3, after=3, k=3))
    assert tuple(calls) == searched
