"""Shot detection on synthetic tiny frames with known truth, and on the annotated clips of the corpus."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.shots import Score, ours, predicted_frames, read_truth, score
from mvp_data.config.options import METHODS
from mvp_data.core.errors import ConfigError
from mvp_data.core.types import Boundary, Frame, FrameTable, Tiny, VideoEntry
from mvp_data.video.extract import judge_in_context
from mvp_data.video.shots import adaptive
from mvp_data.video.shots.adaptive import MIN_SHOT_S
from mvp_data.video.shots.detector import in_transition, shot_detector

Frames = list[npt.NDArray[np.float64]]
FPS = 25.0


def texture(seed: int, width: int = 64) -> npt.NDArray[np.float64]:
    """A frame [36, width, 3] of random coarse blobs; other seeds differ from it as two shots do."""
    coarse = np.random.default_rng(seed).uniform(20, 235, (5, width // 8 + 1, 3))
    rows, columns = np.linspace(0, 3.999, 36), np.linspace(0, width / 8 - 0.001, width)
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = coarse[top][:, left] * (1 - right) + coarse[top][:, left + 1] * right
    lower = coarse[top + 1][:, left] * (1 - right) + coarse[top + 1][:, left + 1] * right
    return np.asarray(upper * (1 - down) + lower * down)


def shot(seed: int, frames: int, speed_px: float = 0.1) -> Frames:
    """A slow pan over one texture."""
    wide = texture(seed, 64 + 8 * (1 + int(speed_px * frames) // 8))
    return [wide[:, int(speed_px * i) : int(speed_px * i) + 64] for i in range(frames)]


def dissolve(old: Frames, new: Frames, frames: int) -> Frames:
    """The two shots with their ends mixed over so many frames."""
    mixed = []
    for i in range(frames):
        share = (i + 1) / (frames + 1)
        mixed.append((1 - share) * old[len(old) - frames + i] + share * new[i])
    return old[: len(old) - frames] + mixed + new[frames:]


def faded(frames: Frames, shares: Sequence[float], level: float = 0.0) -> Frames:
    """Each frame mixed with a single colour: share 1 is the frame, 0 is the colour."""
    flat = np.stack([np.full((36, 64), c) for c in (level, 128.0, 128.0)], axis=-1)
    return [share * frame + (1 - share) * flat for share, frame in zip(shares, frames, strict=True)]


def detect(frames: Frames, times_s: Sequence[float] | None = None) -> tuple[Boundary, ...]:
    """The result of the default detector, with a little sensor noise added to the frames."""
    noise = np.random.default_rng(0)
    detector = shot_detector("adaptive")
    for i, frame in enumerate(frames):
        tiny: Tiny = (frame + noise.normal(0, 0.7, frame.shape)).clip(0, 255).astype(np.uint8)
        detector.push(times_s[i] if times_s else i / FPS, tiny)
    return detector.finish()


def numbers(boundaries: Sequence[Boundary]) -> list[tuple[str, int, int]]:
    """Boundaries in frame numbers at FPS."""
    return [(b.kind, round(b.start_s * FPS), round(b.end_s * FPS)) for b in boundaries]


def test_a_still_image_has_no_boundary() -> None:
    """Truth: 100 frames that differ only by noise, one shot."""
    assert detect([texture(1)] * 100) == ()


def test_hard_cuts() -> None:
    """Truth: cuts at the frames 40, 47 (a shot of 7 frames, 0.28 s) and 80."""
    frames = shot(1, 40) + shot(2, 7) + shot(3, 33) + shot(4, 40)
    assert numbers(detect(frames)) == [("cut", 40, 40), ("cut", 47, 47), ("cut", 80, 80)]


def test_cuts_close_to_both_ends() -> None:
    """Truth: cuts at the frames 4 and 56 of 60."""
    assert numbers(detect(shot(1, 4) + shot(2, 52) + shot(3, 4))) == [("cut", 4, 4), ("cut", 56, 56)]


@pytest.mark.parametrize("mixed", [1, 2])
def test_cut_with_blended_frames(mixed: int) -> None:
    """Truth: one or two frames show both shots (frame-rate conversion), from frame 50 - mixed to frame 49."""
    frames = dissolve(shot(1, 50), shot(2, 50), mixed)
    assert numbers(detect(frames)) == [("dissolve", 50 - mixed, 50)]


@pytest.mark.parametrize("length", [3, 5, 8, 12, 20, 30])
def test_dissolve(length: int) -> None:
    """Truth: shot 1 turns into shot 2 over `length` frames that end with frame 59; found to a sixth of it."""
    frames = dissolve(shot(1, 60), shot(2, 60 + length), length)
    ((kind, start, end),) = numbers(detect(frames))
    assert kind == "dissolve"
    assert abs(start - (60 - length)) <= max(2, length // 6)
    assert abs(end - 60) <= max(2, length // 6)


@pytest.mark.parametrize("level", [0.0, 235.0], ids=["black", "white"])
@pytest.mark.parametrize(("ramp", "flat"), [(6, 0), (10, 5), (20, 40)])
def test_fade_through_a_single_colour(ramp: int, flat: int, level: float) -> None:
    """Truth: frames 60 - ramp to 59 fade out, `flat` frames of one colour follow, then an equal fade-in."""
    down = [1 - (i + 1) / (ramp + 1) for i in range(ramp)]
    frames = faded(shot(1, 60), [1.0] * (60 - ramp) + down, level)
    frames += faded(shot(2, flat), [0.0] * flat, level) + faded(shot(3, 60), down[::-1] + [1.0] * (60 - ramp), level)
    ((kind, start, end),) = numbers(detect(frames))
    assert kind == "fade"
    assert abs(start - (60 - ramp)) <= 2
    assert abs(end - (60 + flat + ramp)) <= 2


def test_fades_at_the_ends_are_not_boundaries() -> None:
    """Truth: one shot that fades in from black and out to black."""
    up = [i / 20 for i in range(20)]
    assert detect(faded(shot(1, 100), up + [1.0] * 60 + up[::-1])) == ()


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8])
def test_a_flash_is_not_a_cut(length: int) -> None:
    """Truth: one shot; `length` frames are washed out by a flash."""
    frames = shot(1, 100)
    frames[50 : 50 + length] = faded(frames[50 : 50 + length], [0.15] * length, 255.0)
    assert detect(frames) == ()


def test_decaying_lightning_is_not_a_boundary() -> None:
    """Truth: one shot; two flashes that decay over five frames each."""
    frames = shot(1, 120)
    decay = [0.1, 0.4, 0.7, 0.85, 0.95]
    for start in (50, 57):
        frames[start : start + 5] = faded(frames[start : start + 5], decay, 255.0)
    assert detect(frames) == ()


def test_a_fast_pan_is_not_a_cut() -> None:
    """Truth: one shot; the camera is still, moves by three frame widths in 20 frames, and is still."""
    wide = texture(1, 64 * 4)
    places = [0] * 40 + [round(192 * (i + 1) / 20) for i in range(20)] + [192] * 40
    assert detect([wide[:, x : x + 64] for x in places]) == ()


def test_camera_shake_is_not_a_cut() -> None:
    """Truth: one shot, jolted by up to 4 px in each direction in every frame."""
    large = np.pad(texture(1), ((4, 4), (4, 4), (0, 0)), mode="edge")
    jolts = np.random.default_rng(3).integers(0, 9, (100, 2))
    assert detect([large[y : y + 36, x : x + 64] for y, x in jolts]) == ()


def test_an_exposure_jump_and_a_pop_up_are_not_cuts() -> None:
    """Truth: one shot; from frame 40 on it is brighter by 30 %, in frames 60..80 a box covers a quarter."""
    frames = [texture(1)] * 100
    frames = frames[:40] + [0.77 * frame + 58 for frame in frames[40:]]
    boxed = [frame.copy() for frame in frames[60:80]]
    for frame in boxed:
        frame[4:20, 8:44] = (30, 90, 200)
    assert detect(frames[:60] + boxed + frames[80:]) == ()


def test_boundaries_are_at_frame_times() -> None:
    """Truth: variable frame rate, cuts at the frames 30 and 60."""
    gaps = np.random.default_rng(2).choice([1 / 60, 1 / 24, 1 / 12], 89)
    times_s = [0.0, *np.cumsum(gaps).tolist()]
    found = detect(shot(1, 30) + shot(2, 30) + shot(3, 30), times_s)
    assert [b.start_s for b in found] == [times_s[30], times_s[60]]


@pytest.mark.parametrize("fps", [5, 12, 60, 240])
def test_frame_rates(fps: int) -> None:
    """Truth: shots of 2 s at any rate; a cut at 2 s, a dissolve over [3.6, 4.0)."""
    gradual = max(1, round(0.4 * fps))
    old = shot(1, 2 * fps, 1 / fps) + shot(2, 2 * fps, 1 / fps)
    frames = dissolve(old, shot(3, 2 * fps + gradual, 1 / fps), gradual)
    first, second = detect(frames, [i / fps for i in range(len(frames))])
    assert (first.kind, first.start_s) == ("cut", 2.0)
    assert second.kind == "dissolve"
    assert abs((second.start_s + second.end_s) / 2 - 3.8) <= max(0.1, 1 / fps)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("method", ["adaptive", "none"])
def test_videos_of_a_few_frames(method: str, count: int) -> None:
    """Truth: too few frames for two shots."""
    detector = shot_detector(method)
    for i in range(count):
        detector.push(i / FPS, texture(i // 2).astype(np.uint8))
    assert len(detector.finish()) <= max(0, count - 2)


def test_none_finds_nothing() -> None:
    """Truth: a cut, which this method ignores."""
    detector = shot_detector("none")
    for i, frame in enumerate(shot(1, 30) + shot(2, 30)):
        detector.push(i / FPS, frame.astype(np.uint8))
    assert detector.finish() == ()


def test_an_unknown_method_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'clever'.*adaptive, transnetv2, none"):
        shot_detector("clever")
    assert METHODS == ("adaptive", "transnetv2", "none")


def _hostile(draw_seed: int, lengths: list[int]) -> Frames:
    """Shots of arbitrary lengths joined in arbitrary ways, with noise and black frames between them."""
    choice = np.random.default_rng(draw_seed)
    frames: Frames = []
    for i, length in enumerate(lengths):
        new = shot(int(choice.integers(50)), length, float(choice.uniform(0, 4)))
        match int(choice.integers(4)):
            case 0 if frames:
                frames = dissolve(frames, new, min(len(frames), length, int(choice.integers(1, 20))))
            case 1:
                frames += faded(new, choice.uniform(0, 1, length).tolist())
            case 2:
                frames += [choice.uniform(0, 255, (36, 64, 3)) for _ in range(min(length, 5))]
            case _:
                frames += new if i % 5 else [np.zeros((36, 64, 3))] * length
    return frames


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    lengths=st.lists(st.integers(1, 40), min_size=0, max_size=8),
    gaps_s=st.lists(st.sampled_from([0.004, 1 / 60, 0.04, 0.1, 1.0]), min_size=1, max_size=7),
)
def test_boundaries_of_any_video(seed: int, lengths: list[int], gaps_s: list[float]) -> None:
    """For any video: in order, at frame times, not at the first frame, MIN_SHOT_S apart; blocks change nothing."""
    frames = _hostile(seed, lengths)
    steps = [gaps_s[i % len(gaps_s)] for i in range(len(frames))]
    times_s = [0.0, *np.cumsum(steps).tolist()][: len(frames)]
    found = detect(frames, times_s)
    assert {t for b in found for t in (b.start_s, b.end_s)} <= set(times_s)
    assert all(b.start_s > 0 for b in found)
    assert all(b.start_s - a.end_s >= MIN_SHOT_S for a, b in pairwise(found))
    with pytest.MonkeyPatch.context() as patch:
        for count in (1, 2, 7, 31):
            patch.setattr(adaptive, "BLOCK_FRAMES", count)
            assert detect(frames, times_s) == found


def test_memory_is_bounded() -> None:
    """Of 2,000 tiny frames (13.8 MB) the detector keeps 160 bytes each and a bounded window."""
    import tracemalloc

    tinies = [texture(i).astype(np.uint8) for i in range(4)]
    detector = shot_detector("adaptive")
    tracemalloc.start()
    for i in range(2_000):
        detector.push(i / FPS, tinies[i // 30 % 4].copy())
    kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept_bytes < 2_000 * 200 + 1_000_000


CUT = Boundary(kind="cut", start_s=2.0, end_s=2.0)
DISSOLVE = Boundary(kind="dissolve", start_s=4.0, end_s=5.0)


@pytest.mark.parametrize(("time_s", "number"), [(0.0, 0), (1.9, 0), (2.0, 1), (4.0, 1), (4.9, 1), (5.0, 2), (9.0, 2)])
def test_shots_are_numbered(time_s: float, number: int) -> None:
    frames = FrameTable.of([Frame(time_s=time_s, shot=9)])
    for boundaries, shot_number in (((CUT, DISSOLVE), number), ((), 0)):
        entry = VideoEntry(video_id="v", boundaries=boundaries, frames=frames)
        assert judge_in_context(entry, 0.0).frames[0].shot == shot_number


@pytest.mark.parametrize(
    ("time_s", "margin_s", "inside"),
    [
        (2.0, 0.0, False),  # a cut has no length
        (1.51, 0.5, True),
        (1.5, 0.5, False),
        (2.0, 0.5, True),
        (2.5, 0.5, False),
        (4.0, 0.0, True),
        (4.99, 0.0, True),
        (5.0, 0.0, False),  # the first frame of the new shot alone
        (5.2, 0.25, True),
        (3.0, 0.5, False),
    ],
)
def test_in_transition(time_s: float, margin_s: float, inside: bool) -> None:
    assert in_transition((CUT, DISSOLVE), time_s, margin_s) is inside


@pytest.mark.parametrize(
    ("predicted", "right", "wrong", "missed"),
    [
        ([], 0, 0, 2),
        ([10, 45], 2, 0, 0),
        ([8, 52], 2, 0, 0),
        ([7, 53], 0, 2, 2),
        ([10, 11, 45], 2, 1, 0),  # each span is matched once
        ([70, 61], 0, 0, 2),  # ignored
        ([81], 0, 1, 2),
    ],
)
def test_score(predicted: list[int], right: int, wrong: int, missed: int) -> None:
    found = score(predicted, truth=[(10, 10), (40, 50)], ignored=[(60, 80)])
    assert (found.right, found.wrong, found.missed) == (right, wrong, missed)


def test_score_ratios_and_sums() -> None:
    both = Score(right=3, wrong=1, missed=0) + Score(right=0, wrong=0, missed=2)
    assert (both.precision, both.recall, both.f1) == (0.75, 0.6, 2 * 3 / 9)
    assert Score().f1 == Score().precision == Score().recall == 1.0


def test_a_match_in_an_ignored_span_counts() -> None:
    assert score([60], truth=[(60, 60)], ignored=[(50, 70)]) == Score(right=1)


def test_read_truth_and_predicted_frames(tmp_path: Path) -> None:
    path = tmp_path / "clip.csv"
    path.write_text("frame,time_s,kind,start_frame,end_frame,note\n5,0.2,cut,5,5,\n0,0.0,ignore,0,3,black\n")
    assert read_truth(path) == ([(5, 5)], [(0, 3)])
    assert predicted_frames((CUT, DISSOLVE), [i / 2 for i in range(20)]) == [4, 9]


def test_annotated_clips(corpus: Path) -> None:
    """Pooled F1 is at least .95, and at least .9 without the clip with the most boundaries."""
    folder = corpus / "groundtruth"
    videos = [path for path in sorted(folder.iterdir()) if path.suffix != ".csv"]
    scores = {}
    for video in videos:
        boundaries, times_s = ours("adaptive")(video)
        scores[video.stem] = score(predicted_frames(boundaries, times_s), *read_truth(video.with_suffix(".csv")))
    assert len(scores) == 10
    total: Callable[[list[Score]], Score] = lambda parts: sum(parts, Score())  # noqa: E731
    assert total(list(scores.values())).f1 >= 0.95
    largest = max(scores, key=lambda name: scores[name].right + scores[name].missed)
    assert total([part for name, part in scores.items() if name != largest]).f1 >= 0.9
