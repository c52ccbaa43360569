"""Kills a real build at a chosen moment, runs the same command again, and compares the files with an undisturbed build.

It follows the crash tests of SQLite: each change that a build makes to its files has a number (see `crash_hook`), so a
build can be killed at each of them, also in the middle of a write, or with the loss of all unsynced data, as after a
power cut.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mvp_data.sources.known_files import YOUNG_S
from tests import ROOT
from tests.crash_disk import Event, compare, is_leftover, lose_cache, read_log, snapshot
from tests.scenes import film

STAGES = ("start", "fetch", "decode", "embed", "mine", "pack", "beside", "index", "end")
OPTIONS = (
    *("--hidden-frames", "2", "--context-frames", "2", "--distractors", "2", "--fps", "2", "--min-frames", "2"),
    *("--max-pixels", "6272", "--jpeg-quality", "70"),  # little to decode and to write, yet several kinds of shards:
    *("--tasks", "mvp=0.5,select=0.5", "--shard-samples", "4", "--val-share", "0", "--test-share", "0.4"),
    *("--reversible", "keep", "--decoy-share", "0.5", "--max-overlap", "1"),
)
LIMIT_S = 120.0  # a build takes seconds
ORPHAN_S = 15.0  # longest time that a worker may continue its video after its parent died


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """The moment at which a run is killed: before a change, or after a time."""

    at: int | str = -1  # the number of the change, or a part of the words for it, such as "rename out/"
    after_s: float = LIMIT_S
    torn: bool = False  # if the change is a write, half of it is done
    whom: str = "group"  # or its parent alone, or self: the process that makes the change
    power_cut: bool = False  # what no fsync has put on disk is lost as well

    def __str__(self) -> str:
        when = f"at {self.at}" if self.at != -1 else f"after {self.after_s:.2f} s"
        return f"{self.whom} {when}{', torn' * self.torn}{', power cut' * self.power_cut}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run of the command."""

    code: int
    group: int  # of its processes
    events: tuple[Event, ...]  # up to the one at which it was killed
    error: str  # its last words
    seconds: float

    @property
    def stage(self) -> str:
        """The last event before the kill."""
        return next((stage for event in reversed(self.events) if (stage := event.stage)), "start")

    @property
    def point(self) -> str:
        """The change that was to come next, as text."""
        return str(self.events[-1]) if self.events else "before the first change"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A corpus, and the result of an undisturbed build."""

    folder: Path
    embedder: str
    expected: Mapping[str, str] = field(default_factory=dict)
    run: Run | None = None

    def sources(self, order: int = 1) -> list[str]:
        """The arguments that name the corpus; order -1 reverses them."""
        return [word for name in ("films", "box.tar")[::order] for word in ("--src", str(self.folder / name))]


def make_site(folder: Path, embedder: str) -> Site:
    """Make three short videos, one of them in a tar and thus fetched; a copy, and files that are not videos."""
    films = folder / "films"
    (films / "deep").mkdir(parents=True)
    for seed in range(3):
        film(films / f"film {seed}.mp4", seed=seed, seconds=6)
    with tarfile.open(folder / "box.tar", "w") as tar:
        tar.add(films / "film 2.mp4", arcname="inside.mp4")
    (films / "film 2.mp4").unlink()
    shutil.copy(films / "film 0.mp4", films / "deep" / "copy.mp4")
    (films / "text.mp4").write_text("no video at all")
    (films / "empty.mp4").touch()
    hook = folder / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text("from tests.crash_hook import install\n\ninstall()\n")
    time.sleep(1.1 * YOUNG_S)  # else a build would not note by what it can know these files again
    return Site(folder=folder, embedder=embedder)


def undisturbed(site: Site, workers: int = 1) -> Site:
    """Return the site with the result of an undisturbed build."""
    place = site.folder / "undisturbed"
    run = run_build(site, place, workers=workers)
    assert run.code == 0, run.error
    found = snapshot(place)
    bad = [name for name in found if is_leftover(name)]
    assert not bad, f"an undisturbed build leaves {bad}"
    return Site(folder=site.folder, embedder=site.embedder, expected=found, run=run)


def run_build(
    site: Site, place: Path, kill: Kill | None = None, *, workers: int = 1, order: int = 1, sources: Path | None = None
) -> Run:
    """Run `mvp-data build` into `place`/out and `place`/bank in its own process group, until it ends or is killed."""
    place.mkdir(exist_ok=True)
    log = site.folder / f"{place.name}.log"
    log.unlink(missing_ok=True)
    before = {path: path.stat().st_size for path in place.rglob("*") if path.is_file()}
    kill = kill or Kill()
    hook = {"log": str(log), "root": str(place), "at": kill.at, "torn": kill.torn, "whom": kill.whom}
    paths = os.pathsep.join([str(site.folder / "hook"), str(ROOT)])
    src = Site(folder=sources or site.folder, embedder="").sources(order)
    command = [
        *(sys.executable, "-m", "mvp_data.cli.main", "build", *src, *OPTIONS),
        *("--out", str(place / "out"), "--bank", str(place / "bank")),
        *("--embedder", site.embedder, "--workers", str(workers)),
    ]
    started = time.monotonic()
    code, group, error = _execute(command, kill, {"PYTHONPATH": paths, "MVP_CRASH": json.dumps(hook)}, place)
    events = read_log(log)
    if kill.power_cut and code < 0:
        end(group)  # what outlives its parent does not outlive a power cut
        lose_cache(place, events, before)
    return Run(
        code=code, group=group, events=events[: _place(kill, events)], error=error, seconds=time.monotonic() - started
    )


def _execute(command: Sequence[str], kill: Kill, environment: Mapping[str, str], place: Path) -> tuple[int, int, str]:
    """Return (exit code, process group, last output) of a command; it is killed at the time limit."""
    with tempfile.TemporaryFile() as said:  # no pipe: a worker that outlives its parent would hold its end
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            cwd=place,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        hangs = False
        try:
            process.wait(kill.after_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            hangs = process.wait() < 0 and kill.after_s >= LIMIT_S
        said.seek(0)
        words = said.read().decode(errors="replace").strip().splitlines()
    return process.returncode, process.pid, "hangs" if hangs else "".join(words[-1:])


def _place(kill: Kill, events: Sequence[Event]) -> int:
    """Count the changes up to the one at which the build is killed; other processes may have continued after it."""
    for number, event in enumerate(events):
        if number == kill.at if isinstance(kill.at, int) else kill.at in str(event):
            return number + 1
    return len(events)


def members(group: int) -> list[int]:
    """Return the running processes of a group, without zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state != "Z":
                found.append(int(stat.parent.name))
    return found


def end(group: int) -> None:
    """Kill the remaining processes of a run, and wait for them."""
    while left := members(group):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def outlived(group: int) -> bool:
    """Return whether processes of a run still exist long after the death of their parent; kill them."""
    until = time.monotonic() + ORPHAN_S
    while members(group):
        if time.monotonic() > until:
            end(group)
            return True
        time.sleep(0.05)
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A build that is killed once or more; `resumed` names the option that differs in later runs."""

    kills: tuple[Kill, ...]
    resumed: str = "same"  # or workers, renamed, reordered
    workers: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The result of a trial."""

    trial: Trial
    hit: tuple[tuple[str, str], ...]  # (stage, point) of each kill that hit
    differences: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    failed: str = ""  # why the last run did not end well

    @property
    def sound(self) -> bool:
        """Whether no file is missing, left over or different."""
        return not (self.differences or self.leftovers or self.failed)


def attempt(site: Site, trial: Trial, name: str) -> Verdict:
    """Run, kill and resume until the build is finished, and compare the files; remove the folder afterwards."""
    place = site.folder / name
    sources = site.folder
    hit: list[tuple[str, str]] = []
    groups: list[int] = []
    try:
        for number in range(len(trial.kills) + 1):
            again = trial.resumed if number else ""
            if number == 1 and again == "renamed":
                sources = _moved(site, site.folder / f"{name} moved")
            run = run_build(
                site,
                place,
                trial.kills[number] if number < len(trial.kills) else None,
                workers=3 - trial.workers if again == "workers" else trial.workers,
                order=-1 if again == "reordered" else 1,
                sources=sources,
            )
            if run.code >= 0:
                break
            hit.append((_stage(run, site, place), run.point))
            groups.append(run.group)
        if any([outlived(group) for group in groups]):  # noqa: C419 - all are to be ended
            return Verdict(trial=trial, hit=tuple(hit), failed="a worker lives on without its parent")
        if run.code != 0:
            return Verdict(trial=trial, hit=tuple(hit), failed=f"exit {run.code}: {run.error}")
        differences, leftovers = compare(site.expected, snapshot(place))
        return Verdict(trial=trial, hit=tuple(hit), differences=tuple(differences), leftovers=tuple(leftovers))
    finally:
        shutil.rmtree(place, ignore_errors=True)
        (site.folder / f"{name}.log").unlink(missing_ok=True)
        if sources != site.folder:
            shutil.rmtree(sources)


def _stage(run: Run, site: Site, place: Path) -> str:
    """Return the stage in which a run ended; mining, which changes no file, begins after the last vectors."""
    embedded = all((place / name).exists() for name in site.expected if name.endswith(".npy"))
    return "mine" if run.stage == "embed" and embedded else run.stage


def _moved(site: Site, to: Path) -> Path:
    """Copy the corpus under another name and in another order, so that the folder may list its files differently."""
    for path in sorted((site.folder / "films").rglob("*"), reverse=True):
        if path.is_file():
            target = to / path.relative_to(site.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    shutil.copy2(site.folder / "box.tar", to)
    return to
