"""Cost of a build beyond decoding: CPU and wall seconds by stage, as multiples of decoding the same videos alone.

    python benchmarks/build.py --film .cache/demo/big_buck_bunny.mp4 --clips ../shared/corpus/clips

`decode only` decodes every frame with PyAV on one thread and drops it; `ffmpeg -f null` is ffmpeg's own program.
The steps of extraction are differences between passes that do more and more. Each pass runs several times, interleaved
with the others, and the median counts, since machines are noisy. The samples of 1080p and 4K are 20 s of the film,
enlarged and encoded by x264 (kept in .cache). Left out: sound, and videos that cannot be decoded.
"""

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from unittest.mock import patch

import av

from mvp_data import BuildConfig, EmbedConfig, build
from mvp_data.config.options import DecodeConfig, FramesConfig
from mvp_data.core.errors import MissingDependencyError
from mvp_data.pipeline.report import BuildReport
from mvp_data.video.decode.ffmpeg import find_ffmpeg
from mvp_data.video.decode.open import open_video
from mvp_data.video.extract import extract
from mvp_data.video.shots.detector import shot_detector

DEMO_FILM = Path(".cache/demo/big_buck_bunny.mp4")
SAMPLES = Path(".cache/samples")
SAMPLE_SIZES = {"1080p": (1920, 1080), "4k": (3840, 2160)}
SAMPLE_FROM_S, SAMPLE_S = 100, 20


def decode_only(film: Path) -> None:
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for _ in container.decode(stream):
            pass


def ffmpeg_only(film: Path) -> None:
    source = ["-threads", "1", "-i", str(film), "-map", "0:v:0"]
    sink = ["-fps_mode", "passthrough", "-f", "null", "-"]
    subprocess.run([find_ffmpeg(), "-v", "quiet", "-nostdin", *source, *sink], check=True)


def tiny_frames(film: Path) -> None:
    with open_video(film) as video:
        for frame in video.frames():
            _ = frame.tiny


def shots(film: Path) -> None:
    detector = shot_detector("adaptive")
    with open_video(film) as video:
        for frame in video.frames():
            detector.push(frame.pts_s, frame.tiny)
    detector.finish()


def whole_extraction(film: Path, decode: str = "full") -> None:
    decoding = DecodeConfig(decode=decode)
    extract(film, video_id="bench", decode=decoding, frames=FramesConfig(), seed=0, blob=io.BytesIO())


def without_jpeg(film: Path) -> None:
    with patch("mvp_data.video.decode.images.encode_jpeg", return_value=b""):
        whole_extraction(film)


PASSES: dict[str, Callable[[Path], None]] = {
    "decode only": decode_only,
    "ffmpeg -f null": ffmpeg_only,
    "+ detector frames": tiny_frames,
    "+ shot detection": shots,
    "+ sampling, resizing": without_jpeg,
    "+ JPEG: the full pass": whole_extraction,
    "the same, sparse": partial(whole_extraction, decode="sparse"),
}


def cpu_s() -> float:
    """CPU seconds of this process and of its finished children."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def seconds_of(passes: dict[str, Callable[[Path], None]], films: Sequence[Path], runs: int) -> dict[str, list[float]]:
    """Median CPU and wall seconds of each pass over all videos, and the median of its CPU ratio to the first."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in passes}
    for _ in range(runs):
        for name, run in passes.items():
            start, started = cpu_s(), time.perf_counter()
            for film in films:
                run(film)
            taken[name].append((cpu_s() - start, time.perf_counter() - started))
    base = [cpu for cpu, _ in next(iter(taken.values()))]
    found = {}
    for name, pairs in taken.items():
        ratio = statistics.median(cpu / alone for (cpu, _), alone in zip(pairs, base, strict=True))
        found[name] = [statistics.median(cpu for cpu, _ in pairs), statistics.median(wall for _, wall in pairs), ratio]
    return found


def whole_build(films: Sequence[Path], embedder: str) -> BuildReport:
    """The report of a real build with one worker, without a bank."""
    with tempfile.TemporaryDirectory() as folder:
        src = tuple(str(film.resolve()) for film in films)
        return build(BuildConfig(src=src, out=Path(folder) / "shards", workers=1, embed=EmbedConfig(embedder=embedder)))


def enlarged(film: Path, name: str) -> Path:
    """A section of the film in another size, made once."""
    path = SAMPLES / f"{film.stem}-{name}.mp4"
    if path.exists():
        return path
    SAMPLES.mkdir(parents=True, exist_ok=True)
    part, (width, height) = path.with_suffix(".part.mp4"), SAMPLE_SIZES[name]
    with av.open(str(film)) as source, av.open(str(part), "w") as target:
        stream = target.add_stream("libx264", rate=Fraction(source.streams.video[0].average_rate or 24))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "21"}
        source.seek(SAMPLE_FROM_S * 1_000_000)
        for n, frame in enumerate(source.decode(video=0)):
            if n >= SAMPLE_S * stream.average_rate:
                break
            large = frame.reformat(width, height, "yuv420p", interpolation="BICUBIC")
            large.pts, large.time_base = n, 1 / Fraction(stream.average_rate)
            target.mux(stream.encode(large))
        target.mux(stream.encode(None))
    part.rename(path)
    return path


def measured(films: Sequence[Path], options: argparse.Namespace) -> dict[str, object]:
    """All figures of one set of videos."""
    passes = dict(PASSES)
    try:
        find_ffmpeg()
    except MissingDependencyError:
        del passes["ffmpeg -f null"]
    found = seconds_of(passes, films, 1 if options.quick else options.runs)
    report = whole_build(films, options.embedder)
    steps = {
        step: [cpu, report.seconds[step], cpu / found["decode only"][0]] for step, cpu in report.cpu_seconds.items()
    }
    return {"passes": found, "build": steps, "worker_peak_mb": report.workers["peak_mb"]}


def show(name: str, found: dict[str, object]) -> None:
    for title, key in (("one pass in one process", "passes"), ("whole build, one worker", "build")):
        rows = found[key]
        assert isinstance(rows, dict)
        print(f"\n| {name}: {title} | CPU s | wall s | x decode only |\n|---|---|---|---|")
        for step, (cpu, wall, ratio) in rows.items():
            print(f"| {step} | {cpu:.1f} | {wall:.1f} | {ratio:.2f} |")
    print(f"\nPeak memory of the worker: {found['worker_peak_mb']:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--film", type=Path, default=DEMO_FILM)
    parser.add_argument("--clips", type=Path, help="a folder of videos, measured together")
    parser.add_argument("--sizes", nargs="*", choices=SAMPLE_SIZES, default=[], help="samples made from the film")
    parser.add_argument("--embedder", default="builtin")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one run of each pass")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.film.exists():
        sys.exit(f"{options.film}: not there; `make demo` fetches it, or name another film with --film")
    sets: dict[str, list[Path]] = {"film": [options.film]}
    if options.clips:
        sets["clips"] = sorted(path for path in options.clips.iterdir() if path.is_file())
    sets |= {name: [enlarged(options.film, name)] for name in options.sizes}
    found = {}
    for name, films in sets.items():
        found[name] = measured(films, options)
        if not options.json:
            show(name, found[name])
    if options.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
