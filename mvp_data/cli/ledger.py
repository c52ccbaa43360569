"""The command `mvp-data ledger`."""

from pathlib import Path
from typing import Annotated

import typer

from mvp_data.cli.common import AsJson, print_json


def ledger_command(
    out: Annotated[Path, typer.Argument(help="The --out folder of a build.")],
    skipped: Annotated[bool, typer.Option("--skipped", help="Only the files that gave no samples.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the outcome of each source file, and the reason.

    Example:

      mvp-data ledger shards/ --skipped
    """
    from mvp_data.core.text import printable
    from mvp_data.pipeline.ledger import read_ledger

    rows = [row for row in read_ledger(out) if not skipped or row.outcome == "skipped"]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        outcome = f"{row.samples} samples" if row.outcome == "used" else row.reason
        detail = row.detail or f"{row.frames_kept} of {row.frames_sampled} frames kept, {row.shots} shots"
        typer.echo(f"{printable(row.path)}\n    {outcome}: {printable(detail)}")
