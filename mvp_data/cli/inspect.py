"""The command `mvp-data inspect`."""

from pathlib import Path
from typing import Annotated

import typer

from mvp_data.cli.common import AsJson
from mvp_data.core.errors import ConfigError


def inspect_command(
    path: Annotated[Path, typer.Argument(help="A shard, or a folder of shards.")],
    as_json: AsJson = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write an HTML page with puzzles.")] = None,
    puzzles: Annotated[int, typer.Option("--puzzles", help="Puzzles on that page.", min=1)] = 24,
    sample: Annotated[str, typer.Option("--sample", help="The sample to print, and to show first on the page.")] = "",
    task: Annotated[str, typer.Option("--task", help="The task to show, if there are several.")] = "",
) -> None:
    """Show the content of a shard: a table, one puzzle as text, and optionally an HTML page.

    Examples:

      mvp-data inspect shards/shard-000000.tar

      mvp-data inspect shards/ --html page.html --puzzles 50
    """
    from mvp_data.viewer.summary import summarize, to_json
    from mvp_data.viewer.tables import find_sample, puzzle_in_words, to_table

    summary = summarize(path, task)
    if as_json:
        typer.echo(to_json(summary))
    else:
        typer.echo(to_table(summary))
        typer.echo("")
        typer.echo(puzzle_in_words(find_sample(path, sample, task)))
    if html is not None:
        from mvp_data.viewer.page import write_page

        if path.is_dir() and html.resolve().parent == path.resolve():
            raise ConfigError(f"{html}: a folder of shards must hold only shards; choose another folder")
        shown = write_page(path, html, puzzles=puzzles, seed=0, key=sample, task=task)
        typer.echo(f"{shown} puzzles: {html.resolve().as_uri()}", err=as_json)
