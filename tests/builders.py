"""Videos made of plain arrays, for the tests of everything between the bank and the shards.

Every kept frame has a rejected one before it, so a place among the kept frames (0, 1, 2 ...) is never its
index in the bank (1, 3, 5 ...), and code that mixes them up fails.
"""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from mvp_data.bank.bank import Bank
from mvp_data.config.options import BuildConfig, from_options
from mvp_data.core.seeds import unit
from mvp_data.core.types import (
    THUMBNAIL_HEIGHT_PX,
    Boundary,
    Encoder,
    Frame,
    FrameTable,
    Source,
    Vectors,
    VideoEntry,
    VideoInfo,
)
from mvp_data.puzzles.corpus import KeptVideo, Thresholds
from mvp_data.puzzles.thumbnails import COARSE_BLOCKS

SIZE_PX = (56, 28)
THRESHOLDS = Thresholds(repeat=0.95, ambiguous=0.9, scene=0.5, low=0.05)
ENCODER = Encoder(name="test:tiny", weights_sha256="ab" * 32, dimension=16, engine="numpy-cpu-fp32")


def rng(*parts: str | int) -> np.random.Generator:
    """A generator that depends on the parts alone."""
    return np.random.default_rng(int(unit(*parts) * 2**53))


def with_gram(gram: Sequence[Sequence[float]]) -> Vectors:
    """Unit vectors whose cosines are exactly the given matrix (1 on its diagonal, positive definite)."""
    return np.linalg.cholesky(np.asarray(gram, dtype=np.float64)).astype(np.float32)


def walk(count: int, *parts: str | int, dimension: int = 16, step: float = 0.5) -> Vectors:
    """Unit vectors [count, dimension], each `step` away from the one before: cosines near 1 - step²/2."""
    random = rng("walk", *parts)
    rows = [random.normal(size=dimension)]
    for _ in range(count - 1):
        last = rows[-1] / np.linalg.norm(rows[-1])
        rows.append(last + step * random.normal(size=dimension) / dimension**0.5)
    matrix = np.stack(rows)
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


def kept_video(
    vectors: Vectors,
    *,
    name: str = "v0",
    shots: Sequence[int] | None = None,
    times_s: Sequence[float] | None = None,
    group: str | None = None,
    split: str = "train",
    size: tuple[int, int] = SIZE_PX,
    thumbnails: Sequence[bytes] | None = None,
) -> KeptVideo:
    """A video that keeps one frame for each row; by default one a second, in one shot, all moving."""
    count = len(vectors)
    shots = shots if shots is not None else [0] * count
    times_s = times_s if times_s is not None else [float(i) for i in range(count)]
    frames: list[Frame] = []
    for place in range(count):
        # Black ones have no JPEG; ones in a transition are only found out when theirs is already there.
        late = place % 2
        reject = (
            {"reject": "transition", "jpeg_bytes": len(_jpeg(name, len(frames), size))} if late else {"reject": "black"}
        )
        frames.append(Frame(time_s=times_s[place] - 0.01, shot=shots[place], **reject))  # type: ignore[arg-type]
        data = _jpeg(name, len(frames), size)
        frames.append(
            Frame(
                time_s=times_s[place],
                shot=shots[place],
                contrast=9.0,
                thumbnail=thumbnails[place] if thumbnails else noise(name, place),
                jpeg_bytes=len(data),
            )
        )
    entry = VideoEntry(
        video_id=name,
        info=VideoInfo(width_px=size[0], height_px=size[1], codec="h264", header_duration_s=0.0, rotation_deg=0),
        duration_s=max(times_s) + 1.0,
        decoded_frames=25 * count,
        rate_fps=1.0,
        width_px=size[0],
        height_px=size[1],
        boundaries=tuple(
            Boundary(kind="cut", start_s=t, end_s=t)
            for t, a, b in zip(times_s[1:], shots, shots[1:], strict=False)
            if a != b
        ),
        frames=FrameTable.of(frames),
    )
    source = Source(location=f"/videos/{name}.mp4", path=f"{name}.mp4", extra=(("caption", f"film {name}"),))
    kept = tuple(range(1, 2 * count, 2))
    return KeptVideo(source=source, entry=entry, group=group or name, split=split, kept=kept, matrix=vectors)


def store(bank: Bank, video: KeptVideo) -> None:
    """Write a video's JPEGs and facts, as pass 1 would."""
    jpegs = [_jpeg(video.entry.video_id, i, video.size) for i, f in enumerate(video.entry.frames) if f.jpeg_bytes]
    bank.create()
    bank.write(video.entry.video_id, lambda blob: (blob.write(b"".join(jpegs)), video.entry)[1])


def jpeg_of(video: KeptVideo, index: int) -> bytes:
    """The JPEG that `store` writes for a frame."""
    return _jpeg(video.entry.video_id, index, video.size)


def films(count: int = 6, frames: int = 40, seed: int = 0, prefix: str = "film") -> list[KeptVideo]:
    """Videos of slowly changing frames in shots of ten, in one split: they give puzzles of every origin."""
    return [
        kept_video(
            walk(frames, prefix, seed, n),
            name=f"{prefix}{n:02d}",
            shots=[p // 10 for p in range(frames)],
            thumbnails=drifting(frames, prefix, seed, n),
        )
        for n in range(count)
    ]


def config(**options: object) -> BuildConfig:
    """A build of the given options."""
    return from_options({"src": ["videos"], "out": "shards", **options})


def noise(*parts: str | int) -> bytes:
    """A thumbnail unlike any other."""
    return thumbnail_from(rng("thumbnail", *parts).integers(0, 256, COARSE_BLOCKS, dtype=np.uint8))


def drifting(count: int, *parts: str | int) -> list[bytes]:
    """Thumbnails that differ more the farther apart they are: each keeps a quarter of the blocks of the last one.

    So much changes that nothing in them clearly moves.
    """
    blocks = rng("thumbnail", *parts).integers(0, 256, COARSE_BLOCKS, dtype=np.uint8).reshape(-1)
    found = []
    for place in range(count):
        new = rng("drift", *parts, place)
        blocks = np.where(new.random(blocks.size) < 3 / 4, new.integers(0, 256, blocks.size, dtype=np.uint8), blocks)
        found.append(thumbnail_from(blocks))
    return found


def thumbnail_from(blocks: npt.NDArray[np.uint8]) -> bytes:
    """The thumbnail whose 2 x 2 blocks have this luma [18, 32]."""
    return blocks.reshape(THUMBNAIL_HEIGHT_PX // 2, -1).repeat(2, axis=0).repeat(2, axis=1).tobytes()


def _jpeg(name: str, index: int, size: tuple[int, int]) -> bytes:
    """A JPEG whose colours and length depend on the video and the frame."""
    random = rng("jpeg", name, index)
    cells = random.integers(0, 256, size=(1 + index % 3, 2, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(cells).resize(size).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
