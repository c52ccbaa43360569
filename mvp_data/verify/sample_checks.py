"""The checks of one sample alone: its images, and the rules of a puzzle (docs/verify.md)."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from PIL import Image

from mvp_data.core.errors import Skip
from mvp_data.core.jpeg import jpeg_settings
from mvp_data.core.types import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX
from mvp_data.puzzles.motion import clearly_moves
from mvp_data.puzzles.thumbnails import coarse, differ
from mvp_data.shards.record import CandidateFrame, Record
from mvp_data.shards.tar import Sample
from mvp_data.verify.findings import Finding
from mvp_data.video.decode.images import jpeg_luma

CODING_LUMA = 2  # most difference of a block between thumbnails of two JPEGs of one frame, of 255 levels
SLACK = 1e-5  # records round cosines to five decimals; some rules compare them unrounded


def sample_findings(sample: Sample, thresholds: Mapping[str, float]) -> Iterator[Finding]:
    """The problems of a sample. `thresholds` are those of its build, by the field names of `corpus.Thresholds`."""
    yield from _frame_findings(sample.record)
    yield from _similarity_findings(sample.record, thresholds)
    yield from _byte_findings(sample)
    yield from _pixel_findings(sample)


def _frame_findings(record: Record) -> Iterator[Finding]:
    """By frame number: no frame is shown twice, and no distractor is from the hidden segment."""
    shown = [(record.video_id, c.frame) for c in record.context]
    shown += [(c.video_id, c.frame) for c in record.candidates]
    if len(set(shown)) < len(shown):
        yield Finding(check="repeats", text=f"{record.key}: a frame of a video is shown twice")
    for candidate in _distractors(record):
        inside = record.hidden_start_s <= candidate.time_s <= record.hidden_end_s
        if inside and candidate.video_id == record.video_id:
            text = f"{record.key}: distractor {candidate.label} is from the hidden segment"
            yield Finding(check="repeats", text=text)


def _similarity_findings(record: Record, thresholds: Mapping[str, float]) -> Iterator[Finding]:
    """Check the margin, and that scattered distractors are similar enough.

    The margin may be negative: motion can tell two frames apart that the encoder calls the same.
    """
    ambiguous, low = thresholds["ambiguous"], thresholds["low"]
    most = max(c.similarity for c in record.candidates)
    if abs(record.margin - (ambiguous - most)) > SLACK:
        text = f"margin {record.margin:g} is not the threshold {ambiguous:g} minus the highest similarity {most:g}"
        yield Finding(check="margin", text=f"{record.key}: {text}")
    for candidate in _distractors(record):
        if candidate.decoy < 0 and candidate.similarity < low - SLACK:
            text = f"distractor {candidate.label} has similarity {candidate.similarity:g}, below {low:g}"
            yield Finding(check="margin", text=f"{record.key}: {text}")


def _byte_findings(sample: Sample) -> Iterator[Finding]:
    """By bytes: no two images are the same, and all come from one JPEG encoder."""
    record, images = sample.record, sample.context + sample.candidates
    if len(set(images)) < len(images):
        names = record.member_names[1:]
        twice = next((a, b) for a, b in combinations(range(len(names)), 2) if images[a] == images[b])
        yield Finding(check="repeats", text=f"{names[twice[0]]} and {names[twice[1]]} are the same image")
    settings = [jpeg_settings(data) for data in images]
    for name, found in zip(record.member_names[1:], settings, strict=True):
        if found != settings[0]:
            text = f"{name}: its JPEG headers differ from those of {record.member_names[1]}"
            yield Finding(check="encoding", text=text)
            return


def _pixel_findings(sample: Sample) -> Iterator[Finding]:
    """By pixels: every image decodes, has its stated size, and is not shown twice."""
    record = sample.record
    thumbnails: list[bytes] = []
    for name, data in zip(record.member_names[1:], sample.context + sample.candidates, strict=True):
        try:
            luma = jpeg_luma(data)
        except Skip as skip:
            yield Finding(check="pictures", text=f"{name}: {skip.detail}")
            continue
        if luma.shape != (record.height_px, record.width_px):
            shown = f"{luma.shape[1]} x {luma.shape[0]} px, the record says {record.width_px} x {record.height_px}"
            yield Finding(check="pictures", text=f"{name}: decodes to {shown}")
        small = Image.fromarray(luma).resize((THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX), Image.Resampling.BOX)
        thumbnails.append(small.tobytes())
    if len(thumbnails) == len(record.member_names) - 1:
        yield from _shown_twice(record, thumbnails)


def _shown_twice(record: Record, thumbnails: Sequence[bytes]) -> Iterator[Finding]:
    """Pairs of images that are equal under the build's pixel rules, `differ` and `clearly_moves`.

    The build applied them before JPEG coding, so a pair near a limit may be judged differently here: that is a
    warning. It is a problem only if the difference is as small as that of two JPEGs of one frame.
    """
    names, size = record.member_names[1:], len(record.context)
    for b in range(size, len(names)):
        for a in range(b):
            if not (differ(thumbnails[a], thumbnails[b]) or clearly_moves(thumbnails[a], thumbnails[b])):
                same = _distance(thumbnails[a], thumbnails[b]) <= CODING_LUMA
                text = f"{names[b]} {'shows the same as' if same else 'hardly differs from'} {names[a]}"
                yield Finding(check="repeats", text=text, warning=not same)


def _distance(first: bytes, second: bytes) -> int:
    """The largest luma difference of a block between two thumbnails, of 255 levels."""
    a, b = coarse([first, second]).astype(np.int16)
    return int(np.abs(a - b).max())


def _distractors(record: Record) -> list[CandidateFrame]:
    return [c for c in record.candidates if c.order < 0]
