"""From one decoding pass to the key-frame candidates of a video: sample, judge, crop, resize, compress."""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import IO

from mvp_data.config.options import DecodeConfig, FramesConfig
from mvp_data.core.errors import NeedsFullDecode, Skip, SkipReason
from mvp_data.core.types import Frame, FrameTable, Luma, Picture, VideoEntry
from mvp_data.video.crop import letterbox, placed, target_size
from mvp_data.video.decode.images import encode_jpeg
from mvp_data.video.decode.open import open_video
from mvp_data.video.decode.stream import MAX_AREA_PX, SparseNeeds, Start, Still, VideoStream
from mvp_data.video.quality import judge
from mvp_data.video.sampling import SampleGrid
from mvp_data.video.shots.detector import ShotDetector, in_transition, shot_detector

HELD_AREA_PX = 1 << 20  # of the pictures that wait for crop and size, 1.5 bytes a pixel; larger ones are shrunk to it
BLUR_SHARE = 0.08  # of the video's own median sharpness: a whip pan or a failed focus, not a calm sky
ROLL_FRAMES = 32  # looked at on either side of a part at least, however slow the video is: what shot detection sees
CHUNK_S = 1200.0  # of video: a longer one is worked in parts of this length, or says each time that it gets on


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """What a pass is about: the frames shown in [first_s, end_s) of a video; by default all of them.

    Those from `start` on and those of `roll_s` (ROLL_FRAMES at least) after the end are looked at as well, since what
    a frame is worth depends on its surroundings. Picture size and crop are what the video's first part has settled.
    """

    video_id: str
    first_s: float = 0.0
    end_s: float = math.inf
    roll_s: float = 0.0
    start: Start | None = None  # None: the beginning of the file
    size: tuple[int, int] = (0, 0)
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class _Sample:
    time_s: float
    still: Still
    covers: range
    damaged: bool


def chunk_length_s(config: FramesConfig) -> float:
    """How much video is one part; so much that its first half settles rate, crop and size for all."""
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
    """Decode `path` once; write the JPEGs of its sampled frames to `blob` and return all that is known of them.

    `on_progress` is called whenever the samples of another `chunk_length_s` are written.

    Raises:
        Skip: nothing to decode, or nothing that moves.
    """
    part = Chunk(video_id=video_id)
    found = extract_chunk(path, part, decode=decode, frames=frames, seed=seed, blob=blob, on_progress=on_progress)
    if found.decoded_frames < 2:
        raise Skip(SkipReason.NO_MOVING_PICTURE, f"only {found.decoded_frames} frame could be decoded")
    return judge_in_context(found, frames.trim_s)


def extract_chunk(
    path: Path,
    part: Chunk,
    *,
    decode: DecodeConfig,
    frames: FramesConfig,
    seed: int,
    blob: IO[bytes],
    on_progress: Callable[[], object] = lambda: None,
) -> VideoEntry:
    """The same for a part, before `judge_in_context`; a first part that settles nothing goes on to the end.

    Raises:
        Skip: as above; of a later part only what the whole video would raise as well.
    """
    begin = blob.tell()
    if decode.decode == "sparse" and decode.shots != "transnetv2":  # it needs every frame
        try:
            return _pass(path, part, decode=decode, frames=frames, seed=seed, blob=blob, on_progress=on_progress)
        except NeedsFullDecode:
            blob.seek(begin)
            blob.truncate()
            on_progress()
    full = replace(decode, decode="full")
    return _pass(path, part, decode=full, frames=frames, seed=seed, blob=blob, on_progress=on_progress)


def _pass(
    path: Path,
    part: Chunk,
    *,
    decode: DecodeConfig,
    frames: FramesConfig,
    seed: int,
    blob: IO[bytes],
    on_progress: Callable[[], object],
) -> VideoEntry:
    writer = _Writer(blob, frames, part, on_progress)
    slowest = part.start is not None
    grid = SampleGrid(fps=frames.fps, max_fps=frames.max_fps, seed=seed, video_id=part.video_id, slowest=slowest)
    is_sparse, shots = decode.decode == "sparse", decode.shots != "none"
    needs = SparseNeeds(wanted=grid.may_cover, shots=shots) if is_sparse else None
    with open_video(path, backend=decode.decoder, start=part.start, needs=needs) as video:
        return _walk(video, part, shot_detector(decode.shots), grid, writer)


def _walk(video: VideoStream, part: Chunk, detector: ShotDetector, grid: SampleGrid, writer: "_Writer") -> VideoEntry:
    """One pass over the frames of a part and around it; what lies around is not counted."""
    decoded, left_out, later, last_s, end_s = 0, 0, 0, 0.0, part.end_s
    damaged_before: int | None = 0 if part.start is None else None
    damaged: int | None = None
    for frame in video.frames():
        if frame.pts_s >= end_s and not writer.is_settled:
            end_s = math.inf
        if frame.pts_s >= part.first_s and damaged_before is None:
            damaged_before = video.damaged_packets
        if frame.pts_s >= end_s:
            damaged = video.damaged_packets if damaged is None else damaged
            later += 1
            if later > ROLL_FRAMES and frame.pts_s >= end_s + part.roll_s:
                break
        detector.push(frame.pts_s, frame.tiny)
        covers = grid.covers(frame.pts_s)
        own = part.first_s <= frame.pts_s < end_s
        if own:
            decoded, left_out, last_s = decoded + 1, left_out + frame.left_out, frame.pts_s
        if covers and frame.pts_s < end_s:
            sample = _Sample(frame.pts_s, frame.picture(writer.area_px), covers, frame.damaged)
            writer.add(sample, grid) if own else writer.look(sample)
    damaged = video.damaged_packets if damaged is None else damaged
    writer.settle()
    return VideoEntry(
        video_id=part.video_id,
        info=video.info,
        duration_s=last_s,
        decoded_frames=decoded,
        left_out_frames=left_out,
        damaged_packets=damaged - (damaged if damaged_before is None else damaged_before),
        rate_fps=grid.rate_fps,
        width_px=writer.size[0],
        height_px=writer.size[1],
        crop=writer.crop,
        boundaries=tuple(b for b in detector.finish() if part.first_s <= b.start_s < end_s),
        frames=FrameTable.of(writer.frames),
    )


class _Writer:
    """Holds the first samples back until rate, crop and size can be decided, then writes each as it comes."""

    def __init__(
        self,
        blob: IO[bytes],
        config: FramesConfig,
        part: Chunk,
        on_progress: Callable[[], object],
    ) -> None:
        self._blob = blob
        self._config = config
        self._on_stretch, self._stretch_frames = on_progress, math.ceil(config.fps * chunk_length_s(config))
        self._waiting: list[_Sample] = []
        self._last_luma: Luma | None = None
        self.frames: list[Frame] = []
        self.size, self.crop = part.size, part.crop

    @property
    def is_settled(self) -> bool:
        return self.size != (0, 0)

    @property
    def area_px(self) -> int:
        """How large a picture to ask for: all of it where it is used at once."""
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
        """Decide crop and size from the samples seen so far and write them; a no-op when done before."""
        if self.is_settled:
            return
        if not self._waiting:
            raise Skip(SkipReason.TOO_SHORT, "ends before the first frame to sample")
        self.crop = letterbox(s.still.rgb() for s in self._waiting)
        width, height = self._waiting[0].still.size
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

    def look(self, sample: _Sample) -> None:
        """Only remember a picture, for the comparison with the next."""
        self._last_luma = self._cut(sample)[1]

    def _cut(self, sample: _Sample) -> tuple[Picture, Luma]:
        whole, corner = placed(*sample.still.size, self.crop, self.size)
        return sample.still.cut(whole, corner, self.size)

    def _write(self, sample: _Sample) -> None:
        picture, luma = self._cut(sample)
        verdict = judge(luma, self._last_luma)
        self._last_luma = luma
        reject = "damaged" if sample.damaged else verdict.reject
        data = b"" if reject else encode_jpeg(picture, quality=self._config.jpeg_quality)
        self._blob.write(data)
        self.frames.append(
            Frame(
                time_s=sample.time_s,
                shot=0,  # known once all boundaries are
                reject=reject,
                luma=verdict.luma,
                contrast=verdict.contrast,
                sharpness=verdict.sharpness,
                thumbnail=verdict.thumbnail,
                jpeg_bytes=len(data),
            )
        )
        if len(self.frames) % self._stretch_frames == 0:
            self._on_stretch()


def judge_in_context(found: VideoEntry, trim_s: float) -> VideoEntry:
    """Number the shots, and reject what only the whole video shows: transitions, trimmed edges, strong blur."""
    starts = [boundary.start_s for boundary in found.boundaries]
    ends = [boundary.end_s for boundary in found.boundaries]

    def reason(frame: Frame) -> str:
        if frame.reject:
            return frame.reject
        place = bisect_right(starts, frame.time_s)
        beside = found.boundaries[max(0, place - 1) : place + 1]  # all others are farther away
        if in_transition(beside, frame.time_s, 0.0):
            return "transition"
        if in_transition(beside, frame.time_s, trim_s):
            return "boundary"
        return "blurred" if frame.sharpness < limit else ""

    usual = [f.sharpness for f in found.frames if not f.reject]
    limit = BLUR_SHARE * median(usual) if usual else 0.0
    frames = (replace(f, shot=bisect_right(ends, f.time_s), reject=reason(f)) for f in found.frames)
    return replace(found, frames=FrameTable.of(frames))
