"""Cost of a build as it grows: with workers, with the corpus, and projected to corpora of any size.

    python benchmarks/scaling.py --src ../shared/corpus/clips --src .cache/demo/big_buck_bunny.mp4
    python benchmarks/scaling.py --quick

*Workers*: the sources without a bank, with one worker and with two, each with a core (Linux), in turn; wall-clock time,
so other work on the machine shows. *Growth*: synthetic videos, each with its own content, in three sizes; CPU time of
all processes by step. A line through the two smaller sizes predicts the largest. *Plan*: the cost of an hour of the
sources, times the hours; pass 2 as `pass2.py` measures it with its largest number of videos, where fixed costs matter
least. The script states the assumed machine; no GPU was available, so its rate is an assumption.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mvp_data.pipeline.ledger import read_ledger
from tests.scenes import film

SECONDS = 10.0  # of a synthetic video
SIZES, QUICK_SIZES = (6, 20, 60), (3, 6, 12)
HOURS = (1e3, 1e5, 1e7)
PASS_2_VIDEOS, QUICK_PASS_2_VIDEOS = 10_000, 100
MACHINE = {"cores": 16.0, "memory_gb": 64.0, "disk_tb": 10.0, "days": 1.0}  # one machine, and the time it has
GPU_PICTURES_S = 1000.0  # assumed
STEPS = ("scan", "extract", "read bank", "embed", "deduplicate", "mine", "pack")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One build without a bank."""

    videos: int
    hours: float  # of decoded video
    frames: int  # sampled
    samples: int
    cpu_s: dict[str, float]  # by step, the sum of all processes
    wall_s: dict[str, float]
    took_s: float  # the whole process
    peak_mb: float  # of the largest process
    bank_mb: float
    shards_mb: float

    @property
    def all_cpu_s(self) -> float:
        """The sum of all steps."""
        return sum(self.cpu_s.values())


def build(sources: Sequence[Path], workers: int, folder: Path) -> Cost:
    """The command in a new folder, on as many cores as workers, since encoders use all cores that they may."""
    out, cores = folder / "out", sorted(os.sched_getaffinity(0))[:workers]
    command = [sys.executable, "-m", "mvp_data.cli.main", "build", "--out", str(out), "--workers"]
    command += [str(workers), "--json"]
    for source in sources:
        command += ["--src", str(source)]
    began = time.monotonic()
    with (folder / "report.json").open("wb") as report, (folder / "words.txt").open("wb") as words:
        process = subprocess.Popen(["taskset", "-c", ",".join(map(str, cores)), *command], stdout=report, stderr=words)
        _, status, usage = os.wait4(process.pid, 0)
    took_s = time.monotonic() - began
    if status:
        sys.exit(f"the build failed: {(folder / 'words.txt').read_text()[-500:]}")
    said = json.loads((folder / "report.json").read_text())
    rows = read_ledger(out)
    return Cost(
        videos=len(rows),
        hours=sum(row.duration_s for row in rows) / 3600,
        frames=sum(row.frames_sampled for row in rows),
        samples=said["samples"],
        cpu_s=said["cpu_seconds"],
        wall_s=said["seconds"],
        took_s=took_s,
        peak_mb=usage.ru_maxrss / 1e3,
        bank_mb=size_mb(folder / "out.bank"),
        shards_mb=size_mb(out),
    )


def size_mb(folder: Path) -> float:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def one(sources: Sequence[Path], workers: int) -> Cost:
    """A build in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        return build(sources, workers, Path(name))


def speed_up(sources: Sequence[Path], runs: int) -> dict[str, list[float]]:
    """Wall-clock seconds with one worker over those with two, in each pair of runs, by step."""
    found: dict[str, list[float]] = {}
    for _ in range(runs):
        alone, both = one(sources, 1), one(sources, 2)
        found.setdefault("extract", []).append(alone.wall_s["extract"] / both.wall_s["extract"])
        found.setdefault("the steps together", []).append(sum(alone.wall_s.values()) / sum(both.wall_s.values()))
        found.setdefault("the whole process", []).append(alone.took_s / both.took_s)
    return found


def grown(sizes: Sequence[int]) -> list[Cost]:
    """Builds of more and more synthetic videos; each includes the videos of the one before."""
    costs = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "films"
        folder.mkdir()
        for before, size in pairwise((0, *sizes)):
            for seed in range(before, size):
                film(folder / f"{seed:06d}.mp4", seed=seed, seconds=SECONDS)
            costs.append(one([folder], 2))
    return costs


def quantities(cost: Cost) -> dict[str, float]:
    """The predicted quantities."""
    steps = {f"{step}, CPU s": cost.cpu_s.get(step, 0.0) for step in STEPS}
    sizes = {"bank, MB": cost.bank_mb, "shards, MB": cost.shards_mb, "largest process, MB": cost.peak_mb}
    return {**steps, "all steps, CPU s": cost.all_cpu_s, **sizes, "samples": float(cost.samples)}


def predicted(costs: Sequence[Cost]) -> dict[str, float]:
    """The prediction for the largest size, by the line through the two smaller ones."""
    small, middle, large = costs
    share = (large.videos - small.videos) / (middle.videos - small.videos)
    first, second = quantities(small), quantities(middle)
    return {name: first[name] + share * (second[name] - first[name]) for name in first}


@dataclass(frozen=True, kw_only=True)
class Hour:
    """Cost of an hour of video."""

    decode_cpu_s: float
    embed_cpu_s: float
    videos: float
    frames: float
    samples: float
    bank_mb: float
    shards_mb: float


@dataclass(frozen=True, kw_only=True)
class Second:
    """Cost of pass 2."""

    video_cpu_s: float  # read, de-duplicate, find copies, put into indexes
    sample_cpu_s: float
    frame_bytes: float  # of anonymous memory


def an_hour(cost: Cost) -> Hour:
    return Hour(
        decode_cpu_s=cost.cpu_s["extract"] / cost.hours,
        embed_cpu_s=cost.cpu_s["embed"] / cost.hours,
        videos=cost.videos / cost.hours,
        frames=cost.frames / cost.hours,
        samples=cost.samples / cost.hours,
        bank_mb=cost.bank_mb / cost.hours,
        shards_mb=cost.shards_mb / cost.hours,
    )


def pass_2(videos: int) -> Second:
    """Cost for so many synthetic videos; see `pass2.py`."""
    script = Path(__file__).with_name("pass2.py")
    said = subprocess.run(
        [sys.executable, script, "--videos", str(videos), "--json"], stdout=subprocess.PIPE, check=True
    )
    (found,) = json.loads(said.stdout)
    cpu_s = found["cpu_s"]
    return Second(
        video_cpu_s=sum(cpu_s[step] for step in ("read", "copies", "copies index", "mine index")) / found["videos"],
        sample_cpu_s=cpu_s["mine"] / found["samples"],
        frame_bytes=1e6 * found["anonymous_mb"] / found["frames"],
    )


def plan(hour: Hour, second: Second, hours: float) -> dict[str, float]:
    """Cost of a corpus."""
    frames, samples = hours * hour.frames, hours * hour.samples
    return {
        "decoding, core-hours": hours * hour.decode_cpu_s / 3600,
        "embedding on CPUs, core-hours": hours * hour.embed_cpu_s / 3600,
        "or on GPUs (assumed rate), hours": frames / GPU_PICTURES_S / 3600,
        "frames, millions": frames / 1e6,
        "bank, TB": hours * hour.bank_mb / 1e6,
        "shards, TB": hours * hour.shards_mb / 1e6,
        "samples, millions": samples / 1e6,
        "pass 2, core-hours": (hours * hour.videos * second.video_cpu_s + samples * second.sample_cpu_s) / 3600,
        "pass 2, memory, GB": frames * second.frame_bytes / 1e9,
    }


def strain(amounts: dict[str, float]) -> dict[str, float]:
    """The same as multiples of one machine; pass 2 runs on one core."""
    day_hours = 24 * MACHINE["days"]
    cpu_hours = amounts["decoding, core-hours"] + amounts["embedding on CPUs, core-hours"]
    return {
        "cores of pass 1": cpu_hours / (MACHINE["cores"] * day_hours),
        "disk": (amounts["bank, TB"] + amounts["shards, TB"]) / MACHINE["disk_tb"],
        "memory of pass 2": amounts["pass 2, memory, GB"] / MACHINE["memory_gb"],
        "time of pass 2": amounts["pass 2, core-hours"] / day_hours,
    }


def tables(speed: dict[str, list[float]], costs: Sequence[Cost], hour: Hour, second: Second) -> str:
    """The Markdown tables."""
    lines = ["| 1 to 2 workers | speed-up (least, median, most) |", "|---|---|"]
    for step, ratios in speed.items():
        lines.append(f"| {step} | {min(ratios):.2f}, {statistics.median(ratios):.2f}, {max(ratios):.2f} |")
    small, middle, large = (quantities(cost) for cost in costs)
    forecast = predicted(costs)
    lines += ["", f"| | {' | '.join(f'{cost.videos:,} videos' for cost in costs)} | predicted | error | growth |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name in forecast:
        off = f"{forecast[name] / large[name] - 1:+.0%}" if large[name] else "–"
        grew = f"x {large[name] / small[name]:.1f}" if small[name] else "–"
        row = (f"{size[name]:,.1f}" for size in (small, middle, large, forecast))
        lines.append(f"| {name} | {' | '.join(row)} | {off} | {grew} |")
    lines += ["", "| an hour of the sources | |", "|---|---|"]
    lines += [f"| {name.replace('_', ' ')} | {value:,.1f} |" for name, value in asdict(hour).items()]
    lines.append(f"| pass 2, CPU ms a video | {1000 * second.video_cpu_s:,.1f} |")
    lines.append(f"| pass 2, CPU ms a sample | {1000 * second.sample_cpu_s:,.1f} |")
    lines.append(f"| pass 2, bytes of memory a frame | {second.frame_bytes:,.0f} |")
    plans = [plan(hour, second, hours) for hours in HOURS]
    lines += ["", f"| hours of video | {' | '.join(f'{hours:,.0f}' for hours in HOURS)} |", "|---|---|---|---|"]
    lines += [f"| {name} | {' | '.join(number(each[name]) for each in plans)} |" for name in plans[0]]
    strains = [strain(each) for each in plans]
    hours = " | ".join(f"{hours:,.0f} h" for hours in HOURS)
    lines += ["", f"| x one machine | {hours} | enough for, hours |"]
    lines.append("|---|---|---|---|---|")
    for name, first in strains[0].items():
        shares = " | ".join(number(each[name]) for each in strains)
        lines.append(f"| {name} | {shares} | {number(HOURS[0] / first)} |")
    lines.append(f"| runs out first | {' | '.join(max(each, key=each.__getitem__) for each in strains)} | |")
    return "\n".join(lines)


def number(value: float) -> str:
    """Two significant digits, more for large numbers."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", type=Path, action="append", help="videos for the speed-up and for the plan")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one run, few videos")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    sources = options.src or [Path(".cache/demo/big_buck_bunny.mp4")]
    if missing := [str(source) for source in sources if not source.exists()]:
        sys.exit(f"{', '.join(missing)}: not there; `make demo` fetches the film, or name videos with --src")
    speed = speed_up(sources, 1 if options.quick else options.runs)
    hour = an_hour(one(sources, 2))
    costs = grown(QUICK_SIZES if options.quick else SIZES)
    second = pass_2(QUICK_PASS_2_VIDEOS if options.quick else PASS_2_VIDEOS)
    if options.json:
        plans = {f"{hours:.0f}": plan(hour, second, hours) for hours in HOURS}
        found = {"speed_up": speed, "growth": [asdict(cost) for cost in costs], "predicted": predicted(costs)}
        print(json.dumps({**found, "hour": asdict(hour), "pass_2": asdict(second), "plan": plans}, indent=1))
        return
    print(tables(speed, costs, hour, second))


if __name__ == "__main__":
    main()
