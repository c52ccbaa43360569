"""The command `mvp-data status`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mvp_data.cli.common import AsJson


def status_command(
    folder: Annotated[Path, typer.Argument(help="The --out folder of a build, or the bank of an index.")],
    as_json: AsJson = False,
) -> None:
    """Say where a build stands, at work or dead, and what to do next.

    Example:

      mvp-data status shards/
    """
    from mvp_data.pipeline.status import read_status, to_text

    status = read_status(folder)
    typer.echo(json.dumps(asdict(status), indent=1, default=str) if as_json else to_text(status))
