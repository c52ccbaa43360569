"""Cost of a vector, and the effect of cheaper ones: settings of the runtime, preparation, number formats.

    python benchmarks/cheaper.py                 # some 4 CPU minutes
    python benchmarks/cheaper.py --settings      # no other vectors, no builds: one CPU minute

Every variant of TinyViT embeds the sampled frames of real clips from one bank, and puzzles are mined with it. Compared
with the shipped one: cosine of each frame's two vectors; Spearman correlation of all pairwise similarities; the share
of the 64 nearest frames of other videos (the source of distractors) that stay the same; the share of puzzles that are
made again with the same frames (scattered distractors, which the index searches). `alike in eights` is the lowest
cosine of a vector from a run of eight frames to that from a run of one. Times are for one frame, JPEG to vector,
medians of interleaved rounds.

Quantised models are made here, at run time, with the `onnx` package. Left out: other models (benchmarks/embedders.py).
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from PIL import Image

from mvp_data import BuildConfig, build, index, read_shard
from mvp_data.bank.bank import Bank
from mvp_data.config.options import from_options, usable_cores
from mvp_data.core.types import Picture, Vectors
from mvp_data.embedding import base, onnx
from mvp_data.embedding.base import Embedder, network_input, shrink, value_table
from mvp_data.embedding.onnx import SIDE_PX, OnnxEmbedder
from mvp_data.embedding.weights import find
from mvp_data.ingest import embed as ingest_embed
from mvp_data.ingest.embed import Jpegs
from mvp_data.pipeline import build as build_module

Squares = Sequence[npt.NDArray[np.uint8]]

ROOT = Path(__file__).resolve().parent.parent
NEAREST = 64
TIMED, CALIBRATED = 32, 32  # frames
TABLE = value_table(onnx._MEAN, onnx._STD)


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A way to compute vectors, and whether the product uses it."""

    name: str
    decision: str
    model: bytes
    patches: Mapping[tuple[Any, str], Any] = field(default_factory=dict)  # of the product, while the variant runs

    def embedder(self) -> OnnxEmbedder:
        """The product's encoder under another engine name, so that the bank stores its vectors separately."""
        embedder = OnnxEmbedder(name="builtin:tinyvit", model=self.model)
        engine = f"onnxruntime-cpu-{''.join(c for c in self.name if c.isalnum())}"
        embedder.encoder = replace(embedder.encoder, engine=engine, weights_sha256="0" * 64)
        return embedder

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Patch the product."""
        with ExitStack() as stack:
            for (module, name), value in self.patches.items():
                stack.enter_context(patch.object(module, name, value))
            yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--corpus", type=Path, default=ROOT.parent / "shared" / "corpus")
    parser.add_argument("--clips", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="4 clips, 2 rounds, no static int8")
    parser.add_argument("--settings", action="store_true", help="only the steps and the settings, from 4 clips")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    paths = sorted((options.corpus / "clips").glob("*"))
    if not paths:
        parser.error(f"no clips in {options.corpus / 'clips'}")
    rounds = 2 if options.quick else options.rounds
    count = 4 if options.quick or options.settings else options.clips
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        step = max(1, len(paths) // count)
        chosen = {"out": folder / "shards", "bank": folder / "bank", "decoy_share": 0.0}
        config = from_options({"src": [str(path) for path in paths[::step][:count]], **chosen})
        shipped = Variant(name="fp32 (shipped)", decision="shipped", model=find("tinyvit").read_bytes())
        with patch.object(build_module, "load_embedder", lambda _: shipped.embedder()):
            index(config)
        jpegs = some_jpegs(config, TIMED + CALIBRATED)
        timed, calibrated = jpegs[::2], jpegs[1::2]
        result: dict[str, Any] = {"parts": parts(timed, rounds), "settings": settings(timed, rounds), "variants": {}}
        if not options.settings:
            variants = [shipped, *make_others(folder, calibrated, quick=options.quick)]
            result["variants"] = compare(variants, config, timed, rounds)
    print(json.dumps(result, indent=1) if options.json else as_text(result))


def some_jpegs(config: BuildConfig, count: int) -> list[bytes]:
    """Images evenly spread over the bank's frames."""
    bank = Bank(config.bank_folder, config.extract_hash())
    entries = [bank.read(video_id) for video_id in video_ids(config)]
    found = [jpeg for entry in entries for jpeg in ingest_embed._jpegs(bank, entry, entry.usable)]
    return [found[i] for i in np.linspace(0, len(found) - 1, count).astype(int)]


def video_ids(config: BuildConfig) -> list[str]:
    folder = config.bank_folder / config.extract_hash() / "frames"
    return sorted(path.stem for path in folder.rglob("*.parquet"))


def make_others(folder: Path, calibrated: Sequence[bytes], *, quick: bool) -> list[Variant]:
    """All ways except the shipped one. Mixed precision of a quantised model was not tried."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    from onnxruntime.transformers.float16 import convert_float_to_float16

    source, ready, made = find("tinyvit"), folder / "ready.onnx", folder / "made.onnx"
    model = source.read_bytes()
    quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
    little, wrong = "no: frames are too small for it", "no: other neighbours, other puzzles"
    found = [
        Variant(name="reducing_gap=2", decision=little, model=model, patches={(base, "shrink"): reduced}),
        Variant(name="JPEG draft mode", decision=little, model=model, patches={(ingest_embed, "decoded"): drafted}),
    ]
    half = convert_float_to_float16(onnx.load(source), keep_io_types=True)
    found.append(Variant(name="fp16", decision="no: slower", model=half.SerializeToString()))
    options: dict[str, Any] = {"op_types_to_quantize": ["MatMul"]}
    quantize_dynamic(str(ready), str(made), weight_type=QuantType.QUInt8, **options)
    found.append(Variant(name="int8 dynamic", decision=wrong, model=made.read_bytes()))
    options |= {"weight_type": QuantType.QInt8, "per_channel": True}
    quantize_dynamic(str(ready), str(made), **options)
    found.append(Variant(name="int8 dynamic, by channel", decision=wrong, model=made.read_bytes()))
    if not quick:
        quantize_static(str(ready), str(made), Readings(calibrated), **options)
        found.append(Variant(name="int8 static, by channel", decision=wrong, model=made.read_bytes()))
    return found


def reduced(picture: Picture, side_px: int) -> Picture:
    """`shrink` in two steps, the first by whole factors."""
    small = Image.fromarray(picture).resize((side_px, side_px), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return np.asarray(small)


def drafted(jpeg: bytes) -> Picture:
    """A JPEG decoded at the smallest size that covers the encoder's input."""
    picture = Image.open(BytesIO(jpeg))
    picture.draft("RGB", (SIDE_PX, SIDE_PX))
    return np.asarray(picture.convert("RGB"))


class Readings:
    """The calibration data of static quantisation."""

    def __init__(self, jpegs: Sequence[bytes]) -> None:
        self._inputs = iter([prepared(jpeg) for jpeg in jpegs])

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """The next input, or None after the last."""
        values = next(self._inputs, None)
        return None if values is None else {"input": values}


def prepared(jpeg: bytes) -> npt.NDArray[np.float32]:
    return network_input([shrink(ingest_embed.decoded(jpeg), SIDE_PX)], TABLE, 1)


def in_turn(ways: Mapping[str, Callable[[], object]], rounds: int, pictures: int) -> dict[str, dict[str, float]]:
    """Median CPU and wall milliseconds a frame of each way."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            cpu_s, wall_s = time.process_time(), time.perf_counter()
            way()
            taken[name].append((time.process_time() - cpu_s, time.perf_counter() - wall_s))
    ms = 1000 / pictures
    return {
        name: {
            "cpu_ms": ms * statistics.median(cpu_s for cpu_s, _ in times),
            "wall_ms": ms * statistics.median(wall_s for _, wall_s in times),
        }
        for name, times in taken.items()
    }


def parts(jpegs: Sequence[bytes], rounds: int) -> dict[str, dict[str, float]]:
    """Time of each step for one frame, on one thread."""
    pictures = [ingest_embed.decoded(jpeg) for jpeg in jpegs]
    squares = [shrink(picture, SIDE_PX) for picture in pictures]
    values = [network_input([square], TABLE, 1) for square in squares]
    run = runner(threads=1)
    ways: dict[str, Callable[[], object]] = {
        "decode the JPEG": lambda: [ingest_embed.decoded(jpeg) for jpeg in jpegs],
        "shrink": lambda: [shrink(picture, SIDE_PX) for picture in pictures],
        "levels to network input, looked up": lambda: [network_input([square], TABLE, 1) for square in squares],
        "the same, computed": lambda: [computed(square) for square in squares],
        "the network": lambda: [run(v) for v in values],
    }
    return in_turn(ways, rounds, len(jpegs))


def computed(square: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The computation that the table of levels replaced."""
    values = np.zeros((1, 3, SIDE_PX, SIDE_PX), np.float32)
    values[:] = ((square[None] / np.float32(255) - onnx._MEAN) / onnx._STD).transpose(0, 3, 1, 2)
    return values


def runner(*, threads: int, **changes: Any) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """One run of the network in a session with these options."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    options.add_session_config_entry("session.intra_op.allow_spinning", changes.pop("spinning", "0"))
    if fixed := changes.pop("fixed_batch", 0):
        options.add_free_dimension_override_by_name("batch_size", fixed)
    for name, value in changes.items():
        setattr(options, name, value)
    session = onnxruntime.InferenceSession(find("tinyvit").read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda values: session.run(None, {"input": values})[0]


def settings(jpegs: Sequence[bytes], rounds: int) -> dict[str, dict[str, Any]]:
    """The fp32 network under other settings of the runtime: times, and whether a vector has the same bits."""
    import onnxruntime

    values = [prepared(jpeg) for jpeg in jpegs]
    eights = [np.concatenate(values[i : i + 8]) for i in range(0, len(values), 8)]
    cores = usable_cores()
    one = runner(threads=1)
    basic = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    others = {
        f"one run on {cores} threads": (runner(threads=cores), values),
        "the same, waiting threads spin": (runner(threads=cores, spinning="1"), values),
        "one thread, runs of 8": (one, eights),
        "one thread, batch dimension fixed": (runner(threads=1, fixed_batch=1), values),
        "one thread, basic optimisation of the graph": (runner(threads=1, graph_optimization_level=basic), values),
        "one thread, no arena": (runner(threads=1, enable_cpu_mem_arena=False), values),
        "one thread, no memory pattern": (runner(threads=1, enable_mem_pattern=False), values),
    }
    reference = np.concatenate([one(v) for v in values])
    shipped = "one thread each, side by side (shipped)"

    def side_by_side() -> Vectors:
        squares = [v[0] for v in values]  # already at the encoder's size
        with patch.object(base, "shrink", lambda square, _: square):
            return base.run_batches(squares, SIDE_PX, lambda s: one(s[0][None]), batch=1, threads=cores, parallel=True)

    results = {
        shipped: side_by_side(),
        **{name: np.concatenate([r(v) for v in vs]) for name, (r, vs) in others.items()},
    }
    ways: dict[str, Callable[[], object]] = {shipped: side_by_side}
    ways |= {name: lambda r=r, vs=vs: [r(v) for v in vs] for name, (r, vs) in others.items()}
    times = in_turn(ways, rounds, len(values))
    return {name: {**times[name], "same_bits": bool(np.array_equal(results[name], reference))} for name in times}


def compare(
    variants: Sequence[Variant], config: BuildConfig, jpegs: Sequence[bytes], rounds: int
) -> dict[str, dict[str, Any]]:
    """Each variant against the first one."""
    embedders = {variant.name: variant.embedder() for variant in variants}

    def way(variant: Variant) -> Callable[[], None]:
        def embed_them() -> None:
            with variant.patched():
                embedders[variant.name].embed(Jpegs(jpegs))

        return embed_them

    times = in_turn({v.name: way(v) for v in variants}, rounds, len(jpegs))
    found: dict[str, dict[str, Any]] = {}
    shipped: tuple[Vectors, npt.NDArray[np.intp], set[Any]] | None = None
    for number, variant in enumerate(variants):
        vectors, video, puzzles = built(variant, embedders[variant.name], replace(config, out=config.out / str(number)))
        shipped = shipped or (vectors, video, puzzles)
        found[variant.name] = {
            **times[variant.name],
            **agreement(shipped[0], vectors, shipped[1]),
            "puzzles": len(puzzles),
            "same_puzzles": len(shipped[2] & puzzles) / max(1, len(shipped[2])),
            "alike_in_eights": in_eights(variant, jpegs),
            "decision": variant.decision,
        }
    return found


def built(
    variant: Variant, embedder: Embedder, config: BuildConfig
) -> tuple[Vectors, npt.NDArray[np.intp], set[tuple[Any, ...]]]:
    """All vectors, the video number of each, and the frames of a build's puzzles."""
    with variant.patched(), patch.object(build_module, "load_embedder", lambda _: embedder):
        build(config)
    bank = Bank(config.bank_folder, config.extract_hash())
    entries = [entry for video_id in video_ids(config) if (entry := bank.read(video_id)).usable]
    rows = [bank.read_vectors(e.video_id, embedder.encoder, rows=len(e.usable)) for e in entries]
    records = [sample.record for path in config.out.glob("*.tar") for sample in read_shard(path)]
    puzzles = {
        (r.video_id, tuple(c.frame for c in r.context), *sorted((c.video_id, c.frame, c.order) for c in r.candidates))
        for r in records
    }
    return np.concatenate(rows), np.repeat(np.arange(len(rows)), [len(r) for r in rows]), puzzles


def agreement(shipped: Vectors, vectors: Vectors, video: npt.NDArray[np.intp]) -> dict[str, float]:
    """Agreement of two sets of vectors of the same frames."""
    cosine = np.einsum("nd,nd->n", shipped, vectors)
    ours, theirs = shipped @ shipped.T, vectors @ vectors.T
    upper = np.triu_indices(len(video), 1)
    ranks = [np.argsort(np.argsort(s[upper], kind="stable"), kind="stable") for s in (ours, theirs)]
    own = video[:, None] == video[None]
    nearest = [np.argsort(np.where(own, 2, -s), axis=1, kind="stable")[:, :NEAREST] for s in (ours, theirs)]
    shared = [len(set(a) & set(b)) / NEAREST for a, b in zip(*(n.tolist() for n in nearest), strict=True)]
    return {
        "cosine_min": float(cosine.min()),
        "cosine_median": float(np.median(cosine)),
        "spearman": float(np.corrcoef(*ranks)[0, 1]),
        "nearest_shared": float(np.mean(shared)),
    }


def in_eights(variant: Variant, jpegs: Sequence[bytes]) -> float:
    """Lowest cosine of vectors from runs of eight frames to those from runs of one."""
    eights = OnnxEmbedder(name="builtin:tinyvit", model=variant.model)
    eights._batch = 8
    with variant.patched():
        pairs = variant.embedder().embed(Jpegs(jpegs)), eights.embed(Jpegs(jpegs))
    return float(np.einsum("nd,nd->n", *pairs).min())


def as_text(result: Mapping[str, Any]) -> str:
    lines = ["| one frame, one thread | CPU ms |", "|---|---|"]
    lines += [f"| {name} | {row['cpu_ms']:.2f} |" for name, row in result["parts"].items()]
    lines += ["", "| the network alone | CPU ms | wall ms | same bits |", "|---|---|---|---|"]
    for name, row in result["settings"].items():
        bits = "yes" if row["same_bits"] else "no"
        lines.append(f"| {name} | {row['cpu_ms']:.1f} | {row['wall_ms']:.1f} | {bits} |")
    if not result["variants"]:
        return "\n".join(lines)
    heads = ("variant", "CPU ms", "wall ms", "cosine, least / median", "Spearman", "nearest 64 shared")
    heads += ("puzzles, the same", "alike in eights", "decision")
    lines += ["", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, row in result["variants"].items():
        cells = (
            f"{name} | {row['cpu_ms']:.1f} | {row['wall_ms']:.1f}",
            f"{row['cosine_min']:.4f} / {row['cosine_median']:.4f} | {row['spearman']:.4f}",
            f"{row['nearest_shared']:.3f} | {row['puzzles']}, {row['same_puzzles']:.0%}",
            f"{row['alike_in_eights']:.5f} | {row['decision']}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
