"""Hidden segments: each policy against its definition on random shots, and what no policy may allow."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.config import MASK_POLICIES, MaskConfig
from mvp_data.corpus import KeptVideo
from mvp_data.mask import Drop, episodes, moves
from mvp_data.types import Episode, Vectors
from tests.builders import THRESHOLDS, kept_video, noise, walk


def outcomes(video: KeptVideo, seed: int = 0, **options: Any) -> tuple[list[Episode], Counter[Drop]]:
    found: list[Episode] = []
    drops: list[Drop] = []
    for outcome in episodes(video, MaskConfig(**options), THRESHOLDS, seed):
        if isinstance(outcome, Episode):
            found.append(outcome)
        else:
            drops.append(outcome)
    return found, Counter(drops)


def distinct(count: int) -> Vectors:
    """Frames of which no two are alike, so that only the policy decides."""
    return np.eye(count, dtype=np.float32)


def places(video: KeptVideo, frames: tuple[int, ...]) -> list[int]:
    return [video.kept.index(f) for f in frames]


def policy_holds(video: KeptVideo, episode: Episode, policy: str) -> bool:
    """The policies as the documents put them, read off an episode."""
    hidden, visible = places(video, episode.hidden), places(video, episode.context)
    shots = video.shots
    before, after = max(v for v in visible if v < hidden[0]), min(v for v in visible if v > hidden[-1])
    if policy == "free":
        return True
    if policy == "within_shot":
        return shots[before] == shots[after]
    if policy == "whole_shot":
        whole = [p for p in range(len(shots)) if shots[p] == shots[hidden[0]]]
        return hidden[0] == whole[0] and hidden[-1] == whole[-1] and not set(whole) & set(visible)
    same_scene = float(video.vectors[before] @ video.vectors[after]) >= THRESHOLDS.scene
    return {shots[h] for h in hidden} <= {shots[v] for v in visible} or same_scene


@st.composite
def videos(draw: st.DrawFn) -> KeptVideo:
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=8))
    shots = [number for number, length in enumerate(lengths) for _ in range(length)]
    step = draw(st.sampled_from([0.2, 0.5, 1.0]))
    return kept_video(walk(len(shots), "mask", draw(st.integers(0, 10**6)), step=step), shots=shots)


@settings(max_examples=150, deadline=None)
@given(videos(), st.sampled_from(MASK_POLICIES), st.integers(2, 5), st.integers(2, 9), st.integers(0, 10**6))
def test_every_episode_keeps_every_rule(video: KeptVideo, policy: str, k: int, context: int, seed: int) -> None:
    found, drops = outcomes(video, seed, mask_policy=policy, hidden_frames=k, context_frames=context)
    last_hidden = -1
    for episode in found:
        hidden, visible = places(video, episode.hidden), places(video, episode.context)
        assert (len(hidden), len(visible)) == (k, context)
        strip = places(video, episode.strip.frames)
        assert strip == sorted(set(strip)), "in order, each once"
        assert episode.strip.shots == tuple(video.shots[p] for p in strip)
        assert episode.strip.video_id == "v0"
        assert episode.mask_start == sum(v < hidden[0] for v in visible)
        edge = min(2, context // 2)
        assert edge <= episode.mask_start <= context - edge, "visible frames on both sides"
        if policy != "whole_shot":
            assert strip == list(range(strip[0], strip[0] + k + context)), "nothing is left out in between"
        assert hidden[0] > last_hidden, "hidden segments do not overlap"
        last_hidden = hidden[-1]
        assert policy_holds(video, episode, policy)
        shown = video.vectors[hidden]
        assert float((shown @ video.vectors[visible].T).max()) < THRESHOLDS.repeat
        assert float((shown @ shown.T - 2 * np.eye(k)).max()) < THRESHOLDS.repeat
    assert all(count > 0 for count in drops.values())


def brute_force_exists(video: KeptVideo, policy: str, k: int, context: int, start: int) -> bool:
    """Whether any strip around the segment at `start` keeps the policy; frames all differ."""
    edge, size = min(2, context // 2), len(video.kept)
    for before in range(edge, context - edge + 1):
        first, end = start - before, start + k + context - before
        if first >= 0 and end <= size:
            shots = video.shots
            seen = {*shots[first:start], *shots[start + k : end]}
            allowed = {
                "free": True,
                "within_shot": shots[start - 1] == shots[start + k],
                "anchored": set(shots[start : start + k]) <= seen,  # distinct frames: never one scene
            }
            if allowed[policy]:
                return True
    return False


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=7),
    st.sampled_from(["free", "within_shot", "anchored"]),
    st.integers(2, 4),
    st.integers(2, 8),
)
def test_no_possible_segment_is_missed(lengths: list[int], policy: str, k: int, context: int) -> None:
    """Greedy in time over exactly the segments for which some place in some context is allowed."""
    shots = [number for number, length in enumerate(lengths) for _ in range(length)]
    video = kept_video(distinct(len(shots)), shots=shots)
    found, drops = outcomes(video, mask_policy=policy, hidden_frames=k, context_frames=context)
    edge, free_from, wanted, refused = min(2, context // 2), 0, [], 0
    for start in range(edge, len(shots) - k - edge + 1):
        if start >= free_from:
            if brute_force_exists(video, policy, k, context, start):
                wanted.append(start)
                free_from = start + k
            else:
                refused += 1
    assert [places(video, e.hidden)[0] for e in found] == wanted
    assert sum(drops.values()) == refused, "each refused segment counts once"


@pytest.mark.parametrize(
    ("policy", "shots", "hidden"),
    [
        # 2 hidden, 4 visible, 2 on each side at least: with 8 frames, segments start at 2, 3, 4
        ("free", "AABBCCDD", ["BB", "CC"]),
        ("anchored", "AABBCCDD", ["BC"]),  # BB or CC would vanish whole; of B and C one each stays visible
        ("anchored", "AABBBCCC", ["BB", "BC"]),
        ("within_shot", "AABBCCDD", []),
        ("within_shot", "AAABBBBB", ["BB"]),
        ("whole_shot", "AABBCCDD", ["BB", "CC"]),
        ("whole_shot", "AABBBBCC", ["BB"]),  # shown by its first and its last frame
        ("whole_shot", "AAABCCCC", []),
        ("within_shot", "AAAAAAAA", ["AA", "AA"]),
    ],
)
def test_policies_by_table(policy: str, shots: str, hidden: list[str]) -> None:
    numbers = [ord(letter) - ord("A") for letter in shots]
    video = kept_video(distinct(len(shots)), shots=numbers)
    found, _ = outcomes(video, mask_policy=policy, hidden_frames=2, context_frames=4)
    assert ["".join(shots[p] for p in places(video, e.hidden)) for e in found] == hidden


def test_anchored_across_a_cutaway() -> None:
    """Two views of one scene around a shot that is hidden whole: allowed; two scenes: not."""
    vectors = distinct(10)
    shots = [0] * 4 + [1] * 2 + [2] * 4
    options: dict[str, Any] = {"hidden_frames": 2, "context_frames": 8}
    two_scenes = kept_video(vectors, shots=shots)
    found, drops = outcomes(two_scenes, **options)
    assert [places(two_scenes, e.hidden) for e in found] == [[2, 3], [5, 6]]
    assert drops == {Drop.POLICY: 1}
    vectors = vectors.copy()
    vectors[6] = 0.6 * vectors[3] + 0.8 * vectors[6]
    one_scene = kept_video(vectors, shots=shots)
    found, drops = outcomes(one_scene, **options)
    assert [places(one_scene, e.hidden) for e in found] == [[2, 3], [4, 5], [6, 7]]
    assert drops == {}


def test_a_long_shot_is_hidden_whole_and_shown_evenly() -> None:
    shots = [0] * 6 + [1] * 13 + [2] * 6
    video = kept_video(distinct(25), shots=shots)
    found, drops = outcomes(video, mask_policy="whole_shot", hidden_frames=4, context_frames=12)
    assert [places(video, e.hidden) for e in found] == [[6, 10, 14, 18]]
    assert places(video, found[0].context) == [*range(6), *range(19, 25)]
    assert drops == {}


def test_reasons() -> None:
    alike = distinct(12)
    alike[5] = 0.97 * alike[4] + (1 - 0.97**2) ** 0.5 * alike[5]  # hidden with its neighbour: no order to see
    options: dict[str, Any] = {"mask_policy": "free", "hidden_frames": 2, "context_frames": 10}
    assert outcomes(kept_video(distinct(12)), **options)[1] == {}
    # All 12 frames are in every strip: 4 and 5 are hidden together, then 5 is hidden and 4 is visible.
    found, drops = outcomes(kept_video(alike), **options)
    assert drops == {Drop.REPEATED_HIDDEN: 1, Drop.REPEATED_CONTEXT: 1}
    assert [places(kept_video(alike), e.hidden) for e in found] == [[2, 3], [6, 7], [8, 9]]
    assert outcomes(kept_video(distinct(11)), **options)[1] == {Drop.LITTLE_CONTEXT: 6}
    assert outcomes(kept_video(distinct(3)), **options) == ([], Counter())
    assert outcomes(kept_video(distinct(1)), **options) == ([], Counter())


def changed(thumbnail: bytes, blocks: int, by: int) -> bytes:
    """A thumbnail with its first blocks brighter or darker."""
    luma = np.frombuffer(thumbnail, np.uint8).astype(int)
    luma[:blocks] += np.where(luma[:blocks] < 128, by, -by)
    return luma.astype(np.uint8).tobytes()


def test_light_is_no_motion() -> None:
    still = bytes([90, 120] * 288)
    brighter = bytes([115, 145] * 288)
    video = kept_video(distinct(2), thumbnails=[still, brighter])
    assert not moves(video, 0, 1)


@pytest.mark.parametrize(
    ("blocks", "by", "moving"),
    [
        (0, 0, False),
        (280, 7, False),  # noise
        (11, 100, False),  # a flickering pixel or two of the picture
        (12, 8, True),  # 2 % of 576 blocks
        (12, 7, False),
        (576, 100, True),
        (280, 100, True),
    ],
)
def test_motion(blocks: int, by: int, moving: bool) -> None:
    still = noise("still")
    video = kept_video(distinct(3), thumbnails=[still, changed(still, blocks, by), still])
    assert moves(video, 0, 1) == moves(video, 1, 2) == moves(video, 1, 0) == moving
    assert not moves(video, 0, 2)


@pytest.mark.parametrize(("still", "starts", "refused"), [(6, [2, 6], 1), (7, [2, 7], 2)])
def test_every_step_of_a_hidden_segment_must_move(still: int, starts: list[int], refused: int) -> None:
    """Two frames show the same: vectors that drift apart by noise do not make an order visible."""
    thumbnails = [noise(place) for place in range(12)]
    thumbnails[still] = changed(thumbnails[still - 1], 576, 3)
    video = kept_video(distinct(12), thumbnails=thumbnails)
    found, drops = outcomes(video, mask_policy="free", hidden_frames=3, context_frames=4)
    assert [places(video, e.hidden)[0] for e in found] == starts
    assert drops == {Drop.NO_MOTION: refused}


def test_another_place_is_tried_when_one_context_repeats_a_hidden_frame() -> None:
    """Frame 0 shows what the hidden frames show; strips that leave it out are fine."""
    vectors = distinct(12)
    vectors[0] = vectors[4]
    options: dict[str, Any] = {"mask_policy": "free", "hidden_frames": 2, "context_frames": 6}
    for seed in range(20):
        found, drops = outcomes(kept_video(vectors), seed, **options)
        assert drops[Drop.REPEATED_CONTEXT] == 0
        for episode in found:
            assert not (1 in episode.context and 9 in episode.hidden)


def test_place_of_the_gap_is_spread() -> None:
    """The number of visible frames before the gap must not give anything away."""
    video = kept_video(distinct(60))
    starts: Counter[int] = Counter()
    for seed in range(60):
        middle = [e for e in outcomes(video, seed, mask_policy="free")[0] if 10 <= places(video, e.hidden)[0] <= 46]
        starts.update(e.mask_start for e in middle)
    expected = sum(starts.values()) / 9
    assert set(starts) == set(range(2, 11))
    assert sum((count - expected) ** 2 / expected for count in starts.values()) < 26.1  # 8 degrees, p = .001


def test_seed_and_video_decide() -> None:
    video = kept_video(distinct(40))
    assert outcomes(video, 1) == outcomes(video, 1)
    assert outcomes(video, 1) != outcomes(video, 2)
    other = kept_video(distinct(40), name="v1")
    assert [e.mask_start for e in outcomes(video)[0]] != [e.mask_start for e in outcomes(other)[0]]
