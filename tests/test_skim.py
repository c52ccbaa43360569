"""Sparse decoding against full decoding: the same frames at the same times with the same bytes, and what falls back."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvp_data import frames, skim
from mvp_data.config import DecodeConfig, FramesConfig
from mvp_data.decode import open_video
from mvp_data.errors import Unskimmable
from mvp_data.frames import extract
from mvp_data.ingest.read_twice import read_twice
from mvp_data.skim import Skim, Skimmer, blended
from mvp_data.types import Picture, VideoEntry
from tests.clips import render
from tests.scenes import journey

COUNT, FPS = 150, 25
OPTIONS = FramesConfig(fps=2.0, max_fps=4.0, min_frames=4)
PYRAMID = {"bf": "3", "g": "40", "b-pyramid": "normal"}
COST = {"left_out_frames"}  # what the two ways may differ in
_WORLD = journey(2, COUNT)


def paint(n: int, width: int, height: int) -> Picture:
    """Slow motion with a cut every three seconds."""
    return _WORLD(n // 75 * 61 % COUNT + n // 5, width, height)


def film(path: Path, **options: Any) -> Path:
    return render(path, **({"options": PYRAMID, "frames": COUNT, "size": (192, 108), "paint": paint} | options))


def passed(path: Path, way: str, shots: str = "adaptive") -> tuple[VideoEntry, bytes]:
    blob = io.BytesIO()
    blob.write(b"others")
    config = DecodeConfig(decode=way, shots=shots)
    found = extract(path, video_id="v", decode=config, frames=OPTIONS, seed=0, blob=blob)
    return found, blob.getvalue()


def share_left_out(path: Path, shots: str = "adaptive") -> float:
    """Checks that the two ways find the same; returns how much was left out."""
    (full, full_jpegs), (sparse, sparse_jpegs) = passed(path, "full", shots), passed(path, "sparse", shots)
    names = {f.name for f in fields(VideoEntry) if getattr(full, f.name) != getattr(sparse, f.name)}
    assert names <= COST
    assert full_jpegs == sparse_jpegs
    assert full.left_out_frames == 0
    assert len(full.frames) > 8, "else nothing is tested"
    return sparse.left_out_frames / sparse.decoded_frames


SKIMMED: dict[str, dict[str, Any]] = {
    "pyramid.mp4": {},
    "pyramid.mkv": {},
    "by_start_codes.ts": {},
    "one_b.mp4": {"options": {"bf": "1"}},
    "open_gop.mp4": {"options": PYRAMID | {"x264-params": "open-gop=1:scenecut=0"}},
    "edit_list.mp4": {"pts": range(-7, COUNT - 7), "container_options": {"avoid_negative_ts": "disabled"}},
    "uneven.mkv": {"pts": [40 * n + n * n % 17 for n in range(COUNT)], "time_base": Fraction(1, 1000)},
    "10_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=50"}},
    "hevc.ts": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=50"}},
    "mpeg1.mpg": {"codec": "mpeg1video", "options": {"bf": "2"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2"}},
}
NEEDED_WHOLE: dict[str, dict[str, Any]] = {
    "no_b.mp4": {"options": {"bf": "0"}},
    "all_intra.mp4": {"options": {"g": "1"}},
    "interlaced.mp4": {"options": PYRAMID | {"x264-params": "interlaced=1"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}},
}


@pytest.mark.parametrize("name", SKIMMED)
def test_the_same_with_less(name: str, tmp_path: Path) -> None:
    assert share_left_out(film(tmp_path / name, **SKIMMED[name])) > 0.1


@pytest.mark.parametrize("name", NEEDED_WHOLE)
def test_what_is_needed_whole(name: str, tmp_path: Path) -> None:
    assert share_left_out(film(tmp_path / name, **NEEDED_WHOLE[name])) == 0


def test_without_shots_all_that_can_be_is_left_out(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    assert share_left_out(path, "none") > share_left_out(path)


def test_a_network_for_shots_sees_every_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "shot_detector", lambda _: NoShots())
    assert share_left_out(film(tmp_path / "a.mp4"), "transnetv2") == 0


def test_frames_left_out_are_guessed_and_have_no_picture(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    with open_video(path) as video:
        whole = [(frame.pts_s, frame.tiny) for frame in video.frames()]
    guessed, times_s = 0, []
    with open_video(path, skim=Skim(wanted=lambda *_: False)) as video:
        for (time_s, tiny), frame in zip(whole, video.frames(), strict=True):
            times_s.append(frame.pts_s)
            off = np.abs(tiny.astype(int) - frame.tiny).mean()
            if frame.left_out:
                guessed += 1
                assert off < 10
                with pytest.raises(Unskimmable):
                    frame.picture(1000)
            else:
                assert off == 0
            assert frame.pts_s == time_s
    assert guessed > COUNT / 4


def test_everything_is_decoded_around_a_cut(tmp_path: Path) -> None:
    """Here no key frame marks it, so the first frame after the cut may well be one of those that are left out."""
    cut = 77

    def painter(n: int, width: int, height: int) -> Picture:
        return _WORLD(10 + n // 20 + (100 if n >= cut else 0), width, height)

    options = PYRAMID | {"g": "250", "sc_threshold": "0"}
    path = film(tmp_path / "a.mp4", paint=painter, options=options)
    with open_video(path, skim=Skim(wanted=lambda *_: False)) as video:
        left_out = [n for n, frame in enumerate(video.frames()) if frame.left_out]
    assert len(left_out) > COUNT / 4
    assert not {cut - 1, cut, cut + 1} & set(left_out)
    full, sparse = (passed(path, way)[0].boundaries for way in ("full", "sparse"))
    assert full == sparse
    assert [boundary.kind for boundary in full] == ["cut"]


# --- what cannot be skimmed


def damage(path: Path) -> None:
    """Spoil some bytes in the middle of what is coded."""
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


def test_what_came_out_damaged_is_read_twice(tmp_path: Path) -> None:
    """The second time nothing is kept, and that must bear to be begun again as well."""
    path = film(tmp_path / "a.mp4")
    damage(path)
    run = partial(extract, path, video_id="v", decode=DecodeConfig(), frames=OPTIONS, seed=0)
    checks, blob = [], io.BytesIO()
    blob.write(b"others")
    assert (read_twice(run, blob, lambda: checks.append(1)), blob.getvalue()) == passed(path, "full")
    assert checks


def test_a_file_cut_off(tmp_path: Path) -> None:
    for name in ("a.mkv", "a.ts"):
        path = film(tmp_path / name)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 4 // 5])
        share_left_out(path)


def test_packets_without_a_picture_of_their_own(tmp_path: Path) -> None:
    """The way in which MPEG-4 with B-frames is kept in AVI, copied to a container with times."""
    import av

    packed = tmp_path / "packed.mp4"
    with av.open(str(film(tmp_path / "a.mp4", **SKIMMED["mpeg4.mp4"]))) as source, av.open(str(packed), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size and number not in {100, 101}:
                packet.stream = stream
                target.mux(packet)
            elif packet.size and number == 100:
                empty = av.Packet(b"\0\0\1\xb6\x90\0\x7f")  # a picture that says it is not coded
                empty.pts, empty.dts, empty.time_base = packet.pts, packet.dts, packet.time_base
                empty.stream = stream
                target.mux(empty)
    assert share_left_out(packed) == 0


@dataclass
class FakePacket:
    """A packet of which only this is asked; a spare one begins with s."""

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
SPARE = b"s" * 10


def groups(count: int, first: int = 4) -> list[FakePacket]:
    """Leaders at 4, 8, ..., each followed by three spare packets that are shown before it."""
    return [
        packet
        for leader in range(first, first + 4 * count, 4)
        for packet in (FakePacket(leader), *(FakePacket(leader - n, SPARE) for n in (3, 2, 1)))
    ]


def decoded_of(packets: list[FakePacket | None], **options: Any) -> list[int | None]:
    """The times that come through to a decoder that shows a picture as soon as it can."""
    skimmer = Skimmer[FakePacket](
        Skim(**({"wanted": lambda before, now: False} | options)), lambda data: data[:1] == b"s", Fraction(1)
    )
    came = []
    for packet in skimmer.kept(packets):
        if packet is None:
            skimmer.failed()
        elif packet.size:
            came.append(packet.pts)
            if len(came) == 1:
                skimmer.shown(packet.pts, damaged=False)
    return came


def test_spare_packets_are_left_out_but_for_the_last_group() -> None:
    assert decoded_of([KEY, *groups(5), FLUSH]) == [0, 4, 8, 12, 16, 20, 17, 18, 19]


def test_what_is_wanted_is_decoded() -> None:
    seen: list[tuple[float, float]] = []

    def wanted(before_s: float, time_s: float) -> bool:
        seen.append((before_s, time_s))
        return time_s == 6

    assert decoded_of([KEY, *groups(3), FLUSH], wanted=wanted) == [0, 4, 8, 6, 12, 9, 10, 11]
    assert seen == [(n, n + 1) for n in range(12)]


@pytest.mark.parametrize(("size", "decoded"), [(151, {13, 14, 15}), (149, set())])
def test_around_a_large_leader_everything_is_decoded(size: int, decoded: set[int]) -> None:
    packets = [replace(p, data=b"n" * size) if p.pts == 16 else p for p in groups(9)]
    assert {*decoded_of([KEY, *packets, FLUSH])} & set(range(13, 16)) == decoded
    assert not {*decoded_of([KEY, *packets, FLUSH], shots=False)} & set(range(13, 16))


@pytest.mark.parametrize(("size", "decoded"), [(21, {13, 14, 15}), (19, set())])
def test_with_a_large_spare_packet_its_group_is_decoded(size: int, decoded: set[int]) -> None:
    packets = [replace(p, data=b"s" * size) if p.pts == 14 else p for p in groups(9)]
    assert {*decoded_of([KEY, *packets, FLUSH])} & set(range(13, 16)) == decoded


def test_what_comes_with_a_key_packet_is_decoded() -> None:
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


def test_a_group_that_goes_back_in_time_is_decoded() -> None:
    packets = [replace(p, pts=10) if p.pts == 13 else p for p in groups(9)]
    assert {14, 15} <= {*decoded_of([KEY, *packets, FLUSH])}


def test_little_is_held() -> None:
    """A packet is let through before many more are read."""
    read, longest = 0, 0

    def source() -> Iterator[FakePacket]:
        nonlocal read
        for packet in [KEY, *(replace(p, data=p.data * 50_000) for p in groups(20))]:
            read += packet.size
            yield packet

    skimmer = Skimmer[FakePacket](Skim(wanted=lambda *_: True), lambda data: data[:1] == b"s", Fraction(1))
    passed_on = 0
    for packet in skimmer.kept(source()):
        assert packet is not None
        if not passed_on:
            skimmer.shown(packet.pts, damaged=False)
        passed_on += packet.size
        longest = max(longest, read - passed_on)
    assert passed_on == read > 4 * longest
    assert longest < skim.AHEAD_BYTES + 4 * 6_500_000


@pytest.mark.parametrize(
    "packets",
    [[KEY, *groups(3), None, *groups(3, 16)], [KEY, *groups(3), FakePacket(None), *groups(3, 16)]],
    ids=["error of reading", "no time"],
)
def test_unclear_packets_end_it(packets: list[FakePacket | None]) -> None:
    with pytest.raises(Unskimmable):
        decoded_of([*packets, FLUSH])


def begun(*times: int) -> Skimmer[FakePacket]:
    """One that has let a key packet and others through, and seen the first picture."""
    skimmer = Skimmer[FakePacket](Skim(wanted=lambda *_: True), lambda _: False, Fraction(1))
    packets = skimmer.kept([KEY, *(FakePacket(time) for time in times), FLUSH])
    next(packets)
    assert skimmer.shown(0, damaged=False) == []
    assert [packet.pts for packet in packets if packet] == [*times, None]
    return skimmer


def test_the_pictures_awaited_must_come() -> None:
    skimmer = begun(1, 2)
    skimmer.shown(1, damaged=False)
    with pytest.raises(Unskimmable, match="1 pictures"):
        skimmer.finish()
    skimmer.shown(2, damaged=False)
    skimmer.finish()
    for ticks, damaged in ((2, False), (None, False), (1, True)):
        with pytest.raises(Unskimmable):
            begun(1, 2).shown(ticks, damaged=damaged)
    with pytest.raises(Unskimmable):
        skimmer.failed()


def test_before_a_sound_picture_nothing_is_awaited() -> None:
    skimmer = Skimmer[FakePacket](Skim(wanted=lambda *_: True), lambda _: False, Fraction(1))
    packets = skimmer.kept([FakePacket(n) for n in range(3)])
    next(packets)
    skimmer.failed()
    assert skimmer.shown(0, damaged=True) == []
    assert next(packets) == FakePacket(1)
    assert skimmer.shown(1, damaged=False) == []
    assert list(packets) == [FakePacket(2)]
    skimmer.shown(2, damaged=False)
    skimmer.finish()


def test_blended() -> None:
    black, white = np.zeros((36, 64, 3), np.uint8), np.full((36, 64, 3), 255, np.uint8)
    assert np.unique(blended(black, white, 64)).tolist() == [64]
    assert np.unique(blended(white, white, 85)).tolist() == [255]


class NoShots:
    """In place of a network."""

    def push(self, pts_s: float, tiny: object) -> None: ...

    def finish(self) -> tuple[()]:
        return ()
