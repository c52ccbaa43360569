"""Delayed signals; `ingest/test_scheduler` tests signals during a build."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from mvp_data.system.signals import held_back


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    """A test run in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_takes_effect_when_the_block_ends() -> None:
    done = []

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        done.append("all of it")

    with pytest.raises(KeyboardInterrupt), held_back():
        work()
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_a_signal_nothing_happens() -> None:
    with held_back():
        pass
    with pytest.raises(ValueError, match="an error"), held_back():
        raise ValueError("an error")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_do_not_delay_signals() -> None:
    seen = []

    def work() -> None:
        with held_back():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
