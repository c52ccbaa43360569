"""Sparse decoding: leave out the frames that nothing needs.

A packet is disposable if no other frame references its frame, so decoding the others without it changes none of them.
Such a frame is left out if it is not sampled and if the packet sizes around it show no cut, flash or faster motion.
The decision is made from the packets before they are decoded, so a file always gives the same result.
docs/decoding.md gives the reasons.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from mvp_data.core.errors import NeedsFullDecode
from mvp_data.core.types import Tiny
from mvp_data.video.decode.facts import seconds, stop_without_memory
from mvp_data.video.decode.scaling import DecodedFrame, DecodedImage
from mvp_data.video.decode.stream import SparseNeeds

if TYPE_CHECKING:
    import av
    from av.video.stream import VideoStream as AvVideoStream

# A group of packets is decoded in full if one of them is larger than this many times the median around it.
LARGE_LEADER = 1.5  # a cut, or faster motion
LARGE_DISPOSABLE = 2.0  # content that the frames before and after do not show, such as a flash
AROUND_GROUPS = 4  # on either side
GROUP_PACKETS = 16  # a longer group is split
AHEAD_PACKETS, AHEAD_BYTES = 64, 16 << 20  # at most about this much is held

# NAL unit types: the slices of a frame, and the units that later packets need, mostly parameter sets.
_H264_SLICES, _H264_OTHERS = "1-5", "7-8|13|15"
_HEVC_SLICES, _HEVC_OTHERS = "0-31", "32-34|36-37"

IsDisposable = Callable[[bytes], bool]  # sees every packet, in order
_Sizes = tuple[int, int]  # bytes of a group's leader and of its largest disposable packet; 0 if it has none


def disposable_filter(stream: "AvVideoStream") -> IsDisposable | None:
    """Return the test for disposable packets of a stream, or None for a codec whose packets are all needed.

    libavcodec's bitstream filter `filter_units` reads the slice headers. In HEVC a higher temporal layer may reference
    what the header calls non-reference, so only a stream with one layer qualifies; its configuration record says so.
    """
    import av
    from av.bitstream import BitStreamFilterContext

    codec, header = stream.codec_context.codec.canonical_name, stream.codec_context.extradata or b""
    if codec == "h264":
        slices, others = _H264_SLICES, _H264_OTHERS
    elif codec == "hevc" and header[:1] == b"\1" and len(header) > 21 and header[21] >> 3 & 7 == 1:
        slices, others = _HEVC_SLICES, _HEVC_OTHERS
    else:
        return None
    discard = "discard=nonref:discard_flags=keep_non_vcl"
    try:
        referenced = BitStreamFilterContext(f"filter_units={discard}:pass_types={slices}|{others}", stream)
        pictures = BitStreamFilterContext(f"filter_units=pass_types={slices}", stream)
    except av.FFmpegError as e:  # damaged parameter sets
        stop_without_memory(e)
        return None

    def is_disposable(packet: bytes) -> bool:
        try:
            return not referenced.filter(av.Packet(packet)) and bool(pictures.filter(av.Packet(packet)))
        except av.FFmpegError as e:  # a damaged packet is left to the decoder
            stop_without_memory(e)
            return False

    return is_disposable


@dataclass(kw_only=True, slots=True)
class _Group:
    """A leader and the packets up to the next leader.

    A leader is not disposable and is shown later than all packets before it.
    """

    has_leader: bool
    is_last: bool = False
    packets: list["av.Packet[Any]"] = field(default_factory=list)
    disposable: list[bool] = field(default_factory=list)

    @property
    def sizes(self) -> _Sizes:
        """The leader counts as 0 if it is a key packet, because a key packet is always large."""
        leader = self.packets[0].size if self.has_leader and not self.packets[0].is_keyframe else 0
        sizes = (packet.size for packet, disposable in zip(self.packets, self.disposable, strict=True) if disposable)
        return leader, max(sizes, default=0)


class PacketSelector:
    """Selects the packets to decode, and checks the frames that the decoder gives for them."""

    def __init__(
        self, needs: SparseNeeds, is_disposable: IsDisposable, tick_s: Fraction, origin: int | None = None
    ) -> None:
        """`origin`: the time of the video's first frame (ticks), None if this pass decodes that frame first."""
        self._needs, self._is_disposable, self._tick_s, self._origin = needs, is_disposable, tick_s, origin
        self._started = False
        self._expected: list[int] = []  # heap: times of the frames that the decoder will give
        self._left_out: list[int] = []  # heap: times of the frames that were left out
        self._latest = -(1 << 63)  # latest time of all packets read
        self._decided = self._latest  # latest time of all packets selected or left out
        self._last = self._latest  # time of the last frame decoded

    def selected(self, source: "Iterable[av.Packet[Any] | None]") -> "Iterator[av.Packet[Any] | None]":
        """Yield the packets to decode, in order: all of them until the decoder has given a sound frame.

        Raises:
            NeedsFullDecode: a packet could not be read or has no time.
        """
        packets = iter(source)
        for packet in packets:
            if packet and packet.size:
                self._classify(packet, self._latest if packet.pts is None else packet.pts)
                self._expect(packet)
            yield packet
            if self._started:
                break
        before: deque[_Sizes] = deque(maxlen=AROUND_GROUPS)
        ahead: deque[_Group] = deque()
        for group in chain(self._groups(packets), [None]):
            if group:
                ahead.append(group)
            while ahead and (not group or len(ahead) > AROUND_GROUPS or _is_much(ahead)):
                first = ahead.popleft()
                sizes = first.sizes
                around = [*before, sizes, *(other.sizes for other in ahead)]
                before.append(sizes)
                is_calm = not first.is_last and (not self._needs.shots or _is_calm(sizes, around))
                yield from self._needed(first, is_calm=is_calm)

    def decoded(self, ticks: int | None, *, sound: bool) -> list[int]:
        """Check a frame that the decoder gave; return the times of the frames left out before it, in order.

        Raises:
            NeedsFullDecode: the frame is not sound, or another one was expected.
        """
        if not self._started:
            if not sound or ticks is None:
                return []
            self._start(ticks)
        expected = heapq.heappop(self._expected) if self._expected else None
        if not sound or ticks is None or expected != ticks:
            raise NeedsFullDecode(f"expected a frame at {expected}, got one at {ticks}, sound: {sound}")
        times = []
        while self._left_out and self._left_out[0] < ticks:
            times.append(heapq.heappop(self._left_out))
        if min([*times, ticks]) <= self._last:
            raise NeedsFullDecode(f"the frame at {min([*times, ticks])} came after the one at {self._last}")
        self._last = ticks
        return times

    def failed(self) -> None:
        """Report that a packet could not be decoded; raises NeedsFullDecode, since other frames may depend on it."""
        if self._started:
            raise NeedsFullDecode("a packet could not be decoded")

    def finish(self) -> None:
        """Check at the end of the stream that every expected frame came; raises NeedsFullDecode."""
        if self._started and (self._expected or self._left_out):
            raise NeedsFullDecode(f"{len(self._expected)} expected frames did not come")

    def _start(self, ticks: int) -> None:
        """Begin at the first sound frame; drop the frames expected before it, which will not come."""
        self._origin = ticks if self._origin is None else self._origin
        self._expected = sorted(time for time in self._expected if time >= ticks)
        self._decided = self._latest
        self._started = True

    def _classify(self, packet: "av.Packet[Any]", ticks: int) -> tuple[bool, bool]:
        """Return whether a packet is disposable, and whether it is a leader."""
        if packet.has_sidedata("new_extradata"):
            self._is_disposable = lambda _: False  # the filter does not know the new parameters of the codec
        disposable = self._is_disposable(bytes(packet)) and not packet.is_discard and not packet.is_corrupt
        leads = not disposable and ticks > self._latest
        self._latest = max(self._latest, ticks)
        return disposable, leads

    def _expect(self, packet: "av.Packet[Any]") -> None:
        if packet.pts is not None and not packet.is_discard:
            heapq.heappush(self._expected, packet.pts)

    def _groups(self, packets: "Iterator[av.Packet[Any] | None]") -> Iterator[_Group]:
        group = _Group(has_leader=False)
        for packet in packets:
            if packet is None or (packet.size and packet.pts is None):
                raise NeedsFullDecode("a packet could not be read or has no time")
            disposable, leads = False, False
            if packet.pts is None or not packet.size:  # flushes the decoder at the end of the stream
                group.is_last = True
            else:
                disposable, leads = self._classify(packet, packet.pts)
            if leads or len(group.packets) == GROUP_PACKETS:
                yield group
                group = _Group(has_leader=leads, is_last=group.is_last)
            group.packets.append(packet)
            group.disposable.append(disposable)
        group.is_last = True
        yield group

    def _needed(self, group: _Group, *, is_calm: bool) -> "Iterator[av.Packet[Any]]":
        """Yield the packets of a group to decode; record the times of the others."""
        times = sorted(p.pts for p in group.packets if p.pts is not None and not p.is_discard)
        wanted: set[int] = set()
        is_calm = is_calm and group.has_leader and min(times, default=0) > self._decided  # else its times go back
        for time in times:
            if self._needs.wanted(self._seconds(self._decided), self._seconds(time)):
                wanted.add(time)
            self._decided = max(self._decided, time)
        for packet, disposable in zip(group.packets, group.disposable, strict=True):
            if disposable and is_calm and packet.pts is not None and packet.pts not in wanted:
                heapq.heappush(self._left_out, packet.pts)
            else:
                self._expect(packet)
                yield packet

    def _seconds(self, ticks: int) -> float:
        return seconds(ticks - (self._origin or 0), self._tick_s)


def between(before: DecodedFrame, after: DecodedFrame, times: Iterable[int]) -> Iterator[DecodedFrame]:
    """Yield a substitute for each frame left out between two decoded ones; times in ticks."""
    assert before.ticks is not None  # else nothing would be left out
    assert after.ticks is not None
    for ticks in times:
        part = round(256 * (ticks - before.ticks) / (after.ticks - before.ticks))
        tiny = blended(before.tiny, after.tiny, part)
        yield DecodedFrame(ticks=ticks, tiny=tiny, image=_no_image, left_out=True)


def blended(before: Tiny, after: Tiny, part: int) -> Tiny:
    """Return the tiny frame that is `part` / 256 of the way from one to another."""
    mixed = before * np.uint16(256 - part) + after * np.uint16(part)  # 16 bits are enough for both
    return ((mixed + np.uint16(128)) >> 8).astype(np.uint8)


def _no_image(max_area_px: int) -> DecodedImage:
    raise NeedsFullDecode(f"a frame that was left out is sampled ({max_area_px} px)")


def _is_much(ahead: Iterable[_Group]) -> bool:
    """Return whether the buffer is full, so that the first group must be decided now."""
    held = [packet.size for group in ahead for packet in group.packets]
    return len(held) > AHEAD_PACKETS or sum(held) > AHEAD_BYTES


def _is_calm(sizes: _Sizes, around: Iterable[_Sizes]) -> bool:
    """Return whether neither size of a group is large compared with the groups around it, which include itself."""
    limits = (LARGE_LEADER, LARGE_DISPOSABLE)
    return all(
        size and size <= limit * median(other for other in others if other)
        for size, limit, others in zip(sizes, limits, zip(*around, strict=True), strict=True)
    )
