"""The command `mvp-data verify`; `cli` registers it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mvp_data.errors import ConfigError


def verify_command(
    shards: Annotated[Path, typer.Argument(help="The --out folder of a finished build.")],
    repair: Annotated[bool, typer.Option("--repair", help="Make damaged and missing files again.")] = False,
    bank: Annotated[Path | None, typer.Option("--bank", help="The bank to repair from [SHARDS.bank].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """Check every byte, picture and rule of a finished build; exit code 0 only if all is well.

    Examples:

      mvp-data verify shards/

      mvp-data verify shards/ --repair
    """
    from mvp_data import repair as workshop
    from mvp_data import verify as checks

    if bank is not None and not repair:
        raise ConfigError("--bank is for --repair; without it nothing but the folder is read")
    if not repair:
        found = checks.verify(shards)
        typer.echo(checks.to_json(found) if as_json else checks.to_text(found))
    else:
        done = workshop.repair(shards, bank=bank)
        found = done.after
        if as_json:
            facts = {"rebuilt": done.rebuilt, "failed": done.failed, "after": {**asdict(found), "ok": found.ok}}
            typer.echo(json.dumps(facts, indent=1))
        else:
            typer.echo("\n".join([f"made again: {', '.join(done.rebuilt) or 'nothing'}", *done.failed, ""]))
            typer.echo(checks.to_text(found))
    if not found.ok:
        raise typer.Exit(1)
