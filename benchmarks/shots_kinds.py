"""Precision, recall and F1 of the default shot detector on the kinds of material that are hard, with known truth.

    python -m benchmarks.shots_kinds            # the table of docs/shots.md
    python -m benchmarks.shots_kinds --quick    # two videos of each kind

Each kind is spliced or rendered from the corpus' single-shot clips: low frame rates, fades (inside a video and at its
start and end), dark scenes, fast motion, slow pans. `annotated, low rate` are the annotated clips with frames left out.
No threshold was chosen on these seeds. Everything works on the detector's 64 x 36 frames.
"""

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.shots import CORPUS, Spans, read_truth
from benchmarks.shots_spliced import FPS, Clip, Frames, join, pooled, read_tiny, single_shots

Floats = npt.NDArray[np.float64]
VIDEOS, FIRST_SEED, SHOTS = 20, 7000, 10
LOW_RATES_FPS = (2.0, 3.0, 4.0, 6.0, 8.0)
STILL_PX = (256, 144)  # width, height of the images that pans cross
BLURRED = 4  # positions of the camera in one exposure


def read_stills(corpus: Path) -> list[Image.Image]:
    """The middle frame of each single-shot clip as YCbCr, large enough to pan over."""
    with (corpus / "MANIFEST.tsv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["n_shots_guess"] == "1"]
    stills = []
    for row in rows:
        with av.open(str(corpus / row["file"])) as container:
            frames = container.decode(container.streams.video[0])
            image = [next(frames) for _ in range(30)][-1].to_image()  # type: ignore[no-untyped-call]
        stills.append(image.resize(STILL_PX, Image.Resampling.BOX).convert("YCbCr"))
    return stills


def graded(part: Frames, like: Frames) -> Frames:
    """A shot with the mean and the contrast of another one in each channel: two views of one scene."""
    mean, spread = part.mean(axis=(0, 1, 2)), part.std(axis=(0, 1, 2)) + 1
    gain = np.clip((like.std(axis=(0, 1, 2)) + 1) / spread, 0.5, 2)
    view: Frames = ((part - mean) * gain + like.mean(axis=(0, 1, 2))).clip(0, 255)
    return view


def sections(clips: Sequence[Frames], random: np.random.Generator, count: int, frames: tuple[int, int]) -> list[Frames]:
    """A random section of each of `count` clips."""
    parts = []
    for which in random.choice(len(clips), count, replace=False):
        length = min(int(random.integers(*frames)), len(clips[which]) - 1)
        start = int(random.integers(0, len(clips[which]) - length))
        parts.append(clips[which][start : start + length])
    return parts


def joined(parts: Sequence[Frames], kinds: Sequence[str], random: np.random.Generator) -> Clip:
    """The parts in a row; `kinds` has the transition before each part but the first."""
    frames: Frames = parts[0]
    truth: Spans = []
    for part, kind in zip(parts[1:], kinds, strict=True):
        room = min(len(part), len(frames) - (truth[-1][1] if truth else 0))
        frames, span = join(frames, part, kind if room > 40 else "cut", random)
        truth.append(span)
    return noisy(frames, random), [i / FPS for i in range(len(frames))], truth, []


def noisy(frames: Frames, random: np.random.Generator, sigma: float = 0.7) -> npt.NDArray[np.uint8]:
    """The frames as the detector gets them, with a little noise."""
    return (frames + random.normal(0, sigma, frames.shape)).clip(0, 255).astype(np.uint8)


def transitions(random: np.random.Generator, count: int, *, cut: float = 0.5, dissolve: float = 0.3) -> list[str]:
    """Random kinds of transition; the rest after cuts and dissolves are fades through black or white."""
    rest = 1 - cut - dissolve
    return [
        str(k)
        for k in random.choice(
            ["cut", "dissolve", "black", "white"], count, p=[cut, dissolve, 0.75 * rest, 0.25 * rest]
        )
    ]


def at_rate(clip: Clip, fps: float) -> Clip:
    """The clip with only as many frames as a lower rate has; a boundary moves to the next frame that is left.

    Boundaries of a shot with a single frame are ignored, because the frame could be damaged or a flash.
    """
    frames, times_s, truth, ignored = clip
    kept = np.unique(np.searchsorted(times_s, np.arange(times_s[0], times_s[-1], 1 / fps)))

    def moved(span: tuple[int, int]) -> tuple[int, int]:
        first, end = np.searchsorted(kept, (span[0], span[1] + 1)).tolist()
        return first, max(first, end - 1)

    spans = [moved(span) for span in truth]
    short = {i for i in range(len(spans) - 1) if spans[i + 1][0] - spans[i][1] < 2}
    ends = {i for i, (first, last) in enumerate(spans) if first == 0 or last >= len(kept) - 1}
    unclear = ends | short | {i + 1 for i in short}
    ignored = [(first, last + 1) for first, last in map(moved, ignored)]
    ignored += [spans[i] for i in sorted(unclear)]
    return frames[kept], [times_s[i] for i in kept], [s for i, s in enumerate(spans) if i not in unclear], ignored


def low_rate(clips: Sequence[Frames], stills: Sequence[Image.Image], random: np.random.Generator) -> Clip:
    """Shots of 1.2 to 5 s at 2 to 8 frames a second; half of the neighbours look like two views of one scene."""
    parts = sections(clips, random, SHOTS, (30, 125))
    for i in range(1, SHOTS):
        if random.random() < 0.5:
            parts[i] = graded(parts[i], parts[i - 1])
    clip = joined(parts, transitions(random, SHOTS - 1, cut=0.8, dissolve=0.1), random)
    return at_rate(clip, float(random.choice(LOW_RATES_FPS)))


def faded_ends(clips: Sequence[Frames], stills: Sequence[Image.Image], random: np.random.Generator) -> Clip:
    """Three shots; three quarters of the videos fade in and out, some from a share above 0, some slowly."""
    parts = sections(clips, random, 3, (70, 125))
    frames, times_s, truth, _ = joined(parts, transitions(random, 2, cut=0.4, dissolve=0.2), random)
    frames = frames.astype(np.float32)
    for end in (0, 1):
        if random.random() < 0.25:
            continue
        length, low, still = (
            int(random.integers(8, 50)),
            max(0.0, float(random.uniform(-0.35, 0.35))),
            int(random.integers(0, 10)),
        )
        still = 0 if low else still
        flat = np.array([float(random.choice([0, 0, 0, 255])), 128, 128], np.float32)
        share = np.concatenate([np.full(still, low), low + (1 - low) * np.arange(1, length + 1) / (length + 1)])
        share = share[:, None, None, None]
        part = frames[: len(share)] if end == 0 else frames[::-1][: len(share)]
        part[:] = part * share + flat * (1 - share)
        truth = [(0, len(share) - 1), *truth] if end == 0 else [*truth, (len(frames) - len(share), len(frames) - 1)]
    return frames.clip(0, 255).astype(np.uint8), times_s, truth, []


def dark(clips: Sequence[Frames], stills: Sequence[Image.Image], random: np.random.Generator) -> Clip:
    """Shots at 10 to 35 % of their brightness, mostly dissolved into each other; one in four brightens meanwhile."""
    parts = []
    for part in map(np.copy, sections(clips, random, SHOTS, (45, 125))):
        gain = np.full(len(part), random.uniform(0.1, 0.35))
        if random.random() < 0.25:
            gain *= np.linspace(1, random.uniform(1.5, 3), len(part))
        part[..., 0] *= gain[:, None, None]
        part[..., 1:] = 128 + (part[..., 1:] - 128) * np.minimum(1, 2 * gain)[:, None, None, None]
        parts.append(part)
    return joined(parts, transitions(random, SHOTS - 1, cut=0.3, dissolve=0.6), random)


def camera(still: Image.Image, places: Floats) -> Frames:
    """A still image through a moving camera; `places` [N, positions in an exposure, 3] has x, y and width, 0 to 1."""
    frames = []
    for exposure in places:
        boxes = [
            (x * STILL_PX[0], y * STILL_PX[1], (x + w) * STILL_PX[0], (y + w) * STILL_PX[1]) for x, y, w in exposure
        ]
        views = [np.asarray(still.resize((64, 36), Image.Resampling.BILINEAR, box=box), np.float32) for box in boxes]
        frames.append(np.mean(views, axis=0))
    return np.stack(frames)


def moved(still: Image.Image, shares: Floats, random: np.random.Generator) -> Frames:
    """A pan or a zoom over one still: `shares` is how much of the way each frame has gone."""
    width = float(random.uniform(0.35, 0.6))
    (x, y), (x_end, y_end) = random.uniform(0, 1 - width, (2, 2))
    if random.random() < 0.6:  # as far as the image allows
        x, x_end = (0.0, 1 - width) if random.random() < 0.5 else (1 - width, 0.0)
    end_width = width if random.random() < 0.7 else float(random.uniform(0.3, 0.6))
    end_width = min(end_width, 1 - x_end, 1 - y_end)
    step = np.append(np.diff(shares), 0.0)
    exposed = (shares[:, None] + step[:, None] * np.arange(BLURRED) / (2 * BLURRED))[..., None]  # shutter: half a step
    return camera(still, np.array([x, y, width]) * (1 - exposed) + np.array([x_end, y_end, end_width]) * exposed)


def slow_pans(clips: Sequence[Frames], stills: Sequence[Image.Image], random: np.random.Generator) -> Clip:
    """Every second shot is a slow pan or zoom of 1 to 4 s that starts and stops."""
    parts = sections(clips, random, SHOTS, (45, 100))
    for i in range(0, SHOTS, 2):
        before, length, after = (int(random.integers(a, b)) for a, b in ((0, 50), (25, 100), (0, 50)))
        ramp = np.linspace(0, 1, length)
        ramp = ramp if random.random() < 0.5 else (1 - np.cos(np.pi * ramp)) / 2
        shares = np.concatenate([np.zeros(before), ramp, np.ones(after)])
        parts[i] = moved(stills[int(random.integers(len(stills)))], shares, random)
    return joined(parts, transitions(random, SHOTS - 1), random)


def fast_motion(clips: Sequence[Frames], stills: Sequence[Image.Image], random: np.random.Generator) -> Clip:
    """Every second shot has whip pans of 5 to 16 frames, or a hand-held camera that jerks."""
    parts = sections(clips, random, SHOTS, (30, 100))
    for i in range(0, SHOTS, 2):
        still = stills[int(random.integers(len(stills)))]
        if random.random() < 0.6:
            before, length, after = (int(random.integers(a, b)) for a, b in ((5, 30), (5, 17), (5, 30)))
            there = (1 - np.cos(np.pi * np.linspace(0, 1, length))) / 2
            shares = np.concatenate([np.zeros(before), there, np.ones(after)])
            if random.random() < 0.5:
                shares = np.concatenate([shares, there[::-1], np.zeros(after)])
            parts[i] = moved(still, shares, random)
        else:
            walk = np.cumsum(random.normal(0, 0.02, (60, 2)) * (random.random((60, 1)) < 0.5), axis=0)
            places = np.concatenate([np.clip(0.25 + walk, 0, 0.5), np.full((60, 1), 0.5)], axis=1)
            parts[i] = camera(still, places[:, None])
    return joined(parts, transitions(random, SHOTS - 1, cut=0.7, dissolve=0.2), random)


KINDS: dict[str, Callable[[Sequence[Frames], Sequence[Image.Image], np.random.Generator], Clip]] = {
    "low rate, 2 to 8 fps": low_rate,
    "fades at start and end": faded_ends,
    "dark scenes": dark,
    "slow pans": slow_pans,
    "fast motion": fast_motion,
}


def annotated_low_rate(corpus: Path) -> list[Clip]:
    """Every annotated clip at every low rate."""
    clips = []
    for path in sorted((corpus / "groundtruth").glob("*.csv")):
        video = next(v for v in path.parent.glob(f"{path.stem}.*") if v != path)
        clips += [at_rate((*read_tiny(video), *read_truth(path)), fps) for fps in LOW_RATES_FPS]
    return clips


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--corpus", type=Path, default=CORPUS.parent, help="with groundtruth/ and MANIFEST.tsv")
    parser.add_argument("--quick", action="store_true", help="two videos of each kind")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    clips, stills = single_shots(options.corpus), read_stills(options.corpus)
    seeds = range(FIRST_SEED, FIRST_SEED + (2 if options.quick else VIDEOS))
    rows = {"annotated, low rate": pooled(annotated_low_rate(options.corpus))} if not options.quick else {}
    for name, make in KINDS.items():
        rows[name] = pooled([make(clips, stills, np.random.default_rng(seed)) for seed in seeds])
    if options.json:
        print(json.dumps({name: asdict(s) | {"f1": s.f1} for name, s in rows.items()}, indent=1))
        return
    print("| kind | precision | recall | F1 | right, wrong, missed |\n|---|---|---|---|---|")
    for name, s in rows.items():
        print(f"| {name} | {s.precision:.3f} | {s.recall:.3f} | {s.f1:.3f} | {s.right}, {s.wrong}, {s.missed} |")


if __name__ == "__main__":
    main()
