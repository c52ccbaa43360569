"""The command `mvp-data status`."""

from pathlib import Path
from typing import Annotated

import typer

from mvp_data.cli.common import AsJson, print_json


def status_command(
    folder: Annotated[Path, typer.Argument(help="The --out folder of a build, or the bank of an index.")],
    as_json: AsJson = False,
) -> None:
    """Print the state of a build, running or ended, and what to do next.

    Example:

      mvp-data status shards/
    """
    from mvp_data.pipeline.status import read_status, to_text

    status = read_status(folder)
    if as_json:
        print_json(status)
    else:
        typer.echo(to_text(status))
