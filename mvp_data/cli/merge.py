"""The command `mvp-data merge`."""

from pathlib import Path
from typing import Annotated

import typer

from mvp_data.cli.common import AsJson, print_json


def merge_command(
    banks: Annotated[list[Path], typer.Argument(help="Banks of `mvp-data index`; they are not changed.")],
    bank: Annotated[Path, typer.Option("--bank", help="The bank to merge into; created if needed.")],
    as_json: AsJson = False,
) -> None:
    """Merge the banks of several machines into one. Machines that share one bank do not need this.

    Example:

      mvp-data index --src ./videos --bank bank-$SLURM_ARRAY_TASK_ID --num-tasks 8 --task-index $SLURM_ARRAY_TASK_ID

      mvp-data merge bank-0 bank-1 bank-2 bank-3 bank-4 bank-5 bank-6 bank-7 --bank bank

      mvp-data build --src ./videos --bank bank --out shards/
    """
    from mvp_data.core.text import plural
    from mvp_data.ingest.merge_banks import merge

    report = merge(banks, bank)
    if as_json:
        print_json(report)
        return
    typer.echo(f"{plural(report.copied, 'video')} of {plural(report.banks, 'bank')} copied into {report.bank}")
    typer.echo(f"  known     {report.known}")
    typer.echo(f"  replaced  {report.replaced} failures that succeeded elsewhere")
