"""Builds on a disk that fails: each call of a kind fails once, and the build is then run again.

    python -m tests.faults                 all kinds, a few points of each
    python -m tests.faults full --all      a disk that runs full, at the first, second and last write of every file

A preloaded library (`faults.c`, compiled when needed) intercepts the system calls of the build and its workers, so the
calls fail as on a real machine, whether Python, PyArrow or libavformat makes them. A table shows how the builds ended;
the exit code is 1 if one of them ended in a wrong way.
"""

import argparse
import contextlib
import errno
import hashlib
import json
import mmap
import multiprocessing
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mvp_data.config.options import BuildConfig, from_options
from mvp_data.core.errors import MvpError
from mvp_data.core.types import Encoder, Picture, Vectors
from mvp_data.embedding.base import shrink
from mvp_data.pipeline import build as build_module
from tests import ROOT

CREATE, WRITE, SYNC, RENAME, UNLINK, MKDIR, OPEN, READ = (1 << n for n in range(8))
ONCE, FOR_GOOD, THIS_FILE = range(3)
CHANGES_NAMES = CREATE | RENAME | UNLINK | MKDIR
HANG_S = 120
_TEMPORARY = re.compile(r"\.([^/]+)\.[0-9a-f-]+\.tmp$")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of disk failure."""

    name: str
    error: int
    calls: int  # which of them fail
    lasting: int = FOR_GOOD
    of_sources: bool = False  # the disk of the videos, not that of what is built


KINDS = (
    Kind(name="full", error=errno.ENOSPC, calls=CREATE | WRITE | MKDIR),
    Kind(name="quota", error=errno.EDQUOT, calls=CREATE | WRITE | MKDIR),
    Kind(name="readonly", error=errno.EROFS, calls=CHANGES_NAMES | WRITE | SYNC),
    Kind(name="denied", error=errno.EACCES, calls=CHANGES_NAMES),
    Kind(name="gone", error=errno.EIO, calls=CHANGES_NAMES | WRITE | SYNC | OPEN | READ),
    Kind(name="glitch", error=errno.EIO, calls=CHANGES_NAMES | WRITE | SYNC, lasting=ONCE),
    Kind(name="misread", error=errno.EIO, calls=OPEN | READ, lasting=ONCE),
    Kind(name="descriptors", error=errno.EMFILE, calls=CREATE | OPEN, lasting=ONCE),
    Kind(name="source glitch", error=errno.EIO, calls=OPEN | READ, lasting=ONCE, of_sources=True),
    Kind(name="source sector", error=errno.EIO, calls=OPEN | READ, lasting=THIS_FILE, of_sources=True),
    Kind(name="source gone", error=errno.ENOENT, calls=OPEN, lasting=THIS_FILE, of_sources=True),
    Kind(name="source stale", error=errno.ESTALE, calls=OPEN | READ, lasting=FOR_GOOD, of_sources=True),
)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A build with one fault, and the build after it."""

    kind: str
    at: int  # which call failed first
    path: str  # of that call
    ended: str  # stopped | finished
    message: str
    fault: str = ""  # what was not as it should be


class Plan:
    """The plan that the preloaded library follows; see `struct plan` there."""

    _LAYOUT = struct.Struct("=qqiiii1024s1024s")

    def __init__(self) -> None:
        self._calls = Path(os.environ["MVP_FAULTS"] + ".calls")
        with open(os.environ["MVP_FAULTS"], "r+b") as file:
            self._map = mmap.mmap(file.fileno(), self._LAYOUT.size)

    def set(self, kind: Kind, under: Path, at: int) -> None:
        """Let the `at`-th call and later ones fail; 0 only counts them."""
        folder = os.fsencode(under) + b"/"
        self._map[:] = self._LAYOUT.pack(0, at, kind.error, kind.lasting, kind.calls, 0, folder, b"")

    def clear(self) -> None:
        """Stop the faults."""
        self._map[:] = bytes(self._LAYOUT.size)

    def record(self, kind: Kind, under: Path) -> None:
        """Break nothing from now on, and record the calls that could be broken."""
        self._calls.write_bytes(b"")
        self.set(kind, under, 0)

    def recorded(self) -> list[tuple[str, str]]:
        """Return (kind of call, file) of each call since `record`; a temporary file has its later name."""
        lines = (line.split(" ", 1) for line in os.fsdecode(self._calls.read_bytes()).splitlines())
        return [(call, _TEMPORARY.sub(r"\1", path)) for call, path in lines]

    @property
    def first(self) -> str:
        """Return the path of the first call that failed."""
        return os.fsdecode(self._LAYOUT.unpack(self._map[:])[7].split(b"\0")[0])


class Thumbnails:
    """An embedder without weights that returns a small copy of the frame. The build must calibrate it."""

    encoder = Encoder(name="test:thumbnails", weights_sha256="0" * 64, dimension=192, engine="numpy")

    def embed(self, pictures: Sequence[Picture]) -> Vectors:
        small = np.stack([shrink(picture, 8).astype(np.float32) for picture in pictures]).reshape(len(pictures), -1)
        small -= small.mean(axis=1, keepdims=True) - 0.1
        return np.asarray(small / np.linalg.norm(small, axis=1, keepdims=True), dtype=np.float32)


def compiled(folder: Path) -> Path:
    """Return the compiled library. Raises FileNotFoundError without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        raise FileNotFoundError("needs a C compiler on Linux")
    library = folder / "faults.so"
    source = str(ROOT / "tests" / "faults.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(library), source, "-ldl"], check=True)
    return library


def preloaded(arguments: Sequence[str], films: Path, *, captured: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run this module as a program with the library preloaded."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        plan = Path(folder) / "plan"
        plan.write_bytes(bytes(Plan._LAYOUT.size))
        ours = {"LD_PRELOAD": str(compiled(Path(folder))), "MVP_FAULTS": str(plan), "MVP_FILMS": str(films)}
        command = [sys.executable, "-m", "tests.faults", *arguments]
        environment = {**os.environ, **ours}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=captured, text=True, check=False)


def contents(out: Path) -> dict[str, str]:
    """Return the sha256 of each file of a build, without the times of its report."""
    names = sorted(p for p in out.iterdir() if p.name != "report.json" and not p.name.startswith("."))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in names}


def build(config: BuildConfig) -> tuple[str, str]:
    """Return how a build ended, and its message. An error that a user would see as a traceback is raised."""
    try:
        report = build_module.build(config)
    except MvpError as error:
        return "stopped", str(error)
    return "finished", f"{report.samples} samples"


@contextlib.contextmanager
def not_hanging() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise AssertionError(f"not done after {HANG_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Bench:
    """A folder whose build is broken many times."""

    def __init__(self, films: Path, folder: Path) -> None:
        self._films, self._folder, self._plan = films, folder, Plan()
        self._place = folder / "place"
        self._config = from_options(
            {
                "src": str(films),
                "out": self._place / "out",
                "bank": self._place / "bank",
                "workers": 1,
                "samples_per_video": 4,
                "decoy_share": 0.0,
            }
        )
        self._half = folder / "half"
        self._whole = self._reference()

    def _reference(self) -> dict[str, str]:
        self._clean()
        ended, message = build(self._config)
        if ended != "finished" or message.startswith("0 "):
            raise RuntimeError(f"the undisturbed build is of no use: {message}")
        return contents(self._place / "out")

    def leave_half_done(self) -> None:
        """Start each later build from the files of one that was broken while it wrote its index."""
        full = KINDS[0]
        self._clean()
        self._plan.record(full, self._under(full))
        build(self._config)
        last = len(self._plan.recorded())
        self._clean()
        self._plan.set(full, self._under(full), last)
        build(self._config)
        self._plan.clear()
        for litter in ("bank/tmp/.x.parquet.1-00.tmp", "bank/spool/fetched-x.mp4", "out/.report.json.1-00.tmp"):
            (self._place / litter).parent.mkdir(exist_ok=True)
            (self._place / litter).write_bytes(b"litter")
        self._place.rename(self._half)

    def points(self, kind: Kind) -> list[int]:
        """Return the calls to break: the first, second and last of each kind on each file of an undisturbed build."""
        self._clean()
        self._plan.record(kind, self._under(kind))
        build(self._config)
        of_file: dict[tuple[str, str], list[int]] = {}
        for number, call in enumerate(self._plan.recorded(), 1):
            of_file.setdefault(call, []).append(number)
        return sorted({n for numbers in of_file.values() for n in (*numbers[:2], numbers[-1])})

    def trial(self, kind: Kind, at: int) -> Trial:
        """Break a new build at one call, then run it again without faults."""
        self._clean()
        faults = []
        self._plan.set(kind, self._under(kind), at)
        with not_hanging():
            try:
                ended, message = build(self._config)
            except Exception as error:  # noqa: BLE001 - any: it is what this is here to find
                ended, message = "broke", f"{type(error).__name__}: {error}"
                faults.append("a traceback")
        path = self._plan.first
        if multiprocessing.active_children():
            faults.append("workers were left")
        self._plan.clear()
        if "\n" in message or len(message) > 600:
            faults.append("not one line")
        of_sources = kind.of_sources or "/spool/" in path  # where copies of sources lie
        faults += self._resume(broken=ended != "finished", of_sources=of_sources)
        shown = path.replace(str(self._folder), "")
        return Trial(kind=kind.name, at=at, path=shown, ended=ended, message=message, fault=", ".join(faults))

    def _resume(self, *, broken: bool, of_sources: bool) -> list[str]:
        """Run the build again; return the faults of the resumed run."""
        faults = []
        if not broken and not of_sources and contents(self._place / "out") != self._whole:
            faults.append("it finished with another result")
        with not_hanging():
            try:
                ended, message = build(self._config)
            except Exception as error:  # noqa: BLE001 - as above
                return [*faults, f"resumed: {type(error).__name__}: {error}"]
        if ended != "finished":
            return [*faults, f"resumed: {message}"]
        now = contents(self._place / "out")
        if now != self._whole:
            differ = sorted({name for name in now | self._whole if now.get(name) != self._whole.get(name)})
            faults.append(f"the resumed run gave other {', '.join(differ)}")
        left = [str(p.relative_to(self._place)) for p in self._place.rglob("*.tmp")]
        return [*faults, f"left {', '.join(left)}"] if left else faults

    def _under(self, kind: Kind) -> Path:
        return self._films if kind.of_sources else self._place

    def _clean(self) -> None:
        self._plan.clear()
        shutil.rmtree(self._place, ignore_errors=True)
        if self._half.exists():
            shutil.copytree(self._half, self._place)
        else:
            self._place.mkdir()


def spread(points: Sequence[int], most: int) -> list[int]:
    """Return at most `count` of them, evenly spaced."""
    return [points[round(i * (len(points) - 1) / max(1, most - 1))] for i in range(min(most, len(points)))]


def table(trials: Sequence[Trial]) -> str:
    """Return a table of how the builds ended, with a row for each kind of fault."""
    lines = ["| fault | builds | stopped with a message | finished | wrong |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(t.kind for t in trials):
        own = [t for t in trials if t.kind == name]
        ended = Counter(t.ended for t in own)
        wrong = sum(bool(t.fault) for t in own)
        lines.append(f"| {name} | {len(own)} | {ended['stopped']} | {ended['finished']} | {wrong} |")
    return "\n".join(lines)


def main() -> int:
    """Run in a process with the library in place, or start one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kinds", nargs="*", help=", ".join(kind.name for kind in KINDS))
    parser.add_argument("--points", type=int, default=6, help="calls of each kind to break")
    parser.add_argument("--all", action="store_true", help="the first, second and last call of each sort on each file")
    parser.add_argument("--half-done", action="store_true", help="break resumed builds, not new ones")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if "MVP_FAULTS" not in os.environ:
        return _start(sys.argv[1:])
    build_module.load_embedder = lambda _: Thumbnails()  # type: ignore[assignment]
    trials = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        bench = Bench(Path(os.environ["MVP_FILMS"]), Path(folder))
        if given.half_done:
            bench.leave_half_done()
        for kind in KINDS:
            if given.kinds and kind.name not in given.kinds:
                continue
            points = bench.points(kind)
            for at in points if given.all else spread(points, given.points):
                trials.append(bench.trial(kind, at))
                if not given.json:
                    print(json.dumps(asdict(trials[-1])), file=sys.stderr, flush=True)
    print(json.dumps([asdict(trial) for trial in trials]) if given.json else table(trials))
    return int(any(trial.fault for trial in trials))


def _start(arguments: Sequence[str]) -> int:
    from tests.scenes import film

    with tempfile.TemporaryDirectory(prefix="films-") as folder:
        for seed in range(2):
            film(Path(folder) / f"film {seed}.mp4", seed=seed, seconds=10)
        (Path(folder) / "text.mp4").write_text("no video at all")
        with tarfile.open(Path(folder) / "more.tar", "w") as tar:  # its member is copied into the bank first
            tar.add(film(Path(folder) / ".film.mp4", seed=2, seconds=10), "film 2.mp4")
        return preloaded(arguments, Path(folder), captured=False).returncode


if __name__ == "__main__":
    sys.exit(main())
