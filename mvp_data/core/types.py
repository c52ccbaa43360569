"""The values that pass between the steps. All are frozen.

Source -> VideoEntry (VideoInfo, Boundary, Frame) -> (bank) -> Strip -> Episode -> Puzzle -> Record
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, overload

import numpy as np
import numpy.typing as npt

Turn = tuple[int, int, int, int]  # (a, b, c, d): point (x, y) is shown at (a*x + c*y, b*x + d*y), y down

Box = tuple[int, int, int, int]  # left, top, right, bottom; pixels
Picture = npt.NDArray[np.uint8]  # [height, width, 3], RGB
Luma = npt.NDArray[np.uint8]  # [height, width], full range: black is 0, white 255
Tiny = npt.NDArray[np.uint8]  # [36, 64, 3], YCbCr: every frame at the size that shot detectors use
Vectors = npt.NDArray[np.float32]  # [N, D], rows of length 1
Thumbnails = npt.NDArray[np.uint8]  # [M, 2304], luma

TINY_WIDTH_PX, TINY_HEIGHT_PX = 64, 36
THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX = 64, 36


@dataclass(frozen=True, kw_only=True, slots=True)
class ByteRange:
    """A contiguous part of a file, such as a member of a tar."""

    container: str  # absolute local path or fsspec URL
    offset: int
    size: int  # bytes

    def __str__(self) -> str:
        """The text form, `tar:512+1048576:/data/x.tar`; hashes in the list of known files depend on it."""
        return f"tar:{self.offset}+{self.size}:{self.container}"


Location = str | ByteRange  # a whole file (absolute local path or fsspec URL), or a part of one


def file_of(location: Location) -> str:
    """The path or URL of the file that contains the bytes."""
    return location.container if isinstance(location, ByteRange) else location


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A video to read.

    `location` may contain secrets and bytes that are not UTF-8, so it is never written to a file. `path` is the name
    in outputs, relative to the `--src` argument. `extra` holds the other columns of a manifest.
    """

    location: Location
    path: str
    extra: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInfo:
    """Facts about the video stream from the container; sizes are as displayed (rotation and pixel aspect applied)."""

    width_px: int
    height_px: int
    codec: str
    header_duration_s: float  # 0.0 if the header has none; headers can be wrong, so sampling ignores it
    rotation_deg: int  # clockwise turn needed for display: 0, 90, 180 or 270


@dataclass(frozen=True, kw_only=True, slots=True)
class Boundary:
    """A change of shot. Frames with `start_s <= pts < end_s` belong to neither shot.

    For a cut, `start_s == end_s` is the time of the first frame of the new shot. For a gradual transition
    (`dissolve`, `fade`), `end_s` is the time of the first frame that shows only the new shot. A fade-in with which a
    video starts has `start_s == 0`, and a fade-out at its end has an `end_s` after the last frame.
    """

    kind: str  # cut | dissolve | fade
    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if self.kind not in ("cut", "dissolve", "fade") or not 0 <= self.start_s <= self.end_s:
            raise ValueError(f"a boundary is a cut, dissolve or fade with 0 <= start_s <= end_s, got {self!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """A sampled frame of a video; `reject` is the reason why it cannot be a key frame, or empty."""

    time_s: float  # presentation time, from the first frame of the video
    shot: int  # number of its shot, from 0
    reject: str = ""  # damaged | black | flat | frozen | smeared | faded | card | blurred | transition | boundary
    luma: float = 0.0  # mean, 0..255
    contrast: float = 0.0  # standard deviation of luma, 0..255
    sharpness: float = 0.0  # variance of the Laplacian of luma
    thumbnail: bytes = b""  # luma, 64 x 36, row by row: pass 2 measures motion with it
    jpeg_bytes: int = 0  # length of its JPEG in the bank; 0 if none is stored


THUMBNAIL_BYTES = THUMBNAIL_WIDTH_PX * THUMBNAIL_HEIGHT_PX
_FRAME_FIELDS = tuple(f.name for f in fields(Frame))
# `reject` and `thumbnail` are stored as indices: into the reasons and into the thumbnails of the video.
_FRAME_DTYPE = np.dtype([(f.name, np.float64 if f.type is float else np.int32) for f in fields(Frame)])
_NO_THUMBNAIL = -1


class FrameTable(Sequence[Frame]):
    """The frames of one video, stored in columns; a sequence that creates `Frame` objects on access.

    A row takes about 45 bytes plus a thumbnail; a `Frame` object takes three kilobytes.
    """

    __slots__ = ("_reasons", "_rows", "thumbnails")

    def __init__(self, columns: Mapping[str, Sequence[Any] | npt.NDArray[Any]]) -> None:
        """Build the table from the values of each field of `Frame`.

        Raises:
            ValueError: a thumbnail does not have 64 x 36 bytes.
        """
        thumbnails = columns["thumbnail"]
        stored = [thumbnail for thumbnail in thumbnails if thumbnail]
        if any(len(thumbnail) != THUMBNAIL_BYTES for thumbnail in stored):
            raise ValueError(f"a thumbnail must have {THUMBNAIL_BYTES} bytes")
        # only of the frames that have one, in order
        self.thumbnails: Thumbnails = np.frombuffer(b"".join(stored), np.uint8).reshape(-1, THUMBNAIL_BYTES)
        self._reasons = tuple(dict.fromkeys(columns["reject"]))
        numbers = {reason: number for number, reason in enumerate(self._reasons)}
        has_one = np.array([bool(thumbnail) for thumbnail in thumbnails], dtype=bool)
        self._rows = np.empty(len(thumbnails), _FRAME_DTYPE)
        for name in _FRAME_FIELDS:
            self._rows[name] = (
                np.where(has_one, np.cumsum(has_one) - 1, _NO_THUMBNAIL)
                if name == "thumbnail"
                else [numbers[reason] for reason in columns[name]]
                if name == "reject"
                else columns[name]
            )

    @classmethod
    def of(cls, frames: Iterable[Frame]) -> "FrameTable":
        """Build a table of these frames."""
        rows = tuple(frames)
        return cls({name: [getattr(frame, name) for frame in rows] for name in _FRAME_FIELDS})

    def with_thumbnails(self, thumbnails: Thumbnails) -> "FrameTable":
        """The same frames with another array of thumbnails, such as a part of a shared one."""
        table = FrameTable.__new__(FrameTable)
        table._rows, table._reasons, table.thumbnails = self._rows, self._reasons, thumbnails
        return table

    @property
    def times_s(self) -> npt.NDArray[np.float64]:
        """Time of each frame in seconds."""
        return self._rows["time_s"]

    @property
    def shots(self) -> npt.NDArray[np.int32]:
        """Shot number of each frame."""
        return self._rows["shot"]

    @property
    def jpeg_bytes(self) -> npt.NDArray[np.int32]:
        """Size of each JPEG in bytes; 0 if none is stored."""
        return self._rows["jpeg_bytes"]

    @property
    def usable(self) -> npt.NDArray[np.intp]:
        """Indices of the frames that were not rejected."""
        if "" not in self._reasons:
            return np.empty(0, np.intp)
        return np.flatnonzero(self._rows["reject"] == self._reasons.index(""))

    def rejections(self) -> Counter[str]:
        """The number of rejected frames by reason."""
        counts = np.bincount(self._rows["reject"], minlength=len(self._reasons)).tolist()
        return Counter({reason: count for reason, count in zip(self._reasons, counts, strict=True) if reason})

    def thumbnail(self, index: int) -> bytes:
        """The thumbnail of one frame, without creating the `Frame`."""
        row = self._rows["thumbnail"][index]
        return self.thumbnails[row].tobytes() if row != _NO_THUMBNAIL else b""

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Frame, ...]: ...
    def __getitem__(self, index: int | slice) -> Frame | tuple[Frame, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        values = dict(zip(_FRAME_FIELDS, self._rows[index].item(), strict=True))
        return Frame(**values | {"reject": self._reasons[values["reject"]], "thumbnail": self.thumbnail(index)})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrameTable) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # not hashable, like other containers of arrays


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoEntry:
    """The result of pass 1 for a video, or for one chunk of a long video, as stored in the bank.

    `skip` is the reason why the video cannot be used, or empty.
    """

    video_id: str
    skip: str = ""  # a SkipReason
    detail: str = ""
    info: VideoInfo | None = None
    duration_s: float = 0.0  # time of the last frame
    decoded_frames: int = 0  # frames of the video, including those that a sparse pass leaves out
    left_out_frames: int = 0  # number of these that were not decoded
    damaged_packets: int = 0
    rate_fps: float = 0.0  # sampling rate
    width_px: int = 0  # size of the stored frames
    height_px: int = 0
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)  # left, top, right, bottom; 0..1
    masked: tuple[Box, ...] = ()  # parts of the stored frames that showed a clock and were filled with one colour
    boundaries: tuple[Boundary, ...] = ()
    frames: FrameTable = field(default_factory=lambda: FrameTable.of(()), repr=False)

    @property
    def decoded_share(self) -> float:
        """Share of the frames that were decoded."""
        return 1 - self.left_out_frames / self.decoded_frames if self.decoded_frames else 0.0

    @property
    def usable(self) -> tuple[int, ...]:
        """Indices of the frames that were not rejected."""
        return tuple(self.frames.usable.tolist())


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """The encoder of a vector. Bank and shards store it, and vectors of different encoders are never compared."""

    name: str  # builtin:<name> | open_clip:<model>/<pretrained>
    weights_sha256: str
    dimension: int
    engine: str  # <runtime>-<device>-<number format>, such as onnxruntime-cpu-fp32

    def __str__(self) -> str:
        return f"{self.name}, {self.engine}"
