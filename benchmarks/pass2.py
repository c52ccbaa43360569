"""What the second pass costs as a corpus grows: CPU time of each step for a sample or video, and memory for a frame.

    python benchmarks/pass2.py --plot docs/mining.png
    python benchmarks/pass2.py --quick                        # 50 and 200 videos

The videos are made up: of a minute each, sampled once a second, in shots of twelve frames, with subjects that are as
common as words are (one video in ten has the commonest), so that the neighbourhood of a frame fills as the corpus
grows. They are written to a bank as pass 1 does and read from there. Each size runs in a process of its own, with the
default options; costs are CPU time, which other work on the machine changes less than wall-clock time.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mvp_data.bank import Bank, VideoEntry
from mvp_data.calibrate import SHIPPED
from mvp_data.config import BuildConfig
from mvp_data.corpus import Thresholds
from mvp_data.embed import Encoder
from mvp_data.frame_table import FrameTable
from mvp_data.matrix import Gathered
from mvp_data.pipeline import _thinned, kept_videos
from mvp_data.puzzles import make_puzzles
from mvp_data.types import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX, Frame, Source, Vectors

FRAMES, SHOT = 60, 12
SUBJECTS = 20_000
DIMENSION = 384
ENCODER = Encoder(name="builtin:tinyvit", weights_sha256="ab" * 32, dimension=DIMENSION, engine="made-up")
WIDE, HIGH = THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX


@dataclass(frozen=True, kw_only=True)
class Result:
    """One size."""

    videos: int
    frames: int
    samples: int
    cpu_s: dict[str, float] = field(default_factory=dict)  # by step
    anonymous_mb: float = 0.0  # memory that cannot leave RAM, more than before the bank was read; at its peak
    resident_mb: float = 0.0  # with the pages of files, which may leave it
    indexes: dict[str, dict[str, float | str]] = field(default_factory=dict)


def made_up(number: int) -> tuple[list[Frame], Vectors]:
    """Frames and vectors of one video: a subject, a film of it, its shots, and a slow walk through each."""
    random = np.random.default_rng([7, number])
    subject = min(int(random.zipf(1.2)), SUBJECTS)
    common = np.random.default_rng([8, subject]).normal(size=DIMENSION)
    shots = np.arange(FRAMES) // SHOT
    parts = [
        0.35 * common[None],
        0.10 * random.normal(size=(1, DIMENSION)),
        0.20 * random.normal(size=(FRAMES // SHOT, DIMENSION))[shots],
        0.35 * drift(random, DIMENSION),
    ]
    weights = (0.35, 0.10, 0.20, 0.35)
    vectors = sum(part / weight * weight**0.5 for part, weight in zip(parts, weights, strict=True))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    coarse = 40 * random.normal(size=(FRAMES // SHOT, 54))[shots] + 30 * drift(random, 54)
    pictures = coarse.reshape(FRAMES, 6, 9).repeat(HIGH // 6, axis=1).repeat(4, axis=2)[:, :, :WIDE]
    thumbnails = np.clip(128 + pictures, 0, 255).astype(np.uint8)
    frames = [
        Frame(time_s=float(n), shot=int(shots[n]), contrast=40.0, thumbnail=thumbnails[n].tobytes(), jpeg_bytes=9)
        for n in range(FRAMES)
    ]
    return frames, vectors.astype(np.float32)


def drift(random: np.random.Generator, dimension: int) -> np.ndarray:
    """[FRAMES, dimension], each row made of 0.7 of the one before and something new."""
    steps = random.normal(size=(FRAMES, dimension))
    for row in range(1, FRAMES):
        steps[row] = 0.7 * steps[row - 1] + (1 - 0.7**2) ** 0.5 * steps[row]
    return steps


def write_bank(root: Path, config: BuildConfig, videos: range) -> None:
    """What pass 1 leaves of made-up videos."""
    bank = Bank(root, config.extract_hash())
    bank.create()
    for number in videos:
        frames, vectors = made_up(number)
        entry = VideoEntry(
            video_id=name_of(number),
            duration_s=float(FRAMES),
            rate_fps=1.0,
            width_px=448,
            height_px=252,
            frames=FrameTable.of(frames),
        )
        bank.write(entry.video_id, lambda _, entry=entry: entry)
        bank.write_vectors(entry.video_id, ENCODER, vectors)


def name_of(number: int) -> str:
    """A name of the kind that videos have."""
    return f"{(number * 2654435761) % 2**32:08x}{number:012x}"


def memory_mb(kind: str) -> float:
    """Memory of this process, `RssAnon` or `VmRSS`; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith(f"{kind}:")), 0.0)


def measure(root: Path, config: BuildConfig, videos: int) -> Result:
    """Pass 2 over the first videos of the bank."""
    cpu_s: dict[str, float] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        start_s = time.process_time()
        yield
        cpu_s[name] = time.process_time() - start_s

    bank = Bank(root, config.extract_hash())
    thresholds = Thresholds.resolve(SHIPPED[ENCODER.name], config)
    before_mb = memory_mb("RssAnon")
    names = sorted(name_of(number) for number in range(videos))
    with step("read"):
        thumbnails = Gathered(bank.workspace)
        entries = {name: _thinned(bank.read(name), thumbnails) for name in names}
    entries_mb = memory_mb("RssAnon") - before_mb
    sources = {name: Source(uri=f"/{name}.mp4", path=f"{name}.mp4") for name in names}
    with step("keep"):
        kept = kept_videos(sources, entries, bank, ENCODER, config, thresholds)
    with step("mine"):
        found = make_puzzles(kept, config, thresholds)
    print(videos, entries_mb, file=sys.stderr)
    return Result(
        videos=videos,
        frames=sum(len(video.entry.frames) for video in kept),
        samples=len(found.puzzles),
        cpu_s=cpu_s,
        anonymous_mb=memory_mb("RssAnon") - before_mb,
        resident_mb=memory_mb("VmRSS"),
        indexes=found.indexes,
    )


if __name__ == "__main__":
    config = BuildConfig(src=("made-up",), out=Path("/tmp/mining/out"))
    import cProfile
    import pstats

    n = int(sys.argv[1])
    root = Path("/tmp/mining/bank")
    done = root / "done"
    have = int(done.read_text()) if done.exists() else 0
    if have < n:
        s = time.time()
        write_bank(root, config, range(have, n))
        done.write_text(str(n))
        print("wrote", time.time() - s)
    if len(sys.argv) > 2:
        p = cProfile.Profile()
        p.enable()
    r = measure(root, config, n)
    if len(sys.argv) > 2:
        p.disable()
        pstats.Stats(p).sort_stats("tottime").print_stats(18)
        pstats.Stats(p).sort_stats("cumtime").print_stats(35)
    print(r)
