"""Shared parts of the commands: the option `--json`, and messages on standard error."""

import json
import sys
from dataclasses import asdict, is_dataclass
from typing import Annotated, Any, NoReturn

import typer

from mvp_data.core.text import printable
from mvp_data.pipeline.run_log import log_line

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]


def print_json(value: Any) -> None:
    """Print a dataclass, a list of dataclasses or a JSON value to standard output."""

    def plain(other: Any) -> Any:
        return asdict(other) if is_dataclass(other) and not isinstance(other, type) else str(other)

    typer.echo(json.dumps(value, indent=1, default=plain))


def complain(message: str, event: str = "error") -> None:
    """Print one line to standard error; as JSON with `--log-json`."""
    in_json = "--log-json" in sys.argv
    line = log_line(event, message=message) if in_json else f"mvp-data: {printable(message)}\n"
    typer.echo(line, err=True, nl=False)


def fail(message: str, code: int = 1) -> NoReturn:
    """Print the message and end the command with this exit code."""
    complain(message, "error" if code == 1 else "stopped")
    raise typer.Exit(code)
