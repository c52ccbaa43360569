"""The report of a build as text."""

from pathlib import Path

import pytest

from mvp_data.pipeline.report import BuildReport, to_text


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"pairs": {"same_strip": 84, "none": 16}}, "  pairs     none 16, same_strip 84 (samples by where"),
        ({"overlap": {"train": 0.0833, "val": 0.0}}, "  overlap   train 8 %, val 0 % (samples whose hidden frames"),
        ({}, "  overlap   none (samples whose"),
        ({"refused": {"shown": 2, "montage": 1}}, "  refused   montage 1, shown 2 (hidden segments)"),
        ({"shares": {"mvp": 0.7, "next": 0.3}}, "  tasks     none (asked for: mvp 70%, next 30%)"),
        ({"already_complete": True}, "out already holds this build: 9 samples in 2 shards. Pass --overwrite"),
    ],
)
def test_lines(facts: dict[str, object], line: str) -> None:
    report = {"out": Path("out"), "bank": Path("bank"), "samples": 9, "shards": 2, "sources": 3, "used": 2}
    text = to_text(BuildReport(**{**report, "skipped": {}, **facts}))  # type: ignore[arg-type]
    assert any(found.startswith(line) for found in text.splitlines()), text
