"""The PyAV back end, which is the default; `probe` and `shown_times` serve the other back ends too."""

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvp_data.core.containers import CONTAINERS
from mvp_data.core.errors import Skip, SkipReason
from mvp_data.video.decode.facts import (
    MAX_AREA_PX,
    UPRIGHT,
    Facts,
    check_size,
    quarter_turn,
    stop_without_memory,
    whole_name,
)
from mvp_data.video.decode.scaling import DecodedFrame, FrameScaler
from mvp_data.video.decode.sparse import PacketSelector, between, disposable_filter
from mvp_data.video.decode.stream import Packet, SparseNeeds, Start, VideoStream, too_few

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream as AvVideoStream

# A frame; whether it was flagged corrupt or may depend on data lost since the last key frame; and the times of the
# frames left out before it, in ticks.
_Decoded = tuple["av.VideoFrame", bool, list[int]]

MAX_READ_ERRORS = 100  # in a row: the rest of the file is unreadable
SEEK_EARLY_S = 2  # some containers seek by decoding time, which is earlier than the display time


@contextmanager
def open_pyav(path: str | Path, start: Start | None = None, needs: SparseNeeds | None = None) -> "Iterator[PyAvStream]":
    """Open a video with PyAV for `decode.open_video`, from a key packet and sparsely if requested; raises Skip."""
    with ExitStack() as stack:
        container = stack.enter_context(_open_container(path))
        video = PyAvStream(container, needs)
        if start and not video.go_to(start, container, seek=True):
            again = stack.enter_context(_open_container(path))
            if not video.go_to(start, again, seek=False):
                raise Skip(SkipReason.DECODE_ERROR, "a packet that was there before is gone: did the file change?")
        yield video


def load_libraries() -> None:
    """Load PyAV's libraries; call this before decord is imported.

    decord exports the symbols of its own old libraries to the whole process. If they are loaded first, they replace
    PyAV's: https://github.com/dmlc/decord/issues/128, https://github.com/dmlc/decord/issues/361.
    """
    import av  # noqa: F401


def probe(path: str | Path) -> Facts:
    """Return the properties of a file; decodes its first frame; raises Skip as `open_video` does."""
    with open_pyav(path) as video:
        return video.facts


def shown_times(path: str | Path, stream: int) -> tuple[list[int], int]:
    """Return the display times (ticks, from the first) of a stream's packets, and how many an edit list hides.

    Reads the whole file but decodes nothing. Back ends are checked against the result.
    """
    with _open_container(path) as container:
        packets = [p for p in container.demux(container.streams[stream]) if p.size and p.pts is not None]
    kept = sorted(p.pts or 0 for p in packets if not p.is_discard)
    return [ticks - kept[0] for ticks in kept], len(packets) - len(kept)


def packets(path: str | Path) -> Iterator[Packet]:
    """Yield the packets of the stream that a pass decodes, in file order; reads the whole file, decodes nothing."""
    with _open_container(path) as container:
        for p in _demux(container, _choose_stream(container)):
            if p and p.size:
                yield Packet(p.pts, p.pos, p.is_keyframe and not p.is_discard, p.has_sidedata("new_extradata"))


def _demux(container: "InputContainer", stream: "AvVideoStream") -> "Iterator[av.Packet[AvVideoStream] | None]":
    """Yield the stream's packets, then the flush packet; None stands for a read error; reading continues after it."""
    import av

    errors = 0
    found = container.demux(stream)
    while errors < MAX_READ_ERRORS:
        try:
            packet = next(found)
        except (StopIteration, IndexError):  # IndexError: PyAV cannot flush a stream read from midway,
            return  # after all packets and our flush packet; https://github.com/PyAV-Org/PyAV/issues/692
        except av.FFmpegError as e:
            stop_without_memory(e)
            errors += 1
            found = container.demux(stream)
            yield None
        else:
            errors = 0
            yield packet


def _open_container(path: str | Path) -> "InputContainer":
    import av

    limits = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    try:
        return av.open(whole_name(path), options=limits, metadata_errors="ignore")
    except av.FFmpegError as e:
        stop_without_memory(e)
        raise Skip(SkipReason.NOT_A_VIDEO, f"no container of the accepted kinds ({e.strerror})") from e


def _moving(container: "InputContainer") -> "list[AvVideoStream]":
    """Return the video streams that are neither cover art nor thumbnails."""
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
    return [s for s in container.streams.video if not s.disposition & still]


def _choose_stream(container: "InputContainer") -> "AvVideoStream":
    """Return the largest video stream, not a tiny auxiliary track; a still image only if there is nothing else."""
    moving = _moving(container)
    if not moving or container.format.name.endswith("_pipe"):
        raise Skip(SkipReason.NO_MOVING_PICTURE, f"{container.format.name} without a moving picture")
    decodable = [s for s in moving if s.codec_context is not None]
    if not decodable:
        raise Skip(SkipReason.UNSUPPORTED_CODEC, "no decoder for the video stream")
    return max(decodable, key=lambda s: (s.frames != 1, s.width * s.height, -s.index))


class PyAvStream(VideoStream):
    """One stream of one container, decoded packet by packet, so that damage affects single packets only."""

    def __init__(self, container: "InputContainer", needs: SparseNeeds | None = None) -> None:
        """Decode up to the first frame, because the rotation is only known from a frame; raises Skip."""
        self._container, self._stream, self._needs = container, _choose_stream(container), needs
        codec = self._stream.codec_context
        check_size(codec.width, codec.height)
        codec.thread_type, codec.thread_count = "NONE", 1  # slice threads can deadlock if many workers decode
        codec.options = {"max_pixels": str(MAX_AREA_PX)}  # frames may be larger than the header says
        self._unsupported = False
        self._decoded = self._decode(_demux(container, self._stream))
        first = next(self._decoded, None)
        if first is None and self._unsupported:
            raise Skip(SkipReason.UNSUPPORTED_CODEC, f"{codec.name}: a variant that the decoder lacks")
        if first is None:
            raise too_few(0, self.damaged_packets)
        self._first: _Decoded | None = first
        super().__init__(_read_facts(container, self._stream, first[0]))

    def go_to(self, start: Start, container: "InputContainer", *, seek: bool) -> bool:
        """Continue decoding at a key packet and return whether it was found.

        Without `seek`, a freshly opened container is read up to the packet.
        """
        import av

        stream = _choose_stream(container)
        if seek:
            try:
                container.seek(math.floor(start.ticks - SEEK_EARLY_S / self.tick_s), stream=stream)
            except av.FFmpegError:
                return False
        self._stream.codec_context.flush_buffers()
        rest = _demux(container, stream)
        for packet in rest:
            if packet is None or packet.pts is None or not packet.is_keyframe:
                continue
            if (packet.pts, packet.pos) == (start.ticks, start.place):
                self.start, self._first = start, None
                self._decoded = self._decode(chain([packet], rest))
                return True
            if seek and packet.pts > start.ticks:
                return False  # the seek went too far; only reading from the beginning is exact
        return False

    def _decode(self, source: "Iterable[av.Packet[AvVideoStream] | None]") -> "Iterator[_Decoded]":
        """Yield the decoded frames; raises NeedsFullDecode if a sparse pass left out too much."""
        import av

        damaged = False
        selector = self._selector()
        for packet in selector.selected(source) if selector else source:
            try:
                frames = self._stream.codec_context.decode(packet) if packet else []
                self.damaged_packets += packet is None
            except av.FFmpegError as e:
                stop_without_memory(e, 4 * self._stream.codec_context.width * self._stream.codec_context.height)
                self.damaged_packets += 1
                damaged = True
                self._unsupported |= isinstance(e, av.error.PatchWelcomeError)
                if selector:
                    selector.failed()
                continue
            for frame in frames:
                self.damaged_packets += frame.is_corrupt
                damaged = frame.is_corrupt or (damaged and not frame.key_frame)
                sound = not damaged and not frame.interlaced_frame  # a packet may hold only one of the two fields
                yield frame, damaged, selector.decoded(frame.pts, sound=sound) if selector else []
        if selector:
            selector.finish()

    def _selector(self) -> PacketSelector | None:
        if self._needs is None or self._counts_chunks or not (is_disposable := disposable_filter(self._stream)):
            return None
        tick_s = self._stream.time_base or Fraction(1)
        return PacketSelector(self._needs, is_disposable, tick_s, self.start.origin if self.start else None)

    @property
    def _counts_chunks(self) -> bool:
        """AVI stores no PTS, and libavformat's guesses are out of order with B-frames; DTS counts the frames."""
        return self._container.format.name == "avi"

    def raw_frames(self) -> Iterator[DecodedFrame]:
        """Yield the first frame, kept since opening, and the rest; the decoder drops frames hidden by an edit list."""
        scaler, last, before = FrameScaler(self.facts), -1, None
        for frame, damaged, left_out in chain([self._first] if self._first else [], self._decoded):
            ticks = frame.pts
            if self._counts_chunks:  # frames without DTS come last, one tick apart
                last = ticks = last + 1 if frame.dts is None else frame.dts
            shown = scaler.frame(frame, ticks, damaged=damaged)
            if before and left_out:
                yield from between(before, shown, left_out)
            yield shown
            before = shown if self._needs else None


def _read_facts(container: "InputContainer", stream: "AvVideoStream", first: "av.VideoFrame") -> Facts:
    tick_s = stream.time_base or Fraction(1)
    matrix: Any = first.side_data.get("DISPLAYMATRIX")
    facts = Facts(
        codec=stream.codec_context.codec.canonical_name,
        header_duration_s=stream.duration * tick_s if stream.duration else Fraction(container.duration or 0, 1_000_000),
        container=container.format.name,
        stream=stream.index,
        moving_streams=len(_moving(container)),
        width_px=first.width,
        height_px=first.height,
        pixel_aspect=Fraction(stream.sample_aspect_ratio or 1),
        turn=UPRIGHT if matrix is None else quarter_turn(bytes(matrix)),
        tick_s=tick_s,
    )
    check_size(facts.info.width_px, facts.info.height_px)
    return facts
