"""Ctrl-C and SIGTERM: the first signal stops after the current videos, the second one immediately."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

STOPPING = "stopping after the current videos; press Ctrl-C again to stop at once"


class Stopped(KeyboardInterrupt):
    """The run was stopped by a signal."""

    def __init__(self, signal_number: int = signal.SIGINT) -> None:
        super().__init__()
        self.exit_code = 128 + signal_number


class Interrupts:
    """A context manager whose `came` returns whether a signal was received. It works only in the main thread."""

    def __init__(self, news: str = f"\n{STOPPING}\n") -> None:
        """`news` is written to stderr at the first signal."""
        self._news = news.encode()
        self._number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        self._before = _handle(self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _restore(self._before)

    def came(self) -> bool:
        """Whether no further video should be started."""
        return self._number != 0

    def raise_if_any(self) -> None:
        """Raise `Stopped` if a signal was received."""
        if self._number:
            raise Stopped(self._number)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._number:
            raise Stopped(number)
        self._number = number
        os.write(2, self._news)  # not print: the signal may have interrupted a print


@contextmanager
def held_back() -> Iterator[None]:
    """Delay both signals until the end of the block, which should take seconds at most.

    An exception raised by a signal inside a thread pool may leave a lock acquired for ever: the signal can arrive after
    a `Condition` has acquired its lock, but before the `with` statement is entered.
    """
    came: list[int] = []
    before = _handle(lambda number, _: came.append(number))
    try:
        yield
    finally:
        _restore(before)
    if came:
        signal.raise_signal(came[0])


def _handle(handler: Callable[[int, FrameType | None], object]) -> dict[int, Any]:
    """Install a handler for both signals; returns the previous ones. Only the main thread can do that."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    # `getsignal` returns None for a handler that was not installed from Python; it could not be restored.
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not None]
    return {number: signal.signal(number, handler) for number in numbers}


def _restore(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)
