"""samples.parquet: one row for each sample, without images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvp_data.pipeline.output_folder import SAMPLES_NAME
from mvp_data.puzzles.difficulty import bucket
from mvp_data.shards.record import ORIGINS, Record
from mvp_data.system.parquet import schema_of, write_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleRow:
    """A sample without its images."""

    key: str
    task: str
    pair_id: str  # shared by both samples of a pair
    pair_kind: str  # same_strip, same_video or corpus; empty without a pair
    shard: str
    split: str
    video_id: str
    video_path: str
    video_group: str
    k: int
    l: int  # noqa: E741 - the name in the paper
    answer: str  # "C, A, F, B"
    width_px: int
    height_px: int
    context_frames: int
    mask_start: int
    mask_policy: str
    hidden_start_s: float
    hidden_end_s: float
    sampled_fps: float
    difficulty: float
    difficulty_bucket: int  # 0 to 9: tenths of the scale
    doubt: str  # why its order may be ambiguous, or empty
    margin: float
    decoys: int  # distractors in a decoy run
    same_strip: int  # distractors by origin
    neighbourhood: int
    same_video: int
    corpus: int
    distractor_similarity: float  # the maximum
    extra: str  # the other columns of the manifest, as a JSON object


def write_samples(out: Path, records: Sequence[tuple[str, Record]]) -> None:
    """Write `samples.parquet`, its rows in the order of the shards."""
    rows = [sample_row(shard, record) for shard, record in records]
    write_rows(out / SAMPLES_NAME, rows, schema_of(SampleRow, integer_bits=64))


def sample_row(shard: str, record: Record) -> dict[str, Any]:
    """Return the row of a sample of this shard."""
    distractors = [c for c in record.candidates if c.order < 0]
    origins = [c.origin for c in distractors]
    derived = {
        "shard": shard,
        "answer": ", ".join(record.answer),
        "context_frames": len(record.context),
        "difficulty_bucket": bucket(record.difficulty),
        "decoys": sum(c.decoy >= 0 for c in record.candidates),
        "distractor_similarity": max((c.similarity for c in distractors), default=0.0),
        **{origin: origins.count(origin) for origin in ORIGINS[1:]},
    }
    return {name: derived.get(name, getattr(record, name, None)) for name in SampleRow.__slots__}
