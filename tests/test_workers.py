"""Jobs whose processes die, hang, fail and are killed while idle."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mvp_data.errors import MvpError, OutputError
from mvp_data.workers import Limits, Lost, run_all


def act(job: tuple[str, int]) -> str:
    """What the worker does with a job; must be importable by it."""
    what, number = job
    if what == "die":
        os._exit(7)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        time.sleep(60)
    if what == "fail":
        raise ValueError("a defect")
    if what == "memory":
        raise MemoryError
    if what == "stop":
        raise OutputError("disk full")
    return f"{what} {number}"


DEFECT_LINE = next(
    n for n, line in enumerate(Path(__file__).read_text().splitlines(), 1) if 'ValueError("a defect")' in line
)


def run(*jobs: str, workers: int = 2, timeout_s: float = 30.0) -> dict[tuple[str, int], object]:
    return dict(
        run_all(act, [(what, n) for n, what in enumerate(jobs)], workers=workers, limits=Limits(timeout_s=timeout_s))
    )


def test_every_job_has_one_result() -> None:
    jobs = [f"job{n % 3}" for n in range(20)]
    for workers in (1, 3, 50):
        assert run(*jobs, workers=workers) == {(what, n): f"{what} {n}" for n, what in enumerate(jobs)}
    assert run() == {}


def test_a_lost_job_loses_no_other() -> None:
    jobs = ["a", "die", "b", "kill", "c", "fail", "d", "memory", "e"]
    done = run(*jobs)
    assert len(done) == len(jobs)
    assert {what: value for (what, _), value in done.items() if isinstance(value, Lost)} == {
        "die": Lost("crash", "its process died (exit code 7)"),
        "kill": Lost("crash", "its process died (signal SIGKILL)"),
        "fail": Lost("crash", f"ValueError: a defect (test_workers.py:{DEFECT_LINE})"),
        "memory": Lost("memory", "out of memory"),
    }
    assert all(done[what, n] == f"{what} {n}" for n, what in enumerate(jobs) if len(what) == 1)


def test_a_job_out_of_time_is_killed_and_the_rest_goes_on() -> None:
    start = time.monotonic()
    done = run("hang", "a", "b", workers=1, timeout_s=1.0)
    assert done["hang", 0] == Lost("timeout", "not done after 1 s")
    assert done["b", 2] == "b 2"
    assert time.monotonic() - start < 20
    assert not multiprocessing.active_children()


def test_what_would_hit_every_job_stops_all() -> None:
    with pytest.raises(OutputError, match="disk full"):
        run("a", "stop", "b", "hang")
    assert not multiprocessing.active_children()


def test_a_caller_that_stops_early_leaves_no_process() -> None:
    results = run_all(act, [("a", 0), ("hang", 1), ("b", 2)], workers=2, limits=Limits(timeout_s=30.0))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def test_a_worker_killed_while_it_waits_is_replaced() -> None:
    """The case that breaks pools with one queue for all: see the module."""

    def jobs():  # type: ignore[no-untyped-def]
        for number in range(6):
            for child in multiprocessing.active_children():
                if number == 3:
                    child.kill()
                    child.join()
            yield ("job", number)

    done = dict(run_all(act, jobs(), workers=1, limits=Limits(timeout_s=30.0)))
    assert len(done) == 6
    assert sum(isinstance(value, Lost) for value in done.values()) == 0


def test_a_script_without_its_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from mvp_data.workers import Limits, run_all\n"
        "from tests.test_workers import act\n"
        "list(run_all(act, [('a', 0)], workers=1, limits=Limits(timeout_s=9)))\n"
    )
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, script],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert '`if __name__ == "__main__":`' in done.stderr.strip().splitlines()[-1]
    assert issubclass(MvpError, Exception)
