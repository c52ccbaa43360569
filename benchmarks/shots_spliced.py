"""Sensitivity of the default shot detector to its thresholds, on annotated and on spliced clips.

    python -m benchmarks.shots_spliced            # the table of docs/shots.md
    python -m benchmarks.shots_spliced --quick    # the default thresholds, fewer videos

A spliced video joins sections of the corpus' single-shot clips by cuts (half), dissolves of 5 to 30 frames and fades
through black or white, and puts flashes, shake, fast pans, exposure ramps and pop-ups inside the shots. Its truth is
known, and no threshold was chosen on these seeds. Everything works on the detector's 64 x 36 frames.
"""

import argparse
import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from benchmarks.shots import CORPUS, Score, Spans, predicted_frames, read_truth, score
from mvp_data.video.decode.open import open_video
from mvp_data.video.shots import cuts, gradual
from mvp_data.video.shots.detector import shot_detector

Frames = npt.NDArray[np.float32]  # [N, 36, 64, 3] YCbCr
Clip = tuple[npt.NDArray[np.uint8], list[float], Spans, Spans]  # detector frames, times, truth, ignored
VIDEOS, SHOTS, FIRST_SEED, FPS = 40, 14, 200, 25.0
TRIED: list[tuple[ModuleType, str, list[float]]] = [
    (cuts, "CUT_MIN", [3.0, 7.0]),
    (cuts, "CUT_RATIO", [1.4, 1.8]),
    (cuts, "CUT_SHARE", [0.3, 0.55]),
    (cuts, "SAME_STRUCTURE", [0.7, 0.9]),
    (cuts, "RETURNED", [0.35, 0.65]),
    (cuts, "HOLD_S", [0.25, 0.6]),
    (gradual, "SUPPORT_MIN", [0.5, 1.0]),
    (gradual, "RESIDUAL_MAX", [0.4, 0.6]),
    (gradual, "CORRELATION_MAX", [0.6, 0.8]),
    (gradual, "SHARE_MIN", [0.35, 0.55]),
    (gradual, "DISTANCE_MIN", [3.0, 10.0]),
    (gradual, "FLAT", [2.0, 4.5]),
    (gradual, "LOUDER", [0.6, 1.0]),
    (gradual, "CHANGED_SHARE", [0.25, 0.5]),
    (gradual, "PAN_MARGIN", [0.04, 0.15]),
    (gradual, "PEAK", [1.15, 1.4]),
]


def read_tiny(path: Path) -> tuple[npt.NDArray[np.uint8], list[float]]:
    """All detector frames of a video and their times."""
    with open_video(path) as video:
        frames = [(frame.pts_s, frame.tiny) for frame in video.frames()]
    return np.stack([tiny for _, tiny in frames]), [time_s for time_s, _ in frames]


def single_shots(corpus: Path) -> list[Frames]:
    """The clips with one shot in the manifest, at 20 to 31 frames a second and long enough to cut from."""
    with (corpus / "MANIFEST.tsv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["n_shots_guess"] == "1"]
    usual = [row["file"] for row in rows if row["fps"] and 20 <= float(row["fps"]) <= 31]
    clips = [read_tiny(corpus / name)[0].astype(np.float32) for name in usual]
    return [clip for clip in clips if len(clip) > 130]


def disturb(part: Frames, kind: str, random: np.random.Generator) -> Frames:
    """The same shot with an event that is not a boundary."""
    at = int(random.integers(12, len(part) - 25))
    part = part.copy()
    if kind == "flash":
        part[at : at + int(random.integers(1, 5)), ..., 0] += random.uniform(60, 200)
    elif kind == "shake":
        for frame, (y, x) in zip(part, random.integers(-2, 3, (len(part), 2)), strict=True):
            frame[:] = np.roll(frame, (y, x), axis=(0, 1))
    elif kind == "pan":
        steps = int(random.integers(5, 13))
        wide = np.concatenate([part[at], part[at][:, ::-1]], axis=1)
        for i in range(steps):
            x = 64 * (i + 1) // (steps + 1)
            part[at + i] = wide[:, x : x + 64]
        part[at + steps :] = part[at + steps :, :, ::-1].copy()
    elif kind == "exposure":
        ramp = np.clip((np.arange(len(part)) - at + 1) / random.integers(1, 20), 0, 1)
        part[..., 0] *= (1 + (random.uniform(0.5, 1.7) - 1) * ramp)[:, None, None]
    elif kind == "pop-up":
        y, x = int(random.integers(0, 24)), int(random.integers(0, 30))
        part[at : at + 20, y : y + 12, x : x + 30] = random.uniform((16, 80, 80), (235, 180, 180))
    return part.clip(0, 255)


def join(old: Frames, new: Frames, kind: str, random: np.random.Generator) -> tuple[Frames, tuple[int, int]]:
    """Two sections joined, and the span of the transition in frames."""
    if kind == "dissolve":
        length = int(random.integers(5, 31))
        share = (np.arange(1, length + 1, dtype=np.float32) / (length + 1))[:, None, None, None]
        mixed = old[-length:] * (1 - share) + new[:length] * share
        return np.concatenate([old[:-length], mixed, new[length:]]), (len(old) - length, len(old) - 1)
    if kind in ("black", "white"):
        length, still = int(random.integers(4, 21)), int(random.integers(0, 12))
        flat = np.broadcast_to(np.array([0 if kind == "black" else 255, 128, 128], np.float32), old[:1].shape)
        share = (np.arange(1, length + 1, dtype=np.float32) / (length + 1))[:, None, None, None]
        out, into = old[-length:] * (1 - share) + flat * share, flat * (1 - share) + new[:length] * share
        frames = np.concatenate([old[:-length], out, np.repeat(flat, still, axis=0), into, new[length:]])
        return frames, (len(old) - length, len(old) + still + length - 1)
    return np.concatenate([old, new]), (len(old), len(old))


def splice(clips: list[Frames], seed: int) -> Clip:
    """One video of SHOTS shots, its times and its truth."""
    random = np.random.default_rng(seed)
    frames: Frames = np.empty((0, 36, 64, 3), np.float32)
    truth: Spans = []
    order = random.choice(len(clips), SHOTS, replace=len(clips) < SHOTS)
    for number, which in enumerate(order):
        length = int(random.integers(14, 110))
        start = int(random.integers(0, len(clips[which]) - length))
        part = clips[which][start : start + length]
        if length > 40:
            kinds = ["", "flash", "shake", "pan", "exposure", "pop-up"]
            part = disturb(part, str(random.choice(kinds, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.1])), random)
        kind = str(random.choice(["cut", "dissolve", "black", "white"], p=[0.5, 0.3, 0.15, 0.05]))
        room = min(len(part), len(frames) - truth[-1][1] if truth else len(frames))
        if number == 0:
            frames = part
        else:
            frames, span = join(frames, part, kind if room > 40 else "cut", random)
            truth.append(span)
    noisy = frames + random.normal(0, 0.7, frames.shape)
    return noisy.clip(0, 255).astype(np.uint8), [i / FPS for i in range(len(frames))], truth, []


def pooled(clips: list[Clip]) -> Score:
    """The default detector's score on clips held in memory."""
    total = Score()
    for frames, times_s, truth, ignored in clips:
        detector = shot_detector("adaptive")
        for time_s, tiny in zip(times_s, frames, strict=True):
            detector.push(time_s, tiny)
        total += score(predicted_frames(detector.finish(), times_s), truth, ignored)
    return total


@contextmanager
def changed(module: ModuleType, name: str, value: float) -> Iterator[None]:
    """Set one threshold to another value."""
    usual = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, usual)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--corpus", type=Path, default=CORPUS.parent, help="with groundtruth/ and MANIFEST.tsv")
    parser.add_argument("--quick", action="store_true", help="only the default thresholds, on 5 spliced videos")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    annotated = []
    for path in sorted((options.corpus / "groundtruth").glob("*.csv")):
        video = next(v for v in path.parent.glob(f"{path.stem}.*") if v != path)
        annotated.append((*read_tiny(video), *read_truth(path)))
    clips = single_shots(options.corpus)
    spliced = [splice(clips, FIRST_SEED + i) for i in range(5 if options.quick else VIDEOS)]
    run: Callable[[], tuple[Score, Score]] = lambda: (pooled(annotated), pooled(spliced))  # noqa: E731
    rows = {"as they are": run()}
    for module, name, values in [] if options.quick else TRIED:
        for value in values:
            with changed(module, name, value):
                rows[f"{name} {getattr(module, name)}"] = run()
    if options.json:
        print(json.dumps({k: [asdict(s) | {"f1": s.f1} for s in pair] for k, pair in rows.items()}, indent=1))
        return
    print("| threshold | annotated: F1 (right, wrong, missed) | spliced: the same |")
    print("|---|---|---|")
    for label, pair in rows.items():
        cells = (f"{s.f1:.3f} ({s.right}, {s.wrong}, {s.missed})" for s in pair)
        print(f"| {label} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
