"""Shot detection on synthetic tiny frames with known truth, and on the annotated clips of the corpus."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scenedetect
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.shots import Score, decode_only, ours, predicted_frames, read_truth, score, theirs
from mvp_data.config.options import METHODS
from mvp_data.core.errors import ConfigError
from mvp_data.core.types import Boundary, Frame, FrameTable, Picture, Tiny, VideoEntry
from mvp_data.video.extract import judge_in_context
from mvp_data.video.shots import adaptive
from mvp_data.video.shots.adaptive import MIN_SHOT_S
from mvp_data.video.shots.detector import in_transition, shot_detector
from tests.clips import render

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


@pytest.mark.parametrize("low", [0.0, 0.3])
@pytest.mark.parametrize("length", [10, 20, 45])
def test_fades_at_the_ends(length: int, low: float) -> None:
    """Truth: one shot that fades in and out over `length` frames; with `low` above 0 the video is cut inside them."""
    up = [low + (1 - low) * i / length for i in range(length)]
    (first, begin, into), (last, out, end) = numbers(
        detect(faded(shot(1, 60 + 2 * length), up + [1.0] * 60 + up[::-1]))
    )
    assert (first, begin, last, end) == ("fade", 0, "fade", 60 + 2 * length)
    assert abs(into - length) <= 4
    assert abs(out - (60 + length)) <= 4


def test_a_dim_or_brightening_start_is_not_a_fade() -> None:
    """Truth: one shot; haze of the same brightness takes 60 % of the contrast, and clears within 30 frames."""
    haze = [0.4 + 0.6 * i / 30 for i in range(30)]
    assert detect(faded(shot(1, 100), haze + [1.0] * 70, level=128.0)) == ()
    assert detect(faded(shot(1, 100), [0.4] * 100)) == ()


def test_motion_into_a_dark_area_is_not_a_fade() -> None:
    """Truth: one shot; the camera turns from a scene to black and on to another part of the scene."""
    wide = np.concatenate([texture(1), np.zeros((36, 128, 3)), texture(2)], axis=1)
    places = [0] * 30 + list(range(0, 193, 4)) + [192] * 30
    assert [kind for kind, _, _ in numbers(detect([wide[:, x : x + 64] for x in places])) if kind == "fade"] == []


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("length", [40, 80])
def test_a_slow_pan_is_not_a_dissolve(length: int, seed: int) -> None:
    """Truth: one shot; the camera is still, moves by one and a half frame widths, and is still."""
    wide = texture(seed, 64 * 3)
    places = [0] * 30 + [round(96 * (i + 1) / length) for i in range(length)] + [96] * 30
    assert detect([wide[:, x : x + 64] for x in places]) == ()


@pytest.mark.parametrize("gain", [0.15, 0.25])
@pytest.mark.parametrize("seed", range(4))
def test_a_dissolve_in_the_dark(gain: float, seed: int) -> None:
    """Truth: frames 48 to 59 mix two shots at 15 or 25 % of their brightness; the second one then becomes brighter."""
    frames = dissolve(shot(seed, 60), shot(seed + 50, 72), 12)
    light = np.concatenate([np.full(70, gain), np.linspace(gain, 2.5 * gain, 50)])
    dim = [np.stack([light[i] * f[..., 0], f[..., 1], f[..., 2]], axis=-1) for i, f in enumerate(frames)]
    ((kind, start, end),) = numbers(detect(dim))
    assert kind == "dissolve"
    assert abs(start - 48) <= 3
    assert abs(end - 60) <= 3


@pytest.mark.parametrize("fps", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_cuts_at_low_rates(fps: int, seed: int) -> None:
    """Truth: shots of 3, 2, 4, 3 and 5 frames with a moving camera; the first shot returns in the fourth."""
    first, second, third = (shot(10 * seed + i, 5, 1.5) for i in range(3))
    frames = first[:3] + second[:2] + third[:4] + first[2:5] + second[:5]
    found = detect(frames, [i / fps for i in range(len(frames))])
    assert [round(b.start_s * fps) for b in found] == [3, 5, 9, 12]
    assert {b.kind for b in found} == {"cut"}


@pytest.mark.parametrize("fps", [2, 4, 8])
def test_motion_at_low_rates_is_not_a_cut(fps: int) -> None:
    """Truth: one shot; the camera moves by a tenth of the frame from each frame to the next, and one frame is black."""
    wide = texture(5, 64 * 4)
    frames = [wide[:, x : x + 64] for x in range(0, 186, 6)]
    frames[12] = np.zeros((36, 64, 3))
    assert detect(frames, [i / fps for i in range(len(frames))]) == ()


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
    """For any video: in order, at frame times, MIN_SHOT_S apart, only fades at the ends; blocks change nothing."""
    frames = _hostile(seed, lengths)
    steps = [gaps_s[i % len(gaps_s)] for i in range(len(frames))]
    times_s = [0.0, *np.cumsum(steps).tolist()][: len(frames)]
    found = detect(frames, times_s)
    assert {t for b in found for t in (b.start_s, b.end_s) if t <= times_s[-1]} <= set(times_s)
    assert all(b.kind == "fade" or 0 < b.start_s <= b.end_s <= times_s[-1] for b in found)
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


def test_low_rate_video(corpus: Path) -> None:
    """Truth: 3 fps, cuts before the frames 4, 7, 18, 22, 28, 32 and 35; at least six are found, no others."""
    boundaries, times_s = ours("adaptive")(corpus / "faults" / "lowfps_cuts_missed_3fps_b.mp4")
    found = {times_s.index(b.start_s) for b in boundaries}
    assert found <= {4, 7, 18, 22, 28, 32, 35}
    assert len(found) >= 6


def test_dissolve_in_a_dark_scene(corpus: Path) -> None:
    """Truth: a dissolve from 1.4 to 2.1 s."""
    (found,), _ = ours("adaptive")(corpus / "faults" / "dissolve_missed_dark.mp4")
    assert found.kind == "dissolve"
    assert found.start_s <= 1.5
    assert 2.0 <= found.end_s <= 2.4


def test_video_that_starts_inside_a_fade(corpus: Path) -> None:
    """Truth: a fade-in until 1.7 s, cut at its start; the scene brightens further."""
    (found,), times_s = ours("adaptive")(corpus / "faults" / "fade_in_frames_used.mp4")
    assert (found.kind, found.start_s) == ("fade", times_s[0])
    assert 1.6 <= found.end_s <= 2.7


def test_single_shot_clips_have_no_fades_at_their_ends(corpus: Path) -> None:
    """Truth: none of the clips with one shot fades in or out."""
    for path in sorted((corpus / "clips").glob("sam2__*.mp4")):
        assert ours("adaptive")(path)[0] == (), path.name


def test_reference_methods_count_from_the_start_of_the_stream(tmp_path: Path) -> None:
    """Truth: cuts at the frames 40 and 80; the first frame is at 7.3 s."""
    frames = shot(1, 40) + shot(2, 40) + shot(3, 40)

    def paint(n: int, width: int, height: int) -> Picture:
        return np.repeat(np.repeat(frames[n].astype(np.uint8), height // 36, axis=0), width // 64, axis=1)

    ticks = range(7300, 7300 + 40 * len(frames), 40)
    path = render(tmp_path / "late.mkv", frames=len(frames), pts=ticks, time_base=Fraction(1, 1000), paint=paint)
    times_s = decode_only(path)
    assert times_s[0] == pytest.approx(7.3)
    assert theirs(scenedetect.AdaptiveDetector)(path, times_s) == [40, 80]
