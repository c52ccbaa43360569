"""One self-contained HTML page of puzzles with what a model answered, and what that earned.

The page runs no code and loads nothing: pictures are data URIs, and a content security policy allows only the style
whose hash it names. Completions are untrusted text: everything is escaped.
"""

import base64
import hashlib
import html
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

from mvp_data.files import atomic_write
from mvp_data.schema import CandidateFrame, Record
from mvp_data.shards import Sample
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
    """Write the page, whole or not at all, and say how many puzzles it holds: fewer than given beyond 100 MiB.

    `notes` are lines of plain text that stand above the puzzles.
    """
    template = files("mvp_train.evaluation").joinpath("page.html").read_text(encoding="utf-8")
    values = {"policy": _policy(template), "title": html.escape(title), "notes": html.escape(notes)}
    head, tail = (re.sub(r"{{(\w+)}}", lambda match: values[match[1]], part) for part in template.split("{{shown}}"))
    size, written = len(head.encode()) + len(tail.encode()), 0
    with atomic_write(path) as file:
        file.write(head.encode())
        for item in shown:
            text = _details(item, opened=not written).encode(errors="replace")  # lone surrogates become ?
            size += len(text)
            if written and size > MAX_PAGE_BYTES:
                break
            file.write(text)
            written += 1
        file.write(tail.encode())
    return written


def slots(chosen: tuple[str, ...] | None, answer: tuple[str, ...], *, ordered: bool = True) -> list[tuple[str, str]]:
    """Each label of an answer with what it is: right, moved (to another place) or wrong; none if there is no answer.

    Where order does not count, none is moved.

    >>> slots(("A", "C", "E"), ("A", "B", "C"))
    [('A', 'right'), ('C', 'moved'), ('E', 'wrong')]
    """
    pairs = zip(chosen or (), answer, strict=bool(chosen))
    inside = "moved" if ordered else "right"
    return [(got, "right" if got == want else inside if got in answer else "wrong") for got, want in pairs]


def _policy(template: str) -> str:
    """The content security policy: nothing from outside and no script at all."""
    (style,) = re.findall(r"<style>(.*?)</style>", template, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _details(item: Shown, *, opened: bool) -> str:
    record = item.sample.record
    asked = record.question
    found = slots(parse(item.completion, asked.choices, asked.slots), record.answer, ordered=asked.ordered)
    marks = "".join(f'<li class="{kind}">{_labelled(record, label)} {MARKS[kind]}</li>' for label, kind in found)
    step = "" if item.step is None else f"<span>step {item.step}</span>"
    letters = "".join(f"<li>{_labelled(record, label)}</li>" for label in record.answer)
    values = asdict(item.score).items()
    parts = "".join(f"<div><dt>{name}</dt><dd>{float(value):.3f}</dd></div>" for name, value in values)
    said = html.escape(item.completion[:MAX_TEXT])
    if not item.completion.strip():
        said = f"({len(item.completion)} characters of white space)" if item.completion else "(nothing)"
    cut = f"\n[... {len(item.completion)} characters in all]" if len(item.completion) > MAX_TEXT else ""
    return f"""<details{" open" if opened else ""}>
<summary>{step}<strong>reward {item.score.reward:.3f}</strong><span>{_verdict(item.score)}</span>
<span>{record.task}</span>
<span class="key">{html.escape(record.key)}</span></summary>
<h2>Context</h2><div class="strip">{_strip(item.sample)}</div>
<h2>Candidates</h2><div class="pool">{_pool(item.sample)}</div>
<dl class="answers"><dt>Right answer</dt><dd><ol class="slots">{letters}</ol></dd>
<dt>The model's</dt><dd>{f'<ol class="slots">{marks}</ol>' if marks else "no valid answer"}</dd></dl>
<h2>Completion</h2><pre>{said}{cut}</pre>
<h2>Reward and its parts</h2><dl class="parts">{parts}</dl>
</details>
"""


def _verdict(score: Score) -> str:
    return "exact" if score.exact == 1 else "not exact" if score.valid else "no valid answer"


def _strip(sample: Sample) -> str:
    """The visible frames in order; in the gap a hole for each hidden frame, with its letter."""
    record = sample.record
    hole = f'<svg viewBox="0 0 {record.width_px} {record.height_px}" aria-hidden="true"></svg>'
    hidden = sorted((c for c in record.candidates if c.order >= 0), key=lambda c: c.order)
    names = [_name(record, c) for c in hidden]
    holes = "".join(f'<figure class="frame slot">{hole}<figcaption>{name}</figcaption></figure>' for name in names)
    tiles = [
        f'<figure class="frame">{_picture(data, record, "context frame")}<figcaption>{frame.time_s:.2f} s</figcaption>'
        "</figure>"
        for data, frame in zip(sample.context, record.context, strict=True)
    ]
    return "".join([*tiles[: record.mask_start], holes, *tiles[record.mask_start :]])


def _pool(sample: Sample) -> str:
    """The candidates with their letters; those from the gap are outlined and numbered."""
    tiles = []
    for data, c in zip(sample.candidates, sample.record.candidates, strict=True):
        what = f"hidden {c.order + 1}" if c.order >= 0 else c.origin.replace("_", " ")
        name = _name(sample.record, c)
        picture = _picture(data, sample.record, f"candidate {name}")
        tiles.append(
            f'<figure class="frame{" hidden" if c.order >= 0 else ""}"><span class="badge">{name}</span>{picture}'
            f"<figcaption>{what} · {c.time_s:.2f} s</figcaption></figure>"
        )
    return "".join(tiles)


def _name(record: Record, candidate: CandidateFrame) -> str:
    """Its letter, or its place in the hidden segment where candidates have no letters."""
    return candidate.label if TASKS[record.task].lettered else str(candidate.order + 1)


def _labelled(record: Record, label: str) -> str:
    """A label of an answer with its meaning, if it has one: `A forwards`."""
    return f"{label} {TASKS[record.task].word(label)}".rstrip()


def _picture(data: bytes, record: Record, alt: str) -> str:
    source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return f'<img src="{source}" alt="{alt}" width="{record.width_px}" height="{record.height_px}">'
