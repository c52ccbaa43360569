"""The nasty corpus: every real file that broke some reader ends in the frames or the reason it should."""

import csv
from itertools import pairwise
from pathlib import Path

import pytest

from mvp_data.core.errors import Skip, SkipReason
from mvp_data.video.decode.open import open_video

# Files that are no videos, by the reason they must get.
SKIPPED = {
    "audio_only.m4a": SkipReason.NO_MOVING_PICTURE,
    "cover_art_only.m4a": SkipReason.NO_MOVING_PICTURE,
    "cover_art_only.mp3": SkipReason.NO_MOVING_PICTURE,
    "no_streams.webm": SkipReason.NOT_A_VIDEO,
    "one_by_one_pixel.avi": SkipReason.NO_MOVING_PICTURE,
    "one_frame.mp4": SkipReason.NO_MOVING_PICTURE,
    "png_named.mp4": SkipReason.NO_MOVING_PICTURE,
    "single_image.png": SkipReason.NO_MOVING_PICTURE,
    "text_named.mp4": SkipReason.NOT_A_VIDEO,
    "zero_byte.mp4": SkipReason.EMPTY_FILE,
}
# Where the table's count is not ours: it stopped at the first error and took the first video stream. We go
# on after damage (no fewer frames, damage counted), and take the larger stream, of 390 frames.
GOES_ON = {"bitflips_mid.mp4": 250, "corrupt_decord.mp4": 45, "truncated_moov_or_mdat.mp4": 149}
OTHER_STREAM = {"multi_stream_nasa.mp4": 390}


def _table(corpus: Path) -> dict[str, int]:
    with open(corpus / "NASTY.tsv", newline="") as f:
        return {Path(r["file"]).name: int(r["pyav_frames"]) for r in csv.DictReader(f, delimiter="\t")}


def test_every_file_is_in_the_table_and_the_other_way_round(corpus: Path) -> None:
    assert {p.name for p in (corpus / "nasty").iterdir()} == set(_table(corpus))
    assert SKIPPED.keys() | GOES_ON.keys() | OTHER_STREAM.keys() <= set(_table(corpus))


def test_nasty_files(corpus: Path) -> None:
    wrong = []
    for name, frames in _table(corpus).items():
        outcome = _outcome(corpus / "nasty" / name)
        expected: object = SKIPPED.get(name, OTHER_STREAM.get(name, frames))
        if name in GOES_ON:
            shown, damaged = outcome if isinstance(outcome, tuple) else (0, 0)
            good = shown >= GOES_ON[name] and shown >= frames and damaged > 0
        elif isinstance(expected, SkipReason):
            good = outcome == expected
        else:
            good = outcome == (expected, 0)
        if not good:
            wrong.append(f"{name}: {outcome}, expected {expected}")
    assert not wrong, "\n".join(wrong)


def _outcome(path: Path) -> SkipReason | tuple[int, int]:
    """The reason, or how many frames came and how much damage was counted; looks at one picture a file."""
    times_s = []
    try:
        with open_video(path) as video:
            for frame in video.frames():
                if len(times_s) == 1:
                    height, width, _ = frame.image(100_000).rgb().shape
                    ratio = video.info.width_px / video.info.height_px
                    assert width / height == pytest.approx(ratio, rel=0.01)
                times_s.append(frame.pts_s)
    except Skip as skip:
        return skip.reason
    assert times_s[0] == 0
    assert all(a < b for a, b in pairwise(times_s))
    return len(times_s), video.damaged_packets


@pytest.mark.parametrize(
    ("name", "size", "rotation_deg"),
    [
        ("rotate_90.mov", (320, 568), 90),
        ("rotate_180.mov", (568, 320), 180),
        ("rotate_270.mov", (320, 568), 270),
        ("rotated_phone_issue134.mp4", (544, 1280), 90),
        ("sar_2by3.mp4", (640, 540), 0),
    ],
)
def test_sizes_as_shown(corpus: Path, name: str, size: tuple[int, int], rotation_deg: int) -> None:
    with open_video(corpus / "nasty" / name) as video:
        assert (video.info.width_px, video.info.height_px) == size
        assert video.info.rotation_deg == rotation_deg
        assert next(video.frames()).image(10**8).rgb().shape[1::-1] == size


@pytest.mark.parametrize("name", ["start_100s.ts", "nonzero_start_delayed.mp4", "edit_list_streamcopy.mp4"])
def test_times_run_from_zero_to_the_length(corpus: Path, name: str) -> None:
    with open_video(corpus / "nasty" / name) as video:
        times_s = [frame.pts_s for frame in video.frames()]
    assert times_s[0] == 0
    assert times_s[-1] == pytest.approx(video.info.header_duration_s, abs=0.05)


@pytest.mark.parametrize("backend", ["ffmpeg", "decord"])
def test_other_back_ends_give_the_same_times_or_refuse(corpus: Path, backend: str) -> None:
    pytest.importorskip("imageio_ffmpeg" if backend == "ffmpeg" else "decord", reason="needs the optional back end")
    names = [
        "vfr_derived.mkv",
        "vfr_goldeneye_drop3.mp4",
        "edit_list_streamcopy.mp4",
        "start_100s.ts",
        "rotate_90.mov",
    ]
    names += [
        "two_video_streams.mkv",
        "odd_dimensions_641x361.mp4",
        "unordered_pts.mov",
        "interlaced_mpeg2.ts",
    ]
    refused = []
    for name in names:
        with open_video(corpus / "nasty" / name) as video:
            truth_s = [frame.pts_s for frame in video.frames()]
        try:
            with open_video(corpus / "nasty" / name, backend=backend) as video:
                times_s = [frame.pts_s for frame in video.frames()]
        except Skip as skip:
            refused.append((name, skip.reason))
            continue
        assert times_s == pytest.approx(truth_s, abs=0.001)
    unsafe = ["edit_list_streamcopy.mp4", "start_100s.ts", "two_video_streams.mkv", "interlaced_mpeg2.ts"]
    expected = [(name, SkipReason.UNSUPPORTED_CODEC) for name in unsafe] if backend == "decord" else []
    assert sorted(refused) == sorted(expected)


def test_frames_after_damage_are_marked_until_the_next_key_frame(corpus: Path) -> None:
    """400 flipped bits in the middle of a clip: what the decoder makes of the rest is smeared, though it comes out."""
    with open_video(corpus / "nasty" / "bitflips_mid.mp4") as video:
        marked = [frame.damaged for frame in video.frames()]
    with open_video(corpus / "clips" / "sam2__03_blocks.mp4") as video:
        assert not any(frame.damaged for frame in video.frames())
    assert sum(marked) > 200, "one key frame, near the start: all that follows builds on lost data"
    with open_video(corpus / "nasty" / "corrupt_decord.mp4") as video:
        marked = [frame.damaged for frame in video.frames()]
    assert 0 < sum(marked) < len(marked), "key frames begin anew"


def test_the_ffmpeg_back_end_marks_all_after_damage(corpus: Path) -> None:
    pytest.importorskip("imageio_ffmpeg", reason="needs the optional ffmpeg back end")
    with open_video(corpus / "nasty" / "bitflips_mid.mp4", backend="ffmpeg") as video:
        marked = [frame.damaged for frame in video.frames()]
    assert sum(marked) > 200
    assert marked == sorted(marked), "from the first on, to the end"
