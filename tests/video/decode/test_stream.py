"""Decoding: one conformance suite for all back ends, then the rules of the interface, then bad input."""

import doctest
import os
import random
import stat
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mvp_data.config.options import BACKENDS
from mvp_data.core.errors import ConfigError, MissingDependencyError, Skip, SkipReason
from mvp_data.core.types import Picture
from mvp_data.video.decode import facts as facts_module
from mvp_data.video.decode.facts import shown_size, turned
from mvp_data.video.decode.open import open_video
from mvp_data.video.decode.scaling import DecodedFrame, DecodedImage
from mvp_data.video.decode.stream import VideoStream
from tests import ROOT
from tests.clips import COUNTERS, VARIANTS, Variant, paint_counter, read_counter, render, render_variant

MANY_PX = 10**9

# These variants must be refused; all others must be decoded exactly.
REFUSED = {
    "pyav": set[str](),
    "ffmpeg": set[str](),
    "decord": {
        "start_100s.ts",  # MPEG-TS: wrong frames without an error
        "mpeg_ts.ts",
        "mpeg2_b_frames.ts",
        "edit_list.mp4",  # shows the hidden frames
        "odd_size.mp4",  # cuts a row and a column
        "odd_size.webm",
        "vp9.webm",  # fails at default threads
        "av1.mkv",  # cannot open
        "av1.mp4",
        "mpeg4.avi",  # no PTS in AVI
        "mpeg4_b_frames.avi",
        "h264_b_frames.avi",
    },
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if name == "decord":
        pytest.importorskip("decord", reason="needs the optional package decord")
    if name == "ffmpeg":
        from mvp_data.video.decode.ffmpeg import find_ffmpeg

        pytest.importorskip("ffmpeg", reason="needs the optional package ffmpeg-python")
        try:
            find_ffmpeg()
        except MissingDependencyError as e:
            pytest.skip(str(e))
    return name


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Variant], Path]:
    """Each variant rendered once."""
    folder = tmp_path_factory.mktemp("variants")

    def rendered(variant: Variant) -> Path:
        path = folder / variant.name
        return path if path.exists() else render_variant(variant, folder)

    return rendered


def skip_of(path: Path, backend: str = "pyav") -> Skip:
    """The Skip that a file raises, on opening or in the pass."""
    try:
        with open_video(path, backend=backend) as video:
            shown = sum(frame.image(MANY_PX).rgb().size > 0 for frame in video.frames())
    except Skip as skip:
        return skip
    raise AssertionError(f"{path.name} is not skipped but shows {shown} frames")


def counters_of(path: Path, backend: str = "pyav") -> list[int]:
    with open_video(path, backend=backend) as video:
        return [read_counter(frame.image(MANY_PX).rgb()) for frame in video.frames()]


# --- conformance


def test_variant_names_in_the_table_exist() -> None:
    assert REFUSED.keys() == set(BACKENDS)
    assert set().union(*REFUSED.values()) <= {v.name for v in VARIANTS}


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_conformance(variant: Variant, backend: str, clip: Callable[[Variant], Path]) -> None:
    path = clip(variant)
    if variant.name in REFUSED[backend]:
        assert skip_of(path, backend).reason == SkipReason.UNSUPPORTED_CODEC
        return
    counters, tiny_counters, times_s, sizes = [], [], [], set()
    with open_video(path, backend=backend) as video:
        for frame in video.frames():
            picture = frame.image(MANY_PX).rgb()
            counters.append(read_counter(picture))
            coded = np.rot90(frame.tiny[..., :1], -variant.rotation_deg // 90)  # tiny is not turned
            tiny_counters.append(read_counter(coded))
            times_s.append(frame.pts_s)
            sizes.add(picture.shape[1::-1])
            assert frame.tiny.shape == (36, 64, 3)
            assert frame.tiny.dtype == picture.dtype == np.uint8
    assert counters == tiny_counters == variant.counters
    assert times_s == pytest.approx(variant.times_s, abs=0.001)
    assert times_s[0] == 0.0
    width, height = variant.shown_size
    assert sizes == {(width, height)}
    assert (video.info.width_px, video.info.height_px) == (width, height)
    assert video.info.rotation_deg == variant.rotation_deg
    assert video.damaged_packets == 0


def test_decord_names_the_reason_of_a_refusal(clip: Callable[[Variant], Path]) -> None:
    pytest.importorskip("decord", reason="needs the optional package decord")
    reasons = {"edit_list.mp4": "edit list hides 7", "mpeg_ts.ts": "mpegts", "odd_size.mp4": "127x71", "av1.mp4": "av1"}
    for name, words in reasons.items():
        assert words in skip_of(clip(next(v for v in VARIANTS if v.name == name)), "decord").detail


def _overlaps(pixels: int, cells: int) -> np.ndarray:
    """[cells, pixels]: the share of each pixel in the mean of each of `cells` equal parts of a side."""
    edges = np.arange(cells + 1) * pixels / cells
    left, right = np.arange(pixels), np.arange(pixels) + 1
    covered = np.minimum(right, edges[1:, None]) - np.maximum(left, edges[:-1, None])
    return np.clip(covered, 0, None) * cells / pixels


def test_a_tiny_frame_is_the_mean_of_the_area(backend: str, tmp_path: Path) -> None:
    import av

    def paint(n: int, width: int, height: int) -> Picture:
        grains = np.random.default_rng(n).integers(0, 256, (height, width, 1), np.uint8)
        return np.repeat(grains, 3, axis=2)

    path = render(tmp_path / "noise.mp4", frames=5, size=(150, 94), paint=paint, options={"qp": "0"})
    with av.open(str(path)) as container:
        luma = [f.to_ndarray()[:94].astype(float) for f in container.decode(video=0)]
    with open_video(path, backend=backend) as video:
        for stored, frame in zip(luma, video.frames(), strict=True):
            exact = _overlaps(94, 36) @ ((stored - 16) * 255 / 219) @ _overlaps(150, 64).T
            assert np.abs(frame.tiny[..., 0] - exact).mean() < 1.5


@pytest.mark.parametrize("name", ["plain.mp4", "h264_10_bit.mp4", "full_range.mp4", "aspect_4_3.mkv", "rotate_90.mp4"])
def test_an_image_shrinks_to_the_area_and_never_grows(name: str, backend: str, clip: Callable[[Variant], Path]) -> None:
    variant = next(v for v in VARIANTS if v.name == name)
    width, height = variant.shown_size
    with open_video(clip(variant), backend=backend) as video:
        for n, frame in enumerate(video.frames()):
            for area_px in (400, 1999, width * height - 1, width * height, MANY_PX):
                picture = frame.image(area_px).rgb()
                h, w, _ = picture.shape
                assert h * w <= area_px
                assert w / h == pytest.approx(width / height, rel=0.12)  # 400 px leave sides of 15 to 27
                assert (w, h) == (width, height) or area_px < width * height
                assert read_counter(picture) == n


PATCHES = {"red": (200, 30, 40), "green": (20, 180, 60), "blue": (30, 60, 210), "white": (255,) * 3, "black": (0,) * 3}
FORMATS: dict[str, tuple[str, str, dict[str, str]]] = {
    "limited.mp4": ("libx264", "yuv420p", {}),
    "full.mp4": ("libx264", "yuvj420p", {}),
    "full.webm": ("libvpx-vp9", "yuv420p", {"color_range": "pc"}),  # only flagged as full
    "ten_bit.mp4": ("libx264", "yuv420p10le", {}),
    "rgb.mkv": ("libx264rgb", "rgb24", {}),
    "lossless_rgb.mkv": ("ffv1", "bgr0", {}),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("colour", PATCHES)
def test_colours(name: str, colour: str, backend: str, tmp_path: Path) -> None:
    codec, pix_fmt, options = FORMATS[name]
    rgb = np.array(PATCHES[colour], np.uint8)

    def paint(n: int, width: int, height: int) -> Picture:
        return np.broadcast_to(rgb, (height, width, 3)).copy()

    path = render(tmp_path / name, frames=10, codec=codec, pix_fmt=pix_fmt, paint=paint, options=options)
    red, green, blue = (float(c) for c in rgb)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    expected = (luma, 128 + (blue - luma) * 0.564, 128 + (red - luma) * 0.713)  # BT.601, full range
    if backend == "decord" and codec in ("ffv1", "libvpx-vp9"):
        assert skip_of(path, backend).reason == SkipReason.UNSUPPORTED_CODEC
        return
    with open_video(path, backend=backend) as video:
        for frame in video.frames():
            assert frame.image(MANY_PX).rgb().mean(axis=(0, 1)) == pytest.approx(rgb.astype(float), abs=6)
            assert frame.tiny.mean(axis=(0, 1)) == pytest.approx(expected, abs=6)


def test_a_text_file_is_refused(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("not a video\n" * 50)
    assert skip_of(path, backend).reason == SkipReason.NOT_A_VIDEO


# --- the painted counter itself


@pytest.mark.parametrize("n", [0, 1, 1365, 2730, COUNTERS - 1])
def test_counter_is_read_back_only_if_it_is_upright(n: int) -> None:
    picture = paint_counter(n, 64, 36)
    assert read_counter(picture) == n
    sides = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]
    mirrored = [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]
    for turn in sides[1:] + mirrored:
        with pytest.raises(ValueError, match="corners"):
            read_counter(turned(picture, turn))
    assert read_counter(turned(turned(picture, sides[1]), sides[3])) == n


def test_counter_refuses_a_blend_of_two() -> None:
    mixed = (paint_counter(5, 64, 36) // 2 + paint_counter(6, 64, 36) // 2).astype(np.uint8)
    with pytest.raises(ValueError, match="neither black nor white"):
        read_counter(mixed)


# --- times


class _Listed(VideoStream):
    """A back end whose frames have the given times."""

    tick_s = Fraction(1, 2)

    def __init__(self, times: list[int | None]) -> None:
        self.times = times

    def raw_frames(self) -> Iterator[DecodedFrame]:
        tiny = np.zeros((36, 64, 3), np.uint8)
        for ticks in self.times:
            yield DecodedFrame(ticks=ticks, tiny=tiny, image=_no_image)


def _no_image(max_area_px: int) -> DecodedImage:
    raise AssertionError(max_area_px)


def test_frames_that_do_not_move_forward_are_dropped_and_counted() -> None:
    listed = _Listed([None, 5, 5, 4, 7, None, 6, 8])
    assert [f.pts_s for f in listed.frames()] == [0.0, 1.0, 1.5]
    assert listed.damaged_packets == 5


@pytest.mark.parametrize(
    ("times", "reason"),
    [([], SkipReason.NO_MOVING_PICTURE), ([3], SkipReason.NO_MOVING_PICTURE), ([3, 3], SkipReason.DECODE_ERROR)],
)
def test_fewer_than_two_frames_are_skipped(times: list[int | None], reason: SkipReason) -> None:
    with pytest.raises(Skip) as caught:
        list(_Listed(times).frames())
    assert caught.value.reason == reason


# --- sizes


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(facts_module).failed == 0
    assert doctest.testmod(facts_module).attempted > 0


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (641, 361), (1920, 1080)])
@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(1, 50), Fraction(50)])
@pytest.mark.parametrize("area_px", [1, 7, 1000, 200_704])
def test_shown_size_fits_the_area_with_sides_of_at_least_a_pixel(
    size: tuple[int, int], aspect: Fraction, area_px: int
) -> None:
    width, height = shown_size(*size, aspect, area_px)
    assert width >= 1
    assert height >= 1
    assert width * height <= area_px


@pytest.mark.parametrize("name", ["a.webm", "a.mp4", "a.mov"])
def test_a_pixel_aspect_that_only_the_container_states(name: str, backend: str, tmp_path: Path) -> None:
    from mvp_data.video.decode.ffmpeg import find_ffmpeg

    pytest.importorskip("imageio_ffmpeg", reason="needs an ffmpeg to write it")
    codec = "mjpeg" if name == "a.mov" else "libvpx-vp9"
    source = ["-f", "lavfi", "-i", "testsrc=s=128x72:d=0.4", "-vf", "setsar=2", "-c:v", codec]
    subprocess.run([find_ffmpeg(), "-v", "error", *source, tmp_path / name], check=True)
    if backend == "decord":
        assert skip_of(tmp_path / name, backend).reason == SkipReason.UNSUPPORTED_CODEC
        return
    with open_video(tmp_path / name, backend=backend) as video:
        assert next(video.frames()).image(MANY_PX).rgb().shape == (72, 256, 3)
        assert (video.info.width_px, video.info.height_px) == (256, 72)


def test_a_stream_that_changes_size_midway(tmp_path: Path, backend: str) -> None:
    first = render(tmp_path / "a.ts", frames=10, size=(128, 72), options={"bf": "0"})
    second = render(tmp_path / "b.ts", size=(192, 108), pts=range(10, 20), options={"bf": "0"})
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    if backend == "decord":
        assert skip_of(path, backend).reason == SkipReason.UNSUPPORTED_CODEC
        return
    with open_video(path, backend=backend) as video:
        seen = [(read_counter(p), p.shape[1::-1]) for p in (f.image(MANY_PX).rgb() for f in video.frames())]
    late = (192, 108) if backend == "pyav" else (128, 72)
    assert seen == [(n, (128, 72)) for n in range(10)] + [(n, late) for n in range(10)]


def test_a_stream_that_grows_beyond_the_limit_loses_those_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = render(tmp_path / "a.ts", frames=10, size=(128, 72), options={"bf": "0"})
    second = render(tmp_path / "b.ts", size=(512, 288), pts=range(10, 20), options={"bf": "0"})
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    monkeypatch.setattr("mvp_data.video.decode.pyav.MAX_AREA_PX", 200 * 200)
    with open_video(path) as video:
        assert [read_counter(f.image(MANY_PX).rgb()) for f in video.frames()] == list(range(10))
    assert video.damaged_packets >= 10


@pytest.mark.parametrize("size", [(16_400, 16), (16, 16_400)])
def test_frames_beyond_the_limit_are_refused(size: tuple[int, int], tmp_path: Path) -> None:
    path = render(tmp_path / "huge.mkv", frames=2, size=size, codec="ffv1")
    skip = skip_of(path)
    assert skip.reason == SkipReason.UNSUPPORTED_CODEC
    assert "16384" in skip.detail


def test_a_pixel_aspect_that_makes_a_huge_frame_is_refused(tmp_path: Path) -> None:
    path = render(tmp_path / "wide.mkv", frames=2, size=(2000, 16), pixel_aspect=Fraction(10))
    assert "20000x16" in skip_of(path).detail


# --- choice of the stream


def _write_streams(path: Path, sizes: list[tuple[int, int]], cover: tuple[int, int] | None = None) -> Path:
    """A file with one stream for each size, counting from 0, 100, ...; a cover comes last."""
    import av
    from av.stream import Disposition

    with av.open(str(path), "w") as container:
        streams = []
        for width, height in [*sizes, *([cover] if cover else [])]:
            stream = container.add_stream("libx264" if len(streams) < len(sizes) else "png", rate=25)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuv420p" if len(streams) < len(sizes) else "rgb24"
            streams.append(stream)
        if cover:
            streams[-1].disposition = Disposition.attached_pic
        for n in range(10):
            for number, stream in enumerate(streams[: None if n == 0 else len(sizes)]):
                picture = paint_counter(100 * number + n, stream.width, stream.height)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=stream.pix_fmt)
                frame.pts, frame.time_base = n, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def test_the_largest_stream_is_shown(backend: str, tmp_path: Path) -> None:
    path = _write_streams(tmp_path / "two.mkv", [(64, 36), (128, 72)])
    if backend == "decord":
        assert "2 video streams" in skip_of(path, backend).detail
    else:
        assert counters_of(path, backend) == list(range(100, 110))


def test_of_equal_streams_the_first_is_shown(tmp_path: Path) -> None:
    assert counters_of(_write_streams(tmp_path / "two.mp4", [(64, 36), (64, 36)])) == list(range(10))


def test_a_stream_that_begins_midway_does_not_end_the_pass(tmp_path: Path) -> None:
    import av

    first = render(tmp_path / "a.ts", frames=100, options={"bf": "0"})
    second = _write_streams(tmp_path / "b.ts", [(128, 72), (64, 36)])
    third = render(tmp_path / "c.ts", pts=range(5000, 5020), options={"bf": "0"})
    filler = (b"\x47\x1f\xff\x10" + b"\xff" * 184) * 40_000  # more than libavformat probes on opening, at both ends
    path = tmp_path / "all.ts"
    path.write_bytes(filler.join(part.read_bytes() for part in (first, second, third)))
    with av.open(str(path)) as container:
        assert len(container.streams) == 1
        with pytest.raises(IndexError):  # once PyAV fixes this, `decode.pyav` need not catch it
            list(container.demux(container.streams.video[0]))
    counters = counters_of(path)
    assert counters[:100] == list(range(100))
    assert counters[-20:] == list(range(20))


def test_a_cover_larger_than_the_video_is_ignored(backend: str, tmp_path: Path) -> None:
    path = _write_streams(tmp_path / "cover.mp4", [(64, 36)], cover=(256, 144))
    assert counters_of(path, backend) == list(range(10))


def test_a_cover_without_a_video(tmp_path: Path) -> None:
    path = _write_streams(tmp_path / "cover.mp4", [], cover=(256, 144))
    assert skip_of(path).reason == SkipReason.NO_MOVING_PICTURE


# --- bad input


def test_files_that_are_not_videos(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    sound = tmp_path / "sound.wav"
    with wave.open(str(sound), "wb") as w:
        w.setparams((1, 2, 8000, 0, "NONE", ""))
        w.writeframes(bytes(16_000))
    image = render(tmp_path / "image.png", frames=1, codec="png", pix_fmt="rgb24", container_options={"update": "1"})
    named = image.rename(tmp_path / "image.mp4")
    fifo = tmp_path / "fifo.mp4"
    os.mkfifo(fifo)
    outcomes = {
        empty: SkipReason.EMPTY_FILE,
        sound: SkipReason.NO_MOVING_PICTURE,
        named: SkipReason.NO_MOVING_PICTURE,
        fifo: SkipReason.UNREADABLE,
        tmp_path: SkipReason.UNREADABLE,
        tmp_path / "missing.mp4": SkipReason.UNREADABLE,
        tmp_path / "nul\0.mp4": SkipReason.UNREADABLE,
        render(tmp_path / "one.mp4", frames=1): SkipReason.NO_MOVING_PICTURE,
        render(tmp_path / "one.mkv", frames=1): SkipReason.NO_MOVING_PICTURE,
    }
    assert {path: skip_of(path).reason for path in outcomes} == outcomes


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", frames=2)
    path.chmod(0)
    assert skip_of(path).reason == SkipReason.UNREADABLE
    path.chmod(stat.S_IRUSR)
    assert counters_of(path) == [0, 1]


def test_a_codec_without_a_decoder(backend: str, tmp_path: Path) -> None:
    path = render(tmp_path / "a.mkv", frames=5)
    data = path.read_bytes()
    assert data.count(b"V_MPEG4/ISO/AVC") == 1
    path.write_bytes(data.replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))
    assert skip_of(path, backend).reason == SkipReason.UNSUPPORTED_CODEC


def test_a_stream_of_noise_is_a_decode_error(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", frames=40)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = b"\xff" * (end - start)
    path.write_bytes(data)
    assert skip_of(path).reason == SkipReason.DECODE_ERROR


@pytest.mark.parametrize("backend", ["pyav", "ffmpeg"], indirect=True)
def test_damage_loses_single_frames_and_is_counted(backend: str, tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", frames=60, options={"g": "10", "bf": "0"})
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    third = start + (end - start) // 3
    data[third : third + 300] = b"\xff" * 300
    path.write_bytes(data)
    right = 0
    with open_video(path, backend=backend) as video:
        for frame in video.frames():
            try:
                right += read_counter(frame.image(MANY_PX).rgb()) == round(frame.pts_s * 25)
            except ValueError:
                continue  # a damaged frame
    assert 40 <= right < 60
    assert video.damaged_packets > 0


def test_truncated_and_flipped_files_give_frames_or_a_skip(tmp_path: Path) -> None:
    rng = random.Random(7)
    for suffix in (".mp4", ".mkv", ".ts", ".avi"):
        whole = render(tmp_path / f"whole{suffix}", frames=12).read_bytes()
        for _ in range(12):
            data = bytearray(whole[: rng.randrange(1, len(whole))] if rng.random() < 0.5 else whole)
            for _ in range(rng.randrange(20)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            path = tmp_path / f"broken{suffix}"
            path.write_bytes(data)
            times_s = [-1.0]
            try:
                with open_video(path) as video:
                    for frame in video.frames():
                        assert frame.pts_s > times_s[-1]
                        assert frame.image(10_000).rgb().size <= 30_000
                        times_s.append(frame.pts_s)
            except Skip as skip:
                assert skip.reason in SkipReason  # noqa: PT017 - any named reason will do


# --- untrusted input: a file may not make us open other files


def test_playlists_and_scripts_are_refused(backend: str, tmp_path: Path) -> None:
    import av

    secret = render(tmp_path / "secret.ts", frames=10)
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.4,\nsecret.ts\n#EXT-X-ENDLIST\n"
    traps = {"list.m3u8": playlist, "list.mp4": playlist, "script.mp4": f"ffconcat version 1.0\nfile {secret.name}\n"}
    for name, text in traps.items():
        (tmp_path / name).write_text(text)
    with av.open(str(tmp_path / "script.mp4")) as container:  # the danger is real: unguarded, it opens the other
        assert container.format.name == "concat"
    with av.open(str(tmp_path / "list.m3u8")) as container:
        assert container.format.name == "hls"
    for name in traps:
        assert skip_of(tmp_path / name, backend).reason == SkipReason.NOT_A_VIDEO


@pytest.mark.parametrize(
    "name", ["concat:a|b.mp4", "http:x.mp4", "pipe:0.mp4", "sp ace\n.x.mp4", "\N{PARTY POPPER}%03d.mp4", "-i.mp4"]
)
def test_names_are_not_interpreted(name: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render(tmp_path / "a.mp4", frames=5).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert counters_of(Path(name), backend) == [0, 1, 2, 3, 4]


# --- missing back ends, and processes that must end


def test_unknown_back_end() -> None:
    with pytest.raises(ConfigError, match="pyav, decord, ffmpeg"):
        open_video("a.mp4", backend="opencv")


def test_a_missing_decord_names_the_pip_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    path = render(tmp_path / "a.mp4", frames=2)
    with (
        pytest.raises(MissingDependencyError, match=r"masked-video-prediction\[decord\]"),
        open_video(path, backend="decord"),
    ):
        pass


def test_decord_does_not_break_pyav(tmp_path: Path) -> None:
    pytest.importorskip("decord", reason="needs the optional package decord")
    path = render(tmp_path / "a.mp4", frames=10)
    script = f"""
from pathlib import Path
from mvp_data.video.decode.open import open_video
with open_video({str(path)!r}, backend="decord") as video:
    assert len(list(video.frames())) == 10
from tests.clips import render
render(Path({str(tmp_path / "b.webm")!r}), frames=3, codec="libvpx-vp9")
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.mark.parametrize("package", ["ffmpeg", "imageio_ffmpeg"])
def test_a_missing_ffmpeg_names_the_pip_line(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setenv("PATH", str(tmp_path))
    path = render(tmp_path / "a.mp4", frames=2)
    with (
        pytest.raises(MissingDependencyError, match=r"masked-video-prediction\[ffmpeg\]"),
        open_video(path, backend="ffmpeg"),
    ):
        pass


def _fake_ffmpeg(folder: Path, script: str) -> None:
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_an_ffmpeg_that_is_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ffmpeg", reason="needs the optional package ffmpeg-python")
    _fake_ffmpeg(tmp_path, "echo \"Unrecognized option 'fps_mode'.\" >&2; exit 1")
    path = render(tmp_path / "a.mp4", frames=2)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(MissingDependencyError, match=r"5\.1"), open_video(path, backend="ffmpeg") as video:
        list(video.frames())


def test_an_ffmpeg_that_dies_is_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ffmpeg", reason="needs the optional package ffmpeg-python")
    _fake_ffmpeg(tmp_path, "kill -SEGV $$")
    path = render(tmp_path / "a.mp4", frames=2)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert skip_of(path, "ffmpeg").reason == SkipReason.CRASH


@pytest.mark.parametrize("backend", ["ffmpeg"], indirect=True)
def test_leaving_early_ends_the_process(backend: str, tmp_path: Path) -> None:
    from mvp_data.video.decode.ffmpeg import FfmpegStream

    path = render(tmp_path / "long.mp4", frames=400, size=(320, 180))
    with open_video(path, backend=backend) as video:
        assert isinstance(video, FfmpegStream)
        assert read_counter(next(video.frames()).image(MANY_PX).rgb()) == 0
        assert video.process.poll() is None  # 69 MB of frames do not fit in the pipe, so it waits
    assert video.process.poll() is not None


def test_pyav_uses_one_thread(tmp_path: Path) -> None:
    from mvp_data.video.decode.pyav import open_pyav

    with open_pyav(render(tmp_path / "a.mp4", frames=5)) as video:
        list(video.frames())
        assert video._stream.codec_context.thread_count == 1


OUT_OF_MEMORY = """
import resource, sys
from pathlib import Path
from mvp_data.video.decode.open import open_video

with open_video(sys.argv[1]) as video:
    in_use = 4096 * int(Path("/proc/self/statm").read_text().split()[5])
    resource.setrlimit(resource.RLIMIT_DATA, (in_use + 1_000_000, resource.RLIM_INFINITY))
    try:
        print(sum(1 for _ in video.frames()), "frames,", video.damaged_packets, "damaged")
    except Exception as error:
        print(type(error).__name__)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory")
def test_lack_of_memory_does_not_count_as_damage(tmp_path: Path) -> None:
    """FFmpeg's H.264 decoder then reports bad data."""
    clip = render(tmp_path / "a.mp4", frames=12, size=(1280, 720), options={"preset": "ultrafast"})
    done = subprocess.run([sys.executable, "-c", OUT_OF_MEMORY, str(clip)], capture_output=True, text=True, check=True)
    assert done.stdout == "MemoryError\n", done.stderr
