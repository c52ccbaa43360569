"""Writes an audit as text, as JSON, and as one self-contained page with plots.

The page runs no code. The only texts in it that come from outside are the path of the shards and the encoder's name.
"""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mvp_data.audit.run import FEW_SAMPLES, Audit, TaskAudit
from mvp_data.audit.scoring import LEVEL, Result
from mvp_data.audit.solvers import LEAK
from mvp_data.core.errors import ConfigError, OutputError
from mvp_data.core.html import render
from mvp_data.core.statistics import Estimate
from mvp_data.core.text import WIDTH, printable
from mvp_data.system.files import atomic_write, make_folder

FAIL_ON = ("none", LEAK)
PAGE, FIGURES = "report.html", "audit.json"
KINDS = {
    "baseline": "baseline",
    "leak": "leak: does not use the content that the task is about; must not win",
    "content": "content: compares the content that the task is about; may win",
}
COLUMNS = 3  # metrics in the text and in plots
SEES_RUNS = "sees only runs"
VERDICTS = {
    "wins": "above chance, by more than luck explains over all leak solvers",
    "unsure": "a 95 % interval is above chance, but among so many solvers that may be luck",
    "chance": "no interval of a judged metric is above chance",
    "below": "below chance, by more than luck explains",
}
METRICS = {
    "selection": "share of the hidden frames that were chosen, scaled so that a guess scores 0 and all right is 1",
    "given": "share of the pairs in the right order, among the chosen hidden frames; chance is 1/2 for any choice",
    "whole": "rate of answers whose frames are all right, minus the rate of answers whose frames are all wrong",
    "exact": "rate of fully right answers; not judged where a solver that sees only runs is above chance",
    SEES_RUNS: "score of a solver that takes one of two coherent runs, and does not know which is right",
}
ROW_PX, LEFT_PX, WIDTH_PX, PLOT_PX = 22, 150, 560, 390  # of a plot: row, left edge of the axis, whole, axis


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
    yield from ("", f"  {'':<18}{''.join(f'{metric:<24}' for metric in shown)}".rstrip())
    for name, levels in (("chance", part.chance), (SEES_RUNS, part.seeing_runs)):
        if levels:
            yield f"  {name:<18}{''.join(f'{_number(levels[metric]):<24}' for metric in shown)}".rstrip()
    for kind, words in KINDS.items():
        yield from ("", f"  {words}")
        for result in (r for r in part.results if r.kind == kind):
            cells = "".join(f"{_cell(result.estimates[metric]):<24}" for metric in shown)
            yield f"  {result.name:<18}{cells}{result.verdict}"
    judged = sorted({", ".join(result.judged) for result in part.results if result.kind == LEAK})
    yield from ("", *_wrapped(f"leak solvers are judged on {' or '.join(judged)}; other metrics do not decide"))


def to_json(found: Audit) -> str:
    """The audit as JSON, for scripts."""
    return json.dumps({**asdict(found), "leaks": found.leaks}, indent=1)


def gate(found: Audit, fail_on: str) -> str:
    """The reason why the audit fails, or an empty string. An audit of too few samples or videos fails."""
    if fail_on == "none":
        return ""
    if found.leaks:
        return f"{', '.join(found.leaks)} can win without the context; docs/audit.md describes what each one finds"
    for part in found.parts:
        if part.samples < FEW_SAMPLES or part.video_groups == 1:
            few = f"{part.samples} samples" if part.samples < FEW_SAMPLES else "one video group"
            return f"{part.task}: {few} cannot show that there is no leak; build from more videos, or omit --fail-on"
    if found.probes_missing:
        return f"without its probes an audit cannot show that there is no leak; {found.probes_missing}"
    return ""


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
        "levels": [(name, [_number(level) for level in of.values()]) for name, of in levels if of],
        "kinds": [(words, [_row(r) for r in part.results if r.kind == kind]) for kind, words in KINDS.items()],
    }


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")


def _facts(found: Audit) -> str:
    part = "" if found.samples == found.samples_of else f" of {found.samples_of}"
    return f"{found.samples}{part} samples; encoder {printable(found.encoder) or 'none'}; {LEVEL:.0%} intervals"


def _part_facts(part: TaskAudit) -> str:
    groups = f"{part.video_groups} video group{'s' * (part.video_groups != 1)}"
    return (
        f"{part.task}: {part.samples} samples of {groups}, K={part.k} + l={part.l}, "
        f"{part.overlay_share:.0%} with a clock or counter; intervals over {part.resampled}"
    )


def _conclusion(found: Audit) -> str:
    if found.leaks:
        return f"LEAK: the answers can be found without the context, by {', '.join(found.leaks)}"
    if reason := gate(found, "leak"):
        return f"no leak found, but the test is too weak: {reason.partition(';')[0]}"
    if unsure := _unsure(found):
        return f"no leak found, but not ruled out: {unsure} may have been lucky; audit more videos"
    return "no leak: no leak solver beats chance"


def _unsure(found: Audit) -> str:
    """The names of the leak solvers with the verdict `unsure`: they are above chance, but it may be luck."""
    doubtful = (r.name for part in found.parts for r in part.results if r.kind == LEAK and r.verdict == "unsure")
    return ", ".join(dict.fromkeys(doubtful))


def _cell(estimate: Estimate) -> str:
    return f"{_number(estimate.mean)} ({_number(estimate.low)}..{_number(estimate.high)})"


def _number(value: float) -> str:
    """Three decimals, and four for small chances.

    >>> _number(-0.0001), _number(1 / 1680)
    ('0.000', '0.0006')
    """
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
