"""Rows per second from shards to decoded images, and the cost of opening a million samples.

    python benchmarks/rows.py --film .cache/demo/big_buck_bunny.mp4

The images are frames of the film, as `mvp-data build` writes them: 448x252, 16 of context and 8 candidates a sample.
The index of a million samples is synthetic: its rows are generated and its shards are sparse files, in which only the
sample that is read has content. Each of its figures is taken in a fresh process.
"""

import argparse
import io
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mvp_data.config.options import DecodeConfig, FramesConfig
from mvp_data.shards.index import Index, ShardInfo, write_index
from mvp_data.shards.offsets import OFFSETS_NAME, offsets_schema, shard_files
from mvp_data.shards.prompt import PromptConfig
from mvp_data.shards.reader import open_shards
from mvp_data.shards.record import LABELS, CandidateFrame, ContextFrame, Record
from mvp_data.shards.tar import Sample, write_shard
from mvp_data.video.extract import extract
from mvp_train.dataset import select, to_dataset, to_row
from mvp_train.recipe import DataConfig, ShardsConfig

DEMO_FILM = Path(".cache/demo/big_buck_bunny.mp4")
CONTEXT, K, POOL = 16, 4, 8
WIDTH_PX, HEIGHT_PX = 448, 252
PER_SHARD = 1000
COPIES = 10  # copies of each sample under other keys, for the time of the offset index


def record(number: int) -> Record:
    """A record like those of a build; all have the same number of bytes."""
    video = f"v{number:07d}"
    before, after = CONTEXT // 2, CONTEXT // 2 + K
    candidates = tuple(
        CandidateFrame(
            label=LABELS[i],
            order=i if i < K else -1,
            origin="hidden" if i < K else "neighbourhood",
            video_id=video,
            video_path=f"films/{video}.mp4",
            time_s=before + i + 0.25,
            shot=2,
            frame=before + i,
            similarity=0.875,
        )
        for i in range(POOL)
    )
    return Record(
        key=f"{video}-s000-v0",
        split="train",
        k=K,
        l=POOL - K,
        answer=tuple(LABELS[:K]),
        width_px=WIDTH_PX,
        height_px=HEIGHT_PX,
        mask_start=before,
        mask_policy="anchored",
        hidden_start_s=float(before),
        hidden_end_s=float(after),
        sampled_fps=1.0,
        difficulty=0.5,
        seed=0,
        config_hash="0" * 16,
        tool_version="0",
        encoder_name="none",
        encoder_weights_sha256="0" * 64,
        video_id=video,
        video_path=f"films/{video}.mp4",
        video_group=video,
        video_duration_s=60.0,
        context=tuple(
            ContextFrame(time_s=t + 0.25, shot=t // 4, frame=t) for t in (*range(before), *range(after, CONTEXT + K))
        ),
        candidates=candidates,
    )


def film_samples(film: Path) -> list[Sample]:
    """The film's frames, 24 by 24, as samples."""
    blob = io.BytesIO()
    frames = FramesConfig(max_pixels=WIDTH_PX * HEIGHT_PX)
    found = extract(film, video_id="bench", decode=DecodeConfig(), frames=frames, seed=0, blob=blob).frames
    jpegs, at = [], 0
    for frame in found:
        jpegs.append(blob.getvalue()[at : at + frame.jpeg_bytes])
        at += frame.jpeg_bytes
    jpegs = [data for data in jpegs if data]
    groups = [jpegs[i : i + CONTEXT + POOL] for i in range(0, len(jpegs) - CONTEXT - POOL + 1, CONTEXT + POOL)]
    return [
        Sample(record=record(i), context=tuple(group[:CONTEXT]), candidates=tuple(group[CONTEXT:]))
        for i, group in enumerate(groups)
    ]


def finish_folder(folder: Path, shards: list[ShardInfo]) -> None:
    count = sum(shard.samples for shard in shards)
    counts = {"samples": count, "videos": count, "train": count, "val": 0, "test": 0}
    write_index(folder, Index(tool_version="0", config={}, config_hash="0", counts=counts, shards=tuple(shards)))


def median_cpu_s(work: Callable[[], object], runs: int) -> float:
    taken = []
    for _ in range(runs):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def throughput(folder: Path, samples: list[Sample], runs: int) -> dict[str, float]:
    """Rows a second of one core, CPU ms of the parts of a row, and samples indexed a second."""
    many = [replace(one, record=record(i)) for i, one in enumerate(samples * COPIES)]
    finish_folder(folder, [write_shard(folder / "shard-000000.tar", many)])
    open_shards(folder)  # imports what it needs

    def index() -> None:
        (folder / OFFSETS_NAME).unlink()
        open_shards(folder)

    index_s = median_cpu_s(index, runs)
    shards, prompt, count = open_shards(folder), PromptConfig(), len(samples)

    def use(work: Callable[[int], object]) -> float:  # one row after the other, none kept, as in training
        return median_cpu_s(lambda: deque(map(work, range(count)), maxlen=0), runs) / count

    whole_s = use(lambda i: to_row(shards.read(i), prompt))
    read_s = use(shards.read)
    pictures = [data for sample in samples for data in (*sample.context, *sample.candidates)]
    return {
        "samples": count,
        "picture_kB": sum(map(len, pictures)) / len(pictures) / 1000,
        "rows_per_s_per_core": 1 / whole_s,
        "ms_row": whole_s * 1000,
        "ms_read_and_check": read_s * 1000,
        "ms_decode": (whole_s - read_s) * 1000,
        "indexed_samples_per_s": len(many) / index_s,
    }


def synthetic(folder: Path, count: int, sample: Sample) -> None:
    """A folder of `count` samples; only the first one in the shuffled order has content."""
    import pyarrow as pa

    one = write_shard(folder / "one.tar", [sample])
    (span,) = open_shards(folder / "one.tar", quiet=True).table.select(["offset", "bytes"]).to_pylist()
    size, end = span["bytes"], one.bytes - span["bytes"]
    shards = [
        ShardInfo(
            name=f"shard-{i:06d}.tar",
            task="mvp",
            split="train",
            samples=PER_SHARD,
            bytes=PER_SHARD * size + end,
            sha256="0" * 64,
        )
        for i in range(count // PER_SHARD)
    ]
    for shard in shards:
        with (folder / shard.name).open("wb") as file:
            file.truncate(shard.bytes)
    finish_folder(folder, shards)
    schema = offsets_schema(shard_files(folder).state)
    with pa.ipc.new_file(str(folder / OFFSETS_NAME), schema) as writer:
        for number in range(len(shards)):
            rows = [
                {
                    "key": f"v{number * PER_SHARD + i:07d}-s000-v0",
                    "task": "mvp",
                    "split": "train",
                    "difficulty": 0.5,
                    "video_group": f"v{number * PER_SHARD + i:07d}",
                    "shard": number,
                    "offset": i * size,
                    "bytes": size,
                    "k": K,
                    "l": POOL - K,
                    "context": CONTEXT,
                    "width_px": WIDTH_PX,
                    "height_px": HEIGHT_PX,
                }
                for i in range(PER_SHARD)
            ]
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema))
    first = int(select(DataConfig(shards=(ShardsConfig(path=str(folder)),))).rows[0])
    own = Sample(record=record(first), context=sample.context, candidates=sample.candidates)
    write_shard(folder / "one.tar", [own])
    with (folder / shards[first // PER_SHARD].name).open("r+b") as file:
        file.seek(first % PER_SHARD * size)
        file.write((folder / "one.tar").read_bytes()[:size])


def first_row(folder: Path) -> dict[str, float]:
    """In a fresh process: seconds to the first row, with imports; then to TRL's dataset."""
    start, start_cpu = time.perf_counter(), time.process_time()
    samples = select(DataConfig(shards=(ShardsConfig(path=str(folder)),)))
    chosen_s = time.perf_counter() - start
    row = to_row(samples[0], PromptConfig())
    row_s, row_cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
    peak_mb, own_mb = memory_mb("VmHWM"), memory_mb("RssAnon")
    import datasets  # takes seconds, and is not our work

    assert datasets is not None
    start = time.perf_counter()
    assert to_dataset(samples, PromptConfig())[0]["key"] == row["key"]
    return {
        "samples": len(samples),
        "select_s": chosen_s,
        "first_row_s": row_s,
        "first_row_cpu_s": row_cpu_s,
        "peak_mb_with_mapped_files": peak_mb,
        "mb_without_mapped_files": own_mb,
        "to_dataset_and_first_row_s": time.perf_counter() - start,
    }


def memory_mb(field: str) -> float:
    """A figure of this process alone, from Linux: `getrusage` would give the parent's peak if higher."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) / 1000 if found else float("nan")


def in_fresh_process(folder: Path, runs: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--first-row", str(folder)]
    found = [json.loads(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(runs)]
    return {name: statistics.median(run[name] for run in found) for name in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--film", type=Path, default=DEMO_FILM)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one run of each")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--first-row", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first_row:
        print(json.dumps(first_row(options.first_row)))
        return
    if not options.film.exists():
        sys.exit(f"{options.film}: not there; `make demo` fetches it, or name another film with --film")
    runs = 1 if options.quick else options.runs
    samples = film_samples(options.film)
    with tempfile.TemporaryDirectory() as name:
        (folder := Path(name) / "film").mkdir()
        rates = throughput(folder, samples, runs)
        opened = {}
        for count in (PER_SHARD, 1_000_000):
            (folder := Path(name) / str(count)).mkdir()
            synthetic(folder, count, samples[0])
            opened[count] = in_fresh_process(folder, runs)
    if options.json:
        print(json.dumps({"rows": rates, "opening": opened}, indent=1))
        return
    print("| one row: 16 + 8 frames of 448x252 | |\n|---|---|")
    for title, value in rates.items():
        print(f"| {title} | {value:.1f} |")
    print("\n| opening, fresh process | 1,000 samples | 1,000,000 samples |\n|---|---|---|")
    for title in opened[PER_SHARD]:
        print(f"| {title} | " + " | ".join(f"{run[title]:.2f}" for run in opened.values()) + " |")


if __name__ == "__main__":
    main()
