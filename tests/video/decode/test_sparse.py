"""Sparse and full decoding give the same frames, times and bytes; some videos fall back to a full decode."""

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest

from mvp_data.config.options import DecodeConfig, FramesConfig
from mvp_data.core.errors import NeedsFullDecode
from mvp_data.core.types import Picture, VideoEntry
from mvp_data.ingest.read_twice import read_twice
from mvp_data.video import extract as extract_module
from mvp_data.video.decode import sparse as sparse_module
from mvp_data.video.decode.open import open_video
from mvp_data.video.decode.sparse import PacketSelector, blended, disposable_filter
from mvp_data.video.decode.stream import SparseNeeds
from mvp_data.video.extract import extract
from tests.clips import render
from tests.scenes import journey

COUNT, FPS = 150, 25
OPTIONS = FramesConfig(fps=2.0, max_fps=4.0, min_frames=4)
PYRAMID = {"bf": "3", "g": "40", "b-pyramid": "normal"}
X265 = {"preset": "ultrafast"}
MAY_DIFFER = {"left_out_frames"}
_WORLD = journey(2, COUNT)


def paint(n: int, width: int, height: int) -> Picture:
    """Slow motion with a cut every three seconds."""
    return _WORLD(n // 75 * 61 % COUNT + n // 5, width, height)


_ENCODED: dict[str, bytes] = {}


def film(path: Path, **options: Any) -> Path:
    """Write a video of these options; each is encoded once."""
    given = {"options": PYRAMID, "frames": COUNT, "size": (192, 108), "paint": paint} | options
    key = f"{path.suffix} {sorted(given.items())}"
    if key not in _ENCODED:
        _ENCODED[key] = render(path, **given).read_bytes()
    path.write_bytes(_ENCODED[key])
    return path


def passed(path: Path, way: str, shots: str = "adaptive") -> tuple[VideoEntry, bytes]:
    blob = io.BytesIO()
    blob.write(b"others")
    config = DecodeConfig(decode=way, shots=shots)
    found = extract(path, video_id="v", decode=config, frames=OPTIONS, seed=0, blob=blob)
    return found, blob.getvalue()


def share_left_out(path: Path, shots: str = "adaptive") -> float:
    """Check that sparse and full decoding find the same; return the share of frames left out."""
    (full, full_jpegs), (sparse, sparse_jpegs) = passed(path, "full", shots), passed(path, "sparse", shots)
    names = {f.name for f in fields(VideoEntry) if getattr(full, f.name) != getattr(sparse, f.name)}
    assert names <= MAY_DIFFER
    assert full_jpegs == sparse_jpegs
    assert full.left_out_frames == 0
    assert len(full.frames) > 8, "too few frames for a test"
    return sparse.left_out_frames / sparse.decoded_frames


SPARSE: dict[str, dict[str, Any]] = {
    "pyramid.mp4": {},
    "pyramid.mkv": {},
    "by_start_codes.ts": {},
    "one_b.mp4": {"options": {"bf": "1"}},
    "open_gop.mp4": {"options": PYRAMID | {"x264-params": "open-gop=1:scenecut=0"}},
    "edit_list.mp4": {"pts": range(-7, COUNT - 7), "container_options": {"avoid_negative_ts": "disabled"}},
    "uneven.mkv": {"pts": [40 * n + n * n % 17 for n in range(COUNT)], "time_base": Fraction(1, 1000)},
    "10_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "hevc.mp4": {"codec": "libx265", "options": X265 | {"x265-params": "log-level=none:keyint=50"}},
}
FULL: dict[str, dict[str, Any]] = {
    "mpeg1.mpg": {"codec": "mpeg1video", "options": {"bf": "2"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2"}},
    "hevc.ts": {"codec": "libx265", "options": X265 | {"x265-params": "log-level=none:keyint=50"}},
    "hevc_layers.mp4": {"codec": "libx265", "options": X265 | {"x265-params": "log-level=none:temporal-layers=2"}},
    "no_b.mp4": {"options": {"bf": "0"}},
    "all_intra.mp4": {"options": {"g": "1"}},
    "interlaced.mp4": {"options": PYRAMID | {"x264-params": "interlaced=1"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}},
}


@pytest.mark.parametrize("name", SPARSE)
def test_sparse_decoding_gives_the_same_frames_from_fewer_packets(name: str, tmp_path: Path) -> None:
    assert share_left_out(film(tmp_path / name, **SPARSE[name])) > 0.1


@pytest.mark.parametrize("name", FULL)
def test_other_videos_are_decoded_in_full(name: str, tmp_path: Path) -> None:
    assert share_left_out(film(tmp_path / name, **FULL[name])) == 0


def test_without_shot_detection_more_is_left_out(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    assert share_left_out(path, "none") > share_left_out(path)


def test_transnetv2_sees_every_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract_module, "shot_detector", lambda _: NoShots())
    assert share_left_out(film(tmp_path / "a.mp4"), "transnetv2") == 0


def test_a_frame_left_out_has_a_blended_tiny_frame_and_no_picture(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    with open_video(path) as video:
        whole = [(frame.pts_s, frame.tiny) for frame in video.frames()]
    left_out, times_s = 0, []
    with open_video(path, needs=SparseNeeds(wanted=lambda *_: False)) as video:
        for (time_s, tiny), frame in zip(whole, video.frames(), strict=True):
            times_s.append(frame.pts_s)
            off = np.abs(tiny.astype(int) - frame.tiny).mean()
            if frame.left_out:
                left_out += 1
                assert off < 10
                with pytest.raises(NeedsFullDecode):
                    frame.image(1000)
            else:
                assert off == 0
            assert frame.pts_s == time_s
    assert left_out > COUNT / 4


def test_everything_is_decoded_around_a_cut(tmp_path: Path) -> None:
    """No key frame marks the cut, so the first frame after it may be disposable."""
    cut = 77

    def painter(n: int, width: int, height: int) -> Picture:
        return _WORLD(10 + n // 20 + (100 if n >= cut else 0), width, height)

    options = PYRAMID | {"g": "250", "sc_threshold": "0"}
    path = film(tmp_path / "a.mp4", paint=painter, options=options)
    with open_video(path, needs=SparseNeeds(wanted=lambda *_: False)) as video:
        left_out = [n for n, frame in enumerate(video.frames()) if frame.left_out]
    assert len(left_out) > COUNT / 4
    assert not {cut - 1, cut, cut + 1} & set(left_out)
    full, sparse = (passed(path, way)[0].boundaries for way in ("full", "sparse"))
    assert full == sparse
    assert [boundary.kind for boundary in full] == ["cut"]


# --- disposable packets


KINDS: dict[str, dict[str, Any]] = {
    "plain.mp4": {},
    "plain.ts": {},
    "slices.mkv": {"options": PYRAMID | {"x264-params": "slices=3"}},
    "matrices_444.mp4": {"options": PYRAMID | {"x264-params": "cqm=jvt"}, "pix_fmt": "yuv444p"},
    "baseline.mp4": {"options": {"profile": "baseline"}},
    "hevc.mp4": SPARSE["hevc.mp4"],
    "hevc_slices.mkv": {
        "codec": "libx265",
        "options": X265 | {"x265-params": "log-level=none:keyint=50:slices=2"},
        "size": (256, 256),
    },
}


def disposable(path: Path, change: Callable[[bytes], bytes] = bytes) -> set[int | None]:
    """The times of the packets that the filter calls disposable, after a change to all of them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        is_disposable = disposable_filter(stream)
        assert is_disposable is not None
        return {p.pts for p in container.demux(stream) if p.size and is_disposable(change(bytes(p)))}


@pytest.mark.parametrize("name", KINDS)
def test_the_decoder_skips_the_packets_that_the_filter_calls_disposable(name: str, tmp_path: Path) -> None:
    path = film(tmp_path / name, **KINDS[name] | {"frames": 60})
    shown: dict[str, set[int | None]] = {}
    for skipped in ("DEFAULT", "NONREF"):
        with av.open(str(path)) as container:
            container.streams.video[0].codec_context.skip_frame = skipped
            shown[skipped] = {frame.pts for frame in container.decode(video=0)}
    assert disposable(path) == shown["DEFAULT"] - shown["NONREF"]
    assert bool(disposable(path)) == (name != "baseline.mp4")


def unit(start: str) -> bytes:
    """A NAL unit as MP4 holds it, with its length before it."""
    data = bytes.fromhex(start)
    return len(data).to_bytes(4, "big") + data


CHANGES: dict[str, tuple[Callable[[bytes], bytes], bool]] = {
    "delimiter": (lambda data: unit("09f0") + data, True),
    "end of sequence": (lambda data: data + unit("0a"), True),  # the decoder ignores it too
    "picture parameters": (lambda data: unit("68ebe3cb22c0") + data, False),
    "no slice": (lambda data: unit("09f0"), False),
    "nothing": (lambda data: b"", False),
    "wrong length": (lambda data: b"\0\0\xff\xff" + data[4:], False),
    "trailing bytes": (lambda data: data + b"\0\0\0\5", False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_packet_with_more_or_less_than_slices(name: str, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", frames=40)
    change, stays_disposable = CHANGES[name]
    assert disposable(path, change) == (disposable(path) if stays_disposable else set())


# --- videos that need a full decode


def damage(path: Path) -> None:
    """Flip some bytes in the middle of the coded data."""
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for place in rng.integers(len(data) * 2 // 5, len(data) * 3 // 5, 30):
        data[place] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_damage_is_decoded_in_full(name: str, tmp_path: Path) -> None:
    path = film(tmp_path / name)
    damage(path)
    assert passed(path, "full")[0].damaged_packets > 0
    assert share_left_out(path) == 0


def test_a_damaged_video_is_read_twice(tmp_path: Path) -> None:
    """`read_twice` repeats a pass over a damaged video; a repeated pass may itself fall back to a full decode."""
    path = film(tmp_path / "a.mp4")
    damage(path)
    run = partial(extract, path, video_id="v", decode=DecodeConfig(), frames=OPTIONS, seed=0)
    checks, blob = [], io.BytesIO()
    blob.write(b"others")
    assert (read_twice(run, blob, lambda: checks.append(1)), blob.getvalue()) == passed(path, "full")
    assert checks


def test_a_video_with_damaged_parameter_sets_is_decoded_in_full(tmp_path: Path) -> None:
    path = film(tmp_path / "hevc.mp4", **SPARSE["hevc.mp4"])
    with av.open(str(path)) as container:
        header = container.streams.video[0].codec_context.extradata or b""
    data = path.read_bytes()
    assert data.count(header) == 1
    damaged = header[:26] + b"\xff\xff" + header[28:]  # the length of the first parameter set
    path.write_bytes(data.replace(header, damaged))
    with av.open(str(path)) as container:
        assert disposable_filter(container.streams.video[0]) is None


def test_a_file_cut_off(tmp_path: Path) -> None:
    for name in ("a.mkv", "a.ts"):
        path = film(tmp_path / name)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 4 // 5])
        share_left_out(path)


@dataclass
class FakePacket:
    """The part of `av.Packet` that the selector uses; the data of a disposable one begins with d."""

    pts: int | None
    data: bytes = b"n" * 100
    is_keyframe: bool = False
    is_discard: bool = False
    is_corrupt: bool = False
    new_header: bool = False

    def has_sidedata(self, sidedata_type: str, /) -> bool:
        return self.new_header and sidedata_type == "new_extradata"

    @property
    def size(self) -> int:
        return len(self.data)

    def __bytes__(self) -> bytes:
        return self.data


FLUSH = FakePacket(None, b"")
KEY = FakePacket(0, is_keyframe=True)
DISPOSABLE = b"d" * 10


def groups(count: int, first: int = 4) -> list[FakePacket]:
    """Leaders at 4, 8, ..., each followed by three disposable packets that are shown before it."""
    return [
        packet
        for leader in range(first, first + 4 * count, 4)
        for packet in (FakePacket(leader), *(FakePacket(leader - n, DISPOSABLE) for n in (3, 2, 1)))
    ]


def decoded_of(packets: list[FakePacket | None], **options: Any) -> list[int | None]:
    """The times of the packets that reach the decoder, which gives its first frame at once."""
    selector = selector_of(**options)
    times = []
    for packet in selector.selected(as_packets(packets)):
        if packet is None:
            selector.failed()
        elif packet.size:
            times.append(packet.pts)
            if len(times) == 1:
                selector.decoded(packet.pts, sound=True)
    return times


def selector_of(wanted: Callable[[float, float], bool] = lambda *_: False, *, shots: bool = True) -> PacketSelector:
    return PacketSelector(SparseNeeds(wanted=wanted, shots=shots), lambda data: data[:1] == b"d", Fraction(1))


def as_packets(packets: Iterable[FakePacket | None]) -> Iterable[Any]:
    return cast("Iterable[Any]", packets)


def test_disposable_packets_are_left_out_except_in_the_last_group() -> None:
    assert decoded_of([KEY, *groups(5), FLUSH]) == [0, 4, 8, 12, 16, 20, 17, 18, 19]


def test_a_wanted_frame_is_decoded() -> None:
    seen: list[tuple[float, float]] = []

    def wanted(before_s: float, time_s: float) -> bool:
        seen.append((before_s, time_s))
        return time_s == 6

    assert decoded_of([KEY, *groups(3), FLUSH], wanted=wanted) == [0, 4, 8, 6, 12, 9, 10, 11]
    assert seen == [(n, n + 1) for n in range(12)]


@pytest.mark.parametrize(("size", "decoded"), [(151, {13, 14, 15}), (149, set())])
def test_a_group_with_a_large_leader_is_decoded(size: int, decoded: set[int]) -> None:
    packets = [replace(p, data=b"n" * size) if p.pts == 16 else p for p in groups(9)]
    assert {*decoded_of([KEY, *packets, FLUSH])} & set(range(13, 16)) == decoded
    assert not {*decoded_of([KEY, *packets, FLUSH], shots=False)} & set(range(13, 16))


@pytest.mark.parametrize(("size", "decoded"), [(21, {13, 14, 15}), (19, set())])
def test_a_group_with_a_large_disposable_packet_is_decoded(size: int, decoded: set[int]) -> None:
    packets = [replace(p, data=b"d" * size) if p.pts == 14 else p for p in groups(9)]
    assert {*decoded_of([KEY, *packets, FLUSH])} & set(range(13, 16)) == decoded


def test_a_group_with_a_key_packet_is_decoded() -> None:
    packets = [replace(p, is_keyframe=True) if p.pts == 16 else p for p in groups(9)]
    assert {13, 14, 15} <= {*decoded_of([KEY, *packets, FLUSH])}


@pytest.mark.parametrize("changed", [{"is_discard": True}, {"is_corrupt": True}])
def test_hidden_and_corrupt_packets_are_decoded(changed: dict[str, bool]) -> None:
    packets = [replace(p, **changed) if p.pts == 14 else p for p in groups(9)]
    assert 14 in decoded_of([KEY, *packets, FLUSH])


def test_after_new_parameters_everything_is_decoded() -> None:
    packets = [replace(p, new_header=True) if p.pts == 16 else p for p in groups(9)]
    came = decoded_of([KEY, *packets, FLUSH])
    assert 11 not in came
    assert {*range(13, 37)} <= {*came}


def test_a_group_whose_times_run_back_is_decoded() -> None:
    packets = [replace(p, pts=10) if p.pts == 13 else p for p in groups(9)]
    assert {14, 15} <= {*decoded_of([KEY, *packets, FLUSH])}


def test_few_packets_are_held() -> None:
    """A packet reaches the decoder before many more are read."""
    read, longest = 0, 0

    def source() -> Iterator[FakePacket]:
        nonlocal read
        for packet in [KEY, *(replace(p, data=p.data * 50_000) for p in groups(20))]:
            read += packet.size
            yield packet

    selector = selector_of(lambda *_: True)
    passed_on = 0
    for packet in selector.selected(as_packets(source())):
        assert packet is not None
        if not passed_on:
            selector.decoded(packet.pts, sound=True)
        passed_on += packet.size
        longest = max(longest, read - passed_on)
    assert passed_on == read > 4 * longest
    assert longest < sparse_module.AHEAD_BYTES + 4 * 6_500_000


@pytest.mark.parametrize(
    "packets",
    [[KEY, *groups(3), None, *groups(3, 16)], [KEY, *groups(3), FakePacket(None), *groups(3, 16)]],
    ids=["error of reading", "no time"],
)
def test_a_packet_without_data_or_time_needs_a_full_decode(packets: list[FakePacket | None]) -> None:
    with pytest.raises(NeedsFullDecode):
        decoded_of([*packets, FLUSH])


def started(*times: int) -> PacketSelector:
    """A selector that has passed on a key packet and others, and has seen the first frame."""
    selector = selector_of(lambda *_: True)
    packets = selector.selected(as_packets([KEY, *(FakePacket(time) for time in times), FLUSH]))
    next(iter(packets))
    assert selector.decoded(0, sound=True) == []
    assert [packet.pts for packet in packets if packet] == [*times, None]
    return selector


def test_every_expected_frame_must_come() -> None:
    selector = started(1, 2)
    selector.decoded(1, sound=True)
    with pytest.raises(NeedsFullDecode, match="1 expected frames"):
        selector.finish()
    selector.decoded(2, sound=True)
    selector.finish()
    for ticks, sound in ((2, True), (None, True), (1, False)):
        with pytest.raises(NeedsFullDecode):
            started(1, 2).decoded(ticks, sound=sound)
    with pytest.raises(NeedsFullDecode):
        selector.failed()


def test_before_the_first_sound_frame_nothing_is_expected() -> None:
    selector = selector_of(lambda *_: True)
    packets = iter(selector.selected(as_packets([FakePacket(n) for n in range(3)])))
    next(packets)
    selector.failed()
    assert selector.decoded(0, sound=False) == []
    assert cast(Any, next(packets)) == FakePacket(1)
    assert selector.decoded(1, sound=True) == []
    assert cast(Any, list(packets)) == [FakePacket(2)]
    selector.decoded(2, sound=True)
    selector.finish()


def test_blended() -> None:
    black, white = np.zeros((36, 64, 3), np.uint8), np.full((36, 64, 3), 255, np.uint8)
    assert np.unique(blended(black, white, 64)).tolist() == [64]
    assert np.unique(blended(white, white, 85)).tolist() == [255]


class NoShots:
    """Replaces the TransNetV2 network."""

    needs = "every frame"

    def push(self, pts_s: float, tiny: object) -> None: ...

    def finish(self) -> tuple[()]:
        return ()
