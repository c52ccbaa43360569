"""A Ray cluster against the processes of this machine: cost of a job, one node and two, a node killed during the run.

    python benchmarks/cluster.py

The nodes are real ones (each with its raylet, store and workers) on this machine, with a CPU each, so two are faster
than one only on two free cores. All builds must give the same shards, or the exit code is 1.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from operator import neg
from pathlib import Path

from mvp_data import build, read_index
from mvp_data.config.options import BuildConfig, from_options
from mvp_data.engines.base import Limits
from mvp_data.ingest.scheduler import engine_for
from tests.clusters import BUILD, Site, site
from tests.ray_nodes import start_nodes
from tests.scenes import film

EMBEDDER = "builtin:tinyvit"
KILL_AFTER = 4  # videos
TASK = ("--hidden-frames", "2", "--context-frames", "4", "--distractors", "2")


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """Cost of a job that does nothing."""

    engine: str
    jobs: int
    wall_ms: float  # a job
    driver_cpu_ms: float  # a job, the driver alone


@dataclass(frozen=True, kw_only=True)
class Row:
    """One build."""

    where: str
    extract_s: float
    embed_s: float
    wall_s: float
    same: bool


def overhead(engine: str, folder: Path, jobs: int) -> Overhead:
    config = from_options({"src": "none", "out": folder / "out", "engine": engine, "workers": 1})
    config.bank_folder.mkdir(exist_ok=True)
    (config.bank_folder / "tmp").mkdir(exist_ok=True)
    with engine_for(config) as chosen:
        limits = Limits(timeout_s=60.0)
        results = chosen.run_all(neg, range(jobs + 50), limits=limits, stop=lambda: False)
        for _ in range(50):  # the start is not counted
            next(results)
        wall_s, cpu_s = time.monotonic(), time.process_time()
        done = sum(1 for _ in results)
        wall_s, cpu_s = time.monotonic() - wall_s, time.process_time() - cpu_s
    return Overhead(engine=engine, jobs=done, wall_ms=1e3 * wall_s / done, driver_cpu_ms=1e3 * cpu_s / done)


def hashes(out: Path) -> list[str]:
    return [shard.sha256 for shard in read_index(out).shards]


def one(
    where: str, place: Site, films: Path, more: tuple[str, ...], meanwhile: Callable[[Path], None] | None = None
) -> Row:
    """A build on Ray, without a bank."""
    out = place.folder / where.replace(" ", "-").replace(",", "")
    words = (*BUILD, "--src", str(films), "--out", str(out), "--embedder", EMBEDDER, *TASK, "--engine", "ray", *more)
    began_s = time.monotonic()
    process = place.start(f"{out.name}.log", words)
    if meanwhile:
        meanwhile(out)
    ended = place.ended(f"{out.name}.log", process, limit_s=300)
    assert ended.code == 0, ended.output
    return row(where, out, time.monotonic() - began_s, place)


def row(where: str, out: Path, wall_s: float, place: Site) -> Row:
    seconds = json.loads((out / "report.json").read_bytes())["seconds"]
    same = hashes(out) == hashes(place.folder / "here")
    return Row(where=where, extract_s=seconds["extract"], embed_s=seconds["embed"], wall_s=wall_s, same=same)


def here(place: Site, films: Path) -> Row:
    options = {"hidden_frames": 2, "context_frames": 4, "distractors": 2, "embedder": EMBEDDER, "workers": 2}
    config: BuildConfig = from_options({"src": str(films), "out": place.folder / "here", **options})
    began_s = time.monotonic()
    build(config)
    return row("this machine, 2 processes", config.out, time.monotonic() - began_s, place)


def kill_a_node(place: Site, out: Path) -> None:
    """Wait until some videos are done."""
    bank = out.with_name(f"{out.name}.bank")
    while len(list(bank.glob("*/frames/*/*.parquet"))) < KILL_AFTER:
        time.sleep(0.02)
    (place.folder / "kill").touch()


def measure(films: int, seconds: float, jobs: int) -> tuple[list[Overhead], list[Row]]:
    with site() as place:
        folder = place.folder / "films"
        folder.mkdir()
        for seed in range(films):
            film(folder / f"film {seed}.mp4", seed=seed, seconds=seconds)
        costs = [overhead(engine, place.folder, jobs) for engine in ("local", "ray")]
        rows = [here(place, folder), one("Ray, started for the build", place, folder, ("--workers", "2"))]
        address = ("--ray-address", start_nodes(place))
        rows.append(one("Ray, one node", place, folder, (*address, "--workers", "1")))
        rows.append(one("Ray, two nodes", place, folder, (*address, "--workers", "2")))
        rows.append(one("Ray, a node killed", place, folder, address, lambda out: kill_a_node(place, out)))
    return costs, rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=24.0, help="of each film")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    costs, rows = measure(6, 6.0, 200) if given.quick else measure(given.films, given.seconds, given.jobs)
    if given.json:
        print(json.dumps({"overhead": [asdict(c) for c in costs], "builds": [asdict(r) for r in rows]}, indent=1))
    else:
        print("| engine | jobs | a job, wall (ms) | a job, CPU of the driver (ms) |\n|---|---|---|---|")
        for c in costs:
            print(f"| {c.engine} | {c.jobs} | {c.wall_ms:.2f} | {c.driver_cpu_ms:.2f} |")
        print("\n| where | extract (s) | embed (s) | whole (s) | same shards |\n|---|---|---|---|---|")
        for r in rows:
            same = "yes" if r.same else "NO"
            print(f"| {r.where} | {r.extract_s:.1f} | {r.embed_s:.1f} | {r.wall_s:.1f} | {same} |")
    return 0 if all(r.same for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
