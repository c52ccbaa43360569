"""The ledger: one row for each source file, used or skipped, with the reason and advice."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mvp_data.config.options import MaskConfig
from mvp_data.core.errors import ShardError, SkipReason
from mvp_data.core.types import VideoEntry
from mvp_data.ingest.jobs import Outcome
from mvp_data.puzzles.corpus import KeptVideo
from mvp_data.puzzles.make import PuzzleSet
from mvp_data.sources.scan import ScanProblem
from mvp_data.system.parquet import schema_of, write_rows

LEDGER_NAME = "ledger.parquet"
LEAST_CONTEXT = 4  # least --context-frames that is advised
MOST_FPS = 16  # at higher rates neighbouring frames seldom differ
# Segments that these refuse have passed all other rules.
LAST_RULES = ("few_distractors", "no_decoy", "difficulty", "shown")
MEANING = {
    "policy": "the frames around it show another scene (--mask-policy)",
    "montage": "it has more shots than --max-hidden-shots, or no frame next to the gap continues one",
    "little_context": "too few different frames are around it (--context-frames)",
    "no_motion": "too little moves in it",
    "repeated_hidden": "too few of its frames clearly differ (--hidden-frames)",
    "repeated_context": "its frames are also around it",
    "recurring": "its frames come again elsewhere in the video",
    "looping": "it comes again elsewhere in the video",
    "reversible": "backwards it looks as likely as forwards",
    "exchangeable": "two of its frames could be exchanged",
    "few_distractors": "too few other frames of this shape are similar but different (--distractors)",
    "no_decoy": "no other segment of the video can be its decoy",
    "difficulty": "it is outside --difficulty",
    "shown": "another sample shows its hidden frames (--max-overlap)",
}  # by reason, see `_why_none`


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerRow:
    """A source file. Values of steps that it did not reach are 0 or empty."""

    path: str
    outcome: str  # used | skipped
    reason: str = ""  # a SkipReason
    detail: str = ""
    video_id: str = ""
    split: str = ""
    samples: int = 0
    duration_s: float = 0.0
    sampled_fps: float = 0.0
    shots: int = 0
    frames_sampled: int = 0
    frames_kept: int = 0
    frames_rejected: str = "{}"  # JSON: reason -> count
    segments_refused: str = "{}"  # JSON: reason -> count
    clocks_masked: int = 0  # parts of the frames that showed a running clock and were filled with one colour
    damaged_packets: int = 0
    decoded_share: float = 0.0  # decoded frames / all frames of the video


def make_ledger(
    problems: Sequence[ScanProblem],
    outcomes: Sequence[Outcome],
    entries: Mapping[str, VideoEntry],
    kept: Mapping[str, KeptVideo],
    puzzle_set: PuzzleSet,
    mask: MaskConfig,
) -> tuple[LedgerRow, ...]:
    """Return all rows, sorted by path; a source with the same bytes as an earlier one is a duplicate."""
    samples = Counter(puzzle.episode.strip.video_id for puzzle in puzzle_set.puzzles)
    first: dict[str, str] = {}
    rows = [LedgerRow(path=p.path, outcome="skipped", reason=p.reason.value, detail=p.detail) for p in problems]
    for outcome in outcomes:
        path, video_id = outcome.source.path, outcome.video_id
        if video_id in first:
            reason, detail = SkipReason.DUPLICATE.value, f"same bytes as {first[video_id]}"
        else:
            reason, detail = outcome.skip, outcome.detail
        if reason:
            row = LedgerRow(path=path, outcome="skipped", reason=reason, detail=detail, video_id=video_id)
        else:
            refused = puzzle_set.video_drops.get(video_id, {})
            row = _video_row(path, entries[video_id], kept.get(video_id), samples[video_id], refused, mask)
        if video_id:
            first.setdefault(video_id, path)
        rows.append(row)
    return tuple(sorted(rows, key=lambda r: (r.path, r.video_id)))


def _video_row(
    path: str,
    entry: VideoEntry,
    kept: KeptVideo | None,  # None: no frame was usable
    samples: int,
    refused: Mapping[str, int],
    mask: MaskConfig,
) -> LedgerRow:
    kept_frames = len(kept.kept) if kept else 0
    reason, detail = ("", "") if samples else _why_none(entry, kept_frames, refused, mask)
    return LedgerRow(
        path=path,
        outcome="used" if samples else "skipped",
        reason=reason,
        detail=detail,
        video_id=entry.video_id,
        split=kept.split if kept else "",
        samples=samples,
        duration_s=round(entry.duration_s, 3),
        sampled_fps=entry.rate_fps,
        shots=1 + sum(b.start_s > 0 and b.end_s <= entry.duration_s for b in entry.boundaries),  # not fades at the ends
        frames_sampled=len(entry.frames),
        frames_kept=kept_frames,
        frames_rejected=json.dumps(entry.frames.rejections(), sort_keys=True),
        segments_refused=json.dumps(refused, sort_keys=True),
        clocks_masked=len(entry.masked),
        damaged_packets=entry.damaged_packets,
        decoded_share=round(entry.decoded_share, 4),
    )


def _why_none(entry: VideoEntry, kept: int, refused: Mapping[str, int], mask: MaskConfig) -> tuple[str, str]:
    """Return the reason and detail for a video that was decoded but has no sample."""
    k, context = mask.hidden_frames, mask.context_frames
    needed, usable = k + context, len(entry.usable)
    rejected = entry.frames.rejections()
    why = f" ({_counts(rejected)})" if rejected else ""
    found = f"{len(entry.frames)} frames sampled, {usable} usable{why}, {kept} differ enough; a strip needs {needed}"
    if usable < needed <= usable + rejected["damaged"]:
        return SkipReason.DECODE_ERROR.value, f"{found}: get a whole copy of the file"
    fewer = f"--context-frames {kept - k} would do" if kept - k >= LEAST_CONTEXT else "leave it out"
    if usable + rejected["frozen"] < needed:
        return SkipReason.TOO_SHORT.value, f"{found}: {_faster(entry, needed) or fewer}"
    if kept < needed:
        return SkipReason.STATIC.value, f"{found}: {fewer}"
    if not refused:  # only with the policy whole_shot; the others try every run of K frames
        found = f"no shot has {k} different frames and enough others around it (--mask-policy)"
        return SkipReason.NO_PUZZLE.value, found
    # The meaning of the reason that was nearest to a puzzle, otherwise of the most frequent one.
    most = max(sorted(refused), key=lambda reason: (reason in LAST_RULES, refused[reason]))
    counted = f"every hidden segment was refused: {_counts(refused)}"
    return SkipReason.NO_PUZZLE.value, f"{counted}; {most}: {MEANING[most]}"


def _faster(entry: VideoEntry, needed: int) -> str:
    """Suggest a rate that gives a short video enough frames, if there is one; assumes that 1 frame in 5 is rejected."""
    rate = entry.rate_fps
    while rate < MOST_FPS and rate * entry.duration_s * 0.8 < needed:
        rate *= 2
    if rate == entry.rate_fps or rate * entry.duration_s * 0.8 < needed:
        return ""
    return f"--max-fps {rate:g} would sample it faster (short videos are decoded again)"


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(found.items()))


def write_ledger(folder: Path, rows: Sequence[LedgerRow]) -> None:
    """Write `ledger.parquet`."""
    write_rows(folder / LEDGER_NAME, [asdict(row) for row in rows], schema_of(LedgerRow, integer_bits=64))


def read_ledger(folder: Path) -> tuple[LedgerRow, ...]:
    """Read the rows of a finished build.

    Raises:
        ShardError: the ledger is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / LEDGER_NAME
    try:
        return tuple(LedgerRow(**row) for row in pq.read_table(path).to_pylist())
    except FileNotFoundError as error:
        raise ShardError(f"{path}: does not exist; give the --out folder of a finished build") from error
    except (OSError, pa.ArrowException, TypeError) as error:
        raise ShardError(f"{path}: cannot be read as a ledger ({error})") from error
