"""The command `mvp-data audit`."""

from pathlib import Path
from typing import Annotated

import typer

from mvp_data.cli.common import AsJson, fail


def audit_command(
    shards: Annotated[Path, typer.Argument(help="A folder of shards, or one shard.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for report.html and audit.json.")] = None,
    embedder: Annotated[str, typer.Option("--embedder", help="Another encoder than the build's.")] = "",
    second_embedder: Annotated[
        str,
        typer.Option(
            "--second-embedder",
            help="An encoder that the build did not use, or none [default: the other built-in one, if it is fetched].",
        ),
    ] = "",
    embedding: Annotated[bool, typer.Option("--embedding/--no-embedding", help="Use encoders too.")] = True,
    fail_on: Annotated[
        str, typer.Option("--fail-on", help="leak: exit with 1 if a leak solver wins, or there are too few puzzles.")
    ] = "none",
    as_json: AsJson = False,
) -> None:
    """Measure whether solvers that do not understand the videos win the puzzles.

    Examples:

      mvp-data audit shards/ --out audit/

      mvp-data audit shards/ --fail-on leak --json
    """
    from mvp_data.audit.report import check, gate, to_json, to_text, write_report
    from mvp_data.audit.run import audit, embedder_for, second_embedder_for

    check(out, shards, fail_on)
    first = embedder_for(shards, embedder) if embedding else None
    found = audit(shards, embedder=first, second=first and second_embedder_for(second_embedder, first))
    typer.echo(to_json(found) if as_json else to_text(found))
    if out is not None:
        typer.echo(f"report: {write_report(found, out, shards).resolve().as_uri()}", err=as_json)
    if reason := gate(found, fail_on):
        fail(reason)
