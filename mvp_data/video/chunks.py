"""Divides a very long video into chunks, so that it delays no other video and needs no more memory than a short one.

The chunks depend on the file and the options alone. Together they give the result of one pass over the whole video: the
same frames at the same times, with the same bytes. To get the same state of decoder, sampling and shot detection, a
chunk begins at a key packet, and its pass decodes from an earlier key packet to a little after the end of the chunk.
There are two exceptions: a transition that is longer than ROLL_S, such as a long stretch of black, may be missed if it
crosses the edge of a chunk; and a clock that the first chunk does not show is masked only in the chunks that show it.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from mvp_data.config.options import DecodeConfig, FramesConfig
from mvp_data.core.types import Boundary, FrameTable, VideoEntry
from mvp_data.video.decode.facts import seconds
from mvp_data.video.decode.stream import Packet, Start
from mvp_data.video.extract import ROLL_FRAMES, Chunk, chunk_length_s, judge_in_context
from mvp_data.video.shots.adaptive import MIN_SHOT_S

ROLL_S = 10.0  # decode this much of the video before and after a chunk
COUNTED = ("avi",)  # containers without time stamps: a time is a count of frames


def plan_chunks(path: Path, *, video_id: str, decode: DecodeConfig, frames: FramesConfig) -> tuple[Chunk, ...]:
    """Return the chunks of a long video in order, without size and crop; () if the video is decoded in one pass.

    One pass is enough if the header states a duration of less than 1.5 chunks. It is necessary if the video has no key
    packets to begin at or lacks time stamps, or if the back end is not PyAV.

    Raises:
        Skip: the file cannot be decoded.
    """
    if decode.decoder != "pyav":
        return ()
    from mvp_data.video.decode.pyav import open_pyav, packets

    length_s = chunk_length_s(frames)
    with open_pyav(path) as video:
        facts = video.facts
        if facts.info.header_duration_s < 1.5 * length_s or facts.container in COUNTED:
            return ()
        origin = next((frame.ticks for frame in video.raw_frames() if frame.ticks is not None), None)
    if origin is None:
        return ()
    length, roll, gap = (math.ceil(s / facts.tick_s) for s in (length_s, max(ROLL_S, 2 / frames.fps), 1 / frames.fps))
    cuts = _cuts(packets(path), origin=origin, length=length, roll=roll, gap=gap)
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
    """A key packet at which decoding may begin."""

    ticks: int
    place: int | None
    number: int  # of the packet, in file order


def _cuts(packets: Iterable[Packet], *, origin: int, length: int, roll: int, gap: int) -> list[tuple[int, _Key]]:
    """Return the time at which each chunk but the first begins, and the key packet at which its decoding begins.

    Return [] if the video cannot be divided safely. Times are in ticks; `origin` is that of the first frame. A chunk
    has at least `length`, and decoding begins at least `roll` before it. Samples are at most `gap` apart; one must
    be between the start of decoding and the chunk. Only key packets that are later than all packets before them
    count, because every pass drops frames that go back in time.
    """
    cuts: list[tuple[int, _Key]] = []
    keys: list[_Key] = []  # since the last cut
    begun, newest = origin, -math.inf
    for number, packet in enumerate(packets):
        if packet.ticks is None or (packet.new_header and newest > -math.inf):
            return []
        if packet.can_start and packet.ticks > newest:
            early = min(packet.ticks - roll, newest - gap)
            place = bisect_right(keys, early, key=lambda key: key.ticks)
            place = min(place, bisect_right(keys, number - ROLL_FRAMES, key=lambda key: key.number))
            if packet.ticks - begun >= length and place:
                cuts.append((packet.ticks, keys[place - 1]))
                begun, keys = packet.ticks, []
            keys.append(_Key(ticks=packet.ticks, place=packet.place, number=number))
        newest = max(newest, packet.ticks)
    if cuts and newest - begun < length / 2:
        cuts.pop()
    return cuts


def settled(chunks: tuple[Chunk, ...], first: VideoEntry) -> tuple[Chunk, ...]:
    """Return the chunks with the frame size, crop and masks that the pass over the first one found.

    If that pass continued to the end of the video (see `extract_chunk`), return only the first.
    """
    later = () if first.duration_s >= chunks[0].end_s else chunks[1:]
    size, masked = (first.width_px, first.height_px), first.masked or None
    return chunks[0], *(replace(chunk, size=size, crop=first.crop, masked=masked) for chunk in later)


def merge(entries: Sequence[VideoEntry], trim_s: float) -> VideoEntry:
    """Merge the entries of the chunks, in order, into that of the video; the JPEGs have the same order."""
    return judge_in_context(
        replace(
            entries[0],
            duration_s=max(entry.duration_s for entry in entries),
            decoded_frames=sum(entry.decoded_frames for entry in entries),
            left_out_frames=sum(entry.left_out_frames for entry in entries),
            damaged_packets=sum(entry.damaged_packets for entry in entries),
            masked=tuple(sorted({box for entry in entries for box in entry.masked})),
            boundaries=_apart(chain.from_iterable(entry.boundaries for entry in entries)),
            frames=FrameTable.of(chain.from_iterable(entry.frames for entry in entries)),
        ),
        trim_s,
    )


def _apart(boundaries: Iterable[Boundary]) -> tuple[Boundary, ...]:
    """Drop a boundary less than MIN_SHOT_S after the one before: two chunks may see the same transition begin."""
    kept: list[Boundary] = []
    for boundary in boundaries:
        if not kept or boundary.start_s - kept[-1].end_s >= MIN_SHOT_S:
            kept.append(boundary)
    return tuple(kept)
