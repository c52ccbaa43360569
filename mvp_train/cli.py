"""The command line of the trainer."""

import json
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mvp_data import __version__
from mvp_data.errors import MvpError
from mvp_train.recipe import read_recipe

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train and evaluate video language models on the shards that mvp-data makes.",
)

RecipeFile = Annotated[Path, typer.Argument(help="A recipe, such as recipes/smoke.yaml.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Changes to it, such as grpo.learning_rate=2e-6 data.shards=shards/.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        typer.echo(f"mvp-train {__version__}")
        raise typer.Exit


@app.command("grpo")
def grpo_command(
    recipe: RecipeFile,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would be done, and stop.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Discard an earlier run in grpo.output_dir.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model with GRPO. The same command resumes from the last checkpoint.

    Examples:

      mvp-train grpo recipes/smoke.yaml

      mvp-train grpo recipes/qwen7b.yaml data.shards=shards/ grpo.learning_rate=2e-6 --dry-run
    """
    from mvp_train.grpo import plan, train

    planned = plan(read_recipe(recipe, overrides or []))
    if dry_run:
        from mvp_train.dry_run import describe, facts

        typer.echo(json.dumps(facts(planned), indent=1) if as_json else describe(planned))
        return
    try:
        final = train(planned, overwrite=overwrite)
    except KeyboardInterrupt:
        _fail("stopped; the same command goes on from the last checkpoint", code=130)
    if as_json:
        typer.echo(json.dumps({"model": str(final), "steps": planned.steps}))
    else:
        typer.echo(f"{planned.steps} steps done; the model is in {final}, the log beside it")


def _fail(message: str, code: int = 1) -> NoReturn:
    typer.echo(f"mvp-train: {message}", err=True)
    raise typer.Exit(code)


def main() -> None:
    """Entry point: every expected error is one line on stderr and a non-zero exit code."""
    try:
        app(prog_name="mvp-train")
    except MvpError as error:
        typer.echo(f"mvp-train: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
