"""Real files that broke some reader: each gives the right frames, or is skipped for the right reason."""

import csv
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from mvp_data.core.errors import Skip, SkipReason
from mvp_data.video.decode.open import open_video

# The files that must be skipped, and the reason.
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
# The counts of the table that are not ours: it stopped at the first error and took the first video stream. Our decoder
# continues after damage (at least as many frames, damage counted), and takes the larger stream, of 390 frames.
CONTINUES = {"bitflips_mid.mp4": 250, "corrupt_decord.mp4": 45, "truncated_moov_or_mdat.mp4": 149}
OTHER_STREAM = {"multi_stream_nasa.mp4": 390}


@dataclass(frozen=True, kw_only=True)
class Pass:
    """The result of a pass over a file."""

    skip: SkipReason | None = None
    times_s: tuple[float, ...] = ()
    damaged: tuple[bool, ...] = ()  # of each frame
    damaged_packets: int = 0
    length_s: float = 0.0  # as the header states it


@cache
def passed(path: Path, backend: str = "pyav") -> Pass:
    """Decode a file once for all tests, and look at one image."""
    times_s, damaged = list[float](), list[bool]()
    try:
        with open_video(path, backend=backend) as video:
            for frame in video.frames():
                if len(times_s) == 1:
                    height, width, _ = frame.image(100_000).rgb().shape
                    ratio = video.info.width_px / video.info.height_px
                    assert width / height == pytest.approx(ratio, rel=0.01)
                times_s.append(frame.pts_s)
                damaged.append(frame.damaged)
    except Skip as skip:
        return Pass(skip=skip.reason)
    assert times_s[0] == 0
    assert all(a < b for a, b in pairwise(times_s))
    return Pass(
        times_s=tuple(times_s),
        damaged=tuple(damaged),
        damaged_packets=video.damaged_packets,
        length_s=video.info.header_duration_s,
    )


def _table(corpus: Path) -> dict[str, int]:
    with open(corpus / "NASTY.tsv", newline="") as f:
        return {Path(r["file"]).name: int(r["pyav_frames"]) for r in csv.DictReader(f, delimiter="\t")}


def test_every_file_is_in_the_table_and_the_other_way_round(corpus: Path) -> None:
    assert {p.name for p in (corpus / "nasty").iterdir()} == set(_table(corpus))
    assert SKIPPED.keys() | CONTINUES.keys() | OTHER_STREAM.keys() <= set(_table(corpus))


def test_nasty_files(corpus: Path) -> None:
    wrong = []
    for name, frames in _table(corpus).items():
        found = passed(corpus / "nasty" / name)
        outcome = found.skip or (len(found.times_s), found.damaged_packets)
        expected: object = SKIPPED.get(name, OTHER_STREAM.get(name, frames))
        if name in CONTINUES:
            good = len(found.times_s) >= max(CONTINUES[name], frames) and found.damaged_packets > 0
        elif isinstance(expected, SkipReason):
            good = outcome == expected
        else:
            good = outcome == (expected, 0)
        if not good:
            wrong.append(f"{name}: {outcome}, expected {expected}")
    assert not wrong, "\n".join(wrong)


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
    found = passed(corpus / "nasty" / name)
    assert found.times_s[-1] == pytest.approx(found.length_s, abs=0.05)


@pytest.mark.parametrize("backend", ["ffmpeg", "decord"])
def test_other_back_ends_give_the_same_times_or_refuse(corpus: Path, backend: str) -> None:
    pytest.importorskip("imageio_ffmpeg" if backend == "ffmpeg" else "decord", reason="needs the optional back end")
    names = [
        "vfr_derived.mkv",
        "vfr_goldeneye_drop3.mp4",
        "edit_list_streamcopy.mp4",
        "start_100s.ts",
        "rotate_90.mov",
        "two_video_streams.mkv",
        "odd_dimensions_641x361.mp4",
        "unordered_pts.mov",
        "interlaced_mpeg2.ts",
    ]
    refused = []
    for name in names:
        found = passed(corpus / "nasty" / name, backend)
        if found.skip:
            refused.append((name, found.skip))
        else:
            assert found.times_s == pytest.approx(passed(corpus / "nasty" / name).times_s, abs=0.001)
    unsafe = ["edit_list_streamcopy.mp4", "start_100s.ts", "two_video_streams.mkv", "interlaced_mpeg2.ts"]
    expected = [(name, SkipReason.UNSUPPORTED_CODEC) for name in unsafe] if backend == "decord" else []
    assert sorted(refused) == sorted(expected)


def test_frames_after_damage_are_marked_until_the_next_key_frame(corpus: Path) -> None:
    """400 flipped bits in the middle of a clip: the decoder still returns the later frames, but they are smeared."""
    assert not any(passed(corpus / "clips" / "sam2__03_blocks.mp4").damaged)
    damaged = passed(corpus / "nasty" / "bitflips_mid.mp4").damaged
    assert sum(damaged) > 200, "one key frame, near the start: all later frames depend on lost data"
    damaged = passed(corpus / "nasty" / "corrupt_decord.mp4").damaged
    assert 0 < sum(damaged) < len(damaged), "a key frame ends the damage"


def test_the_ffmpeg_back_end_marks_all_after_damage(corpus: Path) -> None:
    pytest.importorskip("imageio_ffmpeg", reason="needs the optional ffmpeg back end")
    damaged = passed(corpus / "nasty" / "bitflips_mid.mp4", "ffmpeg").damaged
    assert sum(damaged) > 200
    assert list(damaged) == sorted(damaged), "from the first to the last frame"
