"""The ledger: one row for each source, with its outcome."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvp_data.bank.bank import skipped
from mvp_data.core.errors import ShardError, SkipReason
from mvp_data.core.types import Frame, FrameTable, Source, VideoEntry
from mvp_data.ingest.jobs import Outcome
from mvp_data.pipeline.ledger import LEDGER_NAME, LedgerRow, make_ledger, read_ledger, write_ledger
from mvp_data.puzzles.corpus import KeptVideo
from mvp_data.puzzles.make import make_puzzles
from mvp_data.sources.scan import ScanProblem
from tests.builders import THRESHOLDS, config, films, kept_video, walk

OPTIONS = {"hidden_frames": 3, "distractors": 3, "context_frames": 6}


def outcome(path: str, video_id: str = "", skip: str = "", detail: str = "") -> Outcome:
    return Outcome(source=Source(location=f"/x/{path}", path=path), video_id=video_id, skip=skip, detail=detail)


def ledger(
    videos: list[KeptVideo],
    outcomes: list[Outcome],
    problems: list[ScanProblem] | None = None,
    more: dict[str, VideoEntry] | None = None,
    **options: object,
) -> dict[str, LedgerRow]:
    build = config(**{**OPTIONS, **options})
    entries = {v.entry.video_id: v.entry for v in videos} | (more or {})
    kept = {v.entry.video_id: v for v in videos}
    rows = make_ledger(
        problems or [], outcomes, entries, kept, make_puzzles(videos, build.puzzle_options, THRESHOLDS), build.mask
    )
    assert [r.path for r in rows] == sorted(r.path for r in rows)
    assert len(rows) == len(outcomes) + len(problems or []), "nothing lost"
    return {row.path: row for row in rows}


def test_the_row_of_a_used_video() -> None:
    videos = films(3)
    videos[1] = replace(videos[1], entry=replace(videos[1].entry, left_out_frames=500))
    rows = ledger(videos, [outcome(f"{n}.mp4", f"film{n:02d}") for n in range(3)])
    made = Counter(
        p.episode.strip.video_id for p in make_puzzles(videos, config(**OPTIONS).puzzle_options, THRESHOLDS).puzzles
    )
    row = rows["1.mp4"]
    assert (row.outcome, row.reason, row.detail, row.video_id, row.split) == ("used", "", "", "film01", "train")
    assert (row.samples, row.duration_s, row.sampled_fps, row.shots) == (made["film01"], 40.0, 1.0, 4)
    assert (row.frames_sampled, row.frames_kept) == (80, 40)
    assert (row.decoded_share, rows["2.mp4"].decoded_share) == (0.5, 1.0)
    assert json.loads(row.frames_rejected) == {"black": 20, "transition": 20}
    assert sum(r.samples for r in rows.values()) == made.total()


def test_problems_and_skips() -> None:
    problem = ScanProblem(path="notes.txt", reason=SkipReason.NOT_A_VIDEO, detail="a text")
    bad = skipped("bad1", SkipReason.DECODE_ERROR, "damaged at 3 s")
    rows = ledger(
        films(1),
        [
            outcome("z.mp4", "film00"),
            outcome("bad.mp4", "bad1", bad.skip, bad.detail),
            outcome("gone.mp4", "", "unreadable", "no such file"),
        ],
        [problem],
    )
    for path, reason, detail in (
        ("notes.txt", "not_a_video", "a text"),
        ("bad.mp4", "decode_error", "damaged at 3 s"),
        ("gone.mp4", "unreadable", "no such file"),
    ):
        row = rows[path]
        assert (row.outcome, row.reason, row.detail, row.samples) == ("skipped", reason, detail, 0)
    assert rows["z.mp4"].outcome == "used"


def test_duplicates() -> None:
    """Later sources with the same bytes are duplicates of the first, also if the video cannot be used."""
    outcomes = [
        outcome("a.mp4", "film00"),
        outcome("b.mp4", "film00"),
        outcome("c.mp4", "bad1", "decode_error", "x"),
        outcome("d.mp4", "bad1", "decode_error", "x"),
        outcome("e.mp4", "", "timeout", "x"),
        outcome("f.mp4", "", "timeout", "x"),
    ]
    rows = ledger(films(1), outcomes)
    assert [rows[p].reason for p in sorted(rows)] == [
        "",
        "duplicate",
        "decode_error",
        "duplicate",
        "timeout",
        "timeout",
    ]
    assert rows["b.mp4"].detail == "same bytes as a.mp4"
    assert rows["b.mp4"].samples == 0
    assert rows["a.mp4"].samples > 0


def test_too_short() -> None:
    row = ledger([kept_video(walk(8, "short"), name="v0")], [outcome("a.mp4", "v0")])["a.mp4"]
    assert (row.outcome, row.reason) == ("skipped", "too_short")
    assert "8 usable (" in row.detail, "and why the others are not"
    assert "a strip needs 9" in row.detail
    assert "--max-fps 2" in row.detail, "8 s at one frame a second"


def test_static() -> None:
    """Enough frames, most of them dropped as repeats."""
    video = kept_video(walk(20, "static"), name="v0")
    video = replace(video, kept=video.kept[:4])
    row = ledger([video], [outcome("a.mp4", "v0")])["a.mp4"]
    assert (row.outcome, row.reason, row.frames_kept) == ("skipped", "static", 4)
    assert "4 differ enough" in row.detail
    assert row.detail.endswith("leave it out"), "no context would be left"
    more = replace(video, kept=kept_video(walk(20, "static"), name="v0").kept[:8], matrix=walk(8, "more"))
    assert "--context-frames 5 would do" in ledger([more], [outcome("a.mp4", "v0")])["a.mp4"].detail


@pytest.mark.parametrize(("reject", "reason"), [("black", "too_short"), ("frozen", "static")])
def test_a_video_without_one_usable_frame(reject: str, reason: str) -> None:
    """The video is in the bank, but it has no vectors, so pass 2 does not use it."""
    frames = tuple(Frame(time_s=float(t), shot=0, reject=reject) for t in range(30))
    entry = replace(kept_video(walk(2)).entry, video_id="dark", frames=FrameTable.of(frames))
    row = ledger([], [outcome("a.mp4", "dark")], more={"dark": entry})["a.mp4"]
    assert (row.outcome, row.reason, row.frames_sampled, row.frames_kept) == ("skipped", reason, 30, 0)
    assert json.loads(row.frames_rejected) == {reject: 30}


def test_no_puzzle() -> None:
    video = kept_video(walk(9, "short"), name="v0")
    row = ledger([video], [outcome("a.mp4", "v0")], mask_policy="free", decoy_share=0.0, reversible="keep")["a.mp4"]
    assert (row.outcome, row.reason) == ("skipped", "no_puzzle")
    refused = json.loads(row.segments_refused)
    assert refused["few_distractors"] >= 1
    for reason, count in refused.items():
        assert f"{reason} {count}" in row.detail


def test_no_whole_shot_can_be_hidden() -> None:
    video = kept_video(np.eye(30, 30, dtype=np.float32), name="v0", shots=[n // 2 for n in range(30)])
    row = ledger([video], [outcome("a.mp4", "v0")], mask_policy="whole_shot")["a.mp4"]
    assert (row.reason, row.segments_refused) == ("no_puzzle", "{}")
    assert "--mask-policy" in row.detail


def test_round_trip(tmp_path: Path) -> None:
    rows = tuple(ledger(films(2), [outcome("ü 🎬\n.mp4", "film00"), outcome("b.mp4", "film01")]).values())
    write_ledger(tmp_path, rows)
    assert read_ledger(tmp_path) == rows
    write_ledger(tmp_path, ())
    assert read_ledger(tmp_path) == ()


def test_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="finished build"):
        read_ledger(tmp_path)
    (tmp_path / LEDGER_NAME).write_bytes(b"words")
    with pytest.raises(ShardError, match="cannot be read"):
        read_ledger(tmp_path)
