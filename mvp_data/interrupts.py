"""Ctrl-C and SIGTERM while videos are in hand: once to stop after them, twice to stop at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

STOPPING = "stopping: the videos in hand are finished first; Ctrl-C again stops at once"


class Stopped(KeyboardInterrupt):
    """A run ended early because it was told to."""

    def __init__(self, signal_number: int = signal.SIGINT) -> None:
        super().__init__()
        self.exit_code = 128 + signal_number


class Interrupts:
    """Holds both signals back within its block; `came` says whether one has come. Only the main thread can do that."""

    def __init__(self, news: str = f"\n{STOPPING}\n") -> None:
        """`news` goes to stderr when the first comes."""
        self._news = news.encode()
        self._number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def came(self) -> bool:
        """Whether no further video should be begun."""
        return self._number != 0

    def raise_if_any(self) -> None:
        """Raise `Stopped` if a signal has come."""
        if self._number:
            raise Stopped(self._number)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._number:
            raise Stopped(number)
        self._number = number
        os.write(2, self._news)  # not print, which this may have interrupted


@contextmanager
def held_back() -> Iterator[None]:
    """Both signals wait until the block is left; meant for blocks of seconds.

    What a signal raises in the middle of a thread pool's own code may leave one of its locks taken for ever: a signal
    can come between the moment a `Condition` takes its lock and the moment the `with` statement knows of it.
    """
    came: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not None:  # else it is not Python's, and could not be put back
                before[number] = signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
