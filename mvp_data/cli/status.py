"""The commands `mvp-data status` and `mvp-data ledger`; `cli` registers them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]


def status_command(
    folder: Annotated[Path, typer.Argument(help="The --out folder of a build, or the bank of an index.")],
    as_json: AsJson = False,
) -> None:
    """Say where a build stands, at work or dead, and what to do next.

    Example:

      mvp-data status shards/
    """
    from mvp_data.status import read_status, to_text

    status = read_status(folder)
    typer.echo(json.dumps(asdict(status), indent=1, default=str) if as_json else to_text(status))


def ledger_command(
    out: Annotated[Path, typer.Argument(help="The --out folder of a build.")],
    skipped: Annotated[bool, typer.Option("--skipped", help="Only the files that gave no samples.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what became of every source file, and why.

    Example:

      mvp-data ledger shards/ --skipped
    """
    from mvp_data.inspect import printable
    from mvp_data.ledger import read_ledger

    rows = [row for row in read_ledger(out) if not skipped or row.outcome == "skipped"]
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return
    for row in rows:
        what = f"{row.samples} samples" if row.outcome == "used" else row.reason
        detail = row.detail or f"{row.frames_kept} of {row.frames_sampled} frames kept, {row.shots} shots"
        typer.echo(f"{printable(row.path)}\n    {what}: {printable(detail)}")
