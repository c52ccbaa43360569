"""What headers say of packets, against what the decoder itself leaves out when told to leave out what it can."""

from pathlib import Path
from typing import Any

import av
import pytest

from mvp_data.bitstreams import reader
from mvp_data.errors import Unskimmable
from tests.clips import render

PYRAMID = {"bf": "3", "b-pyramid": "normal", "g": "20"}
HEVC = {"x265-params": "log-level=none:keyint=20"}

KINDS: dict[str, dict[str, Any]] = {
    "plain.mp4": {"options": PYRAMID},
    "plain.ts": {"options": PYRAMID},
    "slices.mkv": {"options": PYRAMID | {"x264-params": "slices=3"}},
    "matrices.mp4": {"options": PYRAMID | {"x264-params": "cqm=jvt"}},
    "matrices_444.mp4": {"options": PYRAMID | {"x264-params": "cqm=jvt"}, "pix_fmt": "yuv444p"},
    "baseline.mp4": {"options": {"profile": "baseline"}},
    "hevc.mp4": {"codec": "libx265", "options": HEVC},
    "hevc.ts": {"codec": "libx265", "options": HEVC},
    "hevc_slices.mkv": {"codec": "libx265", "options": {"x265-params": "log-level=none:slices=2"}, "size": (256, 256)},
    "mpeg1.mpg": {"codec": "mpeg1video", "options": {"bf": "2"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}},
}


def spare_times(path: Path) -> tuple[set[int], int]:
    """The times of the packets said to be spare, and how many there are in all."""
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        is_spare = reader(codec.codec.canonical_name, codec.extradata or b"") or (lambda _: False)
        packets = [packet for packet in container.demux(video=0) if packet.size]
        return {packet.pts for packet in packets if is_spare(bytes(packet)) and packet.pts is not None}, len(packets)


@pytest.mark.parametrize("name", KINDS)
def test_spare_is_what_the_decoder_can_leave_out(name: str, tmp_path: Path) -> None:
    path = render(tmp_path / name, frames=60, **KINDS[name])
    spare, packets = spare_times(path)
    with av.open(str(path)) as container:
        shown = {frame.pts for frame in container.decode(video=0)}
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.skip_frame = "NONREF"
        needed = {frame.pts for frame in container.decode(video=0)}
    assert len(shown) == packets
    assert spare == (set() if "vp9" in name else shown - needed)
    assert bool(spare) == ("baseline" not in name and "vp9" not in name)


@pytest.mark.parametrize("parameters", ["interlaced=1", "fake-interlaced=1", "tff=1"])
def test_of_interlaced_video_nothing_is_spare(parameters: str, tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", frames=40, options=PYRAMID | {"x264-params": parameters})
    assert spare_times(path)[0] == set()


def h264(*units: str) -> bytes:
    """A packet of units given by their first bytes, as in a transport stream."""
    return b"".join(b"\0\0\0\1" + bytes.fromhex(unit) for unit in units)


SPS = "67 42c01e d90283f6"  # baseline, frames alone
B = "01 9a0000"  # a slice on which nothing is built, the first of its picture


@pytest.mark.parametrize(
    ("units", "spare"),
    [
        ([B], True),
        (["09 f0", "06 0501", B], True),  # delimiter and remarks beside it
        ([B, "01 4a0000"], True),  # two slices
        ([B, B], False),  # two pictures
        (["01 4a0000"], False),  # no beginning
        (["41 9a0000"], False),  # others are built on it
        ([B, "41 4a0000"], False),
        (["68 ce0000", B], False),  # parameters, for all that come after it
        (["02 9a0000"], False),  # partitions
        (["05 9a0000"], False),
        ([B, "07"], False),
        ([], False),
    ],
)
def test_h264_packets(units: list[str], spare: bool) -> None:
    is_spare = reader("h264", h264(SPS))
    assert is_spare is not None
    assert is_spare(h264(*units)) is spare


def test_h264_without_parameters_is_needed_until_they_come() -> None:
    is_spare = reader("h264", b"")
    assert is_spare is not None
    assert not is_spare(h264(B))
    assert not is_spare(h264(SPS, "65 880000"))
    assert is_spare(h264(B))


def test_a_wrong_length_is_left_to_the_decoder() -> None:
    header = bytes.fromhex("01 42c01e ff e1 0008") + bytes.fromhex(SPS) + bytes.fromhex("01 0002 68ce")
    is_spare = reader("h264", header)
    assert is_spare is not None
    unit = bytes.fromhex(B)
    assert is_spare(b"\0\0\0\4" + unit)
    assert not is_spare(b"\0\0\0\5" + unit)
    assert not is_spare(b"\0\0\0\4" + unit + b"\0\0")
    assert not is_spare(b"\0\0\0\0" + unit)


def test_hevc_layers() -> None:
    """Of two temporal layers only the higher can be left out; one that comes later casts doubt on what was."""
    lower, higher, highest = "00 01 80", "00 02 80", "00 03 80"
    is_spare = reader("hevc", b"")
    assert is_spare is not None
    assert is_spare(h264(lower))
    with pytest.raises(Unskimmable):
        is_spare(h264(highest))
    is_spare = reader("hevc", b"")
    assert is_spare is not None
    assert not is_spare(h264("02 02 80"))
    assert not is_spare(h264(lower))
    assert is_spare(h264(higher))
    assert not is_spare(h264(higher, "01 02 80"))  # another view
    assert not is_spare(h264("40 01 0c", higher))  # parameters
    assert not is_spare(h264(higher, higher))


def test_mpeg_2_fields_and_headers_are_needed() -> None:
    is_spare = reader("mpeg2video", b"")
    assert is_spare is not None
    picture, frame, field, slices = "00 0018 0000", "b5 8fff f3 80", "b5 8fff f1 80", "01 aabbcc"
    assert is_spare(h264(picture, frame, slices))
    assert not is_spare(h264(picture, field, slices))
    assert not is_spare(h264(picture, field, slices, picture, field, slices))
    assert not is_spare(h264("b3 1400f0", picture, frame, slices))
    assert not is_spare(h264("00 0010 0000", frame, slices))  # a P picture


def test_mpeg_4_pictures_that_share_a_packet_are_needed() -> None:
    is_spare = reader("mpeg4", b"")
    assert is_spare is not None
    assert is_spare(h264("b6 90aabb"))
    assert not is_spare(h264("b6 50aabb"))
    assert not is_spare(h264("b6 50aabb", "b6 90aabb"))
