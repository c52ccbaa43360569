"""The command `mvp-data doctor`; `cli` registers it."""

from pathlib import Path
from typing import Annotated

import typer


def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """Try everything that building and training need; exit code 1 if a build with default options cannot run here.

    Example:

      mvp-data doctor
    """
    from mvp_data import doctor

    rows = doctor.examine(doctor.checks(Path.cwd()))
    typer.echo(doctor.to_json(rows) if as_json else doctor.to_text(rows))
    if doctor.unfit(rows):
        raise typer.Exit(1)
