"""Writes an audit as text, as JSON, and as one self-contained page with plots.

The page runs no code. The only texts in it that come from outside are the path of the shards and the encoder's name.
"""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mvp_data.audit import pairs
from mvp_data.audit.run import FEW_SAMPLES, HELD_OUT, Audit, TaskAudit
from mvp_data.audit.scoring import LEVEL, Result
from mvp_data.audit.solvers import LEAK
from mvp_data.audit.visibility import Shown
from mvp_data.core.errors import ConfigError, OutputError
from mvp_data.core.html import render
from mvp_data.core.statistics import Estimate
from mvp_data.core.text import WIDTH, printable
from mvp_data.system.files import atomic_write, make_folder

FAIL_ON = ("none", LEAK)
PAGE, FIGURES = "report.html", "audit.json"
KINDS = {
    "baseline": "baseline",
    "leak": "leak: a shortcut past the content that the task is about; must not win",
    "content": "content: compares the content that the task is about; may win",
}
COLUMNS = 3  # metrics in the text and in plots
NAME, CELL = 27, 21  # widths of columns in the text
ROW_CELLS = (12, 8, 6, 21, 17, 16, 16)
SEES_RUNS = "sees only runs"
VERDICTS = {
    "wins": "above chance, by more than luck explains over all leak solvers",
    "unsure": "a 95 % interval is above chance, but among so many solvers that may be luck",
    "chance": "no interval of a judged metric is above chance",
    "below": "below chance, by more than luck explains",
}
METRICS = {
    "pair": "rate of pairs with both samples answered exactly right; 0 for a solver that gives both the same answer",
    "pair set": "rate of pairs with both sets right, in any order",
    "selection": "share of the hidden frames that were chosen, scaled so that a guess scores 0 and all right is 1",
    "given": "share of the pairs in the right order, among the chosen hidden frames; chance is 1/2 for any choice",
    "whole": "rate of answers whose frames are all right, minus the rate of answers whose frames are all wrong",
    "exact": "rate of fully right answers; not judged where a solver that sees only runs is above chance",
    SEES_RUNS: "score of a solver that takes one of two coherent runs, and does not know which is right",
}
TOLD_FIRST = "mask_start tells the first twin from the second"
ROW_PX, LEFT_PX, WIDTH_PX, PLOT_PX = 22, 190, 600, 390  # of a plot: row, left edge of the axis, whole, axis


def to_text(found: Audit) -> str:
    """The audit as tables of at most 98 columns, one for each task."""
    lines = [printable(found.path, WIDTH), *_wrapped(_facts(found))]
    for part in found.parts:
        lines += ["", *_table(part)]
    return "\n".join([*lines, "", *_wrapped(_conclusion(found))])


def _table(part: TaskAudit) -> Iterator[str]:
    shown = list(part.chance)[:COLUMNS]
    yield from _wrapped(_part_facts(part))
    for warning in part.warnings:
        yield from _wrapped(f"warning: {warning}")
    yield from ("", f"  {'':<{NAME}}{''.join(f'{metric:<{CELL}}' for metric in shown)}".rstrip())
    for name, levels in (("chance", part.chance), (SEES_RUNS, part.seeing_runs)):
        if levels:
            yield f"  {name:<{NAME}}{''.join(f'{_number(levels[metric]):<{CELL}}' for metric in shown)}".rstrip()
    for kind, words in KINDS.items():
        yield from ("", f"  {words}")
        for result in (r for r in part.results if r.kind == kind):
            cells = "".join(f"{_cell(result.estimates[metric], 2):<{CELL}}" for metric in shown)
            yield f"  {result.name:<{NAME}}{cells}{result.verdict}"
    if part.rows:
        yield ""
        for row in _rows(part):
            padded = (f"{cell:<{width}}" for cell, width in zip(row, ROW_CELLS, strict=False))
            yield f"  {''.join(padded)}".rstrip()
        yield from _wrapped(_compared(part))
    judged = sorted({", ".join(result.judged) for result in part.results if result.kind == LEAK})
    yield from ("", *_wrapped(f"leak solvers are judged on {'; or on '.join(judged)}; other metrics do not decide"))


def _rows(part: TaskAudit) -> list[list[str]]:
    """The scores by kind of pair and by shots, each with its pair score: a head and rows of cells."""
    head = [f"{name} {pairs.METRIC[name]}/pair" for name in part.compared]
    body = [
        [row.name, str(row.samples), str(row.pairs)]
        + [f"{row.single[name]:.2f}" + (f"/{row.both[name]:.2f}" if row.both else "") for name in part.compared]
        for row in part.rows
    ]
    return [["", "samples", "pairs", *head], *body]


def _compared(part: TaskAudit) -> str:
    return "compared: " + ", ".join(f"{column} is {name}" for column, name in part.compared.items())


def to_json(found: Audit) -> str:
    """The audit as JSON, for scripts."""
    return json.dumps({**asdict(found), "leaks": found.leaks}, indent=1)


def gate(found: Audit, fail_on: str) -> str:
    """The reason why the audit fails, or an empty string. An audit of too few samples or videos fails."""
    return "" if fail_on == "none" else next(_failures(found), "")


def _failures(found: Audit) -> Iterator[str]:
    if found.leaks:
        yield f"{', '.join(found.leaks)} can win by a shortcut; docs/audit.md describes what each one finds"
    for shown in found.shown:
        if shown.split in HELD_OUT and shown.one:
            yield f"{_shown(shown)}; build again with the current version"
    for part in found.parts:
        if part.orphans:
            yield f"{part.task}: {part.orphans} pairs have one sample only; filter by pair_id, and keep whole pairs"
        if part.samples < FEW_SAMPLES or part.video_groups == 1:
            few = f"{part.samples} samples" if part.samples < FEW_SAMPLES else "one video group"
            yield f"{part.task}: {few} cannot show that there is no leak; build from more videos, or omit --fail-on"
    if found.probes_missing:
        yield f"without its probes an audit cannot show that there is no leak; {found.probes_missing}"


def check(out: Path | None, shards: Path, fail_on: str) -> None:
    """Check the options before the audit starts.

    Raises:
        ConfigError: unknown `fail_on`.
        OutputError: `out` is not new, empty, or the folder of an earlier audit; or it is a folder of shards.
    """
    if fail_on not in FAIL_ON:
        raise ConfigError(f"--fail-on {fail_on}: choose one of {', '.join(FAIL_ON)}")
    if out is None:
        return
    where = (shards if shards.is_dir() else shards.parent).resolve()
    if where == out.resolve() or (shards.is_dir() and where in out.resolve().parents):
        raise OutputError(f"{out}: the folder of shards must hold only shards; choose another folder")
    if out.exists() and (not out.is_dir() or {p.name for p in out.iterdir()} - {PAGE, FIGURES}):
        raise OutputError(f"{out}: exists and is not the folder of an audit; choose another folder")


def write_report(found: Audit, out: Path, shards: Path) -> Path:
    """Write `audit.json` and `report.html` to the folder `out`; returns the path of the page.

    Raises:
        OutputError: as `check`, or `out` cannot be written.
    """
    check(out, shards, FAIL_ON[0])
    make_folder(out)
    for name, text in ((FIGURES, to_json(found)), (PAGE, to_html(found))):
        with atomic_write(out / name) as file:
            file.write(text.encode())
    return out / PAGE


def to_html(found: Audit) -> str:
    """The audit as a page."""
    return render(
        "mvp_data.audit",
        "report.html",
        title=printable(Path(found.path).resolve().name),
        facts=_facts(found),
        conclusion=_conclusion(found),
        state="bad" if found.leaks else "open" if found.probes_missing or _unsure(found) else "good",
        parts=[_section(part) for part in found.parts],
        results=VERDICTS,
        metrics=METRICS,
    )


def _section(part: TaskAudit) -> dict[str, Any]:
    """One task for the template: its facts, warnings, plots and table."""
    levels = (("chance", part.chance), (SEES_RUNS, part.seeing_runs))
    return {
        "facts": _part_facts(part),
        "warnings": [printable(warning) for warning in part.warnings],
        "plots": [_plot(part, metric) for metric in list(part.chance)[:COLUMNS]],
        "metrics": list(part.chance),
        "rows": _rows(part) if part.rows else [],
        "compared": _compared(part),
        "levels": [(name, [_number(level) for level in of.values()]) for name, of in levels if of],
        "kinds": [(words, [_row(r) for r in part.results if r.kind == kind]) for kind, words in KINDS.items()],
    }


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")


def _facts(found: Audit) -> str:
    part = "" if found.samples == found.samples_of else f" of {found.samples_of}"
    encoder, second = printable(found.encoder) or "none", printable(found.second_encoder) or "none"
    fetch = "" if found.second_encoder or not found.encoder else " (see `mvp-data weights`)"
    shown = "; ".join(map(_shown, found.shown))
    return (
        f"{found.samples}{part} samples; encoder {encoder}, second encoder {second}{fetch}; "
        f"{LEVEL:.0%} intervals; {shown}"
    )


def _shown(shown: Shown) -> str:
    """How many samples of a split have hidden frames that other samples show."""
    return (
        f"{shown.split}: other samples show all hidden frames of {shown.whole} of {shown.samples} samples in one "
        f"context, and at least one frame of {shown.one}"
    )


def _part_facts(part: TaskAudit) -> str:
    groups = f"{part.video_groups} video group{'s' * (part.video_groups != 1)}"
    paired = f" in {part.pairs} pairs" if part.pairs else ""
    told = part.told_first
    first = f"; {TOLD_FIRST} in {_cell(told, 2)}, by arithmetic in at least {told.chance:.2f}" if told else ""
    return (
        f"{part.task}: {part.samples} samples{paired} of {groups}, K={part.k} + l={part.l}, "
        f"{part.overlay_share:.0%} with a clock or counter; intervals over {part.resampled}{first}"
    )


def _conclusion(found: Audit) -> str:
    if found.leaks:
        return f"LEAK: the answers can be found by a shortcut, with {', '.join(found.leaks)}"
    if reason := gate(found, "leak"):
        return f"no leak found, but the test is too weak: {reason.partition(';')[0]}"
    if unsure := _unsure(found):
        return f"no leak found, but not ruled out: {unsure} may have been lucky; audit more videos"
    return "no leak: no leak solver beats chance"


def _unsure(found: Audit) -> str:
    """The names of the leak solvers with the verdict `unsure`: they are above chance, but it may be luck."""
    doubtful = (r.name for part in found.parts for r in part.results if r.kind == LEAK and r.verdict == "unsure")
    return ", ".join(dict.fromkeys(doubtful))


def _cell(estimate: Estimate, digits: int = 3) -> str:
    mean, low, high = (f"{round(end, digits) + 0.0:.{digits}f}" for end in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} ({low}..{high})"


def _number(value: float) -> str:
    """Three decimals, four for small chances, and a power of ten for the smallest.

    >>> _number(-0.0001), _number(1 / 1680), _number(1 / 1680**2)
    ('0.000', '0.0006', '4e-07')
    """
    if 0 < value < 0.0001:
        return f"{value:.0e}"
    return f"{value:.4f}" if 0.0001 <= value < 0.001 else f"{value + 0.0 if abs(value) >= 0.0005 else 0.0:.3f}"


def _row(result: Result) -> dict[str, Any]:
    """A solver for the template: a row of the table, with all metrics."""
    return {**asdict(result), "cells": [_cell(estimate) for estimate in result.estimates.values()]}


def _plot(part: TaskAudit, metric: str) -> dict[str, Any]:
    """One metric for the template, in px: a dot and an interval for each solver, and a line at chance."""
    estimates = [result.estimates[metric] for result in part.results]
    low, high = min(0.0, *(e.low for e in estimates)), max(0.1, *(e.high for e in estimates))

    def x(value: float) -> str:
        return f"{LEFT_PX + PLOT_PX * (value - low) / (high - low):.1f}"

    marks = [
        {
            "name": result.name,
            "state": f"{result.kind} {result.verdict}",
            "words": _cell(e),
            "y": ROW_PX * row + 16,
            "low": x(e.low),
            "mean": x(e.mean),
            "high": x(e.high),
        }
        for row, (result, e) in enumerate(zip(part.results, estimates, strict=True))
    ]
    return {
        "task": part.task,
        "words": f"{metric}, chance {_number(part.chance[metric])}",
        "chance": x(part.chance[metric]),
        "width": WIDTH_PX,
        "height": ROW_PX * len(estimates) + 28,
        "names": LEFT_PX - 12,
        "marks": marks,
        "ticks": [(x(value), _number(value)) for value in (low, high)],
    }
