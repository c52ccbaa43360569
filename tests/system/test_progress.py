"""Progress without a terminal: occasional lines with count, rate and remaining time."""

import re

import pytest

from mvp_data.system import progress
from mvp_data.system.progress import Progress


def test_a_log_gets_a_line_every_30_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with Progress(20, "decoding", "video") as bar:
        for _ in range(20):
            bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6, "one in 30 seconds of the 200"
    assert all(re.match(r"decoding: .*\d+/20 \[.*<.*video", line) for line in lines), lines
    assert "\r" not in "".join(lines)


def test_a_short_run_logs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3, "mining", "video") as bar:
        bar.update(3)
    assert capsys.readouterr() == ("", "")
