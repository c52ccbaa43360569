"""The values that flow between the steps: frozen, checked on creation, never filled in later.

Source -> VideoInfo + Boundary + Frame -> (bank) -> Strip -> Episode -> Puzzle -> (schema.Record)
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]  # [height, width, 3], RGB
Luma = npt.NDArray[np.uint8]  # [height, width], full range: black is 0, white 255
Tiny = npt.NDArray[np.uint8]  # [36, 64, 3], YCbCr: what shot detection sees of every frame
Vectors = npt.NDArray[np.float32]  # [N, D], rows of length 1

TINY_WIDTH_PX, TINY_HEIGHT_PX = 64, 36
THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX = 32, 18


@dataclass(frozen=True, kw_only=True, slots=True)
class ByteRange:
    """A contiguous part of a file, such as a member of a tar."""

    container: str  # absolute local path or fsspec URL
    offset: int
    size: int  # bytes

    def __str__(self) -> str:
        """The text form, which the list of known files hashes: `tar:512+1048576:/data/x.tar`."""
        return f"tar:{self.offset}+{self.size}:{self.container}"


Location = str | ByteRange  # a whole file (absolute local path or fsspec URL), or a part of one


def file_of(location: Location) -> str:
    """The path or URL of the file that contains the bytes."""
    return location.container if isinstance(location, ByteRange) else location


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A video to read.

    `uri` says where its bytes are. It may contain secrets and undecodable bytes, so it is never written to a file.
    `path` is the name for people and provenance, relative to the `--src` argument. `extra` holds the other columns of
    a manifest.
    """

    uri: Location
    path: str
    extra: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInfo:
    """What the container says of the moving picture; sizes are as displayed (rotation and pixel aspect applied)."""

    width_px: int
    height_px: int
    codec: str
    header_duration_s: float  # 0.0 where the header gives none; headers lie, so never used to sample
    rotation_deg: int  # clockwise turn needed for display: 0, 90, 180 or 270


@dataclass(frozen=True, kw_only=True, slots=True)
class Boundary:
    """A change of shot. Frames with `start_s <= pts < end_s` belong to neither side.

    For a cut `start_s == end_s`: the time of the first frame of the new shot. For a gradual transition
    (`dissolve`, `fade`) `end_s` is the time of the first frame that shows the new shot alone.
    """

    kind: str  # cut | dissolve | fade
    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if self.kind not in ("cut", "dissolve", "fade") or not 0 <= self.start_s <= self.end_s:
            raise ValueError(f"not a boundary: {self!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One sampled picture of a video; `reject` is the reason it is no key frame, or empty."""

    time_s: float  # presentation time, from the first frame of the video
    shot: int  # number of the shot it lies in, from 0
    reject: str = ""  # damaged | black | flat | frozen | blurred | transition | boundary
    luma: float = 0.0  # mean, 0..255
    contrast: float = 0.0  # standard deviation of luma, 0..255
    sharpness: float = 0.0  # variance of the Laplacian of luma
    thumbnail: bytes = b""  # luma, 32 x 18, row by row: lets pass 2 see motion without decoding anything
    jpeg_bytes: int = 0  # length of its JPEG in the blob; 0 where none was stored


def rejections(frames: Iterable[Frame]) -> Counter[str]:
    """How many frames are no key frames, by reason."""
    return Counter(frame.reject for frame in frames if frame.reject)
