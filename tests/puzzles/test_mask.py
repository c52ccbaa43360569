"""Hidden segments: each rule against its definition on random videos, and in small tables."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.config.options import MASK_POLICIES, MaskConfig
from mvp_data.core.types import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX, Vectors
from mvp_data.puzzles.ambiguity import direction_evidence
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.likeness import alike_in, moves
from mvp_data.puzzles.mask import LEFT_OUT, hidden_segments
from mvp_data.puzzles.mask_policies import REACH
from mvp_data.puzzles.thumbnails import coarse, distances
from mvp_data.puzzles.types import Drop, Episode, HiddenSegment
from tests.builders import THRESHOLDS, kept_video, noise, thumbnail_from, walk, with_gram

BLOCKS = THUMBNAIL_WIDTH_PX * THUMBNAIL_HEIGHT_PX

# Multiples of 1/64 have exact products, so random videos hit these thresholds and ties without rounding.
EXACT = Thresholds(repeat=15 / 16, ambiguous=7 / 8, scene=1 / 2, low=1 / 16)


def outcomes(
    video: KeptVideo, seed: int = 0, thresholds: Thresholds = THRESHOLDS, **options: Any
) -> tuple[list[Episode], Counter[Drop]]:
    found: list[Episode] = []
    drops: list[Drop] = []
    # Frames that are not similar have no visible order; test_ambiguity.py tests that rule.
    config = MaskConfig(**{"reversible": "keep", **options})
    for outcome in hidden_segments(video, config, thresholds, seed, lambda place: "mvp"):
        if isinstance(outcome, Drop):
            drops.append(outcome)
        else:
            found.append(outcome.episodes[0])
    return found, Counter(drops)


def distinct(count: int) -> Vectors:
    """Frames with cosines of 0, so that only the policy decides."""
    return np.eye(count, dtype=np.float32)


def places(video: KeptVideo, frames: tuple[int, ...]) -> list[int]:
    return [video.kept.index(f) for f in frames]


def changed(thumbnail: bytes, blocks: int, by: int) -> bytes:
    """A thumbnail with its first blocks brighter or darker."""
    luma = coarse([thumbnail]).astype(int).ravel()
    luma[:blocks] += np.where(luma[:blocks] < 128, by, -by)
    return thumbnail_from(luma.astype(np.uint8))


def lit(thumbnail: bytes, by: int) -> bytes:
    """A brighter copy of a thumbnail."""
    return (np.frombuffer(thumbnail, np.uint8).astype(int) + by).astype(np.uint8).tobytes()


def dim(*parts: str | int) -> bytes:
    """A unique thumbnail that is dark enough to be brightened."""
    return (np.frombuffer(noise(*parts), np.uint8) // 2).astype(np.uint8).tobytes()


def halfway(first: int, second: int) -> bytes:
    """The mean of `noise(first)` and `noise(second)`: nearer to both than they are to each other, but not a repeat."""
    a, b = (np.frombuffer(noise(place), np.uint8).astype(int) for place in (first, second))
    return ((a + b) // 2).astype(np.uint8).tobytes()


def similarity(video: KeptVideo, first: int, second: int) -> float:
    return float(np.dot(video.vectors[first].astype(float), video.vectors[second].astype(float)))


def policy_holds(video: KeptVideo, hidden: list[int], visible: list[int], policy: str) -> bool:
    """The policies as docs/puzzles.md defines them."""
    shots = video.shots
    before, after = max(v for v in visible if v < hidden[0]), min(v for v in visible if v > hidden[-1])
    if policy == "free":
        return True
    if policy == "within_shot":
        return shots[before] == shots[after]
    if policy == "whole_shot":
        whole = [p for p in range(len(shots)) if shots[p] == shots[hidden[0]]]
        even = {b - a for a, b in pairwise(hidden)}
        return (whole[0], whole[-1]) == (hidden[0], hidden[-1]) and max(even) - min(even) <= 1
    same_scene = similarity(video, before, after) >= EXACT.scene
    return {shots[h] for h in hidden} <= {shots[v] for v in visible} or same_scene


def recurs(video: KeptVideo, hidden: list[int], visible: list[int]) -> bool:
    """Most hidden frames are more similar to far frames, by vector and by pixels, than to both neighbours."""
    shown = sorted(hidden + visible)
    twins = []
    for place in hidden:
        previous, following = (shown[shown.index(place) + step] for step in (-1, 1))
        near = max(similarity(video, place, previous), similarity(video, place, following))
        elsewhere = [p for p in range(len(video.kept)) if p < previous or p > following]
        far = [p for p in elsewhere if similarity(video, place, p) > near]
        pixels = distances(video, [place], [previous, following, *far])[0].tolist()
        twins.append(min(pixels[2:], default=256) < min(pixels[:2]))
    return sum(twins) > len(hidden) / 2


def broken(video: KeptVideo, hidden: list[int], visible: list[int], policy: str, k: int) -> set[Drop]:
    """All rules that a strip breaks."""
    pairs = [(a, b) for a in hidden for b in hidden if a < b]
    across = [(h, v) for h in hidden for v in visible]
    shots = [video.shots[h] for h in hidden]
    continued = video.shots[max(v for v in visible if v < hidden[0])] == shots[0]
    continued |= video.shots[min(v for v in visible if v > hidden[-1])] == shots[-1]
    rules = {
        Drop.POLICY: not policy_holds(video, hidden, visible, policy),
        Drop.MONTAGE: len(set(shots)) > (2 if continued else 1),
        Drop.NO_MOTION: not all(moves(video, a, b) for a, b in pairwise(hidden)),
        Drop.REPEATED_HIDDEN: len(hidden) < k or any(alike_in(video, a, b, EXACT.distinct) for a, b in pairs),
        Drop.REPEATED_CONTEXT: any(alike_in(video, *pair, EXACT.repeat) for pair in across),
        Drop.RECURRING: recurs(video, hidden, visible) and min(direction_evidence(video, hidden, visible, EXACT)) <= 1,
    }
    return {reason for reason, is_broken in rules.items() if is_broken}


@st.composite
def videos(draw: st.DrawFn) -> KeptVideo:
    """A random walk that repeats some of its frames, by vector or by pixels."""
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=5))
    shots = [number for number, length in enumerate(lengths) for _ in range(length)]
    count, seed = len(shots), draw(st.integers(0, 10**6))
    vectors = walk(count, "mask", seed, step=draw(st.sampled_from([0.2, 0.45, 0.6, 1.0, 4.0])))
    thumbnails = [dim(seed, place) for place in range(count)]
    anywhere = st.integers(0, count - 1)
    for a, b, weight in draw(st.lists(st.tuples(anywhere, anywhere, st.sampled_from([0.5, 0.8, 1.0])), max_size=3)):
        vectors[a] = weight * vectors[b] + (1 - weight) * vectors[a]
        vectors[a] /= np.linalg.norm(vectors[a])
    for a, b in draw(st.lists(st.tuples(anywhere, anywhere), max_size=2)):
        thumbnails[a] = lit(thumbnails[b], 9)
    return kept_video(np.round(vectors * 64) / np.float32(64), shots=shots, thumbnails=thumbnails)


@settings(max_examples=150, deadline=None)
@given(videos(), st.sampled_from(MASK_POLICIES), st.integers(2, 5), st.integers(2, 9), st.integers(0, 10**6))
def test_every_episode_keeps_every_rule(video: KeptVideo, policy: str, k: int, context: int, seed: int) -> None:
    options: dict[str, Any] = {"mask_policy": policy, "hidden_frames": k, "context_frames": context}
    found, drops = outcomes(video, seed, EXACT, **options)
    last_hidden = -1
    for episode in found:
        hidden, visible = places(video, episode.hidden), places(video, episode.context)
        assert (len(hidden), len(visible)) == (k, context)
        strip = places(video, episode.strip.frames)
        assert strip == sorted(set(strip)), "rising, without repeats"
        assert episode.strip.shots == tuple(video.shots[p] for p in strip)
        assert episode.strip.video_id == "v0"
        assert episode.mask_start == sum(v < hidden[0] for v in visible)
        edge = min(2, context // 2)
        assert edge <= episode.mask_start <= context - edge, "visible frames on both sides"
        assert hidden[0] > last_hidden, "hidden segments do not overlap"
        last_hidden = hidden[-1]
        beside = [*range(strip[0], hidden[0]), *range(hidden[-1] + 1, strip[-1] + 1)]
        assert visible == [p for p in beside if not repeats(video, p, hidden)], "only repeats are left out"
        if policy != "whole_shot":
            assert hidden[-1] - hidden[0] < REACH * k
            for a, b in pairwise(hidden):
                earlier = [h for h in hidden if h <= a]
                similar = [any(alike_in(video, e, p, EXACT.distinct) for e in earlier) for p in range(a + 1, b)]
                assert all(similar), "only similar frames are between key frames"
        assert broken(video, hidden, visible, policy, k) == set()
    assert all(count > 0 for count in drops.values())


def repeats(video: KeptVideo, place: int, hidden: list[int]) -> bool:
    return any(alike_in(video, place, h, EXACT.repeat) for h in hidden)


def key_frames(video: KeptVideo, start: int, k: int, edge: int) -> list[int]:
    """The segment that starts at a place: it skips frames that are too similar to one of its key frames."""
    chosen = [start]
    for place in range(start + 1, min(start + REACH * k, len(video.kept) - edge)):
        if len(chosen) < k and not any(alike_in(video, c, place, EXACT.distinct) for c in chosen):
            chosen.append(place)
    return chosen


@settings(max_examples=250, deadline=None)
@given(
    videos(),
    st.sampled_from(["free", "within_shot", "anchored"]),
    st.integers(2, 4),
    st.integers(2, 8),
    st.integers(0, 10**6),
)
def test_no_possible_segment_is_missed(video: KeptVideo, policy: str, k: int, context: int, seed: int) -> None:
    """The result is greedy in time: each segment that some context allows, and a true reason for each other one."""
    config = MaskConfig(mask_policy=policy, hidden_frames=k, context_frames=context, reversible="keep")
    remaining = iter(hidden_segments(video, config, EXACT, seed, lambda place: "mvp"))
    edge, free_from, size = min(2, context // 2), 0, len(video.kept)
    for start in range(edge, size - k - edge + 1):
        if start < free_from:
            continue
        hidden = key_frames(video, start, k, edge)
        left = [p for p in range(start) if not repeats(video, p, hidden)]
        right = [p for p in range(hidden[-1] + 1, size) if not repeats(video, p, hidden)]
        crowded = not left or not right or max(start - left[-1], right[0] - hidden[-1]) > LEFT_OUT + 1
        reasons: list[set[Drop]] = []
        for before in range(edge, context - edge + 1):
            if before <= len(left) and context - before <= len(right):
                visible = [*left[len(left) - before :], *right[: context - before]]
                reasons.append(broken(video, hidden, visible, policy, k))
        outcome = next(remaining)
        if len(hidden) < k or crowded:
            assert outcome == (Drop.REPEATED_HIDDEN if len(hidden) < k else Drop.REPEATED_CONTEXT)
        elif set() in reasons:
            assert isinstance(outcome, HiddenSegment)
            assert {tuple(places(video, way.hidden)) for way in outcome.episodes} == {tuple(hidden)}
            assert len(outcome.episodes) == reasons.count(set()), "every context"
            free_from = hidden[-1] + 1
        else:
            assert outcome in (set().union(*reasons) or {Drop.LITTLE_CONTEXT})
    assert next(remaining, None) is None, "one outcome for each segment"


@pytest.mark.parametrize(
    ("policy", "shots", "hidden"),
    [
        # 2 hidden, 4 visible, 2 on each side at least: with 8 frames, segments start at 2, 3, 4
        ("free", "AABBCCDD", ["BB", "CC"]),
        ("anchored", "AABBCCDD", ["BC"]),  # not BB or CC: no frame of their shot would be visible
        ("anchored", "AABBBCCC", ["BB", "BC"]),
        ("within_shot", "AABBCCDD", []),
        ("within_shot", "AAABBBBB", ["BB"]),
        ("whole_shot", "AABBCCDD", ["BB", "CC"]),
        ("whole_shot", "AABBBBCC", ["BB"]),  # its first and its last frame are the key frames
        ("whole_shot", "AAABCCCC", []),
        ("within_shot", "AAAAAAAA", ["AA", "AA"]),
    ],
)
def test_segments_of_each_policy(policy: str, shots: str, hidden: list[str]) -> None:
    numbers = [ord(letter) - ord("A") for letter in shots]
    video = kept_video(distinct(len(shots)), shots=numbers)
    found, _ = outcomes(video, mask_policy=policy, hidden_frames=2, context_frames=4)
    assert ["".join(shots[p] for p in places(video, e.hidden)) for e in found] == hidden


def test_anchored_hides_a_whole_shot_only_within_one_scene() -> None:
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


def test_whole_shot_spaces_its_key_frames_evenly() -> None:
    shots = [0] * 6 + [1] * 13 + [2] * 6
    video = kept_video(distinct(25), shots=shots)
    found, drops = outcomes(video, mask_policy="whole_shot", hidden_frames=4, context_frames=12)
    assert [places(video, e.hidden) for e in found] == [[6, 10, 14, 18]]
    assert places(video, found[0].context) == [*range(6), *range(19, 25)]
    assert drops == {}


def test_reasons_where_the_whole_video_is_the_strip() -> None:
    similar = distinct(12)
    mixed(similar, 5, 4, 0.97)
    options: dict[str, Any] = {"mask_policy": "free", "hidden_frames": 2, "context_frames": 10}
    assert outcomes(kept_video(distinct(12)), **options)[1] == {}
    # All 12 frames are in every strip. 5 is too similar to be the second key frame after 4, and hiding 4 to 6 needs 13
    # frames. A segment from 5 on leaves 4 out.
    found, drops = outcomes(kept_video(similar), **options)
    assert drops == {Drop.LITTLE_CONTEXT: 2}
    assert [places(kept_video(similar), e.hidden) for e in found] == [[2, 3], [6, 7], [8, 9]]
    assert outcomes(kept_video(distinct(11)), **options)[1] == {Drop.LITTLE_CONTEXT: 6}
    assert outcomes(kept_video(distinct(3)), **options) == ([], Counter())
    assert outcomes(kept_video(distinct(1)), **options) == ([], Counter())


def mixed(vectors: Vectors, place: int, other: int, cosine: float) -> None:
    """Give one of several distinct frames this cosine to another."""
    vectors[place] = cosine * vectors[other] + (1 - cosine**2) ** 0.5 * vectors[place]


def similar_run(first: int, count: int, size: int) -> Vectors:
    """Distinct frames, except for a run with cosines of 0.92: no repeats, but too similar to be ordered."""
    vectors = np.eye(size + 1, dtype=np.float32)
    for place in range(first, first + count):
        vectors[place] = 0.92**0.5 * vectors[size] + 0.08**0.5 * vectors[place]
    return vectors[:size]


def test_frames_too_similar_to_order_are_hidden_between_key_frames() -> None:
    video = kept_video(similar_run(3, 4, 16))
    found, drops = outcomes(video, mask_policy="free", hidden_frames=3, context_frames=4)
    assert [places(video, e.hidden) for e in found] == [[2, 3, 7], [8, 9, 10], [11, 12, 13]]
    assert not set(places(video, found[0].context)) & set(range(2, 8)), "the frames between key frames are not visible"
    assert drops == {}


@pytest.mark.parametrize(
    ("run", "hidden", "drops"),
    [
        (2 * REACH - 1, [2, 2 * REACH + 1], {}),
        (2 * REACH, [3, 2 * REACH + 2], {Drop.REPEATED_HIDDEN: 1}),
        (2 * REACH + 2, [5, 2 * REACH + 4], {Drop.REPEATED_HIDDEN: 3}),
    ],
)
def test_reach_of_a_hidden_segment(run: int, hidden: list[int], drops: dict[Drop, int]) -> None:
    """The second key frame is searched for among REACH * K kept frames, then the start moves on."""
    video = kept_video(similar_run(2, run, run + 12))
    found, refused = outcomes(video, mask_policy="free", hidden_frames=2, context_frames=4)
    assert places(video, found[0].hidden) == hidden
    assert refused == drops


def test_too_few_key_frames_before_the_end() -> None:
    video = kept_video(similar_run(6, 6, 12))
    found, drops = outcomes(video, mask_policy="free", hidden_frames=2, context_frames=4)
    assert [places(video, e.hidden) for e in found] == [[2, 3], [4, 5]]
    assert drops == {Drop.REPEATED_HIDDEN: 3}


def test_a_frame_that_repeats_an_earlier_key_frame_is_no_key_frame() -> None:
    """4 and 6 are similar. Each differs from the frame before it, but the two could be swapped."""
    vectors = distinct(12)
    mixed(vectors, 6, 4, 0.92)
    options: dict[str, Any] = {"mask_policy": "free", "hidden_frames": 3, "context_frames": 4}
    (first, second), drops = outcomes(kept_video(vectors), **options)
    assert (places(kept_video(vectors), first.hidden), first.k) == ([2, 3, 4], 3)
    assert places(kept_video(vectors), second.hidden) == [5, 6, 7], "0.92 to a visible frame is not a repeat"
    assert drops == {}
    moved = np.roll(vectors, 1, axis=0)  # now 5 and 7 are similar, both in the second segment
    found, drops = outcomes(kept_video(moved), **options)
    assert [places(kept_video(moved), e.hidden) for e in found] == [[2, 3, 4], [5, 6, 8]]
    assert drops == {}


def test_whole_shot_also_refuses_similar_key_frames() -> None:
    vectors = distinct(10)
    mixed(vectors, 6, 3, 0.92)
    found, drops = outcomes(
        kept_video(vectors, shots=[0] * 3 + [1] * 4 + [2] * 3),
        mask_policy="whole_shot",
        hidden_frames=4,
        context_frames=6,
    )
    assert (found, drops) == ([], {Drop.REPEATED_HIDDEN: 1})


@pytest.mark.parametrize(
    ("pair", "k", "ambiguous", "repeat", "strip"),
    [
        ((2, 3), 2, 0.5, 0.75, [0, 1, 2, 4, 5, 6]),  # the key frames are 2 and 4
        ((2, 3), 2, 0.5001, 0.75, [0, 1, 2, 3, 4, 5]),
        ((2, 4), 3, 0.5, 0.75, [0, 1, 2, 3, 5, 6, 7]),  # 2, 3 and 5
        ((2, 4), 3, 0.5001, 0.75, [0, 1, 2, 3, 4, 5, 6]),
        ((3, 4), 2, 0.75, 0.5, [0, 1, 2, 3, 5, 6]),  # 4 repeats a key frame, so it is left out
        ((3, 4), 2, 0.75, 0.5001, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_similarity_at_the_threshold_is_too_high(
    pair: tuple[int, int], k: int, ambiguous: float, repeat: float, strip: list[int]
) -> None:
    first, second = pair
    vectors = np.eye(10, 13, dtype=np.float32)
    vectors[second] = 0
    vectors[second, [first, 10, 11, 12]] = 0.5  # without rounding
    video, thresholds = kept_video(vectors), replace(THRESHOLDS, ambiguous=ambiguous, repeat=repeat)
    found, _ = outcomes(video, 0, thresholds, mask_policy="free", hidden_frames=k, context_frames=4)
    assert places(video, found[0].strip.frames) == strip


@pytest.mark.parametrize(("still", "hidden"), [(6, [5, 7, 8]), (7, [5, 6, 8])])
def test_a_frame_without_motion_is_no_key_frame(still: int, hidden: list[int]) -> None:
    """It differs from the frame before it only by noise in its pixels, but the vectors differ."""
    thumbnails = [noise(place) for place in range(15)]
    thumbnails[still] = changed(thumbnails[still - 1], BLOCKS, 3)
    video = kept_video(distinct(15), thumbnails=thumbnails)
    found, drops = outcomes(video, mask_policy="free", hidden_frames=3, context_frames=4)
    assert [places(video, e.hidden) for e in found] == [[2, 3, 4], hidden, [9, 10, 11]]
    assert drops == {}


@pytest.mark.parametrize("repeated", [LEFT_OUT, LEFT_OUT + 1])
@pytest.mark.parametrize("side", ["before", "after"])
def test_frames_beside_the_gap_that_repeat_a_hidden_one_are_left_out(repeated: int, side: str) -> None:
    hidden = [9, 10] if side == "before" else [2, 3]
    vectors = distinct(14)
    copies = range(9 - repeated, 9) if side == "before" else range(4, 4 + repeated)
    for place in copies:
        mixed(vectors, place, hidden[0] if side == "before" else hidden[1], 0.96)
    video, config = kept_video(vectors), MaskConfig(mask_policy="free", hidden_frames=2, context_frames=4)
    config = replace(config, reversible="keep")
    task, free = (lambda place: "mvp"), (lambda span: span.start == hidden[0])
    (outcome,) = hidden_segments(video, config, THRESHOLDS, 0, task, free)
    if repeated > LEFT_OUT:
        assert outcome is Drop.REPEATED_CONTEXT
    else:
        assert isinstance(outcome, HiddenSegment)
        assert not set(copies) & set(places(video, outcome.episodes[0].strip.frames))


@pytest.mark.parametrize(
    ("pair", "starts", "refused"),
    [
        ((2, 4), [5, 7], 3),  # one of them hidden, the other visible: starts 2, 3 (hides 4) and 4
        ((5, 9), [2, 6], 3),  # starts 4, 5 and 8
        ((4, 11), [2, 5, 7], 1),
        ((4, 5), [2, 6, 8], 2),  # neither as two key frames, nor one hidden and the other visible
    ],
)
def test_a_brighter_copy_of_a_frame_is_a_repeat(pair: tuple[int, int], starts: list[int], refused: int) -> None:
    """The vectors differ, the pixels differ only in brightness. All frames are in every strip."""
    first, second = pair
    thumbnails = [dim(place) for place in range(12)]
    thumbnails[second] = lit(changed(thumbnails[first], BLOCKS // 2, 3), 30)
    video = kept_video(distinct(12), thumbnails=thumbnails)
    found, drops = outcomes(video, mask_policy="free", hidden_frames=2, context_frames=10)
    assert [places(video, e.hidden)[0] for e in found] == starts
    assert drops == {Drop.LITTLE_CONTEXT: refused}


@pytest.mark.parametrize("by", ["vector", "pixels"])
def test_another_context_is_tried_if_one_repeats_a_hidden_frame(by: str) -> None:
    """Frame 0 repeats a hidden frame; strips without it are valid."""
    vectors, thumbnails = distinct(12), [dim(place) for place in range(12)]
    if by == "vector":
        vectors[0] = vectors[4]
    else:
        thumbnails[0] = lit(thumbnails[4], 20)
    video, seen = kept_video(vectors, thumbnails=thumbnails), 0
    for seed in range(20):
        found, drops = outcomes(video, seed, mask_policy="free", hidden_frames=2, context_frames=6)
        assert [places(video, e.hidden) for e in found] == [[2, 3], [4, 5], [6, 7], [8, 9]]
        assert drops == {}
        assert 0 not in places(video, found[1].context)
        seen += 0 in places(video, found[0].context)
    assert seen == 20, "it may be visible in the context of other segments"


@pytest.mark.parametrize(
    ("twins", "starts", "refused"),
    [
        ((), [2, 6, 10, 14, 18], 0),
        ((6, 7), [2, 6, 10, 14, 18], 0),  # two of four
        ((6, 7, 8), [2, 7, 11, 17], 3),  # 6 to 9, 15 to 18, 16 to 19
        ((6, 8, 9), [2, 7, 11, 15], 1),
    ],
)
def test_recurring_moments_are_refused(twins: tuple[int, ...], starts: list[int], refused: int) -> None:
    """Some frames are similar to the frame ten places later, by vector and by pixels, but not to their neighbours."""
    vectors, thumbnails = distinct(24), [noise(place) for place in range(24)]
    for place in twins:
        mixed(vectors, place + 10, place, 0.6)
        thumbnails[place + 10] = halfway(place, place + 10)
    video = kept_video(vectors, thumbnails=thumbnails)
    for context in (4, 8, 20):
        found, drops = outcomes(video, mask_policy="free", hidden_frames=4, context_frames=context)
        assert [places(video, e.hidden)[0] for e in found] == starts
        assert drops == Counter({Drop.RECURRING: refused} if refused else {})


@pytest.mark.parametrize("adjacent", [(5, 6), (6, 7), (7, 8)])  # context before, both hidden, context after
@pytest.mark.parametrize(("cosine", "drops"), [(0.6, {}), (0.5, {Drop.RECURRING: 1})])
def test_a_far_match_must_be_closer_than_both_neighbours(
    adjacent: tuple[int, int], cosine: float, drops: dict[Drop, int]
) -> None:
    """6 and 7 have far matches with a cosine of 0.55; a neighbour with a higher one makes up for it."""
    gram, thumbnails = np.eye(20), [noise(place) for place in range(20)]
    for a, b, c in ((6, 15, 0.55), (7, 17, 0.55), (*adjacent, cosine)):
        gram[a, b] = gram[b, a] = c
    thumbnails[15], thumbnails[17] = halfway(6, 15), halfway(7, 17)
    video = kept_video(with_gram(gram), thumbnails=thumbnails)
    found, refused = outcomes(video, mask_policy="free", hidden_frames=2, context_frames=4)
    starts = [places(video, e.hidden)[0] for e in found]
    assert starts[:3] == ([2, 4, 6] if not drops else [2, 4, 7])
    assert refused == drops


def test_a_frame_between_two_key_frames_is_not_a_far_match() -> None:
    """3 is between the key frames 2 and 4, and more similar to each of them than they are to each other."""
    gram = np.eye(10)
    for a, b, c in ((2, 3, 0.92), (3, 4, 0.91), (2, 4, 0.8)):
        gram[a, b] = gram[b, a] = c
    video = kept_video(with_gram(gram))
    found, drops = outcomes(video, mask_policy="free", hidden_frames=2, context_frames=4)
    assert [places(video, e.hidden) for e in found] == [[2, 4], [5, 6]]
    assert drops == {}


def test_the_position_of_the_gap_is_uniform() -> None:
    """So the number of visible frames before the gap is not a hint."""
    video = kept_video(distinct(60))
    starts: Counter[int] = Counter()
    for seed in range(40):
        middle = [e for e in outcomes(video, seed, mask_policy="free")[0] if 10 <= places(video, e.hidden)[0] <= 46]
        starts.update(e.mask_start for e in middle)
    expected = sum(starts.values()) / 9
    assert set(starts) == set(range(2, 11))
    assert sum((count - expected) ** 2 / expected for count in starts.values()) < 26.1  # 8 degrees, p = .001


def test_seed_and_video_id_decide_the_contexts() -> None:
    video = kept_video(distinct(40))
    assert outcomes(video, 1) == outcomes(video, 1)
    assert outcomes(video, 1) != outcomes(video, 2)
    other = kept_video(distinct(40), name="v1")
    assert [e.mask_start for e in outcomes(video)[0]] != [e.mask_start for e in outcomes(other)[0]]
