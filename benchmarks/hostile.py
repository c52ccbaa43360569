"""Thousands of damaged and forged files: the behaviour of each reader, and of a build with damaged videos.

    python benchmarks/hostile.py --corpus ../shared/corpus
    python benchmarks/hostile.py --quick

A parser may return a value or raise a documented error, within a second and in little memory. Each parser runs in its
own process, so that a crash is noticed. Videos are cut, flipped, spliced and zeroed, have their boxes swapped and their
headers forged, and go through `mvp-data build` with two workers: all must be in the ledger, each with a reason, within
the time limit of a video. Without `--corpus`, clips are rendered. The seeds are fixed.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mvp_data.core.containers import VIDEO_EXTENSIONS  # noqa: E402
from mvp_data.pipeline.ledger import LedgerRow, read_ledger  # noqa: E402
from tests.clips import VARIANTS, render_variant  # noqa: E402
from tests.parsers import parsers  # noqa: E402
from tests.poison import VIDEO, generator  # noqa: E402

MOST_S, MOST_MB = 2.0, 400.0  # CPU for one input, and memory beyond that of the good examples
KEPT_BYTES = 300_000  # of each video: some seconds
VIDEO_TIMEOUT_S = 30


def attack(name: str, examples: int) -> dict[str, Any]:
    """Attack one parser in this process."""
    with tempfile.TemporaryDirectory() as folder:
        parser = parsers(Path(folder))[name]
        for seed in parser.seeds:
            parser.read(seed)
        before, slowest, escaped, refused = _peak_mb(), 0.0, Counter[str](), 0
        for data in parser.attacks(name, examples):
            start = time.process_time()
            try:
                parser.read(data)
            except parser.errors:
                refused += 1
            except Exception as error:  # noqa: BLE001 - the check looks for any exception
                place = traceback.extract_tb(error.__traceback__)[-1]
                escaped[f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"] += 1
            slowest = max(slowest, time.process_time() - start)
        grown = _peak_mb() - before
    return {"examples": examples, "refused": refused, "escaped": escaped, "slowest_s": slowest, "grown_mb": grown}


def attack_all(examples: int) -> dict[str, dict[str, Any]]:
    """Attack each parser in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        names = list(parsers(Path(folder)))
    found = {}
    for name in names:
        command = [sys.executable, "-W", "ignore", __file__, "--parser", name, "--examples", str(examples)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
            died = "" if done.returncode == 0 else f"the process died: {done.returncode} {done.stderr[-300:]}"
        except subprocess.TimeoutExpired:
            died = "hangs"
        empty = {"examples": examples, "refused": 0, "escaped": {died: 1}, "slowest_s": 0.0, "grown_mb": 0.0}
        found[name] = empty if died else json.loads(done.stdout)
    return found


def good_videos(corpus: Path | None, folder: Path) -> list[tuple[str, bytes]]:
    """(extension, bytes) of videos that decode; long ones are cut."""
    if corpus is None:
        clips = [render_variant(variant, folder) for variant in VARIANTS]
    else:
        clips = [path for path in sorted(corpus.rglob("*")) if path.suffix in VIDEO_EXTENSIONS and path.is_file()]
    cut = [(path.suffix, path.read_bytes()) for path in clips]
    useful = [(suffix, data[:KEPT_BYTES]) for suffix, data in cut if data and _opens_when_cut(suffix, data)]
    if not useful:
        sys.exit(f"{corpus}: holds no videos")
    return useful


def _opens_when_cut(suffix: str, data: bytes) -> bool:
    index_first = suffix not in (".mp4", ".mov", ".m4v", ".3gp") or b"moov" in data[:KEPT_BYTES]
    return len(data) <= KEPT_BYTES or index_first


def spoil(good: Sequence[tuple[str, bytes]], count: int, folder: Path) -> None:
    """Write `count` damaged videos, the same number of each kind; the same ones each time."""
    folder.mkdir()
    kinds = tuple(VIDEO)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        rng = generator("benchmark", kind, number)
        suffix, data = rng.choice(good)
        spoilt = VIDEO[kind](data, rng, rng.choice(good)[1]) or b"\0"
        (folder / f"{kind}-{number:04d}{suffix}").write_bytes(spoilt)


def build(videos: Path, out: Path, decoder: str, embedder: str) -> dict[str, Any]:
    """A real build of a folder of videos: the ledger, time and memory."""
    count = len(list(videos.iterdir()))
    command = [sys.executable, "-m", "mvp_data.cli.main", "build", "--src", str(videos), "--out", str(out)]
    command += ["--workers", "2"]
    command += ["--video-timeout-s", str(VIDEO_TIMEOUT_S), "--max-failures", "0", "--embedder", embedder]
    command += ["--decoder", decoder, "--hidden-frames", "2", "--context-frames", "3", "--fps", "2", "--log-json"]
    command += ["--decoy-share", "0", "--mask-policy", "free"]
    start = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 2 * count, check=False, cwd=ROOT)
        fine = done.returncode == 0 or "no samples were written" in done.stderr
        problems = [] if fine else [f"the build ended with {done.returncode}: {done.stderr[-500:]}"]
        problems += ["a traceback of the parent"] if "Traceback" in done.stderr else []
        lines = done.stderr.splitlines()
    except subprocess.TimeoutExpired:
        return {"problems": ["hangs"], "rows": (), "seconds": time.monotonic() - start}
    rows = read_ledger(out) if (out / "ledger.parquet").exists() else ()
    problems += [f"{row.path}: skipped without a reason" for row in rows if row.outcome != "used" and not row.reason]
    if missing := {path.name for path in videos.iterdir()} - {row.path for row in rows}:
        problems.append(f"not in the ledger: {', '.join(sorted(missing)[:5])}")
    report = json.loads((out / "report.json").read_bytes()) if (out / "report.json").exists() else {}
    return {
        "problems": problems,
        "rows": rows,
        "seconds": time.monotonic() - start,
        "peak_mb": report.get("workers", {}).get("peak_mb", 0.0),
        "slowest": _slowest(lines, 2),
    }


def _slowest(lines: Sequence[str], workers: int) -> tuple[float, str]:
    """Seconds and name of the slowest video: each begins when one before it ends; the log has the times."""
    # A decoder's library may write its messages after an event, on the same line.
    events = [json.JSONDecoder().raw_decode(line)[0] for line in lines if line.startswith("{") and "}" in line]
    ended = [(datetime.fromisoformat(e["time"]).timestamp(), e["path"]) for e in events if e["event"] == "video"]
    if len(ended) <= workers:
        return 0.0, ""
    order = deque(sorted(path for _, path in ended)[workers:])
    began = dict.fromkeys(sorted(path for _, path in ended)[:workers], ended[0][0])
    slowest = (0.0, "")
    for at, path in ended:
        slowest = max(slowest, (at - began.get(path, at), path))
        if order:
            began[order.popleft()] = at
    return slowest


def video_table(rows: Sequence[LedgerRow]) -> list[str]:
    """A row for each kind of damage, a column for each outcome."""
    counts = Counter((row.path.partition("-")[0], row.reason or "used") for row in rows)
    outcomes = sorted({outcome for _, outcome in counts}, key=lambda o: (o != "used", o))
    lines = [f"| damage | {' | '.join(outcomes)} |", "|---|" + "---|" * len(outcomes)]
    for kind in (*VIDEO, "all"):
        cells = [sum(n for (k, o), n in counts.items() if o == outcome and kind in (k, "all")) for outcome in outcomes]
        lines.append(f"| {kind} | {' | '.join(map(str, cells))} |")
    return lines


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--corpus", type=Path, help="a folder of real videos to damage")
    parser.add_argument("--examples", type=int, default=5000, help="of each parser")
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--others", type=int, default=100, help="videos for each of the other decoders")
    parser.add_argument("--embedder", default="builtin:tinyvit")
    parser.add_argument("--quick", action="store_true", help="200 examples of each parser, 24 videos, 6 of the others")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--parser", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.examples, options.videos, options.others = 200, 24, 6
    if options.parser:
        warnings.simplefilter("ignore")
        print(json.dumps(attack(options.parser, options.examples)))
        return
    attacked = attack_all(options.examples) if options.examples else {}
    problems = [f"{name}: {error}" for name, found in attacked.items() for error in found["escaped"]]
    problems += [f"{n}: {f['slowest_s']:.1f} s for one input" for n, f in attacked.items() if f["slowest_s"] > MOST_S]
    if attacked and not options.json:
        print_parsers(attacked)
    problems += [f"{n}: {f['grown_mb']:.0f} MB" for n, f in attacked.items() if f["grown_mb"] > MOST_MB]
    built: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        good = good_videos(options.corpus, folder)
        for decoder, count in (("pyav", options.videos), ("ffmpeg", options.others), ("decord", options.others)):
            if count:
                spoil(good, count, folder / f"videos-{decoder}")
                built[decoder] = build(
                    folder / f"videos-{decoder}", folder / f"out-{decoder}", decoder, options.embedder
                )
                problems += [f"{decoder}: {problem}" for problem in built[decoder]["problems"]]
                if not options.json:
                    print_videos(decoder, built[decoder])
    if options.json:
        print(json.dumps({"parsers": attacked, "videos": built, "problems": problems}, indent=1, default=vars_of))
    if problems:
        sys.exit("\n".join(["", *problems]))


def print_parsers(attacked: dict[str, dict[str, Any]]) -> None:
    """A row a reader."""
    print("| reader of | inputs | refused | escaped | slowest, CPU ms | memory grown, MB |\n|---|---|---|---|---|---|")
    for name, f in attacked.items():
        escaped, slowest = sum(f["escaped"].values()), f["slowest_s"] * 1000
        print(f"| {name} | {f['examples']} | {f['refused']} | {escaped} | {slowest:.0f} | {f['grown_mb']:.0f} |")
    sys.stdout.flush()  # the videos take long


def print_videos(decoder: str, found: dict[str, Any]) -> None:
    """The outcomes of each kind of damage, for one decoder."""
    slowest, name = found.get("slowest", (0.0, ""))
    print(f"\n{len(found['rows'])} damaged videos with {decoder}: {found['seconds']:.0f} s, largest worker "
          f"{found.get('peak_mb', 0):.0f} MB, slowest video {slowest:.1f} s ({name})\n")  # fmt: skip
    print("\n".join(video_table(found["rows"])), flush=True)


def vars_of(row: LedgerRow) -> dict[str, Any]:
    """A row of the ledger as JSON."""
    return {name: getattr(row, name) for name in LedgerRow.__slots__}


if __name__ == "__main__":
    main()
