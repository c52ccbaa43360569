"""Precision, recall, F1 and cost of shot detection on annotated clips: ours, PySceneDetect, TransNetV2.

    python benchmarks/shots.py                          # all clips, all methods; TransNetV2 takes minutes
    python benchmarks/shots.py --quick                  # the small clips
    python benchmarks/shots.py --methods adaptive scenedetect-adaptive --json

The corpus is a folder of videos, each with `<name>.csv`: columns `kind` (cut, dissolve, fade or ignore),
`start_frame` and `end_frame`. A prediction within 2 frames of an annotated span is right, once for each span;
one inside an `ignore` span that matches nothing is not counted. A gradual boundary predicts its middle.
CPU time beyond decoding is the whole run less a bare one-thread decode, so ours includes scaling the detector's frames.
"""

import argparse
import csv
import json
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import scenedetect

from mvp_data.core.errors import MissingDependencyError
from mvp_data.core.types import Boundary
from mvp_data.video.decode.open import open_video
from mvp_data.video.shots.detector import shot_detector

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus" / "groundtruth"
TOLERANCE_FRAMES = 2
QUICK_BYTES = 700_000  # --quick takes the clips below this size
Spans = list[tuple[int, int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Counts of one method on one clip, or of several added up, with the CPU seconds beyond decoding."""

    right: int = 0
    wrong: int = 0
    missed: int = 0
    cpu_s: float = 0.0

    def __add__(self, other: "Score") -> "Score":
        """Counts and seconds add up; the ratios of the sum are the pooled ones."""
        return Score(
            right=self.right + other.right,
            wrong=self.wrong + other.wrong,
            missed=self.missed + other.missed,
            cpu_s=self.cpu_s + other.cpu_s,
        )

    @property
    def precision(self) -> float:
        """Share of the predictions that are right; 1 without any."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def recall(self) -> float:
        """Share of the annotated boundaries that were found; 1 without any."""
        return self.right / (self.right + self.missed) if self.right + self.missed else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of the two; 1 if there were no boundaries and no predictions."""
        total = 2 * self.right + self.wrong + self.missed
        return 2 * self.right / total if total else 1.0


def score(predicted: Sequence[int], truth: Spans, ignored: Spans, *, cpu_s: float = 0.0) -> Score:
    """Match predicted frames, in order, to annotated spans.

    score([10, 53, 70], truth=[(10, 10), (40, 50)], ignored=[(60, 80)]): 10 is right, 53 is wrong and (40, 50)
    missed (52 would have been right), 70 does not count.
    """
    open_spans = sorted(truth)
    right = wrong = 0
    for frame in sorted(predicted):
        match = next((s for s in open_spans if s[0] - TOLERANCE_FRAMES <= frame <= s[1] + TOLERANCE_FRAMES), None)
        if match is not None:
            open_spans.remove(match)
            right += 1
        elif not any(first <= frame <= last for first, last in ignored):
            wrong += 1
    return Score(right=right, wrong=wrong, missed=len(open_spans), cpu_s=cpu_s)


def read_truth(path: Path) -> tuple[Spans, Spans]:
    """(annotated spans, ignored spans) of one CSV file, in frame numbers, both ends included."""
    truth: Spans = []
    ignored: Spans = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            span = (int(row["start_frame"]), int(row["end_frame"]))
            (ignored if row["kind"] == "ignore" else truth).append(span)
    return truth, ignored


def frame_at(times_s: Sequence[float], time_s: float) -> int:
    """The number of the frame whose time is nearest."""
    after = bisect_left(times_s, time_s)
    near = [i for i in (after - 1, after) if 0 <= i < len(times_s)]
    return min(near, key=lambda i: abs(times_s[i] - time_s))


def predicted_frames(boundaries: Sequence[Boundary], times_s: Sequence[float]) -> list[int]:
    """One frame number for each boundary: a cut's first new frame, the middle of a gradual transition."""
    return [frame_at(times_s, (b.start_s + b.end_s) / 2) for b in boundaries]


def decode_only(path: Path) -> list[float]:
    """Presentation times of all frames, by a bare decode on one thread."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        return [float(frame.time) for frame in container.decode(stream)]


def ours(method: str) -> Callable[[Path], tuple[tuple[Boundary, ...], list[float]]]:
    """A method of this package, through the same interfaces as a build: boundaries, and the times of all frames."""

    def run(path: Path) -> tuple[tuple[Boundary, ...], list[float]]:
        detector, times_s = shot_detector(method), []
        with open_video(path) as video:
            for frame in video.frames():
                detector.push(frame.pts_s, frame.tiny)
                times_s.append(frame.pts_s)
        return detector.finish(), times_s

    return run


def predicted_by(method: str) -> Callable[[Path, Sequence[float]], list[int]]:
    """The frames that a method of this package predicts."""
    return lambda path, _: predicted_frames(*ours(method)(path))


def theirs(detector: Callable[[], scenedetect.SceneDetector]) -> Callable[[Path, Sequence[float]], list[int]]:
    """A detector of PySceneDetect at its default settings."""

    def run(path: Path, times_s: Sequence[float]) -> list[int]:
        scenes = scenedetect.detect(str(path), detector(), backend="pyav")
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            begin_s = float((stream.start_time or 0) * (stream.time_base or 0))  # PySceneDetect counts from here
        return [frame_at(times_s, begin_s + start.seconds) for start, _ in scenes[1:]]

    return run


METHODS: dict[str, Callable[[Path, Sequence[float]], list[int]]] = {
    "adaptive": predicted_by("adaptive"),
    "scenedetect-adaptive": theirs(scenedetect.AdaptiveDetector),
    "scenedetect-content": theirs(scenedetect.ContentDetector),
    "transnetv2": predicted_by("transnetv2"),
}


def measure(video: Path, methods: Sequence[str]) -> dict[str, Score]:
    """Every method's score on one clip."""
    truth, ignored = read_truth(video.with_suffix(".csv"))
    start = time.process_time()
    times_s = decode_only(video)
    decode_cpu_s = time.process_time() - start
    scores = {}
    for method in methods:
        start = time.process_time()
        predicted = METHODS[method](video, times_s)
        cpu_s = max(0.0, time.process_time() - start - decode_cpu_s)
        scores[method] = score(predicted, truth, ignored, cpu_s=cpu_s)
    return scores


def table(results: dict[str, dict[str, Score]]) -> str:
    """The results as a Markdown table, the pooled row last."""
    methods = list(next(iter(results.values())))
    lines = [
        "| clip | " + " | ".join(f"{m}: P / R / F1, CPU s" for m in methods) + " |",
        "|---|" + "---|" * len(methods),
    ]
    for clip, scores in results.items():
        cells = (f"{s.precision:.3f} / {s.recall:.3f} / {s.f1:.3f}, {s.cpu_s:.2f}" for s in scores.values())
        lines.append(f"| {clip} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--corpus", type=Path, default=CORPUS, help="folder of clips, each with a .csv of the same name"
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--quick", action="store_true", help="only the small clips")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    videos = [v for v in sorted(options.corpus.glob("*")) if v.suffix != ".csv" and v.with_suffix(".csv").exists()]
    if options.quick:
        videos = [video for video in videos if video.stat().st_size < QUICK_BYTES]
    if not videos:
        sys.exit(f"no annotated clips in {options.corpus}: give a folder with --corpus")
    methods: list[str] = options.methods
    try:
        shot_detector("transnetv2" if "transnetv2" in methods else "none")  # load it outside the clock
    except MissingDependencyError as error:
        print(f"without transnetv2: {error}", file=sys.stderr)
        methods = [method for method in methods if method != "transnetv2"]
    results = {}
    for video in videos:
        print(video.name, file=sys.stderr)
        results[video.stem] = measure(video, methods)
    results["pooled"] = {m: sum((r[m] for r in results.values()), Score()) for m in methods}
    if options.json:
        rows = {c: {m: asdict(s) | {"f1": s.f1} for m, s in r.items()} for c, r in results.items()}
        print(json.dumps(rows, indent=1))
    else:
        print(table(results))


if __name__ == "__main__":
    main()
