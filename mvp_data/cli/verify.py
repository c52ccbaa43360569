"""The command `mvp-data verify`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mvp_data.cli.common import AsJson, print_json
from mvp_data.core.errors import ConfigError


def verify_command(
    shards: Annotated[Path, typer.Argument(help="The --out folder of a finished build.")],
    repair: Annotated[bool, typer.Option("--repair", help="Make damaged and missing files again.")] = False,
    bank: Annotated[Path | None, typer.Option("--bank", help="The bank to repair from [SHARDS.bank].")] = None,
    as_json: AsJson = False,
) -> None:
    """Check all bytes, images and rules of a finished build; the exit code is 0 only if everything is right.

    Examples:

      mvp-data verify shards/

      mvp-data verify shards/ --repair
    """
    from mvp_data.verify.findings import to_json, to_text
    from mvp_data.verify.repair import repair as repair_build
    from mvp_data.verify.run import verify

    if bank is not None and not repair:
        raise ConfigError("--bank is only used with --repair; add --repair, or remove --bank")
    if not repair:
        found = verify(shards)
        typer.echo(to_json(found) if as_json else to_text(found))
    else:
        done = repair_build(shards, bank=bank)
        found = done.after
        if as_json:
            facts = {"rebuilt": done.rebuilt, "failed": done.failed, "after": {**asdict(found), "ok": found.ok}}
            print_json(facts)
        else:
            typer.echo("\n".join([f"rebuilt: {', '.join(done.rebuilt) or 'nothing'}", *done.failed, ""]))
            typer.echo(to_text(found))
    if not found.ok:
        raise typer.Exit(1)
