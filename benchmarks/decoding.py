"""Sparse decoding against full decoding and decoding alone: cost, and whether both find the same.

    python -m benchmarks.decoding --film .cache/demo/big_buck_bunny.mp4     # the whole table, some minutes
    python -m benchmarks.decoding clips groundtruth --repeat 1
    python -m benchmarks.decoding film spliced --leader 99 --disposable 99  # ignores packet sizes

CPU seconds are medians of interleaved passes; `decode only` decodes every frame with PyAV on one thread and drops it.
The sparse pass has found a boundary of the full pass if it has one within a quarter of a second; the boundary moved if
its times or kind differ. `spliced` are the videos of benchmarks/shots_spliced.py, encoded by x264 in three ways: with
defaults; with key frames at a constant distance, so that no key frame marks a cut; with eight B-frames in a row.
`reference frames alone` is decode only without disposable frames (libavcodec's NONREF).
"""

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from benchmarks.shots import CORPUS, Score, Spans, predicted_frames, read_truth, score
from benchmarks.shots_spliced import FIRST_SEED, FPS, Frames, single_shots, splice
from mvp_data.config.options import DecodeConfig, FramesConfig
from mvp_data.core.errors import Skip
from mvp_data.core.types import Boundary, VideoEntry
from mvp_data.video.decode import sparse as sparse_module
from mvp_data.video.extract import extract

DEMO_FILM = Path(".cache/demo/big_buck_bunny.mp4")
SETS = ("film", "clips", "groundtruth", "nasty", "spliced")
SAME_S = 0.25  # boundaries farther apart are two
SPLICED = 10  # videos of each kind
CODED = {
    "default": {},
    "key frames at a constant distance": {"preset": "veryfast", "sc_threshold": "0", "g": "48"},
    "eight B-frames": {"bf": "8", "b-pyramid": "normal", "crf": "30"},
}
Video = tuple[str, Path, tuple[Spans, Spans] | None]  # its row, and its truth where it is known


@dataclass(kw_only=True)
class Row:
    """The results of one set of videos."""

    videos: int = 0
    cpu_s: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    left_out: int = 0
    differing: int = 0  # videos whose sampled frames differ in time or bytes
    boundaries: int = 0
    lost: int = 0
    more: int = 0
    moved: int = 0
    full: Score = field(default_factory=Score)
    sparse: Score = field(default_factory=Score)


def decode_only(path: Path, frames: str = "DEFAULT") -> None:
    """Every frame, or with NONREF the reference frames."""
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        stream.codec_context.skip_frame = frames
        for packet in container.demux(stream):
            try:
                packet.decode()
            except av.FFmpegError:
                continue


def extracted(path: Path, way: str) -> tuple[VideoEntry | None, bytes]:
    blob = io.BytesIO()
    try:
        found = extract(
            path, video_id="bench", decode=DecodeConfig(decode=way), frames=FramesConfig(), seed=0, blob=blob
        )
    except Skip:
        return None, b""
    return found, blob.getvalue()


def frame_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stamps = sorted(packet.pts for packet in container.demux(stream) if packet.size and packet.pts is not None)
        return [float((stamp - stamps[0]) * (stream.time_base or 1)) for stamp in stamps]


def compare(full: tuple[Boundary, ...], sparse: tuple[Boundary, ...], row: Row) -> None:
    """Count boundaries that were found, moved, lost and added."""
    rest = list(sparse)
    for boundary in full:
        near = [b for b in rest if max(abs(b.start_s - boundary.start_s), abs(b.end_s - boundary.end_s)) < SAME_S]
        if near:
            rest.remove(near[0])
            row.moved += near[0] != boundary
        else:
            row.lost += 1
    row.more += len(rest)
    row.boundaries += len(full)


def measure(path: Path, truth: tuple[Spans, Spans] | None, repeat: int, row: Row) -> None:
    """Add one video to a row."""
    spent: dict[str, list[float]] = {"full": [], "sparse": [], "DEFAULT": [], "NONREF": []}
    found: dict[str, tuple[VideoEntry | None, bytes]] = {}
    for name in [*spent] * repeat:
        if name == "DEFAULT" and found["full"][0] is None:
            break  # not a video
        start = time.process_time()
        if name in ("full", "sparse"):
            found[name] = extracted(path, name)
        else:
            decode_only(path, name)
        spent[name].append(time.process_time() - start)
    (full, full_jpegs), (sparse, sparse_jpegs) = found["full"], found["sparse"]
    if full is None or sparse is None:
        row.differing += full is not sparse
        return
    for name, seconds in spent.items():
        row.cpu_s[name] += statistics.median(seconds)
    row.videos += 1
    row.frames += full.decoded_frames
    row.left_out += sparse.left_out_frames
    same_times = [f.time_s for f in full.frames] == [f.time_s for f in sparse.frames]
    row.differing += not same_times or full.decoded_frames != sparse.decoded_frames or full_jpegs != sparse_jpegs
    compare(full.boundaries, sparse.boundaries, row)
    if truth:
        times_s = frame_times(path)
        row.full += score(predicted_frames(full.boundaries, times_s), *truth)
        row.sparse += score(predicted_frames(sparse.boundaries, times_s), *truth)


def write_video(path: Path, frames: Frames, options: dict[str, str]) -> None:
    """Detector frames as a video of 320 x 180."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=round(FPS), options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuvj420p"
        for number, tiny in enumerate(frames):
            small = av.VideoFrame.from_ndarray(np.ascontiguousarray(tiny.transpose(2, 0, 1)), format="yuvj444p")
            frame = small.reformat(320, 180, "yuvj420p", src_color_range="JPEG", dst_color_range="JPEG")
            frame.pts, frame.time_base = number, Fraction(1, round(FPS))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def spliced(corpus: Path, folder: Path) -> Iterator[Video]:
    """The spliced videos, encoded in each way."""
    clips = single_shots(corpus)
    for number in range(SPLICED):
        frames, _, truth, ignored = splice(clips, FIRST_SEED + number)
        for kind, options in CODED.items():
            path = folder / f"{number}.mp4"
            write_video(path, frames, options)
            yield f"spliced, {kind}", path, (truth, ignored)


def files(name: str, corpus: Path, film: Path) -> Iterator[Video]:
    """The videos of any other set."""
    if name == "film":
        yield name, film, None
        return
    for path in sorted((corpus / name).iterdir()):
        if path.suffix not in (".csv", ".tsv"):
            annotated = path.with_suffix(".csv")
            yield name, path, read_truth(annotated) if annotated.exists() else None


def table(rows: dict[str, Row]) -> str:
    lines = [
        "| set | videos | decode only, CPU s | reference frames alone | full pass | sparse pass | decoded share | "
        "sampled frames differ in | boundaries | lost / more / moved | F1 full | F1 sparse |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        alone = row.cpu_s["DEFAULT"]
        costs = [f"{row.cpu_s[way] / alone:.2f} x" for way in ("NONREF", "full", "sparse")]
        scores = [f"{s.f1:.3f}" if s.right + s.missed else "–" for s in (row.full, row.sparse)]
        cells = [name, str(row.videos), f"{alone:.1f}", *costs, f"{1 - row.left_out / row.frames:.3f}"]
        cells += [str(row.differing), str(row.boundaries), f"{row.lost} / {row.more} / {row.moved}", *scores]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], default=list(SETS), metavar="SET", help=", ".join(SETS))
    parser.add_argument("--corpus", type=Path, default=CORPUS.parent, help="folder with clips/, groundtruth/, nasty/")
    parser.add_argument("--film", type=Path, default=DEMO_FILM)
    parser.add_argument("--repeat", type=int, default=3, help="passes of each kind over each video")
    parser.add_argument(
        "--leader", type=float, default=sparse_module.LARGE_LEADER, help="another value of LARGE_LEADER"
    )
    parser.add_argument(
        "--disposable", type=float, default=sparse_module.LARGE_DISPOSABLE, help="another value of LARGE_DISPOSABLE"
    )
    parser.add_argument("--quick", action="store_true", help="one pass of each kind over the annotated videos")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if options.quick:
        options.sets, options.repeat = ["groundtruth"], 1
    sparse_module.LARGE_LEADER, sparse_module.LARGE_DISPOSABLE = options.leader, options.disposable
    if "film" in options.sets and not options.film.exists():
        sys.exit(f"{options.film} is not there; `make demo` fetches it, or give --film")
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in options.sets:
            videos = files(name, options.corpus, options.film) if name != "spliced" else spliced(options.corpus, folder)
            for row, path, truth in videos:
                print(path.name, file=sys.stderr)
                measure(path, truth, options.repeat, rows.setdefault(row, Row()))
    facts = {name: {**vars(row), "full": asdict(row.full), "sparse": asdict(row.sparse)} for name, row in rows.items()}
    print(json.dumps(facts, indent=1) if options.json else table(rows))


if __name__ == "__main__":
    main()
