"""Small clips whose frames carry a counter that a program can read back: the truth of decoding tests.

    clip = render(tmp_path / "a.mp4", frames=30)
    with open_video(clip) as video:
        assert [read_counter(f.image(10**6).rgb()) for f in video.frames()] == list(range(30))

`VARIANTS` has one clip of each awkward kind; `render_variant` writes it. Encoders are those inside PyAV.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av  # at the top: decord, if some test loads it first, breaks the encoders of PyAV
import numpy as np

from mvp_data.core.types import Picture

GRID = 4  # cells a side: the corners tell which way is up, the other 12 are bits, high bit first
CORNERS = {(0, 0): 255, (0, 3): 128, (3, 0): 0, (3, 3): 0}  # different under all eight turns and mirrorings
BIT_CELLS = [(r, c) for r in range(GRID) for c in range(GRID) if (r, c) not in CORNERS]
COUNTERS = 1 << len(BIT_CELLS)
Paint = Callable[[int, int, int], Picture]


def paint_counter(n: int, width: int, height: int) -> Picture:
    """RGB [height, width, 3] with `n` (0..4095) as black and white cells."""
    if not 0 <= n < COUNTERS:
        raise ValueError(f"{n} does not fit in {len(BIT_CELLS)} bits")
    cells = np.zeros((GRID, GRID), np.uint8)
    for cell, value in CORNERS.items():
        cells[cell] = value
    for bit, cell in enumerate(reversed(BIT_CELLS)):
        cells[cell] = 255 * (n >> bit & 1)
    rows = np.arange(height) * GRID // height
    columns = np.arange(width) * GRID // width
    return np.repeat(cells[rows][:, columns, None], 3, axis=2)


def read_counter(picture: Picture) -> int:
    """The number painted on an upright picture of any size; ValueError where it is turned, mixed or none."""
    height, width = picture.shape[:2]
    cells = np.empty((GRID, GRID))
    for r in range(GRID):
        for c in range(GRID):
            cells[r, c] = picture[_middle(r, height), _middle(c, width)].mean()
    bits = np.array([cells[cell] for cell in BIT_CELLS])
    corners = {cell: round(cells[cell]) for cell in CORNERS}
    if any(abs(corners[cell] - value) > 40 for cell, value in CORNERS.items()):
        raise ValueError(f"the corners are {corners}, not {CORNERS}: turned, mirrored or no counter")
    if ((bits > 60) & (bits < 195)).any():
        raise ValueError(f"bits neither black nor white: {bits.round()}")
    return int("".join("01"[int(b > 127)] for b in bits), 2)


def _middle(cell: int, side_px: int) -> slice:
    """The middle half of a cell, away from ringing and blur at its edges; one pixel at least."""
    first = (4 * cell + 1) * side_px // (4 * GRID)
    return slice(first, max((4 * cell + 3) * side_px // (4 * GRID), first + 1))


def render(
    path: Path,
    *,
    frames: int = 30,
    fps: Fraction | int = 25,
    size: tuple[int, int] = (128, 72),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    paint: Paint = paint_counter,
    rotation_deg: int = 0,
    pixel_aspect: Fraction = Fraction(1),
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
) -> Path:
    """Write a clip of `paint(n, width, height)` for n = 0, 1, ...; the name's ending chooses the container.

    `pts` are in units of `time_base` (default 1/fps); without them frame n is at n/fps. `size` is the picture
    before `pixel_aspect` stretches it; with `rotation_deg` (clockwise, as players turn) it is stored turned
    back, so that the picture shown is upright. The encoder option `color_range=pc` writes full range.
    """
    base = time_base or 1 / Fraction(fps)
    full_range = (options or {}).get("color_range") == "pc"
    ticks = list(range(frames)) if pts is None else list(pts)
    with av.open(str(path), "w", options=dict(container_options or {})) as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=dict(options or {}))
        turns = rotation_deg // 90
        stream.width, stream.height = size if turns % 2 == 0 else size[::-1]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = stream.time_base = base
        stream.codec_context.sample_aspect_ratio = 1 / pixel_aspect if turns % 2 else pixel_aspect
        stream.codec_context.thread_count = 1
        if rotation_deg:
            stream.set_display_rotation(-rotation_deg)
        for n, tick in enumerate(ticks):
            stored = np.ascontiguousarray(np.rot90(paint(n, *size), turns))
            frame = av.VideoFrame.from_ndarray(stored, format="rgb24").reformat(
                format=pix_fmt, dst_color_range="JPEG" if full_range else None
            )
            frame.pts, frame.time_base = tick, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How to render one awkward clip, and the frames that a decoder must return."""

    name: str  # with the ending that chooses the container
    frames: int = 30
    size: tuple[int, int] = (128, 72)
    pts: tuple[int, ...] | None = None  # default: one frame each 1/25 s
    time_base: Fraction = Fraction(1, 25)
    hidden: int = 0  # so many frames at the start are not shown
    rotation_deg: int = 0
    pixel_aspect: Fraction = Fraction(1)
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict)
    container_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def counters(self) -> list[int]:
        """The numbers of the frames shown."""
        return list(range(self.hidden, self.frames))

    @property
    def times_s(self) -> list[float]:
        """The times of the frames shown, from the first."""
        shown = (self.pts or tuple(range(self.frames)))[self.hidden :]
        return [float((tick - shown[0]) * self.time_base) for tick in shown]

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height with square pixels."""
        width, height = self.size
        if self.pixel_aspect < 1:
            return width, round(height / self.pixel_aspect)
        return round(width * self.pixel_aspect), height


# Ticks of 1/1000 s, as a phone or a screen recorder leaves them: gaps of 13 to 900 ms, none regular.
_UNEVEN = (0, 33, 46, 100, 1000, 1040, 1081, 1500, 1517, 1603, 1650, 2550, 2583, 2600, 2671, 3000)
_MS = Fraction(1, 1000)

VARIANTS = (
    Variant(name="plain.mp4"),
    Variant(name="no_b_frames.mp4", options={"bf": "0"}),
    Variant(name="b_frames.mp4", frames=60, options={"bf": "4", "g": "20", "b-pyramid": "normal"}),
    Variant(name="vfr.mp4", frames=len(_UNEVEN), pts=_UNEVEN, time_base=_MS),
    Variant(name="vfr.mkv", frames=len(_UNEVEN), pts=_UNEVEN, time_base=_MS),
    Variant(name="rotate_90.mp4", rotation_deg=90),
    Variant(name="rotate_180.mov", rotation_deg=180),
    Variant(name="rotate_270.mp4", rotation_deg=270),
    Variant(name="start_7300ms.mkv", frames=20, pts=tuple(range(7300, 8100, 40)), time_base=_MS),
    Variant(name="start_100s.ts", frames=60, pts=tuple(range(2500, 2560)), options={"g": "12"}),
    Variant(name="mpeg_ts.ts", frames=60, options={"g": "20"}),
    Variant(
        name="edit_list.mp4", pts=tuple(range(-7, 23)), hidden=7, container_options={"avoid_negative_ts": "disabled"}
    ),
    Variant(name="odd_size.mp4", size=(127, 71), pix_fmt="yuv444p"),
    Variant(
        name="odd_size.webm", size=(127, 71), codec="libvpx-vp9", options={"cpu-used": "8", "deadline": "realtime"}
    ),
    Variant(name="aspect_2_1.mp4", pixel_aspect=Fraction(2)),
    Variant(name="aspect_2_3.mp4", pixel_aspect=Fraction(2, 3)),
    Variant(name="aspect_4_3.mkv", pixel_aspect=Fraction(4, 3)),
    Variant(name="aspect_2_1_rotate_90.mp4", pixel_aspect=Fraction(2), rotation_deg=90),
    Variant(name="h264_10_bit.mp4", pix_fmt="yuv420p10le"),
    Variant(name="hevc_10_bit.mp4", codec="libx265", pix_fmt="yuv420p10le", options={"x265-params": "log-level=none"}),
    Variant(name="hevc.mkv", codec="libx265", options={"x265-params": "log-level=none"}),
    Variant(name="vp8.webm", codec="libvpx", options={"deadline": "realtime"}),
    Variant(name="vp9.webm", codec="libvpx-vp9", options={"cpu-used": "8", "deadline": "realtime"}),
    Variant(name="av1.mkv", codec="libsvtav1", options={"preset": "10"}),
    Variant(name="av1.mp4", codec="libsvtav1", options={"preset": "10"}),
    Variant(name="mpeg4.mp4", codec="mpeg4"),
    Variant(name="mpeg4.avi", codec="mpeg4"),
    Variant(name="mpeg4_b_frames.avi", codec="mpeg4", options={"bf": "2"}),
    Variant(name="h264_b_frames.avi"),
    Variant(name="mpeg2_b_frames.ts", codec="mpeg2video", options={"bf": "2"}),
    Variant(name="full_range.mp4", pix_fmt="yuvj420p"),
)


def render_variant(variant: Variant, folder: Path) -> Path:
    """Write the clip of a variant into `folder`."""
    return render(
        folder / variant.name,
        frames=variant.frames,
        size=variant.size,
        codec=variant.codec,
        pix_fmt=variant.pix_fmt,
        pts=variant.pts,
        time_base=variant.time_base,
        rotation_deg=variant.rotation_deg,
        pixel_aspect=variant.pixel_aspect,
        options=variant.options,
        container_options=variant.container_options,
    )
