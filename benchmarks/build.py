"""What a build costs beside decoding: CPU seconds by stage, as multiples of decoding the same film and nothing else.

    python benchmarks/build.py --film .cache/demo/big_buck_bunny.mp4

`decode only` decodes every frame with PyAV on one thread and drops it. The parts of extraction are differences between
passes that do more and more; a pass is repeated and its median taken, the passes in turn, since machines are noisy.
"""

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mvp_data import BuildConfig, EmbedConfig, build
from mvp_data.config import DecodeConfig, FramesConfig
from mvp_data.decode import open_video
from mvp_data.frames import extract
from mvp_data.shots import shot_detector

DEMO_FILM = Path(".cache/demo/big_buck_bunny.mp4")


def decode_only(film: Path) -> None:
    import av

    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for _ in container.decode(stream):
            pass


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


def whole_extraction(film: Path) -> None:
    extract(film, video_id="bench", decode=DecodeConfig(), frames=FramesConfig(), seed=0, blob=io.BytesIO())


PASSES: dict[str, Callable[[Path], None]] = {
    "decode only": decode_only,
    "+ tiny frames": tiny_frames,
    "+ shot detection": shots,
    "+ sampling, resizing, JPEG": whole_extraction,
}


def cpu_of(passes: dict[str, Callable[[Path], None]], film: Path, runs: int) -> dict[str, float]:
    """Median CPU seconds of each pass."""
    taken: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(runs):
        for name, run in passes.items():
            start = time.process_time()
            run(film)
            taken[name].append(time.process_time() - start)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def whole_build(film: Path, embedder: str) -> dict[str, float]:
    """CPU seconds of each step of a real build with one worker, from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        report = build(
            BuildConfig(src=(str(film),), out=Path(folder) / "shards", workers=1, embed=EmbedConfig(embedder=embedder))
        )
    return report.cpu_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--film", type=Path, default=DEMO_FILM)
    parser.add_argument("--embedder", default="builtin")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one run of each pass")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.film.exists():
        sys.exit(f"{options.film}: not there; `make demo` fetches it, or name another film with --film")
    passes = cpu_of(PASSES, options.film, 1 if options.quick else options.runs)
    steps = whole_build(options.film, options.embedder)
    base = passes["decode only"]
    without = sum(seconds for step, seconds in steps.items() if step != "embed")
    if options.json:
        print(json.dumps({"passes": passes, "build": steps, "ratio_without_embedder": without / base}, indent=1))
        return
    print("| one pass in one process | CPU s | x decode only |\n|---|---|---|")
    for name, seconds in passes.items():
        print(f"| {name} | {seconds:.1f} | {seconds / base:.2f} |")
    print("\n| whole build, one worker | CPU s | x decode only |\n|---|---|---|")
    for step, seconds in steps.items():
        print(f"| {step} | {seconds:.1f} | {seconds / base:.2f} |")
    print(f"| **all but the embedder** | **{without:.1f}** | **{without / base:.2f}** |")


if __name__ == "__main__":
    main()
