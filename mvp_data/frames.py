"""From one decoding pass to the key-frame candidates of a video: sample, judge, crop, resize, compress."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mvp_data.config import DecodeConfig, FramesConfig
from mvp_data.decode import open_video
from mvp_data.errors import Skip, SkipReason
from mvp_data.sampling import SampleGrid
from mvp_data.shots import in_transition, shot_detector, shot_number
from mvp_data.types import (
    THUMBNAIL_HEIGHT_PX,
    THUMBNAIL_WIDTH_PX,
    Boundary,
    Frame,
    Picture,
    VideoInfo,
    rejections,
)

if TYPE_CHECKING:
    from PIL import Image

# Luma levels are 0..255 after conversion to RGB. A picture with less than this share of pixels above this level is
# black: film black with its noise stays below, a night scene with one lamp does not.
BLACK_LUMA, BLACK_SHARE = 40, 0.01
FLAT_CONTRAST = 5.0  # standard deviation of luma; a plain colour with compression noise has 1..3
FROZEN_DIFFERENCE = 0.35  # mean absolute luma difference to the sample before; re-encoded stills stay below
BLUR_SHARE = 0.08  # of the video's own median sharpness: a whip pan or a failed focus, not a calm sky
# A row or column that never, in no picture, has more than this share of pixels above this level is a letterbox bar.
BAR_LUMA, BAR_SHARE = 28, 0.02
BAR_MOST = 0.6  # more than this share of a side is not a bar but a dark video


@dataclass(frozen=True, kw_only=True, slots=True)
class Extract:
    """What one pass over a video gives; the JPEGs are in the blob, one after another in the order of `frames`."""

    info: VideoInfo
    duration_s: float  # time of the last frame shown
    decoded_frames: int
    damaged_packets: int
    rate_fps: float  # rate at which it was sampled
    width_px: int  # of every stored picture
    height_px: int
    crop: tuple[float, float, float, float]  # left, top, right, bottom as shares of the displayed picture
    boundaries: tuple[Boundary, ...]
    frames: tuple[Frame, ...]

    @property
    def rejected(self) -> dict[str, int]:
        """How many sampled frames are no key frames, by reason."""
        return dict(rejections(self.frames))


@dataclass(frozen=True, slots=True)
class _Sample:
    time_s: float
    picture: Picture
    covers: range
    damaged: bool


def extract(
    path: Path, *, video_id: str, decode: DecodeConfig, frames: FramesConfig, seed: int, blob: IO[bytes]
) -> Extract:
    """Decode `path` once; write the JPEGs of its sampled frames to `blob` and return all that is known of them.

    Raises:
        Skip: nothing to decode, or nothing that moves.
    """
    detector = shot_detector(decode.shots)
    grid = SampleGrid(fps=frames.fps, max_fps=frames.max_fps, seed=seed, video_id=video_id)
    writer = _Writer(blob, frames)
    decoded, last_s = 0, 0.0
    with open_video(path, backend=decode.decoder) as video:
        for frame in video.frames():
            decoded, last_s = decoded + 1, frame.pts_s
            detector.push(frame.pts_s, frame.tiny)
            covers = grid.covers(frame.pts_s)
            if covers:
                # Four times the final area leaves the last resampling, after the crop, something to work with.
                picture = frame.picture(4 * frames.max_pixels)
                writer.add(_Sample(frame.pts_s, picture, covers, frame.damaged), grid)
        info, damaged = video.info, video.damaged_packets
    if decoded < 2:
        raise Skip(SkipReason.NO_MOVING_PICTURE, f"only {decoded} frame could be decoded")
    writer.settle()
    boundaries = detector.finish()
    return Extract(
        info=info,
        duration_s=last_s,
        decoded_frames=decoded,
        damaged_packets=damaged,
        rate_fps=grid.rate_fps,
        width_px=writer.size[0],
        height_px=writer.size[1],
        crop=writer.crop,
        boundaries=boundaries,
        frames=_judge_in_context(writer.frames, boundaries, frames.trim_s),
    )


class _Writer:
    """Holds the first samples back until rate, crop and size can be decided, then writes each as it comes."""

    def __init__(self, blob: IO[bytes], config: FramesConfig) -> None:
        self._blob = blob
        self._config = config
        self._waiting: list[_Sample] = []
        self._last_luma: npt.NDArray[np.float32] | None = None
        self.frames: list[Frame] = []
        self.size = (0, 0)
        self.crop = (0.0, 0.0, 1.0, 1.0)

    def add(self, sample: _Sample, grid: SampleGrid) -> None:
        if self.size != (0, 0):
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
        if self.size != (0, 0):
            return
        if not self._waiting:
            raise Skip(SkipReason.TOO_SHORT, "ends before the first frame to sample")
        self.crop = letterbox([s.picture for s in self._waiting])
        height, width = self._waiting[0].picture.shape[:2]
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

    def _write(self, sample: _Sample) -> None:
        from PIL import Image

        height, width = sample.picture.shape[:2]
        box = cover_box(width, height, self.crop, self.size)
        image = Image.fromarray(sample.picture).resize(self.size, Image.Resampling.HAMMING, box=box)
        grey = image.convert("L")
        luma = np.asarray(grey, dtype=np.float32)
        thumbnail = grey.resize((THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX), Image.Resampling.BOX)
        reject = "damaged" if sample.damaged else judge(luma, self._last_luma)
        self._last_luma = luma
        data = b"" if reject else encode_jpeg(image, quality=self._config.jpeg_quality)
        self._blob.write(data)
        self.frames.append(
            Frame(
                time_s=sample.time_s,
                shot=0,  # known once all boundaries are
                reject=reject,
                luma=float(luma.mean()),
                contrast=float(luma.std()),
                sharpness=sharpness(luma),
                thumbnail=thumbnail.tobytes(),
                jpeg_bytes=len(data),
            )
        )


def encode_jpeg(image: "Image.Image", *, quality: int) -> bytes:
    """JPEG bytes of a Pillow image: 4:2:0, no metadata."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=2)
    return buffer.getvalue()


def judge(luma: npt.NDArray[np.float32], before: npt.NDArray[np.float32] | None) -> str:
    """Why a picture [H, W] is no key frame on its own: black, flat, frozen, or "" when nothing is wrong."""
    if _is_black(luma):
        return "black"
    if luma.std() < FLAT_CONTRAST:
        return "flat"
    if before is not None and np.abs(luma - before).mean() < FROZEN_DIFFERENCE:
        return "frozen"
    return ""


def _is_black(levels: npt.NDArray[Any]) -> bool:
    return bool(np.count_nonzero(levels >= BLACK_LUMA) < BLACK_SHARE * levels.size)


def sharpness(luma: npt.NDArray[np.float32]) -> float:
    """Variance of the 4-neighbour Laplacian of a picture [H, W], a common focus measure (Pech-Pacheco et al., 2000)."""
    if min(luma.shape) < 3:
        return 0.0
    inner = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    return float(laplacian.var())


def _judge_in_context(samples: Sequence[Frame], boundaries: Sequence[Boundary], trim_s: float) -> tuple[Frame, ...]:
    """Number the shots, and reject what only the whole video shows: transitions, trimmed edges, strong blur."""

    def reason(frame: Frame, blur_limit: float) -> str:
        if frame.reject:
            return frame.reject
        if in_transition(boundaries, frame.time_s, 0.0):
            return "transition"
        if in_transition(boundaries, frame.time_s, trim_s):
            return "boundary"
        return "blurred" if frame.sharpness < blur_limit else ""

    usual = [f.sharpness for f in samples if not f.reject]
    limit = BLUR_SHARE * median(usual) if usual else 0.0
    return tuple(replace(f, shot=shot_number(boundaries, f.time_s), reject=reason(f, limit)) for f in samples)


def letterbox(pictures: Sequence[Picture]) -> tuple[float, float, float, float]:
    """The part of the picture inside black bars, as shares (left, top, right, bottom) of the sides.

    Bars must be there in every picture that is not black itself; `(0, 0, 1, 1)` when there are none.
    """
    height, width = pictures[0].shape[:2]
    lit_rows, lit_columns = np.zeros(height, bool), np.zeros(width, bool)
    for picture in pictures:
        brightest = np.maximum(np.maximum(picture[..., 0], picture[..., 1]), picture[..., 2])
        if brightest.shape == (height, width) and not _is_black(brightest):
            lit = brightest >= BAR_LUMA
            lit_rows |= np.count_nonzero(lit, axis=1) > BAR_SHARE * width
            lit_columns |= np.count_nonzero(lit, axis=0) > BAR_SHARE * height
    top, bottom = _inside(lit_rows)
    left, right = _inside(lit_columns)
    return left, top, right, bottom


def _inside(lit: npt.NDArray[np.bool_]) -> tuple[float, float]:
    size, places = len(lit), np.flatnonzero(lit)
    if not len(places) or len(places) < (1 - BAR_MOST) * size:
        return 0.0, 1.0
    first, end = int(places[0]), int(places[-1]) + 1
    if end - first < 3:  # a picture of a few pixels: nothing would be left of it
        return 0.0, 1.0
    # One more pixel on a side with a bar: its edge is blended with the picture.
    return (first + 1) / size if first else 0.0, (end - 1) / size if end < size else 1.0


def target_size(width_px: int, height_px: int, *, multiple: int, max_pixels: int) -> tuple[int, int]:
    """The size (width, height) that pictures get: multiples of `multiple`, at most `max_pixels`, nearest in shape.

    target_size(1280, 720, multiple=28, max_pixels=112_896) -> (448, 252)
    target_size(320, 240, multiple=28, max_pixels=112_896) -> (336, 252)

    A picture is never enlarged by more than the rounding to the next multiple.
    """
    scale = min(1.0, (max_pixels / (width_px * height_px)) ** 0.5)
    widths = _nearest_multiples(width_px * scale, multiple)
    heights = _nearest_multiples(height_px * scale, multiple)
    options = [(w, h) for w in widths for h in heights if w * h <= max_pixels]
    if not options:  # a very long picture and a large multiple: one multiple on the short side, what fits on the other
        longest = max_pixels // multiple // multiple * multiple
        return (longest, multiple) if width_px > height_px else (multiple, longest)
    ideal = width_px * height_px * scale**2

    def badness(size: tuple[int, int]) -> float:
        # What does not fit the shape is cut off, a few pixels more or less are not: shape weighs four times as much.
        shape_error = abs(math.log(size[0] / size[1] * height_px / width_px))
        return 4 * shape_error + abs(math.log(size[0] * size[1] / ideal))

    return min(options, key=lambda size: (badness(size), size))


def _nearest_multiples(length_px: float, multiple: int) -> tuple[int, int]:
    low = max(1, int(length_px // multiple))
    return low * multiple, (low + 1) * multiple


def cover_box(
    width: float, height: float, crop: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The centred box (left, top, right, bottom; pixels) inside `crop` that has exactly the shape of `size`.

    Rounding the size to multiples changes the shape, by a few per cent for usual sizes: that much is cut off the longer
    side, so that nothing is stretched.
    """
    left, top, right, bottom = crop[0] * width, crop[1] * height, crop[2] * width, crop[3] * height
    scale = min((right - left) / size[0], (bottom - top) / size[1])
    # Never below 0: rounding gives -1e-13 for some sizes, and Pillow refuses a box that starts before the picture.
    spare_x = max(0.0, (right - left) - scale * size[0])
    spare_y = max(0.0, (bottom - top) - scale * size[1])
    return left + spare_x / 2, top + spare_y / 2, right - spare_x / 2, bottom - spare_y / 2
