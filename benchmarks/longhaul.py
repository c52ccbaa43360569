"""Does a build of many videos stay as fast and as small as at its start? 20,000 videos, killed half-way and resumed.

    python benchmarks/longhaul.py --plot longhaul.png
    python benchmarks/longhaul.py --quick                     # 500 videos

The videos are tiny and last a few seconds. Many have the same frames, all have different bytes: decoding them costs
little compared with the rest of a build. One in twenty is long enough for puzzles, and one in five has frames to embed,
since the encoder would take most of the time. The script reads memory and open files of the parent and its workers from
/proc at intervals, and counts the finished work in the bank. It kills the build with SIGKILL when half of the videos
are decoded, runs the same command again, and once more on the finished folder.

Costs are CPU time of parent and workers for each video, which other work on the machine changes less than the rate.
Exits with 1 if the last tenth costs over 10 % more than the first, memory grows while decoding or embedding, files stay
open, a resumed run takes 10 s to begin its work, or a video is lost.
"""

import argparse
import json
import math
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mvp_data.core.types import Picture
from mvp_data.pipeline.ledger import read_ledger
from tests.clips import Paint, render
from tests.scenes import SAME_BYTES, journey

FPS, SIZE = 8, (64, 36)
FILMS = 5000  # the rest are copies of the first, with other bytes at the end
SECONDS = {0: 6, 5: 2, 10: 2, 15: 2}  # of videos number 0, 5, ... of 20; the others are grey, with no frame to embed
OPTIONS = (
    *("--embedder", "builtin:tinyvit", "--workers", "2", "--fps", "1", "--min-frames", "2"),
    *("--hidden-frames", "2", "--context-frames", "2", "--distractors", "2", "--decoy-share", "0"),
)
EVERY_S = 1.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
JUDGED_FROM = 2000  # videos in a stage: with fewer, a tenth is too short to measure
MOST_DEARER, MOST_GROWTH_MB, MOST_FILES_MORE, MOST_WAIT_S = 0.10, 32.0, 8, 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """The state of the build at one moment."""

    run: int
    time_s: float  # since the start of this run
    decoded: int
    embedded: int
    cpu_s: float  # of this run so far
    parent_mb: float
    workers_mb: float  # of the largest
    files: int  # open in the parent


def grey(n: int, width: int, height: int) -> Picture:
    """A grey frame at any time."""
    return np.full((height, width, 3), 128, dtype=np.uint8)


def film(path: Path, frames: int, paint: Paint) -> bytes:
    """The bytes of a video; `path` is a temporary file."""
    render(path, frames=frames, fps=FPS, size=SIZE, paint=paint, options=SAME_BYTES)
    data = path.read_bytes()
    path.unlink()
    return data


def make_videos(folder: Path, count: int) -> None:
    """`count` files of different contents."""
    films: list[bytes] = []
    dull = film(folder / "film.mp4", 2 * FPS, grey)
    for number in range(min(count, FILMS)):
        frames = SECONDS.get(number % 20, 0) * FPS
        films.append(film(folder / "film.mp4", frames, journey(number, frames)) if frames else dull)
    for number in range(count):
        place = folder / f"{number // 1000:03d}"
        place.mkdir(exist_ok=True)
        free_box = struct.pack(">I4sQ", 16, b"free", number)  # players skip it
        (place / f"{number:06d}.mp4").write_bytes(films[number % len(films)] + free_box)


def start(folder: Path) -> "subprocess.Popen[bytes]":
    """Start the build in its own process group; its output goes to a file."""
    with (folder / "words.txt").open("ab") as words:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "mvp_data.cli.main", "build", "--src", str(folder / "videos")),
                *("--out", str(folder / "out"), *OPTIONS),
            ],
            start_new_session=True,
            stdout=words,
            stderr=words,
        )


def watch(folder: Path, run: int, *, stop_at: int = 0) -> tuple[list[Sample], float]:
    """Run the command and return its states and seconds. Kills it after the given number of decoded videos."""
    samples: list[Sample] = []
    began = time.monotonic()
    process = start(folder)
    while process.poll() is None:
        try:
            samples.append(look(folder, process.pid, run, time.monotonic() - began))
        except (FileNotFoundError, ProcessLookupError, ValueError):  # it has just ended
            break
        if not samples[-1].parent_mb:  # likewise
            samples.pop()
            break
        if stop_at and samples[-1].decoded >= stop_at:
            os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(EVERY_S if samples[-1].time_s > 15 else EVERY_S / 10)  # frequent samples at the start
    if process.wait() != (-signal.SIGKILL if stop_at else 0):
        sys.exit(f"the build ended with {process.returncode}: {(folder / 'words.txt').read_text()[-500:]}")
    return samples, time.monotonic() - began


def look(folder: Path, pid: int, run: int, time_s: float) -> Sample:
    """The state of a build, from /proc and the bank."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return Sample(
        run=run,
        time_s=time_s,
        decoded=count_files(folder / "out.bank", "frames", ".parquet"),
        embedded=count_files(folder / "out.bank", "vectors", ".npy"),
        cpu_s=cpu_s(pid, 4) + sum(cpu_s(child, 2) for child in children),
        parent_mb=rss_mb(pid),
        workers_mb=max(map(rss_mb, children), default=0.0),
        files=len(os.listdir(f"/proc/{pid}/fd")),
    )


def count_files(bank: Path, kind: str, suffix: str) -> int:
    """Finished files of one kind; `.x.tmp` has another ending."""
    return sum(
        name.endswith(suffix) for path in bank.glob(f"*/{kind}") for _, _, names in os.walk(path) for name in names
    )


def cpu_s(pid: int, fields: int) -> float:
    """CPU seconds of a process, with those of its ended children if 4 fields are taken."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, stat[11 : 11 + fields])) / TICKS_PER_S


def rss_mb(pid: int) -> float:
    """Memory in use."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return 0.0


def cost(first: Sample, last: Sample, stage: str) -> tuple[float, float]:
    """(videos a second, CPU ms a video) between two samples of one run."""
    done = getattr(last, stage) - getattr(first, stage)
    if not done:
        return math.nan, math.nan  # too few videos: that tenth passed between two samples
    return done / (last.time_s - first.time_s), 1000 * (last.cpu_s - first.cpu_s) / done


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Cost of decoding or embedding."""

    name: str
    videos: int
    rate_first: float  # videos a second in the first tenth
    rate_last: float
    cpu_first_ms: float
    cpu_last_ms: float
    parent_mb: tuple[float, float, float]  # with 10, 50 and 100 % done
    workers_mb: tuple[float, float, float]
    files: tuple[int, int]  # least and most: a few more while a worker is replaced
    files_kept: tuple[int, int]  # with 10 and 100 % done

    @property
    def faults(self) -> list[str]:
        """The broken requirements."""
        found = []
        if self.videos >= JUDGED_FROM and self.cpu_last_ms > (1 + MOST_DEARER) * self.cpu_first_ms:
            found.append(f"{self.name}: the last tenth costs {self.cpu_last_ms / self.cpu_first_ms - 1:.0%} more")
        if self.parent_mb[2] - self.parent_mb[1] > MOST_GROWTH_MB:
            found.append(f"{self.name}: the parent grew by {self.parent_mb[2] - self.parent_mb[1]:.0f} MB")
        if self.files_kept[1] - self.files_kept[0] > MOST_FILES_MORE:
            found.append(f"{self.name}: open files went from {self.files_kept[0]} to {self.files_kept[1]}")
        return found


def measure(samples: Sequence[Sample], name: str, stage: str) -> Stage:
    """First and last tenth, memory and files, from the first finished video of a stage to the last."""
    total = getattr(samples[-1], stage)
    end = next(n for n, s in enumerate(samples) if getattr(s, stage) == total)
    found = {s.run: getattr(s, stage) for s in reversed(samples)}  # by each run at its start
    inside = [s for s in samples[: end + 1] if getattr(s, stage) > found[s.run]]
    at = [next(s for s in inside if getattr(s, stage) >= share * total) for share in (0.1, 0.5)]
    at.append(samples[end - 1])  # the last sample before the end: at `end` the next step may have begun
    if at[1].run != at[2].run:  # the kill was here: growth is measured from the first new work of the next run
        at[1] = next(s for s in inside if s.run == at[2].run)
    late = [s for s in inside if getattr(s, stage) <= 0.9 * total] or inside[:1]
    rates, costs = zip(cost(inside[0], at[0], stage), cost(late[-1], at[2], stage), strict=True)
    return Stage(
        name=name,
        videos=total,
        rate_first=rates[0],
        rate_last=rates[1],
        cpu_first_ms=costs[0],
        cpu_last_ms=costs[1],
        parent_mb=(at[0].parent_mb, at[1].parent_mb, at[2].parent_mb),
        workers_mb=(at[0].workers_mb, at[1].workers_mb, at[2].workers_mb),
        files=(min(s.files for s in inside), max(s.files for s in inside)),
        files_kept=(at[0].files, at[2].files),
    )


def first_work_s(samples: Sequence[Sample]) -> float:
    """Seconds from the start of the resumed run to the first video that the killed one had not done."""
    before = next(s.decoded for s in samples if s.run == 2)  # some were done between the last sample and the kill
    return next(s.time_s for s in samples if s.run == 2 and s.decoded > before)


def plot(samples: Sequence[Sample], path: Path) -> None:
    """Memory and progress over time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    shift = max(s.time_s for s in samples if s.run == 1)
    times = [s.time_s + (s.run - 1) * shift for s in samples]
    figure, (memory, done, files) = pyplot.subplots(3, 1, sharex=True, figsize=(9, 8))
    memory.plot(times, [s.parent_mb for s in samples], label="parent")
    memory.plot(times, [s.workers_mb for s in samples], label="largest worker")
    memory.set_ylabel("memory (MB)")
    done.plot(times, [s.decoded for s in samples], label="decoded")
    done.plot(times, [s.embedded for s in samples], label="embedded")
    done.set_ylabel("videos")
    files.plot(times, [s.files for s in samples], label="of the parent")
    files.set_ylabel("open files")
    files.set_xlabel("seconds; the line: killed, and resumed")
    for axes in (memory, done, files):
        axes.axvline(shift, color="grey", linestyle=":")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def tables(stages: Sequence[Stage], facts: dict[str, float]) -> str:
    """The Markdown tables."""
    lines = [
        "| stage | videos/s, first tenth | last tenth | CPU ms a video, first | last | parent MB at 10, 50, 100 % "
        "| largest worker MB | open files |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for s in stages:
        parent, workers = (" / ".join(f"{mb:.0f}" for mb in each) for each in (s.parent_mb, s.workers_mb))
        lines.append(
            f"| {s.name} | {s.rate_first:.1f} | {s.rate_last:.1f} | {s.cpu_first_ms:.1f} | {s.cpu_last_ms:.1f} "
            f"| {parent} | {workers} | {s.files[0]} to {s.files[1]} |"
        )
    return "\n".join(
        [*lines, "", "| | |", "|---|---|", *(f"| {name} | {value:,.1f} |" for name, value in facts.items())]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=20_000)
    parser.add_argument("--quick", action="store_true", help="500 videos")
    parser.add_argument("--plot", type=Path, help="write a plot, with matplotlib")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    videos = 500 if options.quick else options.videos
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "videos").mkdir()
        make_videos(folder / "videos", videos)
        killed, _ = watch(folder, 1, stop_at=videos // 2)
        resumed, took_s = watch(folder, 2)
        _, again_s = watch(folder, 3)
        rows = read_ledger(folder / "out")
    samples = [*killed, *resumed]
    stages = [measure(samples, "decode", "decoded"), measure(resumed, "embed", "embedded")]
    facts = {
        "videos": videos,
        "videos in the ledger": len(rows),
        "of them used": sum(row.outcome == "used" for row in rows),
        "most memory of the parent (MB)": max(s.parent_mb for s in samples),
        "killed after (s)": killed[-1].time_s,
        "resumed: first new work after (s)": first_work_s(samples),
        "resumed: took (s)": took_s,
        "on the finished folder (s)": again_s,
    }
    faults = [fault for stage in stages for fault in stage.faults]
    faults += [f"{videos - len(rows)} videos are lost"] * (len(rows) != videos)
    faults += ["the resumed run takes too long to begin"] * (first_work_s(samples) > MOST_WAIT_S)
    if options.plot:
        plot(samples, options.plot)
    if options.json:
        found = {"stages": [asdict(s) for s in stages], "facts": facts, "faults": faults}
        print(json.dumps({**found, "samples": [asdict(s) for s in samples]}, indent=1))
    else:
        print("\n".join([tables(stages, facts), *(f"- {fault}" for fault in faults)]))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
