"""Compare the encoders on real clips, and measure the thresholds that mvp_data.embedding.calibration ships.

    python benchmarks/embedders.py                        # both built-in encoders, some 8 CPU minutes
    python benchmarks/embedders.py --quick --json
    python benchmarks/embedders.py --noise                # only the noise of encoder and pixels, 4 CPU minutes
    python benchmarks/embedders.py --embedder open_clip:ViT-B-32/laion2b_s34b_b79k

Corpus: `clips/*` (any videos) and `groundtruth/*.mp4` with `.csv` of annotated boundaries. Black and flat
frames are left out, as the pipeline does. Left out too: whole builds (benchmarks/build.py).
"""

import argparse
import csv
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mvp_data.core.errors import Skip
from mvp_data.core.types import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX, Picture
from mvp_data.embedding.base import Embedder
from mvp_data.embedding.calibration import SHIPPED, Calibration, calibrate, jitter
from mvp_data.embedding.load import load_embedder
from mvp_data.embedding.weights import WEIGHTS
from mvp_data.puzzles.thumbnails import differ
from mvp_data.video.decode.open import open_video

Floats = npt.NDArray[np.float64]

ROOT = Path(__file__).resolve().parent.parent
MAX_AREA_PX = 796 * 448
RATE_HZ = 4.0
SPAN_S = 10.0
FLAT = 8.0  # standard deviation of the pixels below which a frame is black or flat
SEED = 0
PERCENTILES = (1, 5, 25, 50, 75, 95)
NONE = {"crop": 0.0, "light": 0.0, "jpeg_quality": 0}
NOISE = {
    "JPEG 60": {**NONE, "jpeg_quality": 60},
    "light 5 %": {**NONE, "light": 0.05},
    **{f"crop {100 * crop:g} %": {**NONE, "crop": crop} for crop in (0.01, 0.03, 0.06)},
    "all, crop 3 %": {"crop": 0.03},
    "all, crop 6 %": {},
}  # all: the jitter of the calibration


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """Frames of one video, with their times and shot numbers (all 0 where nothing is annotated)."""

    name: str
    times_s: Floats
    shots: npt.NDArray[np.int64]
    pictures: list[Picture]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare encoders on real clips and calibrate them.")
    parser.add_argument("--corpus", type=Path, default=ROOT.parent / "shared" / "corpus")
    parser.add_argument("--embedder", action="append", help="repeatable; default: the built-in ones")
    parser.add_argument("--quick", action="store_true", help="8 clips, fewer frames")
    parser.add_argument("--noise", action="store_true", help="only how often a jittered copy counts as another frame")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    paths = sorted((options.corpus / "clips").glob("*"))
    annotated = sorted((options.corpus / "groundtruth").glob("*.csv"))
    if not paths:
        parser.error(f"no clips in {options.corpus / 'clips'}")
    if options.quick:
        paths, annotated = paths[::5], annotated[:3]
    clips = [clip for path in paths if (clip := read_clip(path, rate_hz=RATE_HZ, span_s=SPAN_S))]
    specs = options.embedder or [f"builtin:{name}" for name in WEIGHTS]
    if options.noise:
        results = [noise_floor(load_embedder(spec), clips) for spec in specs]
    else:
        shots = [clip for path in annotated if (clip := read_annotated(path, span_s=20 if options.quick else 60))]
        results = [measure(load_embedder(spec), clips, shots) for spec in specs]
    if options.json:
        print(json.dumps(results, indent=1))
    else:
        for result in results:
            print_result(result)


def read_clip(path: Path, *, rate_hz: float, span_s: float) -> Clip | None:
    """Frames at an even rate from the start, or None if fewer than two are left."""
    times, pictures, due = [], [], 0.0
    try:
        with open_video(path) as video:
            for frame in video.frames():
                if frame.pts_s >= span_s:
                    break
                if frame.pts_s >= due - 1e-6:
                    due += 1 / rate_hz
                    picture = frame.image(MAX_AREA_PX).rgb()
                    if picture.std() >= FLAT:
                        times.append(frame.pts_s)
                        pictures.append(picture)
    except Skip:
        return None
    shots = np.zeros(len(times), np.int64)
    return Clip(name=path.stem, times_s=np.array(times), shots=shots, pictures=pictures) if len(times) > 1 else None


def read_annotated(table: Path, *, span_s: float) -> Clip | None:
    """One frame a second of an annotated clip with its shot numbers, none within 0.5 s of a boundary."""
    video = next(path for path in table.parent.glob(f"{table.stem}.*") if path.suffix != ".csv")
    clip = read_clip(video, rate_hz=1.0, span_s=span_s)
    with table.open(newline="") as file:
        edges = np.array(sorted(float(row["time_s"]) for row in csv.DictReader(file) if row["kind"] != "ignore"))
    if clip is None or not len(edges):
        return None
    clear = np.abs(clip.times_s[:, None] - edges[None]).min(axis=1) > 0.5
    return Clip(
        name=clip.name,
        times_s=clip.times_s[clear],
        shots=np.searchsorted(edges, clip.times_s[clear]),
        pictures=[p for p, keep in zip(clip.pictures, clear, strict=True) if keep],
    )


def measure(embedder: Embedder, clips: Sequence[Clip], annotated: Sequence[Clip]) -> dict[str, object]:
    """All measurements of one encoder."""
    pictures = [picture for clip in clips for picture in clip.pictures]
    started = time.process_time()
    vectors = embedder.embed(pictures)
    ms = (time.process_time() - started) / len(pictures) * 1000
    starts = np.cumsum([0] + [len(clip.pictures) for clip in clips])
    own = [vectors[a:b] for a, b in itertools.pairwise(starts)]
    copied = [(i, p) for i, p in enumerate(pictures) if i % 5 == 0]
    copies = embedder.embed([jitter(p, SEED, i) for i, p in copied])
    copy_similarity = np.einsum("nd,nd->n", vectors[[i for i, _ in copied]], copies)
    near = {dt: near_pairs(clips, own, dt) for dt in (0.25, 0.5, 1.0, 2.0, 4.0)}
    thin = [every_fourth(clip) for clip in clips]
    other, within, recall = retrieval(thin, [vectors[::4] for vectors in own])
    centred = [embedder.embed([centre(picture) for picture in clip.pictures]) for clip in thin]
    centre_other, centre_within, centre_recall = retrieval(thin, centred)
    thresholds = calibrate(embedder, {clip.name: clip.pictures for clip in clips}, seed=SEED)
    return {
        "encoder": asdict(embedder.encoder),
        "cpu_ms_per_picture": round(ms, 1),
        "auc_near_vs_other_video": auc(near[1.0], other),
        "auc_same_vs_other_video": auc(within, other),
        "recall_at_1": recall,
        "centre_crop_auc_same_vs_other_video": auc(centre_within, centre_other),
        "centre_crop_recall_at_1": centre_recall,
        "auc_same_vs_other_shot": shot_auc(embedder, annotated),
        "auc_copy_vs_half_second_later": auc(copy_similarity, near[0.5]),
        "batch_invariant": batch_invariant(embedder, pictures[:: max(1, len(pictures) // 32)][:32]),
        "percentiles": list(PERCENTILES),
        "distributions": {
            "jittered copy": percentiles(copy_similarity),
            **{f"{dt:g} s apart": percentiles(values) for dt, values in near.items()},
            "other video": percentiles(other),
        },
        "calibration": asdict(thresholds),
        "kept_of_a_clip": survivors(own, thresholds),
    }


def noise_floor(embedder: Embedder, clips: Sequence[Clip]) -> dict[str, object]:
    """How often a jittered copy of a frame counts as another frame: to the encoder, to the pixels, to both.

    Each kind of jitter: the similarity's 1st, 5th and 50th percentile, then the three shares in percent. The frames
    are eight of each clip, from those of the calibration.
    """
    name = embedder.encoder.name
    ambiguous = SHIPPED[name].ambiguous if name in SHIPPED else None
    pictures = [picture for clip in clips for picture in clip.pictures[2::5]]
    vectors, thumbnails = embedder.embed(pictures), [thumbnail(picture) for picture in pictures]
    rows: dict[str, object] = {}
    for kind, how in reversed(NOISE.items()):
        copies = [jitter(picture, SEED, i, **how) for i, picture in enumerate(pictures)]  # type: ignore[arg-type]
        similarity = np.einsum("nd,nd->n", vectors, embedder.embed(copies))
        if ambiguous is None:  # the first kind is what calibration measures
            ambiguous = float(np.percentile(similarity, 5))
        by_encoder = similarity < ambiguous
        by_pixels = np.array([differ(a, thumbnail(b)) for a, b in zip(thumbnails, copies, strict=True)])
        shares = [round(100 * float(s.mean()), 1) for s in (by_encoder, by_pixels, by_encoder & by_pixels)]
        rows[kind] = [*(round(float(v), 3) for v in np.percentile(similarity, (1, 5, 50))), *shares]
    return {"encoder": name, "pictures": len(pictures), "ambiguous": ambiguous, "noise": dict(reversed(rows.items()))}


def thumbnail(picture: Picture) -> bytes:
    """The JPEG as the pipeline stores it."""
    size = (THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX)
    return Image.fromarray(picture).convert("L").resize(size, Image.Resampling.BOX).tobytes()


def every_fourth(clip: Clip) -> Clip:
    """The clip at a quarter of its frames: about one a second."""
    return Clip(name=clip.name, times_s=clip.times_s[::4], shots=clip.shots[::4], pictures=clip.pictures[::4])


def retrieval(clips: Sequence[Clip], own: Sequence[npt.NDArray[np.float32]]) -> tuple[Floats, Floats, float]:
    """Similarities across and within videos; how often a frame's nearest, beyond 1.5 s, is of its video."""
    rows = np.concatenate(own)
    video = np.repeat(np.arange(len(own)), [len(vectors) for vectors in own])
    times = np.concatenate([clip.times_s for clip in clips])
    similarity = (rows @ rows.T).astype(np.float64)
    same = video[:, None] == video[None]
    upper = np.triu(np.ones_like(same), 1)
    close = same & (np.abs(times[:, None] - times[None]) < 1.5)
    best = np.where(close, -2, similarity).argmax(axis=1)
    return similarity[~same & upper], similarity[same & upper], float(round((video[best] == video).mean(), 3))


def near_pairs(clips: Sequence[Clip], own: Sequence[npt.NDArray[np.float32]], apart_s: float) -> Floats:
    """Similarities of frames of one video that lie `apart_s` apart."""
    values = []
    for clip, vectors in zip(clips, own, strict=True):
        hits = np.abs(clip.times_s[None] - clip.times_s[:, None] - apart_s) < 0.1
        values.append((vectors @ vectors.T)[hits])
    return np.concatenate(values).astype(np.float64)


def shot_auc(embedder: Embedder, clips: Sequence[Clip]) -> float:
    """Mean over videos: how often a frame is more similar to one of its own shot than to one of another shot."""
    scores = []
    for clip in clips:
        vectors = embedder.embed(clip.pictures)
        upper = np.triu(np.ones((len(vectors), len(vectors)), bool), 1)
        same = clip.shots[:, None] == clip.shots[None]
        similarity = vectors @ vectors.T
        if (same & upper).any() and (~same & upper).any():
            scores.append(auc(similarity[same & upper], similarity[~same & upper]))
    return round(float(np.mean(scores)), 3)


def batch_invariant(embedder: Embedder, pictures: Sequence[Picture]) -> bool:
    """Whether the vectors are the same to the last bit in batches of 1, 7 and all."""
    whole = embedder.embed(pictures)
    for size in (1, 7):
        parts = [embedder.embed(pictures[i : i + size]) for i in range(0, len(pictures), size)]
        if not np.array_equal(np.concatenate(parts), whole):
            return False
    return True


def survivors(own: Sequence[npt.NDArray[np.float32]], thresholds: Calibration) -> list[int]:
    """How many frames of each clip the greedy rule keeps, sorted."""
    counts = []
    for vectors in own:
        kept = [0]
        for i in range(1, len(vectors)):
            if vectors[i] @ vectors[kept[-1]] < thresholds.repeat:
                kept.append(i)
        counts.append(len(kept))
    return sorted(counts)


def centre(picture: Picture) -> Picture:
    """The square in the middle: the usual preparation of these encoders."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(picture[top : top + side, left : left + side])


def auc(high: npt.NDArray[np.floating], low: npt.NDArray[np.floating]) -> float:
    """The probability that a random member of `high` exceeds a random member of `low`."""
    ranks = np.argsort(np.argsort(np.concatenate([high, low]), kind="stable"), kind="stable")
    above = ranks[: len(high)].sum() - len(high) * (len(high) - 1) / 2
    return float(round(above / (len(high) * len(low)), 4))


def percentiles(values: npt.NDArray[np.floating]) -> list[float]:
    return [round(float(v), 3) for v in np.percentile(values, PERCENTILES)]


def print_result(result: dict[str, object]) -> None:
    """One encoder as a short table."""
    for key, value in result.items():
        if isinstance(value, dict):
            print(f"{key}:")
            for name, numbers in value.items():
                print(f"    {name:<18} {numbers}")
        else:
            print(f"{key:<38} {value}")
    print()


if __name__ == "__main__":
    main()
