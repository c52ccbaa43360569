"""Cost of other tools over the same files in the same run, as multiples of ours.

    python benchmarks/peers.py --film .cache/demo/big_buck_bunny.mp4
    python benchmarks/peers.py --quick --json
    VIDEO2DATASET_PYTHON=other/bin/python python benchmarks/peers.py

Each way runs in its own process over all files of a set; its CPU time, with its children's, counts from start to end,
imports included. `script` is the usual hand-written pipeline: PySceneDetect's adaptive detector over the file, then
OpenCV with a seek to every sampled time, a JPEG of each frame, and the encoder on ONNX Runtime with default settings
(batches of 32, all cores, centre crop). It samples each file at the rate of our build, at most at the same area, and
with the same weights. It stops there; our build continues to puzzles and shards. Decoding alone, by PyAV on one thread
and by `ffmpeg -threads 1 -f null -`, is the reference.

The 1080p and 4K samples are 20 s of the film, enlarged and encoded at run time, those of `build.py`. `video2dataset`
has its own environment, since it needs old packages (`pip install video2dataset 'pyarrow<18'`). It runs in one process,
with its cut detection and a video of one frame a second: no images, no vectors. Left out: open_clip, whose weights need
a download.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.build import SAMPLE_S, SAMPLE_SIZES, enlarged
from mvp_data import BuildConfig, build
from mvp_data.bank.bank import Bank
from mvp_data.embedding.weights import find
from mvp_data.pipeline.ledger import read_ledger
from mvp_data.video.decode.open import open_video
from mvp_data.video.shots.detector import shot_detector

ROOT = Path(__file__).resolve().parent.parent
DEMO_FILM = Path(".cache/demo/big_buck_bunny.mp4")
CACHE = Path(".cache/peers")
FILM_S = 200
AREA_PX = 796 * 448  # of a stored frame, at most
BATCH = 32
SUBSET = """
subsampling:
  CutDetectionSubsampler:
    cuts_are_clips: false
    args: {cut_detection_mode: all, framerates: null, threshold: 27, min_scene_len: 15}
  FrameSubsampler:
    args: {frame_rate: 1}
reading: {yt_args: null, timeout: 60, sampler: null}
storage: {number_sample_per_shard: 1000, oom_shard_count: 5, captions_are_subtitles: false}
distribution: {processes_count: 1, thread_count: 1, subjob_size: 1000, distributor: multiprocessing}
"""
RUN_SUBSET = """
from video2dataset import video2dataset
if __name__ == "__main__":
    video2dataset(
        url_list="in/{00000..00000}.tar", input_format="webdataset", output_folder="out", output_format="webdataset",
        stage="subset", encode_formats={"video": "mp4"}, config="subset.yaml", max_shard_retry=0,
    )
"""


def decode_pyav(jobs: Sequence[dict[str, Any]]) -> None:
    for job in jobs:
        with av.open(job["path"]) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1
            for _ in container.decode(stream):
                pass


def decode_ffmpeg(jobs: Sequence[dict[str, Any]]) -> None:
    import imageio_ffmpeg

    for job in jobs:
        source = ["-threads", "1", "-i", job["path"], "-map", "0:v:0", "-f", "null", "-"]
        subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "quiet", *source], check=True)


def shots_scenedetect(jobs: Sequence[dict[str, Any]]) -> None:
    from scenedetect import AdaptiveDetector, detect

    for job in jobs:
        detect(job["path"], AdaptiveDetector())


def shots_ours(jobs: Sequence[dict[str, Any]]) -> None:
    for job in jobs:
        detector = shot_detector("adaptive")
        with open_video(job["path"]) as video:
            for frame in video.frames():
                detector.push(frame.pts_s, frame.tiny)
        detector.finish()


def script(jobs: Sequence[dict[str, Any]]) -> None:
    """Shots, frames, JPEGs and vectors of each file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(find("tinyvit")), providers=["CPUExecutionProvider"])
    with tempfile.TemporaryDirectory() as folder:
        for number, job in enumerate(jobs):
            out = Path(folder) / str(number)
            out.mkdir()
            shots_scenedetect([job])
            frames = grabbed(job["path"], job["rate_hz"], out)
            if frames:
                np.save(out / "vectors.npy", embedded(session, frames))


def grabbed(path: str, rate_hz: float, out: Path) -> list[Any]:
    """Frames at an even rate, each with a seek to its time, written as JPEGs."""
    import cv2

    capture, frames = cv2.VideoCapture(path), []
    duration_s = capture.get(cv2.CAP_PROP_FRAME_COUNT) / max(capture.get(cv2.CAP_PROP_FPS), 1e-3)
    for time_s in np.arange(0, duration_s, 1 / rate_hz):
        capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * time_s)
        found, frame = capture.read()
        if not found:
            break
        height, width = frame.shape[:2]
        if (scale := (AREA_PX / (width * height)) ** 0.5) < 1:
            frame = cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(out / f"{len(frames):06d}.jpg"), frame, [cv2.IMWRITE_JPEG_QUALITY, 90])
        frames.append(frame)
    capture.release()
    return frames


def embedded(session: Any, frames: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Vectors [N, D] of BGR images: the usual centre crop, 32 at a time."""
    import cv2

    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    rows = []
    for start in range(0, len(frames), BATCH):
        batch = []
        for frame in frames[start : start + BATCH]:
            height, width = frame.shape[:2]
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            square = cv2.resize(frame[top : top + side, left : left + side], (224, 224), interpolation=cv2.INTER_CUBIC)
            rgb = cv2.cvtColor(square, cv2.COLOR_BGR2RGB).astype(np.float32) / 255
            batch.append(((rgb - mean) / std).transpose(2, 0, 1))
        rows.append(session.run(None, {"input": np.stack(batch)})[0])
    return np.concatenate(rows)


def build_ours(jobs: Sequence[dict[str, Any]]) -> None:
    """A whole build in one worker; prints the sampling rate of each file and the number of frames."""
    with tempfile.TemporaryDirectory() as folder:
        paths = tuple(job["path"] for job in jobs)
        config = BuildConfig(src=paths, out=Path(folder) / "shards", bank=Path(folder) / "bank", workers=1)
        build(config)
        bank = Bank(config.bank_folder, config.extract_hash())
        rows = [row for row in read_ledger(config.out) if row.video_id]
        entries = {row.path: bank.read(row.video_id) for row in rows}
    rates = {path: entry.rate_fps or 1.0 for path, entry in entries.items()}
    print(json.dumps({"rates": rates, "frames": sum(len(entry.usable) for entry in entries.values())}))


def video2dataset(jobs: Sequence[dict[str, Any]]) -> None:
    """Its `subset` stage over one tar of all files."""
    import imageio_ffmpeg

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("in", "bin"):
            (folder / part).mkdir()
        (folder / "bin" / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
        (folder / "subset.yaml").write_text(SUBSET)
        (folder / "run.py").write_text(RUN_SUBSET)
        with tarfile.open(folder / "in" / "00000.tar", "w") as tar:
            for number, job in enumerate(jobs):
                said = {"key": f"{number:08d}", "status": "success", "error_message": None, "url": job["path"]}
                for suffix, data in (("mp4", Path(job["path"]).read_bytes()), ("json", json.dumps(said).encode())):
                    member = tarfile.TarInfo(f"{number:08d}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        paths = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
        python = Path(os.environ["VIDEO2DATASET_PYTHON"]).absolute()
        subprocess.run([python, "run.py"], cwd=folder, env=os.environ | paths, check=True)
        done = json.loads((folder / "out" / "00000_stats.json").read_text())
        if done["successes"] != len(jobs):
            sys.exit(f"video2dataset did {done['successes']} of {len(jobs)} files: {done['status_dict']}")


WAYS: dict[str, Callable[[Sequence[dict[str, Any]]], None]] = {
    "ours: whole build": build_ours,
    "script: PySceneDetect, OpenCV, encoder": script,
    "video2dataset: cuts, 1 frame a second": video2dataset,
    "ours: decode and shots": shots_ours,
    "PySceneDetect's pass": shots_scenedetect,
    "decode only, PyAV": decode_pyav,
    "decode only, ffmpeg": decode_ffmpeg,
}


def measured(way: str, jobs: Sequence[dict[str, Any]]) -> tuple[float, float, str]:
    """CPU and wall seconds of a way in its own process, and its output."""
    before, start_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, __file__, "--way", way]
    done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{way}: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu_s, time.perf_counter() - start_s, done.stdout


def compare(paths: Sequence[Path]) -> dict[str, Any]:
    """All ways over a set of files; ours first, since the script uses its sampling rates."""
    jobs = [{"path": str(path)} for path in paths]
    found: dict[str, Any] = {}
    for way, work in WAYS.items():
        if work is video2dataset and "VIDEO2DATASET_PYTHON" not in os.environ:
            continue
        cpu_s, wall_s, said = measured(way, jobs)
        if way == "ours: whole build":
            told = json.loads(said.splitlines()[-1])
            jobs = [{**job, "rate_hz": told["rates"].get(Path(job["path"]).name, 1.0)} for job in jobs]
            found["files"], found["frames"] = len(paths), told["frames"]
        found[way] = {"cpu_s": cpu_s, "wall_s": wall_s}
    return found


def cut(film: Path, seconds: float) -> Path:
    """The beginning of a film, with unchanged packets."""
    path = CACHE / f"{film.stem}-{seconds:g}s.mp4"
    if path.exists():
        return path
    with av.open(str(film)) as source, av.open(str(path.with_suffix(".new.mp4")), "w") as target:
        video = source.streams.video[0]
        copy = target.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.dts is None or packet.dts * video.time_base > seconds:
                break
            packet.stream = copy
            target.mux(packet)
    return path.with_suffix(".new.mp4").rename(path)


def as_text(result: dict[str, dict[str, Any]]) -> str:
    lines = []
    for name, found in result.items():
        ours, shots = found["ours: whole build"], found["ours: decode and shots"]
        decode = found["decode only, PyAV"]["cpu_s"]
        lines += [f"| {name}: {found['files']} files, {found['frames']} frames | CPU s | wall s | x decode only | "]
        lines[-1] += "CPU, x ours |"
        lines.append("|---|---|---|---|---|")
        for way, row in found.items():
            if way not in WAYS:
                continue
            base = shots if "PySceneDetect's" in way else None if way.startswith(("ours", "decode")) else ours
            ratio = f"**{row['cpu_s'] / base['cpu_s']:.2f}**" if base else ""
            cells = f"{row['cpu_s']:.1f} | {row['wall_s']:.1f} | {row['cpu_s'] / decode:.2f} | {ratio}"
            lines.append(f"| {way} | {cells} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--film", type=Path, default=DEMO_FILM)
    parser.add_argument("--clips", type=Path, default=ROOT.parent / "shared" / "corpus" / "clips")
    parser.add_argument("--quick", action="store_true", help="40 s of the film, 3 clips, no large samples")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # a process of its own
    options = parser.parse_args()
    if options.way:
        WAYS[options.way](json.load(sys.stdin))
        return
    if not options.film.exists():
        sys.exit(f"{options.film}: not there; `make demo` fetches it, or name another film with --film")
    CACHE.mkdir(parents=True, exist_ok=True)
    clips = sorted(options.clips.glob("*"))
    film_s = 40 if options.quick else FILM_S
    sets = {f"film, first {film_s} s": [cut(options.film, film_s)]}
    if clips:
        sets["real clips"] = clips[:: 14 if options.quick else 4]
    if not options.quick:
        sets |= {f"{name}, {SAMPLE_S} s": [enlarged(options.film, name)] for name in SAMPLE_SIZES}
    result = {name: compare(paths) for name, paths in sets.items()}
    print(json.dumps(result, indent=1) if options.json else as_text(result))


if __name__ == "__main__":
    main()
