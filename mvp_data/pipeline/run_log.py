"""The log of a run: a progress bar or JSON lines, a status file for `mvp-data status`, and the times of each step."""

import json
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mvp_data.core.errors import MvpError, OutputError
from mvp_data.system.files import atomic_write, remove
from mvp_data.system.locks import Lock
from mvp_data.system.progress import Progress
from mvp_data.system.signals import STOPPING

STATUS_NAME = ".status.json"
STATUS_EVERY_S = 2.0
LOG_EVERY_S = 10.0


class RunLog:
    """Measures the steps of a run and reports its progress. CPU time includes worker processes that have ended."""

    def __init__(self, *, log_json: bool = False) -> None:
        """With `log_json`, write JSON lines to stderr instead of progress bars."""
        self.seconds: dict[str, float] = {}  # wall-clock time by step
        self.cpu_seconds: dict[str, float] = {}
        self.rates: dict[str, float] = {}  # items a second, for steps that count items
        self._log_json = log_json
        self._began, self._stage_s = _now(), time.monotonic()
        self._skipped: Counter[str] = Counter()
        self._stage: dict[str, Any] = {"stage": "", "done": 0, "known": 0, "total": 0, "unit": ""}
        self._status: Path | None = None

    @contextmanager
    def step(self, name: str, label: str = "", *, total: int = 0, unit: str = "") -> Iterator[Callable[..., None]]:
        """Time the block; yield `advance(count, known)`, which counts items; `known`: an earlier run did them."""
        self._stage = {"stage": name, "done": 0, "known": 0, "total": total, "unit": unit}
        self._stage_s = start_s = time.perf_counter()
        cpu_start_s = sum(os.times()[:4])
        self.log("step", name=name, total=total)
        with Progress(total, label or name, unit, silent=self._log_json or not unit) as bar:

            def advance(count: int = 1, known: bool = False) -> None:
                self._stage["done"] += count
                self._stage["known"] += count * known
                bar.update(count, known=known)

            yield advance
        took_s = time.perf_counter() - start_s
        self.seconds[name] = round(took_s, 3)
        self.cpu_seconds[name] = round(sum(os.times()[:4]) - cpu_start_s, 3)
        if unit:
            new = self._stage["done"] - self._stage["known"]
            self.rates[f"{unit}s a second, {name}"] = round(new / max(took_s, 1e-9), 3)
        self.log("step done", name=name, done=self._stage["done"], seconds=self.seconds[name])

    def video(self, path: str, video_id: str, skip: str, detail: str) -> None:
        """Log the outcome of a source."""
        self._skipped.update([skip] * bool(skip))
        self.log("video", path=path, video_id=video_id, skip=skip, detail=detail)

    def log(self, event: str, **facts: Any) -> None:
        """Write one JSON line, if `log_json` is set."""
        if self._log_json:
            sys.stderr.write(log_line(event, **facts))  # one call: another thread writes too
            sys.stderr.flush()

    def warn(self, text: str) -> None:
        """Report a problem that does not stop the run."""
        if self._log_json:
            self.log("warning", message=text)
        else:
            print(f"mvp-data: {text}", file=sys.stderr, flush=True)

    @property
    def stopping(self) -> str:
        """The text to print when a signal stops the run."""
        return log_line("stopping", message=STOPPING) if self._log_json else f"\n{STOPPING}\n"

    @contextmanager
    def kept_in(self, folder: Path, lock: Lock | None = None, *, task: str = "") -> Iterator[None]:
        """Update a status file in `folder`, and the lock's time stamp, until the block ends.

        The status file is removed on success and kept on failure. Runs that share a folder each need their own `task`,
        such as `1-of-8`.
        """
        self._status = folder / (f".status-{task}.json" if task else STATUS_NAME)
        over = threading.Event()
        beat = threading.Thread(target=self._beat, args=(over, lock), daemon=True)
        self._write("running")
        beat.start()
        state, message = "failed", ""
        try:
            yield
            state = "done"
        except KeyboardInterrupt:
            state = "stopped"
            raise
        except MvpError as error:
            message = str(error)
            raise
        finally:
            over.set()
            beat.join()
            if state == "done":
                remove(self._status)
            else:
                with suppress(OutputError):  # such as a full disk; the error that ended the run matters more
                    self._write(state, message)
            self.log(state, message=message)

    def _beat(self, over: threading.Event, lock: Lock | None) -> None:
        logged_s = time.monotonic()
        while not over.wait(STATUS_EVERY_S):
            if lock is not None:
                lock.touch()
            with suppress(OutputError):  # the main thread will meet the same error
                self._write("running")
            if self._stage["unit"] and time.monotonic() - logged_s >= LOG_EVERY_S:
                logged_s = time.monotonic()
                self.log("progress", **self._progress())

    def _progress(self) -> dict[str, Any]:
        took_s = time.perf_counter() - self._stage_s
        stage = dict(self._stage)
        per_s = (stage["done"] - stage["known"]) / max(took_s, 1e-9)
        left_s = (stage["total"] - stage["done"]) / per_s if per_s else -1.0
        return {**stage, "seconds": round(took_s, 1), "per_second": round(per_s, 3), "seconds_left": round(left_s, 1)}

    def _write(self, state: str, message: str = "") -> None:
        assert self._status is not None
        facts = {
            "state": state,
            "message": message,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "began": self._began,
            "updated": _now(),
            "skipped": dict(self._skipped),
            "seconds": dict(self.seconds),
            **self._progress(),
        }
        with atomic_write(self._status) as file:
            file.write(json.dumps(facts, indent=1).encode())


def log_line(event: str, **facts: Any) -> str:
    """Format an event as one line of JSON."""
    return json.dumps({"time": _now(), "event": event, **facts}, default=str) + "\n"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
