"""Cost of the second pass as a corpus grows: CPU time of each step for a sample or video, and memory for a frame.

    python benchmarks/pass2.py --plot docs/mining.png
    python benchmarks/pass2.py --quick               # 50 and 200 videos

The videos are synthetic: a minute each, sampled once a second, in shots of twelve frames. Subjects are as frequent as
words (one video in ten has the most common), so the neighbourhood of a frame fills as the corpus grows. They are
written to a bank as pass 1 does and read from there. Each size runs in its own process, with the default options but
half of the puzzles scattered. Puzzles are made of a hundred of the videos, among all of them. Costs are CPU time, which
other work on the machine changes less than wall-clock time.
"""

import argparse
import json
import math
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mvp_data.bank.bank import Bank
from mvp_data.config.options import BuildConfig, MineConfig
from mvp_data.core.types import (
    THUMBNAIL_HEIGHT_PX,
    THUMBNAIL_WIDTH_PX,
    Encoder,
    Frame,
    FrameTable,
    Source,
    Vectors,
    VideoEntry,
)
from mvp_data.embedding.calibration import SHIPPED
from mvp_data.embedding.search import Neighbours
from mvp_data.puzzles import decoys, dedup, distractors
from mvp_data.puzzles.corpus import KeptVideo, Thresholds, kept_videos, read_entries
from mvp_data.puzzles.decoys import Pair, Run, pairs_across
from mvp_data.puzzles.make import make_puzzles
from mvp_data.puzzles.types import Episode, HiddenSegment, Strip

FRAMES, SHOT = 60, 12
SUBJECTS = 20_000
DIMENSION = 384
ENCODER = Encoder(name="builtin:tinyvit", weights_sha256="ab" * 32, dimension=DIMENSION, engine="made-up")
# Half of the puzzles have scattered distractors, so that the corpus is searched; all but a few videos are in one split.
CONFIG = BuildConfig(src=("videos",), out=Path("shards"), mine=MineConfig(decoy_share=0.5))
ACROSS = 200  # runs that look for a partner in another video
WIDE, HIGH = THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX


@dataclass(frozen=True, kw_only=True)
class Result:
    """One size."""

    videos: int
    frames: int
    samples: int  # made of some of the videos
    runs: int  # runs that looked for a partner in another video
    cpu_s: dict[str, float]  # by step; index builds are separate
    entries_mb: float  # anonymous memory after reading the bank
    anonymous_mb: float  # and at the end
    resident_mb: float  # with the pages of files, which may be dropped
    recall: float


def made_up(number: int) -> tuple[list[Frame], Vectors]:
    """Frames and vectors of one video: a subject, a variant of it, its shots, and a slow random walk in each."""
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
    pictures = coarse.reshape(FRAMES, 6, 9).repeat(HIGH // 6, axis=1).repeat(-(-WIDE // 9), axis=2)[:, :, :WIDE]
    thumbnails = np.clip(128 + pictures, 0, 255).astype(np.uint8)
    frames = [
        Frame(time_s=float(n), shot=int(shots[n]), contrast=40.0, thumbnail=thumbnails[n].tobytes(), jpeg_bytes=9)
        for n in range(FRAMES)
    ]
    return frames, vectors.astype(np.float32)


def drift(random: np.random.Generator, dimension: int) -> np.ndarray:
    """[FRAMES, dimension]; each row is 0.7 of the one before plus noise."""
    steps = random.normal(size=(FRAMES, dimension))
    for row in range(1, FRAMES):
        steps[row] = 0.7 * steps[row - 1] + (1 - 0.7**2) ** 0.5 * steps[row]
    return steps


def write_bank(root: Path, videos: range) -> None:
    """Write synthetic videos as pass 1 would."""
    bank = Bank(root, CONFIG.extract_hash())
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
    """A video id in the usual form."""
    return f"{(number * 2654435761) % 2**32:08x}{number:012x}"


def memory_mb(kind: str) -> float:
    """Memory of this process, `RssAnon` or `VmRSS`; 0 if the system does not report it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith(f"{kind}:")), 0.0)


class Timed(Neighbours):
    """An index that records the time of its build."""

    spent_s: float = 0.0

    def __init__(self, vectors: Vectors) -> None:
        start_s = time.process_time()
        super().__init__(vectors)
        Timed.spent_s += time.process_time() - start_s


def measure(root: Path, videos: int, mined: int) -> Result:
    """Pass 2 over the first videos of the bank; puzzles are made of some of them, evenly spread, among all."""
    cpu_s: dict[str, float] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        start_s, Timed.spent_s = time.process_time(), 0.0
        yield
        cpu_s[name] = time.process_time() - start_s - Timed.spent_s
        cpu_s[f"{name} index"] = Timed.spent_s

    for module in (distractors, dedup, decoys):
        module.Neighbours = Timed
    bank, config = Bank(root, CONFIG.extract_hash()), CONFIG
    thresholds = Thresholds.resolve(SHIPPED[ENCODER.name], config.embed, config.mine)
    names = sorted(name_of(number) for number in range(videos))
    Timed(made_up(0)[1])  # the first use of the libraries does not depend on the corpus
    before_mb = memory_mb("RssAnon")
    with step("read"):
        entries = read_entries(bank, names)
    entries_mb = memory_mb("RssAnon") - before_mb
    sources = {name: Source(location=f"/{name}.mp4", path=f"{name}.mp4") for name in names}
    with step("copies"):
        kept = kept_videos(sources, entries, bank, ENCODER, thresholds, config.pack, config.seed)
    with step("mine"):
        own = [kept[place] for place in np.unique(np.linspace(0, videos - 1, mined).astype(int))]
        chosen = {id(video) for video in own}
        found = make_puzzles(
            own, config.puzzle_options, thresholds, neighbour_videos=[v for v in kept if id(v) not in chosen]
        )
    with step("across"):
        tried = across(kept, thresholds)
    return Result(
        videos=videos,
        frames=sum(len(video.entry.frames) for video in kept),
        samples=len(found.puzzles),
        runs=tried,
        cpu_s=cpu_s,
        entries_mb=entries_mb,
        anonymous_mb=memory_mb("RssAnon") - before_mb,
        resident_mb=memory_mb("VmRSS"),
        recall=min(float(index["recall"]) for index in found.indexes.values()),
    )


def across(videos: Sequence[KeptVideo], thresholds: Thresholds) -> int:
    """Search partners in other videos for one run of each video, as if none had one in its own. Returns the number."""
    runs, tried = [], 0
    k, context = CONFIG.mask.hidden_frames, CONFIG.mask.context_frames
    for video in videos:
        if video.split == "train" and len(video.kept) >= k + context:
            strip = Strip(
                video_id=video.entry.video_id,
                frames=video.kept[: k + context],
                shots=video.shots[: k + context],
            )
            episode = Episode(strip=strip, mask_start=context // 2, k=k)
            runs.append(Run.of(video, HiddenSegment(task="mvp", episodes=(episode,))))

    def choose(pairs: Iterator[Pair]) -> Pair | None:
        nonlocal tried
        tried += 1
        return next(pairs, None)

    for _ in pairs_across(runs, thresholds, choose, seed=0):
        if tried >= ACROSS:
            break
    return tried


def exponent(results: Sequence[Result], cost: Callable[[Result], float]) -> float:
    """How a cost grows with the number of videos."""
    if len(results) < 2:
        return math.nan
    return float(np.polyfit(np.log([r.videos for r in results]), np.log([cost(r) for r in results]), 1)[0])


COSTS: dict[str, Callable[[Result], float]] = {
    "read, ms a video": lambda r: 1e3 * r.cpu_s["read"] / r.videos,
    "de-duplicate and find copies, ms a video": lambda r: 1e3 * r.cpu_s["copies"] / r.videos,
    "its index, ms a video": lambda r: 1e3 * r.cpu_s["copies index"] / r.videos,
    "mine, ms a sample": lambda r: 1e3 * r.cpu_s["mine"] / r.samples,
    "its index, ms a video ": lambda r: 1e3 * r.cpu_s["mine index"] / r.videos,
    "partner in another video, ms a run": lambda r: 1e3 * r.cpu_s["across"] / max(1, r.runs),
    "its index, ms a run in it": lambda r: 1e3 * r.cpu_s["across index"] / r.videos,
}


def table(results: Sequence[Result]) -> str:
    """The Markdown tables."""
    sizes = " | ".join(f"{r.videos:,}" for r in results)
    lines = [f"| videos | {sizes} | exponent |", "|---|" + "---|" * (len(results) + 1)]
    for name, cost in COSTS.items():
        values = " | ".join(f"{cost(r):.2f}" for r in results)
        lines.append(f"| {name.strip()} | {values} | {exponent(results, cost):+.2f} |")
    facts = {
        "samples made": lambda r: f"{r.samples:,}",
        "recall of the index": lambda r: f"{r.recall:.3f}",
        "entries, bytes a frame": lambda r: f"{1e6 * r.entries_mb / r.frames:,.0f}",
        "not swappable, bytes a frame": lambda r: f"{1e6 * r.anonymous_mb / r.frames:,.0f}",
        "the same, MB": lambda r: f"{r.anonymous_mb:,.0f}",
        "resident, with pages of files, MB": lambda r: f"{r.resident_mb:,.0f}",
    }
    lines += [f"| {name} | {' | '.join(map(say, results))} | |" for name, say in facts.items()]
    return "\n".join(lines)


def plot(results: Sequence[Result], path: Path) -> None:
    """Costs against the number of videos."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for name in ("mine, ms a sample", "de-duplicate and find copies, ms a video", "partner in another video, ms a run"):
        values = [COSTS[name](r) for r in results]
        axes.plot(
            [r.videos for r in results], values, marker="o", label=f"{name}: {exponent(results, COSTS[name]):+.2f}"
        )
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("videos of 60 frames; in the legend the fitted exponent")
    axes.set_ylabel("CPU ms")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, nargs="+", default=[100, 300, 1_000, 3_000, 10_000])
    parser.add_argument("--mined", type=int, default=100, help="videos to make puzzles of")
    parser.add_argument("--quick", action="store_true", help="50 and 200 videos, puzzles of 20")
    parser.add_argument("--plot", type=Path, help="write a plot, with matplotlib")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    sizes, mined = ([50, 200], 20) if options.quick else (sorted(options.videos), options.mined)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with multiprocessing.get_context("spawn").Pool() as pool:
            pool.starmap(write_bank, [(root, range(at, sizes[-1], 50)) for at in range(50)])
        results = []
        for videos in sizes:
            with multiprocessing.get_context("spawn").Pool(1) as alone:
                results.append(alone.apply(measure, (root, videos, min(mined, videos))))
    if options.plot:
        plot(results, options.plot)
    print(json.dumps([asdict(r) for r in results], indent=1) if options.json else table(results))


if __name__ == "__main__":
    main()
