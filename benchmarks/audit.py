"""Samples audited per second, memory against their number, and every planted leak at full size.

    python benchmarks/audit.py                              # some 12 CPU minutes and 8 GB of a temporary folder
    python benchmarks/audit.py --quick --json
    python benchmarks/audit.py --shards shards/ --no-leaks  # time on your own shards instead of synthetic ones

CPU seconds of one core. The samples are same-strip twins with frames of 448 x 252 px. Their JPEGs have the size of real
ones, 20 to 22 kB (clips of ../shared/corpus: 20). `x decoding` compares with reading the shard and decoding, at half
size, ten frames of each sample: a busy machine changes this ratio less.
Memory: the audit looks at 5,000 samples at most, so 16,000 take the memory of 5,000.
Not included: the embedder, some 20 ms a frame (benchmarks/embedders.py).
"""

import argparse
import io
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mvp_data.audit.features import measure, visible_part
from mvp_data.audit.run import audit
from mvp_data.shards.tar import Sample, iter_samples, write_shard
from tests.audit_plants import PLANTS, plant_shard
from tests.samples import make_folder, make_twins

SIZE = (448, 252)
POOL, NEAR = 8, 2  # frames decoded in each sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer samples and runs")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--shards", type=Path, help="time these instead of synthetic ones")
    parser.add_argument("--no-leaks", action="store_true", help="skip the planted leaks")
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)  # the command for a child process
    options = parser.parse_args()
    if options.peak:
        audit(options.peak)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = options.shards or synthetic(folder / "synthetic", 100 if options.quick else 400)
        result = {
            "peak_mib": {}
            if options.shards
            else peaks(folder, 100 if options.quick else 1000),  # first: a child inherits its parent's peak
            "speed": speed(shards, 2 if options.quick else 7),
            "leaks": {} if options.no_leaks else leaks(folder, 60 if options.quick else 600),
        }
    print(json.dumps(result, indent=1) if options.json else tables(result))


def synthetic(folder: Path, count: int) -> Path:
    """A folder of shards of up to 400 samples whose JPEGs have the size of real ones."""
    folder.mkdir()
    images = [noise_jpeg(number) for number in range(200)]
    starts = range(0, count, 400)
    make_folder(
        folder,
        [
            write_shard(folder / f"shard-{start:06}.tar", samples(images, range(start, min(count, start + 400))))
            for start in starts
        ],
    )
    return folder


def samples(images: list[bytes], numbers: Iterable[int]) -> Iterator[Sample]:
    """Same-strip twins, which show the same frames."""
    for number in numbers:
        pair = number // 2
        record = replace(make_twins(pair)[number % 2].record, width_px=SIZE[0], height_px=SIZE[1])
        taken = [marked(images[(pair * 7 + place * 3) % len(images)], pair) for place in range(20)]
        context, candidates = (tuple(taken[f.frame] for f in frames) for frames in (record.context, record.candidates))
        yield Sample(record=record, context=context, candidates=candidates)


def marked(image: bytes, number: int) -> bytes:
    """The same image as another file: pairs that share files would count as one cluster."""
    return image[:2] + b"\xff\xfe\x00\x06" + number.to_bytes(4, "big") + image[2:]


def noise_jpeg(number: int) -> bytes:
    rng = np.random.default_rng(number)
    layers = [
        Image.fromarray(rng.integers(0, 256, size=(rows, rows * 16 // 9, 3), dtype=np.uint8)).resize(SIZE)
        for rows in (5, 50)
    ]
    file = io.BytesIO()
    Image.blend(*layers, 0.15).save(file, "JPEG", quality=90, subsampling=2)
    return file.getvalue()


def speed(shards: Path, rounds: int) -> dict[str, float]:
    """CPU ms of a sample, by part; the fastest of several rounds each."""
    times: dict[str, float] = {}

    def clock(parts: dict[str, Callable[[], object]]) -> None:
        for _ in range(rounds):
            for name, work in parts.items():
                started = time.process_time()
                work()
                times[name] = min(times.get(name, float("inf")), time.process_time() - started)

    clock({"whole audit": lambda: audit(shards), "reading": lambda: sum(1 for _ in iter_samples(shards))})
    everything = list(iter_samples(shards))

    def decode() -> None:
        for sample in everything:
            for data in (*sample.candidates, *sample.context[:NEAR]):
                image = Image.open(io.BytesIO(data))
                image.draft("YCbCr", (image.width // 2, image.height // 2))
                image.load()

    clock(
        {"decoding": decode, "decoding and measuring": lambda: [measure(visible_part(sample)) for sample in everything]}
    )
    found = {f"{name}, ms a sample": round(1000 * taken / len(everything), 2) for name, taken in times.items()}
    found["samples"] = len(everything)
    weights = [len(data) for sample in everything for data in sample.candidates]
    found["kB an image"] = round(sum(weights) / len(weights) / 1000, 1)
    found["samples/s/core"] = round(len(everything) / times["whole audit"])
    found["x decoding"] = round(times["whole audit"] / (times["reading"] + times["decoding"]), 2)
    return found


def peaks(folder: Path, count: int) -> dict[str, float]:
    """Peak memory of an audit, in its own process."""
    found = {}
    for number in (count, 4 * count, 16 * count):
        path = synthetic(folder / f"{number}", number)
        command = [sys.executable, __file__, "--peak", str(path)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[f"{number} samples"] = round(int(said) / 1024, 1)
        shutil.rmtree(path)  # up to 6 GB
    return found


def leaks(folder: Path, count: int) -> dict[str, dict[str, object]]:
    """The solvers that must find each planted leak, and those that did; five controls, each with new labels."""
    found = {}
    again = {f"control {number}": PLANTS["control"] for number in range(1, 5)}
    for seed, (name, plant) in enumerate([*PLANTS.items(), *again.items()]):
        path = plant_shard(folder / "plant.tar", plant, count, seed=seed)
        result = audit(path)
        caught = set(plant.caught_by) <= set(result.leaks) if plant.caught_by else not result.leaks
        found[name] = {"samples": count, "leaks": result.leaks, "as expected": caught}
        path.unlink()
    return found


def tables(result: dict[str, dict]) -> str:
    lines = ["| speed | |", "|---|---|", *(f"| {name} | {value} |" for name, value in result["speed"].items())]
    lines += ["", "| peak memory | MiB |", "|---|---|", *(f"| {n} | {v} |" for n, v in result["peak_mib"].items())]
    lines += ["", "| planted | solvers that win | as expected |", "|---|---|---|"]
    lines += [
        f"| {name} | {', '.join(row['leaks']) or 'none'} | {'yes' if row['as expected'] else 'NO'} |"
        for name, row in result["leaks"].items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
