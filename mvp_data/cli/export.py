"""The command `mvp-data export`: write samples in the format of another training framework."""

from pathlib import Path
from typing import Annotated

import typer

from mvp_data.cli.common import AsJson, print_json
from mvp_data.core.text import counts, plural
from mvp_data.export.catalogue import TARGETS

*_FIRST, _LAST = TARGETS


def export_command(
    shards: Annotated[Path, typer.Argument(help="A folder of shards, or one shard.")],
    to: Annotated[str, typer.Option("--to", help=f"{', '.join(_FIRST)} or {_LAST}.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the export; new or empty.")],
    thinking: Annotated[bool, typer.Option("--thinking", help="Ask for reasoning before the answer.")] = False,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="State the time of each context frame.")] = False,
    pass_rates: Annotated[
        Path | None,
        typer.Option("--pass-rates", help="Parquet of `mvp-train filter`: leave out too easy and too hard puzzles."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export in OUT.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the samples in the layout of another trainer, with its command in a README.

    Examples:

      mvp-data export shards/ --to trl --out exported/

      mvp-data export shards/ --to verl --out exported/ --thinking --pass-rates rates.parquet
    """
    from mvp_data.export.run import export
    from mvp_data.shards.prompt import PromptConfig

    prompt = PromptConfig(thinking=thinking, timestamps=timestamps)
    report = export(shards, out, to=to, prompt=prompt, pass_rates=pass_rates, overwrite=overwrite)
    if as_json:
        print_json(report)
        return
    typer.echo(f"{plural(report.samples, 'sample')} for {report.to}: {report.out}")
    typer.echo(f"  splits    {counts(report.splits)}")
    typer.echo(f"  left out  {counts(report.left_out)}")
    typer.echo(f"how to train on them: {report.out / 'README.md'}")
