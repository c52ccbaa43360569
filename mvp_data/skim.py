"""Less than a full decode: which packets need not be decoded, and what shot detection sees in their place.

Pictures on which nothing is built (`bitstreams`) and which are not sampled can be left out without a change to any
other. They are, wherever the sizes of the packets say that nothing happens; docs/decoding.md has the reasons. All is
decided from the packets around, before they are decoded, so a file is always skimmed alike.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import chain
from statistics import median
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np

from mvp_data.bitstreams import IsSpare
from mvp_data.decode import RawFrame, Still, seconds
from mvp_data.errors import Unskimmable
from mvp_data.types import Tiny

# Something happens in a group of packets where one is larger than so many times the median around.
LARGE_LEADER = 1.5  # a cut, or faster motion
LARGE_SPARE = 2.0  # what its neighbours in time do not show, such as a flash
AROUND_GROUPS = 4  # on either side
GROUP_PACKETS = 16  # a longer one is cut
AHEAD_PACKETS, AHEAD_BYTES = 64, 16 << 20  # about so much is held at most


@dataclass(frozen=True, kw_only=True, slots=True)
class Skim:
    """What a pass needs decoded."""

    wanted: Callable[[float, float], bool]  # whether a frame may be sampled: the time of the one before, and its own
    shots: bool = True  # whether shots are looked for; otherwise only what is sampled is needed


class Packet(Protocol):
    """What is asked of a packet of the demuxer."""

    pts: int | None
    size: int
    is_keyframe: bool
    is_discard: bool
    is_corrupt: bool

    def __bytes__(self) -> bytes: ...
    def has_sidedata(self, dtype: Literal["new_extradata"], /) -> bool: ...  # noqa: D102 - as of PyAV


P = TypeVar("P", bound=Packet)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sizes:
    """Of a group, in bytes."""

    leader: int  # 0 for a key packet, which is large for no reason, and where the group has no leader
    spare: int  # the largest of them, 0 where there is none


@dataclass(kw_only=True, slots=True)
class _Group(Generic[P]):
    """A leader, which others are built on and which is shown later than all before it, and what follows it."""

    has_leader: bool
    is_last: bool = False
    packets: list[P] = field(default_factory=list)
    spare: list[bool] = field(default_factory=list)

    @property
    def sizes(self) -> _Sizes:
        leader = self.packets[0].size if self.has_leader and not self.packets[0].is_keyframe else 0
        spare = (packet.size for packet, spare in zip(self.packets, self.spare, strict=True) if spare)
        return _Sizes(leader=leader, spare=max(spare, default=0))


class Skimmer(Generic[P]):
    """Stands between demuxer and decoder: lets through what must be decoded, and checks what comes out."""

    def __init__(self, skim: Skim, is_spare: IsSpare, tick_s: Fraction, origin: int | None = None) -> None:
        """`origin`: the time of the video's first frame (ticks), None where that is the first one to come out."""
        self._skim, self._is_spare, self._tick_s, self._origin = skim, is_spare, tick_s, origin
        self._begun = False
        self._awaited: list[int] = []  # times of what the decoder was given, a heap
        self._left_out: list[int] = []  # the same of what it was not
        self._top = -(1 << 63)  # latest time of all packets looked at
        self._decided = self._top  # latest time decided on
        self._last = self._top  # time of the last picture shown

    def kept(self, source: Iterable[P | None]) -> Iterator[P | None]:
        """The packets to decode, in order: all of them until a sound picture has come out.

        Raises:
            Unskimmable: nothing can be left out here.
        """
        packets = iter(source)
        for packet in packets:
            if packet and packet.size:
                self._look(packet, self._top if packet.pts is None else packet.pts)
                self._await(packet)
            yield packet
            if self._begun:
                break
        before: deque[_Sizes] = deque(maxlen=AROUND_GROUPS)
        ahead: deque[_Group[P]] = deque()
        for group in chain(self._groups(packets), [None]):
            if group:
                ahead.append(group)
            while ahead and (not group or len(ahead) > AROUND_GROUPS or _is_much(ahead)):
                first = ahead.popleft()
                sizes = first.sizes
                around = [*before, sizes, *(other.sizes for other in ahead)]
                before.append(sizes)
                is_calm = not first.is_last and (not self._skim.shots or _is_calm(sizes, around))
                yield from self._needed(first, is_calm=is_calm)

    def shown(self, ticks: int | None, *, damaged: bool) -> list[int]:
        """A picture comes out: the times of those left out before it, in order.

        Raises:
            Unskimmable: it is damaged, or another one should have come.
        """
        if not self._begun:
            if damaged or ticks is None:
                return []
            self._begin(ticks)
        awaited = heapq.heappop(self._awaited) if self._awaited else None
        if damaged or ticks is None or awaited != ticks:
            raise Unskimmable("damage" if damaged else f"a picture at {ticks} came in place of {awaited}")
        times = []
        while self._left_out and self._left_out[0] < ticks:
            times.append(heapq.heappop(self._left_out))
        if min([*times, ticks]) <= self._last:
            raise Unskimmable("a picture came too late")
        self._last = ticks
        return times

    def failed(self) -> None:
        """A packet could not be read or decoded.

        Raises:
            Unskimmable: more depends on it than is known here.
        """
        if self._begun:
            raise Unskimmable("damage")

    def finish(self) -> None:
        """No more will come out.

        Raises:
            Unskimmable: more should have come.
        """
        if self._begun and (self._awaited or self._left_out):
            raise Unskimmable(f"{len(self._awaited)} pictures did not come")

    def _begin(self, ticks: int) -> None:
        """What was to come before the first sound picture never will."""
        self._origin = ticks if self._origin is None else self._origin
        self._awaited = sorted(time for time in self._awaited if time >= ticks)
        self._decided = self._top
        self._begun = True

    def _look(self, packet: P, ticks: int) -> tuple[bool, bool]:
        """Whether a packet is spare, and whether it is a leader."""
        if packet.has_sidedata("new_extradata"):
            self._is_spare = _never  # other parameters of the codec, which are not known here
        spare = self._is_spare(bytes(packet)) and not packet.is_discard and not packet.is_corrupt
        leads = not spare and ticks > self._top
        self._top = max(self._top, ticks)
        return spare, leads

    def _await(self, packet: P) -> None:
        if packet.pts is not None and not packet.is_discard:
            heapq.heappush(self._awaited, packet.pts)

    def _groups(self, packets: Iterator[P | None]) -> Iterator[_Group[P]]:
        group: _Group[P] = _Group(has_leader=False)
        for packet in packets:
            if packet is None:
                raise Unskimmable("an error of reading")
            spare, leads = False, False
            if not packet.size:  # tells the decoder that this was all
                group.is_last = True
            elif packet.pts is None:
                raise Unskimmable("a packet without a time")
            else:
                spare, leads = self._look(packet, packet.pts)
            if leads or len(group.packets) == GROUP_PACKETS:
                yield group
                group = _Group(has_leader=leads, is_last=group.is_last)
            group.packets.append(packet)
            group.spare.append(spare)
        group.is_last = True
        yield group

    def _needed(self, group: _Group[P], *, is_calm: bool) -> Iterator[P]:
        """The packets of a group to decode; what is left out is noted."""
        times = sorted(p.pts for p in group.packets if p.pts is not None and not p.is_discard)
        wanted: set[int] = set()
        is_calm = is_calm and group.has_leader and min(times, default=0) > self._decided  # else it has its own order
        for time in times:
            if self._skim.wanted(self._seconds(self._decided), self._seconds(time)):
                wanted.add(time)
            self._decided = max(self._decided, time)
        for packet, spare in zip(group.packets, group.spare, strict=True):
            if spare and is_calm and packet.pts is not None and packet.pts not in wanted:
                heapq.heappush(self._left_out, packet.pts)
            else:
                self._await(packet)
                yield packet

    def _seconds(self, ticks: int) -> float:
        return seconds(ticks - (self._origin or 0), self._tick_s)


def between(before: RawFrame, after: RawFrame, times: Iterable[int]) -> Iterator[RawFrame]:
    """What stands for the frames left out between two others; times in ticks."""
    for ticks in times:
        assert before.ticks is not None  # else nothing would be left out
        assert after.ticks is not None
        part = round(256 * (ticks - before.ticks) / (after.ticks - before.ticks))
        tiny = partial(blended, before.tiny(), after.tiny(), part)
        yield RawFrame(ticks=ticks, tiny=tiny, picture=_no_picture, left_out=True)


def blended(before: Tiny, after: Tiny, part: int) -> Tiny:
    """A tiny frame between two others, `part` of 256 of the way."""
    mixed = before * np.uint16(256 - part) + after * np.uint16(part)  # 16 bits are enough for both
    return ((mixed + np.uint16(128)) >> 8).astype(np.uint8)


def _no_picture(max_area_px: int) -> Still:
    raise Unskimmable(f"a frame that was left out is sampled after all, {max_area_px} px")


def _never(packet: bytes) -> bool:
    return False


def _is_much(ahead: Iterable[_Group[P]]) -> bool:
    """Whether so much is held that the first group must be decided."""
    held = [packet.size for group in ahead for packet in group.packets]
    return len(held) > AHEAD_PACKETS or sum(held) > AHEAD_BYTES


def _is_calm(sizes: _Sizes, around: Iterable[_Sizes]) -> bool:
    """Whether nothing stands out in a group, beside those `around` and itself."""
    leaders = [other.leader for other in around if other.leader]
    spares = [other.spare for other in around if other.spare]
    if not sizes.leader or not sizes.spare:
        return False
    return sizes.leader <= LARGE_LEADER * median(leaders) and sizes.spare <= LARGE_SPARE * median(spares)
