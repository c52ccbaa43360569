"""Very long videos: memory of the largest worker and time, in chunks and in one piece; both must agree.

    python benchmarks/long_video.py --hours 1,3,10

The video is a minute of moving images, encoded once and repeated with later time stamps, so ten hours are made in
seconds. `in chunks` is the way of a build, `one piece` is one pass over the whole video in one worker. Any difference
in frames, times, shots or JPEG bytes ends with exit code 1.
"""

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO

import av
import numpy as np

from mvp_data.bank.bank import Bank
from mvp_data.config.options import BuildConfig
from mvp_data.core.types import Picture, Source, VideoEntry
from mvp_data.engines.base import Limits, Usage
from mvp_data.engines.local import run_all
from mvp_data.ingest.scheduler import extract_all
from mvp_data.sources.fetch import fingerprint
from mvp_data.video.extract import extract

SIZE, FPS, LOOP_S = (128, 72), 24, 60
SCENE_FRAMES = 100  # then there is a cut; the last frames of each scene are frozen


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement."""

    hours: float
    way: str
    workers: int
    peak_mb: float
    cpu_s: float
    wall_s: float


def paint(n: int) -> Picture:
    """A pan over a soft random landscape, another one for each scene."""
    scene, step = divmod(n, SCENE_FRAMES)
    cells = np.random.default_rng(scene).integers(0, 256, (12, 60, 3), dtype=np.uint8)
    world = cells.repeat(6, axis=0).repeat(6, axis=1)
    left = min(step, 70) * 3
    return np.ascontiguousarray(world[:, left : left + SIZE[0]])


def make_film(path: Path, hours: float) -> None:
    """Encode a minute and repeat its packets."""
    minute = path.with_suffix(".minute.mp4")
    with av.open(str(minute), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"g": "48", "bf": "2", "crf": "35", "preset": "veryfast"})
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for n in range(LOOP_S * FPS):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(paint(n), format="rgb24")))
        out.mux(stream.encode(None))
    with av.open(str(minute)) as source, av.open(str(path), "w") as out:
        template = source.streams.video[0]
        base = template.time_base or Fraction(1)
        stream = out.add_stream_from_template(template)
        packets = [(bytes(p), p.pts or 0, p.dts or 0, p.is_keyframe) for p in source.demux(template) if p.size]
        for loop in range(round(hours * 3600 / LOOP_S)):
            later = loop * round(LOOP_S / base)
            for data, pts, dts, is_key in packets:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.is_keyframe = pts + later, dts + later, is_key
                packet.time_base, packet.stream = base, stream
                out.mux(packet)
    minute.unlink()


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A video to process in one piece."""

    path: Path
    video_id: str
    config: BuildConfig
    bank: Path


def one_piece(job: Whole) -> None:
    """In a worker: pass 1 on a short video."""
    config = job.config

    def make(blob: IO[bytes]) -> VideoEntry:
        return extract(
            job.path,
            video_id=job.video_id,
            decode=config.decode,
            frames=config.frames,
            seed=config.seed,
            blob=blob,
        )

    fingerprint(job.path)
    Bank(job.bank, config.extract_hash()).write(job.video_id, make)


def run(hours: float, way: str, workers: int, work: Callable[[Usage], None]) -> Row:
    """Run it and measure the time."""
    usage, cpu_s, start = Usage(), children_cpu_s(), time.monotonic()
    work(usage)
    cpu_s, wall_s = children_cpu_s() - cpu_s, time.monotonic() - start
    return Row(hours=hours, way=way, workers=workers, peak_mb=usage.peak_mb, cpu_s=cpu_s, wall_s=wall_s)


def in_parts(path: Path, config: BuildConfig, usage: Usage) -> None:
    (outcome,) = extract_all([Source(location=str(path), path=path.name)], config, usage=usage)
    if outcome.skip:
        sys.exit(f"{path}: {outcome.skip}: {outcome.detail}")


def in_one_piece(job: Whole, usage: Usage) -> None:
    Bank(job.bank, job.config.extract_hash()).create()
    for _, result in run_all(one_piece, [job], workers=1, limits=Limits(), usage=usage):
        if result is not None:
            sys.exit(f"{job.path}: {result}")


def children_cpu_s() -> float:
    """Peak memory of the finished processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def differences(hours: float, video_id: str, banks: list[Bank]) -> list[str]:
    """The fields in which the entries of two banks differ."""
    parts, whole = (bank.read(video_id) for bank in banks)
    names = [f.name for f in fields(VideoEntry) if getattr(parts, f.name) != getattr(whole, f.name)]
    jpegs = []
    for bank in banks:
        blob = BytesIO()
        bank.copy_jpegs(video_id, blob)
        jpegs.append(blob.getvalue())
    return [f"{hours:g} h: {name} differ" for name in names + ["jpegs"] * (jpegs[0] != jpegs[1])]


def measure(folder: Path, hours: float, workers: int) -> tuple[list[Row], list[str]]:
    """Both ways over a video of so many hours."""
    path = folder / f"{hours:g}h.mp4"
    make_film(path, hours)
    print(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB", file=sys.stderr)
    config = BuildConfig(src=(str(path),), out=folder / "out", bank=folder / f"{hours:g}.parts", workers=workers)
    job = Whole(path=path, video_id=fingerprint(path), config=config, bank=folder / f"{hours:g}.whole")
    rows = [
        run(hours, "in chunks", workers, partial(in_parts, path, config)),
        run(hours, "one piece", 1, partial(in_one_piece, job)),
    ]
    banks = [Bank(root, config.extract_hash()) for root in (config.bank_folder, job.bank)]
    lost = differences(hours, job.video_id, banks)
    for left in (path, config.bank_folder, job.bank):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return rows, lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--hours", default="1,3,10", help="lengths of the videos")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one video of 45 minutes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[Row] = []
    lost: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for hours in [0.75] if options.quick else [float(text) for text in options.hours.split(",")]:
            found, differ = measure(Path(folder), hours, options.workers)
            rows, lost = rows + found, lost + differ
    if options.json:
        print(json.dumps({"rows": [vars(row) for row in rows], "differences": lost}, indent=1))
    else:
        print("| video | way | workers | peak memory of a worker | CPU s | wall s |\n|---|---|---|---|---|---|")
        for row in rows:
            print(
                f"| {row.hours:g} h | {row.way} | {row.workers} | {row.peak_mb:.0f} MB "
                f"| {row.cpu_s:.0f} | {row.wall_s:.0f} |"
            )
    if lost:
        sys.exit("\n".join(lost))


if __name__ == "__main__":
    main()
