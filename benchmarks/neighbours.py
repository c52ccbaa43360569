"""Cost of a nearest-neighbour index over a corpus: build, query, recall and memory, by size.

    python benchmarks/neighbours.py
    python benchmarks/neighbours.py --rows 100000 1000000 10000000 --dimension 384

Rows have the structure of frames: videos hold shots, shots hold frames, and near rows are mostly of the same shot. Each
size runs in its own process. `memory` is anonymous memory, which cannot be dropped; the vectors are in a file in
--folder.
"""

import argparse
import json
import math
import multiprocessing
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from mvp_data.core.types import Vectors
from mvp_data.embedding.search import Neighbours
from mvp_data.puzzles.vector_files import allocate

SHOT_ROWS, FILM_ROWS = 10, 300
QUERIES, K = 200, 64


def frames(rows: int, dimension: int, folder: Path, seed: int) -> Vectors:
    """Unit vectors [rows, dimension] of videos of 30 shots of 10 frames; frames of a shot have cosines near 0.8."""
    matrix = allocate(rows, dimension, folder)
    for start in range(0, rows, FILM_ROWS * 100):
        count = min(FILM_ROWS * 100, rows - start)
        random = np.random.default_rng([seed, start])
        film = random.normal(size=(math.ceil(count / FILM_ROWS), dimension)).astype(np.float32)
        shot = random.normal(size=(math.ceil(count / SHOT_ROWS), dimension)).astype(np.float32)
        block = 0.8 * film.repeat(FILM_ROWS, 0)[:count] + 0.9 * shot.repeat(SHOT_ROWS, 0)[:count]
        block += 0.6 * random.normal(size=(count, dimension)).astype(np.float32)
        matrix[start : start + count] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return matrix


def like_real(rows: int, bank: Path, folder: Path, seed: int) -> Vectors:
    """Unit vectors made from those in a bank: videos are near its frames; shots and frames differ as its frames do."""
    real = np.concatenate([np.load(path) for path in sorted(bank.rglob("*.npy"))]).astype(np.float32)
    matrix = allocate(rows, real.shape[1], folder)
    for start in range(0, rows, FILM_ROWS * 100):
        count = min(FILM_ROWS * 100, rows - start)
        random = np.random.default_rng([seed, start])

        def drawn(each: int, count: int = count, random: np.random.Generator = random) -> Vectors:
            return real[random.integers(len(real), size=math.ceil(count / each))].repeat(each, 0)[:count]

        block = drawn(FILM_ROWS) + 0.7 * (drawn(SHOT_ROWS) - drawn(SHOT_ROWS)) + 0.3 * (drawn(1) - drawn(1))
        matrix[start : start + count] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return matrix


def anonymous_mb() -> float:
    """Anonymous memory of this process; 0 if the system does not report it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon:")), 0.0)


class Peak(threading.Thread):
    """Peak of the anonymous memory while it runs, sampled twenty times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.mb = 0.0
        self._ended = threading.Event()

    def run(self) -> None:
        """Sample until `end`."""
        while not self._ended.wait(0.05):
            self.mb = max(self.mb, anonymous_mb())

    def end(self) -> float:
        """The peak."""
        self._ended.set()
        self.join()
        return max(self.mb, anonymous_mb())


def measure(rows: int, dimension: int, seed: int, place: Path | None, bank: Path | None) -> dict[str, Any]:
    """One size: build, query, compare."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        vectors = (
            frames(rows, dimension, Path(folder), seed) if bank is None else like_real(rows, bank, Path(folder), seed)
        )
        before_mb, start_s, cpu_s = anonymous_mb(), time.perf_counter(), time.process_time()
        peak = Peak()
        peak.start()
        index = Neighbours(vectors)
        built = {"build_s": time.perf_counter() - start_s, "build_cpu_s": time.process_time() - cpu_s}
        peak_mb = peak.end()
        picked = np.linspace(0, rows - 1, QUERIES).astype(int)
        cpu_s = time.process_time()
        for row in picked.tolist():
            film = row // FILM_ROWS * FILM_ROWS
            index.search(vectors[row : row + 1], K, without=range(film, film + FILM_ROWS))
        query_ms = 1000 * (time.process_time() - cpu_s) / QUERIES
        return {
            "rows": rows,
            "dimension": vectors.shape[1],
            "kind": index.kind,
            **built,
            "query_ms": query_ms,
            "recall": index.recall,
            "anonymous_mb": anonymous_mb() - before_mb,
            "peak_mb": peak_mb - before_mb,
            "vectors_mb": vectors.nbytes / 1e6,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 30_000, 100_000, 300_000, 1_000_000])
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--folder", type=Path, help="folder for the vectors")
    parser.add_argument("--bank", type=Path, help="make the rows from the vectors in this bank")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sizes = [3_000, 10_000, 30_000] if options.quick else options.rows
    found = []
    for rows in sizes:
        with multiprocessing.get_context("spawn").Pool(1) as alone:
            found.append(alone.apply(measure, (rows, options.dimension, options.seed, options.folder, options.bank)))
    exponent = math.nan
    if len(found) > 1:
        exponent = float(np.polyfit(np.log([f["rows"] for f in found]), np.log([f["query_ms"] for f in found]), 1)[0])
    if options.json:
        print(json.dumps({"sizes": found, "query_exponent": exponent}, indent=1))
        return
    head = "rows | index | build, s | CPU s | a query of 64, CPU ms | recall@64 | memory, MB | peak, MB | vectors, MB"
    print(f"| {head} |\n|{'---|' * 9}")
    for f in found:
        cells = f"{f['build_s']:.1f} | {f['build_cpu_s']:.1f} | {f['query_ms']:.2f} | {f['recall']:.3f}"
        memory = " | ".join(f"{f[name]:,.0f}" for name in ("anonymous_mb", "peak_mb", "vectors_mb"))
        print(f"| {f['rows']:,} | {f['kind']} | {cells} | {memory} |")
    print(f"\nA query's time grows as rows to the power {exponent:.2f}.")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
