"""Pairs of runs that each have a context of their own; test_twins.py tests those that share one."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from mvp_data.core.seeds import shuffled
from mvp_data.puzzles import decoys as decoy_module
from mvp_data.puzzles import make
from mvp_data.puzzles.ambiguity import swap_evidence
from mvp_data.puzzles.corpus import KeptVideo
from mvp_data.puzzles.decoys import SWAP_EVIDENCE, Run, pairs_within, told_by_context
from mvp_data.puzzles.likeness import any_alike
from mvp_data.puzzles.make import PuzzleSet, make_puzzles
from mvp_data.puzzles.mask import STRETCH, task_of
from mvp_data.puzzles.thumbnails import differ
from mvp_data.puzzles.types import Drop, Episode, FrameRef, HiddenSegment, Puzzle, Strip
from mvp_data.tasks.catalogue import TASKS
from tests.builders import THRESHOLDS, config, films, kept_video, noise, walk
from tests.puzzles.test_rules import scene

K = 3
SMALL: dict[str, Any] = {"hidden_frames": K, "distractors": K, "context_frames": 6}
NEAR = replace(THRESHOLDS, low=-0.5)  # random walks of different videos have low similarities


def pools(puzzles: Sequence[Puzzle]) -> dict[frozenset[FrameRef], list[Puzzle]]:
    found: dict[frozenset[FrameRef], list[Puzzle]] = defaultdict(list)
    for puzzle in puzzles:
        found[frozenset(c.frame for c in puzzle.candidates)].append(puzzle)
    return found


def vectors_of(videos: Sequence[KeptVideo], frames: Sequence[FrameRef]) -> np.ndarray:
    by_id = {v.entry.video_id: v for v in videos}
    return np.stack([by_id[f.video_id].vectors[by_id[f.video_id].kept.index(f.index)] for f in frames])


def hidden(puzzle: Puzzle) -> list[FrameRef]:
    return [c.frame for c in sorted(puzzle.candidates, key=lambda c: c.order) if c.order >= 0]


def decoys(puzzle: Puzzle) -> list[FrameRef]:
    return [c.frame for c in sorted(puzzle.candidates, key=lambda c: c.decoy) if c.decoy >= 0]


def echoing(number: int) -> KeptVideo:
    """Key frames with others between them; some frames recur, by vector or by pixels alone."""
    name = f"echo{number}"
    vectors = walk(60, name, step=0.35)
    thumbnails = [noise(name, place) for place in range(60)]
    for place in range(3, 60, 7):
        twin = (place + 29) % 60
        if number % 2:
            vectors[place] = vectors[twin]
        else:
            thumbnails[place] = thumbnails[twin]
    return kept_video(vectors, name=name, thumbnails=thumbnails)


@pytest.fixture(scope="module", autouse=True)
def apart() -> Iterator[None]:
    """Every pair is of runs with contexts of their own, and these may tell the run, as they do in a random walk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make, "twins_within", lambda *_, **__: [])
        patch.setattr(decoy_module, "told_by_context", lambda *_: False)
        yield


@pytest.fixture(scope="module")
def videos() -> list[KeptVideo]:
    """Long ones, whose runs pair within the video, short ones, whose runs need another video, and repetitive ones."""
    return [*films(6, frames=50), *films(10, frames=13, prefix="short"), *map(echoing, range(8))]


@pytest.fixture(scope="module")
def made(videos: list[KeptVideo]) -> PuzzleSet:
    return make_puzzles(videos, config(**SMALL, cross_video_decoys=True).puzzle_options, NEAR)


def test_every_pool_serves_two_puzzles_with_opposite_answers(made: PuzzleSet) -> None:
    assert len(made.puzzles) > 40
    origins = Counter(c.origin for p in made.puzzles for c in p.candidates)
    assert min(origins["neighbourhood"], origins["corpus"]) > 10, "pairs of both kinds"
    for pair in pools(made.puzzles).values():
        one, other = pair
        assert hidden(one) == decoys(other)
        assert hidden(other) == decoys(one)
        assert one.pair_id == other.pair_id == min(one.key, other.key)


def test_a_solver_that_sees_only_the_pool_scores_chance(made: PuzzleSet) -> None:
    """Its selection over each pair is 0."""
    for rule in range(5):
        total = 0.0
        for pool, pair in pools(made.puzzles).items():
            ranked = sorted(pool, key=lambda f: (f.video_id, f.index))
            answer = shuffled(ranked, "rule", rule, str(ranked))[:K]
            for puzzle in pair:
                total += 2 * len({*answer} & {*hidden(puzzle)}) / K - 1  # selection with l = K
        assert total == pytest.approx(0)


def test_a_strip_shows_no_decoy(videos: list[KeptVideo], made: PuzzleSet) -> None:
    by_id = {v.entry.video_id: v for v in videos}
    for puzzle in made.puzzles:
        video = by_id[puzzle.episode.strip.video_id]
        visible = [FrameRef(video_id=video.entry.video_id, index=f) for f in puzzle.episode.context]
        run = decoys(puzzle)
        assert not set(visible) & set(run)
        shown, wrong, right = (frames_of(videos, refs) for refs in (visible, run, hidden(puzzle)))
        assert not any_alike(*shown, *wrong, NEAR.repeat)
        assert not any_alike(*right, *wrong, NEAR.distinct)
        if run[0].video_id == video.entry.video_id:
            assert not any(run[0].index <= f <= run[-1].index for f in puzzle.episode.context)


def frames_of(videos: Sequence[KeptVideo], refs: Sequence[FrameRef]) -> tuple[np.ndarray, list[bytes]]:
    """Vectors and thumbnails."""
    by_id = {v.entry.video_id: v for v in videos}
    return vectors_of(videos, refs), [by_id[f.video_id].entry.frames[f.index].thumbnail for f in refs]


def test_each_run_of_a_pair_clearly_belongs_to_its_own_gap(videos: list[KeptVideo], made: PuzzleSet) -> None:
    by_id = {v.entry.video_id: v for v in videos}
    judged = 0
    for one, other in pools(made.puzzles).values():
        video = by_id[one.episode.strip.video_id]
        if other.episode.strip.video_id == video.entry.video_id:
            runs, gaps = zip(*[(places(video, p), ends(video, p)) for p in (one, other)], strict=True)
            assert max(swap_evidence(video, runs, gaps, NEAR)) >= SWAP_EVIDENCE
            judged += 1
    assert judged > 20


def places(video: KeptVideo, puzzle: Puzzle) -> tuple[int, ...]:
    return tuple(video.kept.index(frame) for frame in puzzle.episode.hidden)


def ends(video: KeptVideo, puzzle: Puzzle) -> tuple[int, int]:
    """The visible places before and after the gap."""
    start, context = puzzle.episode.mask_start, puzzle.episode.context
    return video.kept.index(context[start - 1]), video.kept.index(context[start])


def test_frames_that_recur_by_pixels_share_no_pool() -> None:
    """The second half of the video repeats the thumbnails of the first with other vectors."""
    thumbnails = [noise("again", place % 20) for place in range(40)]
    video = kept_video(walk(40, "again"), thumbnails=thumbnails)
    for puzzle in make_puzzles([video], config(**SMALL).puzzle_options, NEAR).puzzles:
        thumbnails = [video.entry.frames[c.frame.index].thumbnail for c in puzzle.candidates]
        assert all(differ(a, b) for a, b in combinations(thumbnails, 2))


def test_partners_in_another_video_have_the_same_split_and_another_group() -> None:
    short = films(12, frames=13, prefix="short")
    kinds = [
        replace(video, split="val" if n % 3 == 0 else "train", group=f"group{n // 2}") for n, video in enumerate(short)
    ]
    found = make_puzzles(kinds, config(**SMALL, cross_video_decoys=True).puzzle_options, NEAR)
    by_id = {v.entry.video_id: v for v in kinds}
    assert len(found.puzzles) >= 4
    for puzzle in found.puzzles:
        own, other = (by_id[frames[0].video_id] for frames in (hidden(puzzle), decoys(puzzle)))
        assert own.split == other.split
        assert own.group != other.group
    assert found.drops[Drop.NO_DECOY] >= 1, "copies stay without a partner"


def run_of(video: KeptVideo, hidden: Sequence[int], context: Sequence[int]) -> Run:
    """A run with one context, by places among the kept frames."""
    at = sum(place < hidden[0] for place in context)
    places = (*context[:at], *hidden, *context[at:])
    frames = tuple(video.kept[place] for place in places)
    strip = Strip(video_id=video.entry.video_id, frames=frames, shots=(0,) * len(frames))
    episode = Episode(strip=strip, mask_start=at, k=len(hidden))
    return Run(video=video, segment=HiddenSegment(task="mvp", episodes=(episode,)))


FIRST, SECOND = (
    ((4, 6, 8), (2, 3, 9, 10)),
    ((14, 16, 18), (12, 13, 19, 20)),
)  # key frames, visible frames; 5 is hidden too


def paired(video: KeptVideo, first: tuple[Sequence[int], Sequence[int]] = FIRST) -> bool:
    runs = [run_of(video, *first), run_of(video, *SECOND)]
    return bool(list(pairs_within(runs, NEAR, lambda pair: 0.0, seed=0)))


@pytest.mark.parametrize("measure", ["vectors", "pixels"])
@pytest.mark.parametrize(
    ("place", "like", "problem"),
    [
        (3, 16, "a visible frame of the first repeats a key frame of the second"),
        (13, 4, "a visible frame of the second repeats a key frame of the first"),
        (5, 14, "a hidden frame between key frames would be as right as a key frame"),
        (6, 18, "two key frames are the same"),
    ],
)
def test_repeated_frames_forbid_a_pair(measure: str, place: int, like: int, problem: str) -> None:
    vectors, thumbnails = walk(22, "pair"), [noise("pair", number) for number in range(22)]
    assert paired(kept_video(vectors, thumbnails=thumbnails))
    if measure == "vectors":
        vectors[place] = vectors[like]
    else:
        thumbnails[place] = thumbnails[like]
    assert not paired(kept_video(vectors, thumbnails=thumbnails)), problem


def test_no_frame_between_key_frames_of_the_other_run_is_visible() -> None:
    video = kept_video(walk(22, "pair"))
    assert paired(video, ((4, 6, 8), (3, 9, 10, 13)))
    assert not paired(video, ((4, 6, 8), (3, 9, 10, 15))), "15 is between two key frames of the second run"


def test_runs_that_fit_both_gaps_do_not_pair() -> None:
    """The frames next to the second gap become those next to the first one, so nothing tells the gaps apart."""
    vectors, thumbnails = walk(22, "pair"), [noise("pair", number) for number in range(22)]
    for own, other in ((3, 13), (9, 19)):
        vectors[other], thumbnails[other] = vectors[own], thumbnails[own]
    assert not paired(kept_video(vectors, thumbnails=thumbnails))


@pytest.mark.parametrize("vectors", [False, True])
@pytest.mark.parametrize("pixels", [False, True])
def test_a_context_tells_the_run_if_its_frames_are_nearer_to_it(vectors: bool, pixels: bool) -> None:
    """Things move along a line. If the runs are exchanged by one measure, the nearest frames are wrong by it."""
    exchanged = [place + 10 * (4 <= place <= 8) - 10 * (14 <= place <= 18) for place in range(22)]
    angles = np.array(exchanged if vectors else range(22)) / 20
    line = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    discs = [scene((4 + place, 9, 3.5)) for place in (exchanged if pixels else range(22))]
    video = kept_video(line, thumbnails=discs)
    runs = run_of(video, *FIRST), run_of(video, *SECOND)
    episodes = runs[0].segment.episodes[0], runs[1].segment.episodes[0]
    assert told_by_context(runs, episodes) == (not (vectors and pixels))


def test_copies_other_splits_and_other_sizes_do_not_pair() -> None:
    one, other, third = films(3, frames=13, prefix="short")
    options = config(**SMALL, cross_video_decoys=True).puzzle_options
    assert make_puzzles([one, other], options, NEAR).puzzles, "without the change they pair"
    assert not make_puzzles([one, other], config(**SMALL).puzzle_options, NEAR).puzzles, "only if it is asked for"
    for changed in (replace(other, group=one.group), replace(other, split="val"), resized(other)):
        assert not make_puzzles([one, changed], options, NEAR).puzzles
    for seed in range(8):
        copies = [one, replace(other, group=one.group), third]
        for puzzle in make_puzzles(copies, replace(options, seed=seed), NEAR).puzzles:
            assert third.entry.video_id in {f.video_id for f in (*hidden(puzzle), *decoys(puzzle))}


def resized(video: KeptVideo) -> KeptVideo:
    return replace(video, entry=replace(video.entry, width_px=112))


@pytest.mark.parametrize("distractors", [1, 2, 5])
def test_numbers_of_distractors_other_than_k(videos: list[KeptVideo], distractors: int) -> None:
    """With fewer, the pool shows consecutive frames of the other run; with more, it adds scattered ones."""
    found = make_puzzles(videos, config(**SMALL | {"distractors": distractors}).puzzle_options, NEAR)
    assert found.puzzles
    for puzzle in found.puzzles:
        assert len(puzzle.candidates) == K + distractors
        assert sorted(c.decoy for c in puzzle.candidates if c.decoy >= 0) == list(range(min(distractors, K)))


def test_decoy_share(videos: list[KeptVideo]) -> None:
    halves = make_puzzles(videos, config(**SMALL, decoy_share=0.5).puzzle_options, NEAR)
    with_decoys = sum(any(c.decoy >= 0 for c in p.candidates) for p in halves.puzzles)
    assert 0.15 < with_decoys / len(halves.puzzles) < 0.85
    none = make_puzzles(videos, config(**SMALL, decoy_share=0.0).puzzle_options, NEAR)
    assert not any(c.decoy >= 0 for p in none.puzzles for c in p.candidates)


@pytest.mark.parametrize("mine", ["band", "random", "adversarial"])
def test_order_of_videos_does_not_matter(videos: list[KeptVideo], mine: str) -> None:
    some, options = videos[::4], {**SMALL, "distractors": K + 1, "mine": mine, "cross_video_decoys": True}
    first = make_puzzles(some, config(**options).puzzle_options, NEAR)
    assert first == make_puzzles(some[::-1], config(**options).puzzle_options, NEAR)
    assert first.puzzles != make_puzzles(some, config(**options, seed=1).puzzle_options, NEAR).puzzles


def test_the_mean_difficulty_decides_about_a_pair(videos: list[KeptVideo], made: PuzzleSet) -> None:
    means = {p.pair_id: 0.0 for p in made.puzzles}
    for puzzle in made.puzzles:
        means[puzzle.pair_id] += puzzle.difficulty / 2
    middle = round(sorted(means.values())[len(means) // 2] + 1e-5, 5)
    hard = make_puzzles(videos, config(**SMALL, cross_video_decoys=True, difficulty=f"{middle}:1").puzzle_options, NEAR)
    assert {p.pair_id for p in hard.puzzles} == {pair for pair, mean in means.items() if mean >= middle}
    assert {len(pair) for pair in pools(hard.puzzles).values()} == {2}
    assert min(p.difficulty for p in hard.puzzles) < middle
    assert hard.drops[Drop.DIFFICULTY] == len(made.puzzles) - len(hard.puzzles)


MIX = ",".join(TASKS)


@pytest.fixture(scope="module")
def mixed() -> PuzzleSet:
    return make_puzzles(films(14, frames=50), config(**SMALL, tasks=MIX).puzzle_options, NEAR)


def test_each_task_has_its_pool_and_its_answer(mixed: PuzzleSet) -> None:
    forms = {
        (p.task, sum(c.order >= 0 for c in p.candidates), sum(c.order < 0 for c in p.candidates), len(p.answer))
        for p in mixed.puzzles
    }
    assert forms == {
        (name, K, task.pool_size(K), task.question(K, task.pool_size(K)).slots) for name, task in TASKS.items()
    }
    for puzzle in mixed.puzzles:
        orders = [c.order for c in puzzle.candidates]
        if puzzle.task == "next":
            assert puzzle.episode.mask_start == len(puzzle.episode.context)
        if puzzle.task == "arrow":
            assert orders == (list(range(K)) if puzzle.answer == ("A",) else list(range(K))[::-1])
        if puzzle.task == "select":
            assert list(puzzle.answer) == sorted(c.label for c in puzzle.candidates if c.order >= 0)
        assert puzzle.key.endswith(puzzle.task) or puzzle.task == "mvp"


def test_arrow_answers_are_balanced(mixed: PuzzleSet) -> None:
    answers = Counter(p.answer for p in mixed.puzzles if p.task == "arrow")
    assert min(answers["A",], answers["B",]) > 0.2 * sum(answers.values())


def test_tasks_are_drawn_by_their_shares_for_whole_stretches(mixed: PuzzleSet) -> None:
    shares = (("mvp", 0.5), ("next", 0.3), ("arrow", 0.2))
    video = kept_video(walk(2))
    drawn = [task_of(video, place, 0, shares) for place in range(2000 * STRETCH)]
    assert drawn == [task for task in drawn[::STRETCH] for _ in range(STRETCH)]
    assert {task: drawn.count(task) / len(drawn) for task, _ in shares} == pytest.approx(dict(shares), abs=0.03)
    assert {p.task for p in mixed.puzzles} == set(TASKS)


def test_hidden_segments_of_different_tasks_do_not_overlap(mixed: PuzzleSet) -> None:
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for puzzle in mixed.puzzles:
        spans[puzzle.episode.strip.video_id].append((puzzle.episode.hidden[0], puzzle.episode.hidden[-1]))
    for found in spans.values():
        assert all(a[1] < b[0] for a, b in zip(sorted(found), sorted(found)[1:], strict=False))
