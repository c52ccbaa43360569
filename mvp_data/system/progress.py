"""Progress on stderr: a bar in a terminal, a line every 30 seconds in a log."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from tqdm import tqdm

_MB = 1_000_000

LOG_EVERY_S = 30.0


class Progress:
    """Shows how many of `total` steps are done, the rate and the remaining time.

    In a terminal it is a tqdm bar that disappears at the end. If stderr is a file or a pipe, such as with nohup or in
    a batch system, it prints a line every 30 seconds. With `silent` it shows nothing.
    """

    def __init__(self, total: int, step: str, unit: str, *, silent: bool = False) -> None:
        columns = shutil.get_terminal_size().columns  # 80 if the terminal reports 0, which would make tqdm hide the bar
        self._total, self._step, self._unit = total, step, unit
        self._done, self._known = 0, 0
        self._start_s, self._said_s = time.monotonic(), time.monotonic()
        self._silent = silent
        self._bar = tqdm(
            total=total,
            desc=f"{step:>9}",
            unit=f" {unit}",
            disable=silent or None,
            leave=False,
            ncols=min(columns, 110),
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def update(self, count: int = 1, *, known: bool = False) -> None:
        """Count steps as done; with `known`, an earlier run did them, so they do not count for the rate."""
        self._done += count
        if known:
            self._known += count
            if not self._bar.disable:
                self._bar.initial += count
        self._bar.update(count)
        now = time.monotonic()
        if self._bar.disable and not self._silent and now - self._said_s >= LOG_EVERY_S:
            self._said_s = now
            took_s = now - self._start_s
            line = tqdm.format_meter(
                self._done, self._total, took_s, prefix=self._step, unit=f" {self._unit}", ncols=0, initial=self._known
            )
            print(line, file=sys.stderr, flush=True)


@contextmanager
def megabytes(total_bytes: int, step: str, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function that adds bytes to a progress bar in megabytes; with `quiet`, show no bar."""
    if quiet:
        yield lambda count: None
        return
    done = 0
    with Progress(total_bytes // _MB, step, "MB") as bar:

        def add(count: int) -> None:
            nonlocal done
            bar.update((done + count) // _MB - done // _MB)
            done += count

        yield add
