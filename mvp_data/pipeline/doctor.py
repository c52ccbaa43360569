"""The command `doctor`: tries everything that building and training need on this machine.

Each check runs in a worker process, as decoding does, so a library that crashes fails only its own check.
"""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mvp_data.config.options import usable_cores
from mvp_data.core.errors import MissingDependencyError, MvpError
from mvp_data.core.version import __version__
from mvp_data.embedding.weights import DEFAULT, WEIGHTS, listing
from mvp_data.engines.base import Limits, Lost
from mvp_data.engines.local import can_limit_memory, run_all

DISTRIBUTION = "masked-video-prediction"
EXTRAS = ("audit", "clip", "shots", "decord", "ffmpeg", "ray", "train")
CHECK_TIMEOUT_S = 120.0  # torch may take a minute to load from a slow disk
WORKER_MB = 300  # a worker takes 90 to 170 MB for videos up to 1080p
LEAST_FREE_MB = 1000
LEAST_DESCRIPTORS = 256
REINSTALL = f"pip install --force-reinstall {DISTRIBUTION}"
_REQUIREMENT = re.compile(r"([\w.-]+)([^;]*)(?:;.*?(?:extra == [\"'](\w+)[\"'])?)?")


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one check."""

    name: str
    state: str  # ok | warning | missing
    detail: str
    remedy: str = ""
    needed: bool = False  # by a build with default options


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing to try; `examine` runs in a worker process and returns (state, detail, remedy)."""

    name: str
    examine: Callable[[], tuple[str, str, str]]
    needed: bool = False


def checks(folder: Path) -> tuple[Check, ...]:
    """Return all checks; `folder` is where builds will be written."""
    return (
        Check(name="mvp-data", examine=_tool),
        Check(name="packages", examine=partial(_packages, ""), needed=True),
        Check(name="cores", examine=_cores),
        Check(name="memory", examine=_memory),
        Check(name="memory limit", examine=_memory_limit),
        Check(name="open files", examine=_descriptors),
        Check(name="working folder", examine=partial(_space, folder)),
        Check(name="temporary files", examine=partial(_space, Path(tempfile.gettempdir()))),
        Check(name="decoder pyav", examine=partial(_decoder, "pyav", "av"), needed=True),
        Check(name="decoder ffmpeg", examine=partial(_decoder, "ffmpeg", "ffmpeg-python")),
        Check(name="decoder decord", examine=partial(_decoder, "decord", "decord")),
        *(Check(name=f"encoder {n}", examine=partial(_encoder, n), needed=n == DEFAULT) for n in WEIGHTS),
        Check(name="neighbours", examine=_neighbours, needed=True),
        *(Check(name=f"extra {extra}", examine=partial(_packages, extra)) for extra in EXTRAS),
        Check(name="gpu", examine=_gpu),
    )


def examine(to_try: Sequence[Check]) -> tuple[Row, ...]:
    """Run the checks; return a row about the worker processes, and one for each check in order."""
    done: dict[int, tuple[str, str, str]] = {}
    try:
        results = run_all(_try, list(enumerate(to_try)), workers=2, limits=Limits(timeout_s=CHECK_TIMEOUT_S))
        for (number, _), result in results:
            if isinstance(result, Lost):
                done[number] = ("missing", f"the check failed: {result.detail}", REINSTALL)
            else:
                done[number] = result
        start = ("ok", "can be started and answer", "")
    except (MvpError, OSError) as error:
        start = ("missing", f"cannot be started: {error}", "raise the limits on processes and open files (ulimit -a)")
    unknown = ("missing", "not tried, because no worker process can be started", "see the first row")
    rows = [Row(check.name, *done.get(n, unknown), needed=check.needed) for n, check in enumerate(to_try)]
    return (Row("worker processes", *start, needed=True), *rows)


def unfit(rows: Sequence[Row]) -> list[str]:
    """Return the names of the failed checks that a build with default options needs."""
    return [row.name for row in rows if row.needed and row.state == "missing"]


def to_json(rows: Sequence[Row]) -> str:
    """Format the rows as JSON; `ok` means that a build can run."""
    return json.dumps({"ok": not unfit(rows), "rows": [asdict(row) for row in rows]}, indent=1)


def to_text(rows: Sequence[Row]) -> str:
    """Format the rows as a table with remedies, and say whether a build can run."""
    width = max(len(row.name) for row in rows)
    lines = []
    for row in rows:
        state = "absent" if row.state == "missing" and not row.needed else row.state
        lines.append(f"{state:<9}{row.name:<{width + 2}}{row.detail}")
        if row.remedy:
            lines.append(f"{'':<9}{'':<{width + 2}}-> {row.remedy}")
    lacking = unfit(rows)
    verdict = f"cannot build here: see {', '.join(lacking)}" if lacking else "this machine can build"
    return "\n".join([*lines, "", verdict])


def _try(job: tuple[int, Check]) -> tuple[str, str, str]:
    """Run one check in a worker; turn an `MvpError` into a result."""
    try:
        return job[1].examine()
    except MvpError as error:
        return "missing", str(error), ""


def _tool() -> tuple[str, str, str]:
    return "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}", ""


def _packages(extra: str) -> tuple[str, str, str]:
    """Check the packages that this one, or one of its extras, requires."""
    try:
        wanted = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return "warning", "not installed as a package, so its requirements are unknown", "pip install -e ."
    wrong, right = [], []
    for requirement in wanted:
        found = _REQUIREMENT.fullmatch(requirement)
        if found is None or (found[3] or "") != extra:
            continue
        name, least = found[1], re.search(r"[>=]=([\d.]+)", found[2])
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"no {name}")
            continue
        if least and _numbers(version) < _numbers(least[1]):
            wrong.append(f"{name} {version} is older than {least[1]}")
        right.append(f"{name} {version}")
    if wrong:
        quoted = f"'{DISTRIBUTION}[{extra}]'" if extra else DISTRIBUTION
        return "missing", ", ".join(wrong), f"pip install --upgrade {quoted}"
    return "ok", ", ".join(right), ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _cores() -> tuple[str, str, str]:
    return "ok", f"{usable_cores()} usable of {os.cpu_count()}", ""


def _memory() -> tuple[str, str, str]:
    """Check the memory of the machine, or of this container if it has less."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return "ok", "unknown on this system", ""
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    total_mb, free_mb = kib["MemTotal"] / 1000 * 1.024, kib["MemAvailable"] / 1000 * 1.024
    with suppress(OSError, ValueError):  # not a container, or the limit is "max"
        group = Path("/sys/fs/cgroup")
        limit_mb = int((group / "memory.max").read_text()) / 1e6
        facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used_mb = int((group / "memory.current").read_text()) / 1e6 - int(facts.get("inactive_file", 0)) / 1e6
        total_mb, free_mb = min(total_mb, limit_mb), min(free_mb, limit_mb - used_mb)
    detail = f"{free_mb:,.0f} MB free of {total_mb:,.0f} MB"
    workers = max(1, int(free_mb / WORKER_MB))
    if workers < usable_cores():
        return "warning", detail, f"build with --workers {workers}, or free memory: one worker takes {WORKER_MB} MB"
    return "ok", detail, ""


def _memory_limit() -> tuple[str, str, str]:
    if can_limit_memory():
        return "ok", "a video that takes too much memory is stopped", ""
    return "warning", "--video-memory-mb has no effect on this system", "avoid videos with very large frames"


def _descriptors() -> tuple[str, str, str]:
    if sys.platform == "win32":
        return "ok", "without a limit", ""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < LEAST_DESCRIPTORS:
        return "warning", f"{soft} at once", f"ulimit -n {LEAST_DESCRIPTORS}"
    return "ok", f"{soft} at once" if soft >= 0 else "without a limit", ""


def _space(folder: Path) -> tuple[str, str, str]:
    """Check the free space of the folder by writing to it, because only that detects a quota."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 20))
            file.flush()
        free_mb = shutil.disk_usage(folder).free / 1e6
    except OSError as error:
        return "warning", f"{folder}: cannot be written ({error.strerror})", "free space or work in another folder"
    if free_mb < LEAST_FREE_MB:
        return "warning", f"{folder}: {free_mb:,.0f} MB free", "free space or work on another disk"
    return "ok", f"{folder}: {free_mb:,.0f} MB free", ""


def _decoder(backend: str, package: str) -> tuple[str, str, str]:
    """Decode a clip of each codec with the back end."""
    from mvp_data.video.decode.codec_check import trial

    try:
        found = trial(backend)
    except MissingDependencyError as error:
        problem, _, command = str(error).rpartition(": ")
        return "missing", problem, command
    except OSError as error:
        return "missing", f"no clip can be tried ({error.strerror})", "see temporary files"
    version = importlib.metadata.version(package)
    good, bad = [c for c, wrong in found.items() if not wrong], [c for c, wrong in found.items() if wrong]
    if not good:
        return "missing", f"{version}: decodes none of the clips ({found['H.264']})", REINSTALL
    detail = f"{package} {version} decodes {', '.join(good)}"
    if bad:
        remedy = "use --decoder pyav for such videos" if backend != "pyav" else REINSTALL
        return "warning", f"{detail}; not {', '.join(bad)}", remedy
    return "ok", detail, ""


def _encoder(name: str) -> tuple[str, str, str]:
    """Check the hash of the weights; embed an image with the default ones."""
    (row,) = (row for row in listing() if row.name == name)
    if row.state != "present":
        return "missing", f"weights {row.state}: {row.path}", f"mvp-data weights fetch {name}"
    if name != DEFAULT:
        return "ok", f"weights present: {row.path}", ""
    from mvp_data.embedding.load import load_embedder

    embedder = load_embedder(f"builtin:{name}", threads=1)
    embedder.embed([np.zeros((8, 8, 3), np.uint8)])
    return "ok", f"weights present; it runs on {embedder.encoder.engine}: {row.path}", ""


def _neighbours() -> tuple[str, str, str]:
    from mvp_data.embedding.search import Neighbours

    rows = np.eye(4, dtype=np.float32)
    found = [int(hit.rows[0]) for hit in Neighbours(rows).search(rows, 1)]
    right = found == [0, 1, 2, 3]
    return ("ok", "found by FAISS", "") if right else ("missing", f"FAISS finds {found}, not 0 to 3", REINSTALL)


def _gpu() -> tuple[str, str, str]:
    try:
        import torch
    except ImportError:
        return "missing", "not checked: torch is not installed", f"pip install '{DISTRIBUTION}[train]'"
    if not torch.cuda.is_available():
        return "warning", f"torch {torch.__version__} sees none", "only training needs one"
    names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return "ok", f"torch {torch.__version__} sees {', '.join(names)}", ""
