"""Jobs whose processes die, hang, fail and are killed while idle."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest

from mvp_data.core.errors import MvpError, OutputError
from mvp_data.engines import local as module
from mvp_data.engines.base import Limits, Lost, Usage
from mvp_data.engines.local import can_limit_memory, run_all
from tests.engines import local_jobs
from tests.engines.local_jobs import act, my_process

DEFECT_LINE = next(
    n
    for n, line in enumerate(Path(local_jobs.__file__).read_text().splitlines(), 1)
    if 'ValueError("a defect")' in line
)


def run(*jobs: str, workers: int = 2, timeout_s: float = 30.0) -> dict[tuple[str, int], object]:
    return dict(
        run_all(act, [(what, n) for n, what in enumerate(jobs)], workers=workers, limits=Limits(timeout_s=timeout_s))
    )


def test_every_job_has_one_result() -> None:
    jobs = [f"job{n % 3}" for n in range(9)]
    for workers in (1, 4):
        assert run(*jobs, workers=workers) == {(what, n): f"{what} {n}" for n, what in enumerate(jobs)}
    assert run() == {}


def test_a_lost_job_loses_no_other() -> None:
    jobs = ["a", "die", "b", "kill", "c", "fail", "d", "memory", "e"]
    done = run(*jobs)
    assert len(done) == len(jobs)
    assert {what: value for (what, _), value in done.items() if isinstance(value, Lost)} == {
        "die": Lost("crash", "its process died (exit code 7)"),
        "kill": Lost("crash", "its process died (signal SIGKILL)"),
        "fail": Lost("crash", f"ValueError: a defect (local_jobs.py:{DEFECT_LINE})"),
        "memory": Lost("memory", "out of memory"),
    }
    assert all(done[what, n] == f"{what} {n}" for n, what in enumerate(jobs) if len(what) == 1)


def test_a_job_out_of_time_is_killed_and_the_rest_continues() -> None:
    start = time.monotonic()
    done = run("hang", "a", "b", workers=1, timeout_s=1.0)
    assert done["hang", 0] == Lost("timeout", "not done after 1 s")
    assert done["b", 2] == "b 2"
    assert time.monotonic() - start < 20
    assert not multiprocessing.active_children()


def test_a_job_that_makes_progress_gets_more_time() -> None:
    """A long video reports progress after each stretch."""
    done = run("slow", "hang", workers=2, timeout_s=1.2)
    assert done["slow", 0] == "slow 0"
    assert done["hang", 1] == Lost("timeout", "not done after 1.2 s")


@pytest.mark.skipif(not can_limit_memory(), reason="this system does not report the memory of a process")
def test_a_job_that_takes_too_much_memory_is_killed_and_the_rest_continues() -> None:
    usage, limits = Usage(), Limits(timeout_s=60.0, memory_mb=200)
    jobs = [("grow", 0), ("a", 1), ("wall", 2), ("b", 3)]
    done = dict(run_all(act, jobs, workers=2, limits=limits, usage=usage))
    assert done["grow", 0] == Lost("memory", "took more than 200 MB")
    assert done["wall", 2] == Lost("memory", "out of memory"), "a sudden large allocation meets the hard limit"
    assert (done["a", 1], done["b", 3]) == ("a 1", "b 3")
    assert 200 < usage.peak_mb < 600
    assert usage.busy_s > 0


def test_the_note_of_a_lost_job_is_known() -> None:
    assert run("noted", "a")["noted", 0] == Lost("crash", "its process died (exit code 7)", "halfway")


def test_a_result_may_cause_further_jobs() -> None:
    """The jobs are read again after each result, also by idle workers."""
    further = deque([("a", 0)])

    class Todo:
        def __iter__(self) -> "Todo":
            return self

        def __next__(self) -> tuple[str, int]:
            if not further:
                raise StopIteration
            return further.popleft()

    done = []
    for (what, number), result in run_all(act, Todo(), workers=3, limits=Limits(timeout_s=30.0)):
        done.append(result)
        if what == "a":
            further.extend([("b", n) for n in range(5)])
        elif number == 4:
            further.append(("c", 9))
    assert sorted(map(str, done)) == ["a 0", "b 0", "b 1", "b 2", "b 3", "b 4", "c 9"]


def test_after_stop_the_running_jobs_are_finished() -> None:
    done: list[object] = []
    jobs = ((what, n) for n, what in enumerate(["a", "b", "c", "d", "e", "f"]))
    for _, result in run_all(act, jobs, workers=2, limits=Limits(timeout_s=30.0), stop=lambda: len(done) >= 2):
        done.append(result)
    assert 2 <= len(done) <= 3
    assert next(jobs) == ("abcdef"[len(done)], len(done)), "the other jobs were not read"
    assert not multiprocessing.active_children()


def test_a_process_is_replaced_after_many_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that a decoder leaks with each video must not add up over a corpus."""
    monkeypatch.setattr(module, "JOBS_PER_PROCESS", 3)
    done = dict(run_all(my_process, range(7), workers=1, limits=Limits(timeout_s=30.0)))
    assert [done[job] for job in range(7)] == [done[0]] * 3 + [done[3]] * 3 + [done[6]]
    assert len(set(done.values())) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    """After a SIGKILL of the parent, a job that hangs must not outlive it and write into the next run."""
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, os, signal, threading\n"
        "from mvp_data.engines.base import Limits\n"
        "from mvp_data.engines.local import run_all\n"
        "from tests.engines.local_jobs import act\n"
        "def die():\n"
        "    print(*[child.pid for child in multiprocessing.active_children()], flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        "    threading.Timer(1.5, die).start()\n"
        "    list(run_all(act, [('hang', 0)], workers=1, limits=Limits(timeout_s=90)))\n"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, script], cwd=root, env=environment, capture_output=True, check=False)
    (child,) = map(int, done.stdout.split())
    until = time.monotonic() + 10
    while is_running(child):
        assert time.monotonic() < until, "still there"
        time.sleep(0.05)


def is_running(process_id: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


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
    """This case breaks pools with one queue for all workers: see the module."""

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
        "from mvp_data.engines.base import Limits\n"
        "from mvp_data.engines.local import run_all\n"
        "from tests.engines.local_jobs import act\n"
        "list(run_all(act, [('a', 0)], workers=1, limits=Limits(timeout_s=9)))\n"
    )
    root = Path(__file__).resolve().parents[2]
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
