"""The command `mvp-data doctor`."""

from pathlib import Path

import typer

from mvp_data.cli.common import AsJson


def doctor_command(as_json: AsJson = False) -> None:
    """Try everything that building and training need; exit code 1 if a build with default options cannot run here.

    Example:

      mvp-data doctor
    """
    from mvp_data.pipeline import doctor

    rows = doctor.examine(doctor.checks(Path.cwd()))
    typer.echo(doctor.to_json(rows) if as_json else doctor.to_text(rows))
    if doctor.unfit(rows):
        raise typer.Exit(1)
