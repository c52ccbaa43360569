"""A very long video in parts, so that it holds up no others and needs no more memory than a short one.

The parts are a function of the file and the options alone, and what they give together is what one pass over the
whole gives: the same frames at the same times, with the same bytes. A part begins at a key packet, and decodes from
an earlier one to a little after its end, so that decoder, sampling and shot detection are in the same state as in a
pass that comes from the beginning. Only a transition that a shot detector sees over more than ROLL_S, such as a long
stretch of black, may be missed where it lies across two parts.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from mvp_data.config.options import DecodeConfig, FramesConfig
from mvp_data.core.types import Boundary, FrameTable, VideoEntry
from mvp_data.video.decode.stream import Packet, Start, seconds
from mvp_data.video.extract import ROLL_FRAMES, Chunk, judge_in_context, chunk_length_s
from mvp_data.video.shots.adaptive import MIN_SHOT_S

ROLL_S = 10.0  # of video, looked at on either side of a part
UNCUT = ("avi",)  # containers whose times are counts of what the decoder has shown


def plan_chunks(path: Path, *, video_id: str, decode: DecodeConfig, frames: FramesConfig) -> tuple[Chunk, ...]:
    """The parts of a long video, in order, the first still without size and crop; none where it is one piece.

    One piece is a video that is not longer than one and a half parts, or says so in its header; that has no key
    packets to begin at, or lacks time stamps; and any video where the back end is not PyAV.

    Raises:
        Skip: no usable video.
    """
    if decode.decoder != "pyav":
        return ()
    from mvp_data.video.decode.pyav import open_pyav, packets

    length_s = chunk_length_s(frames)
    with open_pyav(path) as video:
        facts = video.facts
        if facts.info.header_duration_s < 1.5 * length_s or facts.container in UNCUT:
            return ()
        origin = next((raw.ticks for raw in video.raw_frames() if raw.ticks is not None), None)
    if origin is None:
        return ()
    length, roll, gap = (math.ceil(s / facts.tick_s) for s in (length_s, max(ROLL_S, 2 / frames.fps), 1 / frames.fps))
    cuts = _cuts(packets(path), _Ticks(origin=origin, length=length, roll=roll, gap=gap))
    if not cuts:
        return ()
    edges_s = [0.0, *(seconds(cut - origin, facts.tick_s) for cut, _ in cuts), math.inf]
    starts = [None, *(Start(ticks=k.ticks, place=k.place, origin=origin) for _, k in cuts)]
    return tuple(
        Chunk(video_id=video_id, first_s=first_s, end_s=end_s, roll_s=ROLL_S, start=start)
        for first_s, end_s, start in zip(edges_s, edges_s[1:], starts, strict=False)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Key:
    ticks: int
    place: int | None
    number: int  # of the packet, as they lie in the file


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ticks:
    """What a cut depends on, in units of the stream's time stamps."""

    origin: int  # time of the first frame
    length: int  # of a part, at least
    roll: int  # decoding begins so long before its part
    gap: int  # of the slowest samples: one at least must lie between there and the part


def _cuts(packets: Iterable[Packet], ticks: _Ticks) -> list[tuple[int, _Key]]:
    """When each part but the first begins, and where its decoding does; none where it cannot be done safely.

    Only key packets later than all before them count: frames that go back in time are dropped by any pass.
    """
    cuts: list[tuple[int, _Key]] = []
    keys: list[_Key] = []  # since the last cut
    begun, newest = ticks.origin, -math.inf
    for number, packet in enumerate(packets):
        if packet.ticks is None or (packet.new_header and newest > -math.inf):
            return []
        if packet.can_start and packet.ticks > newest:
            early = min(packet.ticks - ticks.roll, newest - ticks.gap)
            place = bisect_right(keys, early, key=lambda key: key.ticks)
            place = min(place, bisect_right(keys, number - ROLL_FRAMES, key=lambda key: key.number))
            if packet.ticks - begun >= ticks.length and place:
                cuts.append((packet.ticks, keys[place - 1]))
                begun, keys = packet.ticks, []
            keys.append(_Key(ticks=packet.ticks, place=packet.place, number=number))
        newest = max(newest, packet.ticks)
    if cuts and newest - begun < ticks.length / 2:
        cuts.pop()
    return cuts


def is_whole(parts: Sequence[Chunk], first: VideoEntry) -> bool:
    """Whether the first part went on to the end of the video, since it settled nothing before."""
    return first.duration_s >= parts[0].end_s


def settled(part: Chunk, first: VideoEntry) -> Chunk:
    """A later part with the picture size and crop that the first has found."""
    return replace(part, size=(first.width_px, first.height_px), crop=first.crop)


def merge(parts: Sequence[VideoEntry], trim_s: float) -> VideoEntry:
    """What one pass over the whole video gives; the JPEGs are those of the parts, one part after another."""
    return judge_in_context(
        replace(
            parts[0],
            duration_s=max(part.duration_s for part in parts),
            decoded_frames=sum(part.decoded_frames for part in parts),
            left_out_frames=sum(part.left_out_frames for part in parts),
            damaged_packets=sum(part.damaged_packets for part in parts),
            boundaries=_apart(chain.from_iterable(part.boundaries for part in parts)),
            frames=FrameTable.of(chain.from_iterable(part.frames for part in parts)),
        ),
        trim_s,
    )


def _apart(boundaries: Iterable[Boundary]) -> tuple[Boundary, ...]:
    """Those that keep MIN_SHOT_S to the one before: a transition may seem to begin in each of two parts."""
    kept: list[Boundary] = []
    for boundary in boundaries:
        if not kept or boundary.start_s - kept[-1].end_s >= MIN_SHOT_S:
            kept.append(boundary)
    return tuple(kept)
