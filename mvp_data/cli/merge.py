"""The command `mvp-data merge`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mvp_data.cli.common import AsJson


def merge_command(
    banks: Annotated[list[Path], typer.Argument(help="Banks of `mvp-data index`; they stay as they are.")],
    bank: Annotated[Path, typer.Option("--bank", help="The bank to bring them into; made if need be.")],
    as_json: AsJson = False,
) -> None:
    """Bring banks that several machines filled together. Where all share one bank there is nothing to merge.

    Example:

      mvp-data index --src ./videos --bank bank-$SLURM_ARRAY_TASK_ID --num-tasks 8 --task-index $SLURM_ARRAY_TASK_ID

      mvp-data merge bank-0 bank-1 bank-2 bank-3 bank-4 bank-5 bank-6 bank-7 --bank bank

      mvp-data build --src ./videos --bank bank --out shards/
    """
    from mvp_data.core.text import plural
    from mvp_data.ingest.merge_banks import merge

    report = merge(banks, bank)
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=1, default=str))
        return
    typer.echo(f"{plural(report.copied, 'video')} of {plural(report.banks, 'bank')} brought into {report.bank}")
    typer.echo(f"  there before  {report.known}")
    typer.echo(f"  had failed    {report.replaced} there, and went well elsewhere")
