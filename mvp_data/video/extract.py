"""The whole pass over one file: decode, detect shots, sample, measure the quality, crop, resize and compress."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import IO

from mvp_data.config.options import DecodeConfig, FramesConfig
from mvp_data.core.errors import NeedsFullDecode, Skip, SkipReason
from mvp_data.core.types import Box, Frame, FrameTable, Luma, Picture, VideoEntry
from mvp_data.video.artificial import is_smeared, looks_drawn
from mvp_data.video.cells import cells
from mvp_data.video.clock import ClockFinder, blank
from mvp_data.video.crop import letterbox, placed, target_size
from mvp_data.video.decode.facts import MAX_AREA_PX
from mvp_data.video.decode.images import encode_jpeg
from mvp_data.video.decode.open import open_video
from mvp_data.video.decode.scaling import DecodedImage
from mvp_data.video.decode.stream import SparseNeeds, Start, VideoStream
from mvp_data.video.nearby import Nearby
from mvp_data.video.quality import measure
from mvp_data.video.sampling import SampleGrid
from mvp_data.video.shots.detector import ShotDetector, in_transition, shot_detector

HELD_AREA_PX = 1 << 20  # largest area of an image held until crop and size are settled; 1.5 bytes a pixel
BLUR_SHARE = 0.08  # of the video's median sharpness: catches a whip pan or a failed focus, but not a calm sky
ROLL_FRAMES = 32  # decode at least this many frames before and after a chunk, however low the frame rate
LATE_REASONS = ("smeared", "faded", "card")  # a frame that is in a transition as well counts as that
CHUNK_S = 1200.0  # length of a chunk, and time between two calls of `on_progress`


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """The frames shown in [first_s, end_s) of a video; by default all of them.

    The pass decodes from `start`, which is earlier, to `roll_s` (at least ROLL_FRAMES) after the end, because the
    quality of a frame depends on the frames around it. The first chunk of a video settles frame size and crop.
    """

    video_id: str
    first_s: float = 0.0
    end_s: float = math.inf
    roll_s: float = 0.0
    start: Start | None = None  # None: the beginning of the file
    size: tuple[int, int] = (0, 0)  # width and height; (0, 0) if not settled
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    masked: tuple[Box, ...] | None = None  # boxes to blank; None: blank the clocks that the pass finds


@dataclass(frozen=True, slots=True)
class _Sample:
    """A sampled frame whose image is not resized yet."""

    time_s: float
    image: DecodedImage
    covers: range  # points of the sampling grid
    damaged: bool


def chunk_length_s(config: FramesConfig) -> float:
    """Return the length of a chunk: long enough to settle rate, crop and size of the video in its first half."""
    return max(CHUNK_S, 4 * config.min_frames / config.fps)


def extract(
    path: Path,
    *,
    video_id: str,
    decode: DecodeConfig,
    frames: FramesConfig,
    seed: int,
    blob: IO[bytes],
    on_progress: Callable[[], object] = lambda: None,
) -> VideoEntry:
    """Decode a video once, write the JPEGs of its sampled frames to `blob`, and return its entry.

    `on_progress` is called after every `chunk_length_s` of samples.

    Raises:
        Skip: the file cannot be decoded, or is not a moving picture.
    """
    whole = Chunk(video_id=video_id)
    entry = extract_chunk(path, whole, decode=decode, frames=frames, seed=seed, blob=blob, on_progress=on_progress)
    if entry.decoded_frames < 2:
        raise Skip(SkipReason.NO_MOVING_PICTURE, f"only {entry.decoded_frames} frame could be decoded")
    return judge_in_context(entry, frames.trim_s)


def extract_chunk(
    path: Path,
    chunk: Chunk,
    *,
    decode: DecodeConfig,
    frames: FramesConfig,
    seed: int,
    blob: IO[bytes],
    on_progress: Callable[[], object] = lambda: None,
) -> VideoEntry:
    """Do the same as `extract` for one chunk, without `judge_in_context`.

    A first chunk with too few samples to settle crop and size continues to the end of the video.

    Raises:
        Skip: as `extract`; for a later chunk, only if `extract` of the whole video would raise it too.
    """

    def one_pass(chunk: Chunk, *, sparse: bool) -> VideoEntry:
        slowest = chunk.start is not None
        grid = SampleGrid(fps=frames.fps, max_fps=frames.max_fps, seed=seed, video_id=chunk.video_id, slowest=slowest)
        detector = shot_detector(decode.shots)
        needs = SparseNeeds(wanted=grid.may_cover, shots=detector.needs != "nothing") if sparse else None
        with open_video(path, backend=decode.decoder, start=chunk.start, needs=needs) as video:
            return _read(video, chunk, detector, grid, _Writer(blob, frames, chunk, on_progress))

    def again(chunk: Chunk, *, sparse: bool) -> VideoEntry:
        blob.seek(begin)
        blob.truncate()
        on_progress()
        return one_pass(chunk, sparse=sparse)

    begin = blob.tell()
    sparse = decode.decode == "sparse" and shot_detector(decode.shots).needs != "every frame"
    try:
        entry = one_pass(chunk, sparse=sparse)
    except NeedsFullDecode:
        sparse = False
        entry = again(chunk, sparse=False)
    if chunk.masked is None and entry.masked:
        entry = again(replace(chunk, masked=entry.masked), sparse=sparse)
    return entry


def _read(video: VideoStream, chunk: Chunk, detector: ShotDetector, grid: SampleGrid, writer: "_Writer") -> VideoEntry:
    """Pass over the frames of a chunk and around it; count only those of the chunk."""
    nearby, at_end = Nearby(from_start=chunk.start is None), True
    decoded, left_out, later, last_s, end_s = 0, 0, 0, 0.0, chunk.end_s
    damaged_before: int | None = 0 if chunk.start is None else None
    damaged: int | None = None  # packets, up to the end of the chunk
    for frame in video.frames():
        if frame.pts_s >= end_s and not writer.is_settled:
            end_s = math.inf
        if frame.pts_s >= chunk.first_s and damaged_before is None:
            damaged_before = video.damaged_packets
        if frame.pts_s >= end_s:
            damaged = video.damaged_packets if damaged is None else damaged
            later += 1
            if later > ROLL_FRAMES and frame.pts_s >= end_s + chunk.roll_s:
                at_end = False
                break
        detector.push(frame.pts_s, frame.tiny)
        covers = grid.covers(frame.pts_s)
        nearby.push(frame.pts_s, frame.tiny, sampled=bool(covers))
        inside = chunk.first_s <= frame.pts_s < end_s
        if inside:
            decoded, left_out, last_s = decoded + 1, left_out + frame.left_out, frame.pts_s
        if covers and frame.pts_s < end_s:
            sample = _Sample(frame.pts_s, frame.image(writer.area_px), covers, frame.damaged)
            writer.add(sample, grid) if inside else writer.remember(sample)
    damaged = video.damaged_packets if damaged is None else damaged
    writer.settle()
    return VideoEntry(
        video_id=chunk.video_id,
        info=video.info,
        duration_s=last_s,
        decoded_frames=decoded,
        left_out_frames=left_out,
        damaged_packets=damaged - (damaged if damaged_before is None else damaged_before),
        rate_fps=grid.rate_fps,
        width_px=writer.size[0],
        height_px=writer.size[1],
        crop=writer.crop,
        masked=writer.masked(),
        boundaries=tuple(b for b in detector.finish() if chunk.first_s <= b.start_s < end_s),
        frames=FrameTable.of(writer.judged(nearby, at_end=at_end)),
    )


class _Writer:
    """Buffers the first samples until rate, crop and size are settled, then writes each sample immediately."""

    def __init__(self, blob: IO[bytes], config: FramesConfig, chunk: Chunk, on_progress: Callable[[], object]) -> None:
        self._blob, self._config = blob, config
        self._on_progress, self._progress_frames = on_progress, math.ceil(config.fps * chunk_length_s(config))
        self._waiting: list[_Sample] = []
        self._last_luma: Luma | None = None
        self.frames: list[Frame] = []
        self._drawn: dict[float, bool] = {}  # times of frames that look like a card -> whether its ground is plain
        self._clocks, self._masked = ClockFinder() if chunk.masked is None else None, chunk.masked or ()
        self.size, self.crop = chunk.size, chunk.crop

    @property
    def is_settled(self) -> bool:
        return self.size != (0, 0)

    @property
    def area_px(self) -> int:
        """The largest area of an image: the decoder's limit if it is written immediately."""
        return MAX_AREA_PX if self.is_settled else max(HELD_AREA_PX, 4 * self._config.max_pixels)

    def add(self, sample: _Sample, grid: SampleGrid) -> None:
        if self.is_settled:
            self._write(sample)
            return
        self._waiting.append(sample)
        if len(self._waiting) < 2 * self._config.min_frames:
            return
        if grid.is_slowest:
            self.settle()
            return
        thinned = grid.thin(s.covers for s in self._waiting)
        self._waiting = [replace(s, covers=c) for s, c in zip(self._waiting, thinned, strict=True) if c]

    def settle(self) -> None:
        """Choose crop and size from the samples so far and write them; do nothing if that was done before."""
        if self.is_settled:
            return
        if not self._waiting:
            raise Skip(SkipReason.TOO_SHORT, "ends before the first frame to sample")
        self.crop = letterbox(s.image.rgb() for s in self._waiting)
        width, height = self._waiting[0].image.size
        left, top, right, bottom = self.crop
        self.size = target_size(
            round((right - left) * width),
            round((bottom - top) * height),
            multiple=self._config.patch_multiple,
            max_pixels=self._config.max_pixels,
        )
        for sample in self._waiting:
            self._write(sample)
        self._waiting = []

    def remember(self, sample: _Sample) -> None:
        """Keep only the luma of a sample before the chunk, to compare the next sample with it."""
        self._last_luma = self._resized(sample)[1]

    def _resized(self, sample: _Sample) -> tuple[Picture, Luma]:
        whole, corner = placed(*sample.image.size, self.crop, self.size)
        rgb, luma = sample.image.cut(whole, corner, self.size)
        return (blank(rgb, self._masked), blank(luma, self._masked)) if self._masked else (rgb, luma)

    def _write(self, sample: _Sample) -> None:
        rgb, luma = self._resized(sample)
        quality = measure(luma, self._last_luma)
        self._last_luma = luma
        reject = "damaged" if sample.damaged else quality.reject
        if not reject:
            reject = self._artificial(sample.time_s, rgb, luma)
        data = b"" if reject else encode_jpeg(rgb, quality=self._config.jpeg_quality)
        self._blob.write(data)
        self.frames.append(
            Frame(
                time_s=sample.time_s,
                shot=0,  # `judge_in_context` numbers the shots
                reject=reject,
                luma=quality.luma,
                contrast=quality.contrast,
                sharpness=quality.sharpness,
                thumbnail=quality.thumbnail,
                jpeg_bytes=len(data),
            )
        )
        if len(self.frames) % self._progress_frames == 0:
            self._on_progress()

    def _artificial(self, time_s: float, rgb: Picture, luma: Luma) -> str:
        """Return "smeared" or ""; take the frame to the search for clocks, and note whether it may be a card."""
        divided = cells(luma)
        if self._clocks:
            self._clocks.add(time_s, luma, divided)
        if is_smeared(rgb, divided):
            return "smeared"
        is_drawn, is_plain = looks_drawn(luma, divided)
        if is_drawn:
            self._drawn[time_s] = is_plain
        return ""

    def masked(self) -> tuple[Box, ...]:
        """The boxes that are blank or, if a clock was found in this pass, must become so in another."""
        return self._clocks.boxes() if self._clocks else self._masked

    def judged(self, nearby: Nearby, *, at_end: bool) -> Iterator[Frame]:
        """Return the frames after the last one was written, with those rejected that `nearby` shows to be unusable."""
        begin_s, end_s = nearby.finish(at_end=at_end)
        for frame in self.frames:
            reason = frame.reject
            if not reason and not begin_s <= frame.time_s < end_s:
                reason = "faded"
            elif not reason and frame.time_s in self._drawn:
                around = nearby.around[frame.time_s]
                is_card = around.still or (around.apart and self._drawn[frame.time_s])
                reason = "card" if is_card else ""
            yield replace(frame, reject=reason) if reason else frame


def judge_in_context(entry: VideoEntry, trim_s: float) -> VideoEntry:
    """Number the shots; reject frames in transitions, near boundaries, and much less sharp than the rest of the video.

    Frames in a gradual transition belong to the shot before it: with a cut at 2.0 s and a dissolve in [4.0, 5.0), the
    times 1.9, 2.0, 4.5 and 5.0 s are in the shots 0, 1, 1 and 2.
    """
    starts = [boundary.start_s for boundary in entry.boundaries]
    ends = [boundary.end_s for boundary in entry.boundaries]

    def reason(frame: Frame) -> str:
        if frame.reject and frame.reject not in LATE_REASONS:
            return frame.reject
        place = bisect_right(starts, frame.time_s)
        nearest = entry.boundaries[max(0, place - 1) : place + 1]
        if in_transition(nearest, frame.time_s, 0.0):
            return "transition"
        if frame.reject:
            return frame.reject
        if in_transition(nearest, frame.time_s, trim_s):
            return "boundary"
        return "blurred" if frame.sharpness < limit else ""

    usual = [f.sharpness for f in entry.frames if not f.reject]
    limit = BLUR_SHARE * median(usual) if usual else 0.0
    frames = (replace(f, shot=bisect_right(ends, f.time_s), reject=reason(f)) for f in entry.frames)
    return replace(entry, frames=FrameTable.of(frames))
