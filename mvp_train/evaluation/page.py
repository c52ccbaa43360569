"""One self-contained HTML page of puzzles with a model's answers and their rewards. It runs no scripts."""

import base64
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mvp_data.core.html import render, write_html
from mvp_data.shards.record import CandidateFrame, Record
from mvp_data.shards.tar import Sample
from mvp_data.system.files import atomic_write
from mvp_data.tasks.catalogue import TASKS
from mvp_train.reward import Score, parse

MAX_PAGE_BYTES = 100 << 20  # about 60 puzzles of 796x448 px; browsers grow slow beyond
MAX_TEXT = 20_000  # characters shown of a completion
MARKS = {"right": "✓", "moved": "↔", "wrong": "✗"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A puzzle with one completion and its score; `step` is that of a training run."""

    sample: Sample
    completion: str
    score: Score
    step: int | None = None


def write_page(path: Path, shown: Iterable[Shown], title: str, notes: str = "") -> int:
    """Write the page atomically; return its number of puzzles, fewer than given if it would exceed 100 MiB.

    `notes` are lines of plain text above the puzzles.
    """
    parts = (
        render("mvp_train.evaluation", "puzzle.html", opened=number == 0, **_values(item))
        for number, item in enumerate(shown)
    )
    with atomic_write(path) as file:
        return write_html(
            file, "mvp_train.evaluation", "page.html", parts, limit=MAX_PAGE_BYTES, title=title, notes=notes
        )


def slots(chosen: tuple[str, ...] | None, answer: tuple[str, ...], *, ordered: bool = True) -> list[tuple[str, str]]:
    """Each label of an answer with its state: right, moved (to another place) or wrong; empty without an answer.

    Where order does not count, no label is moved.

    >>> slots(("A", "C", "E"), ("A", "B", "C"))
    [('A', 'right'), ('C', 'moved'), ('E', 'wrong')]
    """
    pairs = zip(chosen or (), answer, strict=bool(chosen))
    inside = "moved" if ordered else "right"
    return [(got, "right" if got == want else inside if got in answer else "wrong") for got, want in pairs]


def _values(item: Shown) -> dict[str, Any]:
    """A puzzle for the template."""
    sample, record = item.sample, item.sample.record
    asked = record.question
    found = slots(parse(item.completion, asked.choices, asked.slots), record.answer, ordered=asked.ordered)
    tiles = [(_data_uri(data), frame) for data, frame in zip(sample.context, record.context, strict=True)]
    return {
        "record": record,
        "score": item.score,
        "parts": {name: float(value) for name, value in asdict(item.score).items()},
        "verdict": "exact" if item.score.exact == 1 else "not exact" if item.score.valid else "no valid answer",
        "step": item.step,
        "before": tiles[: record.mask_start],
        "after": tiles[record.mask_start :],
        "holes": [_name(record, c) for c in sorted(record.candidates, key=lambda c: c.order) if c.order >= 0],
        "pool": [
            {"uri": _data_uri(data), "name": _name(record, c), "hidden": c.order >= 0, "words": _words(c)}
            for data, c in zip(sample.candidates, record.candidates, strict=True)
        ],
        "right": [_labelled(record, label) for label in record.answer],
        "given": [(kind, f"{_labelled(record, label)} {MARKS[kind]}") for label, kind in found],
        "completion": _shortened(item.completion),
    }


def _shortened(completion: str) -> str:
    if not completion.strip():
        return f"({len(completion)} characters of white space)" if completion else "(nothing)"
    cut = f"\n[... {len(completion)} characters in all]" if len(completion) > MAX_TEXT else ""
    return completion[:MAX_TEXT] + cut


def _words(candidate: CandidateFrame) -> str:
    """The origin and the time of a candidate."""
    origin = f"hidden {candidate.order + 1}" if candidate.order >= 0 else candidate.origin.replace("_", " ")
    return f"{origin} · {candidate.time_s:.2f} s"


def _name(record: Record, candidate: CandidateFrame) -> str:
    """Its letter, or its place in the hidden segment where candidates have no letters."""
    return candidate.label if TASKS[record.task].lettered else str(candidate.order + 1)


def _labelled(record: Record, label: str) -> str:
    """A label of an answer with its meaning, if it has one: `A forwards`."""
    return f"{label} {TASKS[record.task].word(label)}".rstrip()


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
