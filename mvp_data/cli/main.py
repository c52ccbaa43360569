"""The entry point `mvp-data`: registers the commands, and reports an expected error as one line and an exit code."""

import os
import sys
from typing import Annotated

import typer

from mvp_data.cli.audit import audit_command
from mvp_data.cli.build import build_command, index_command
from mvp_data.cli.common import complain
from mvp_data.cli.doctor import doctor_command
from mvp_data.cli.export import export_command
from mvp_data.cli.inspect import inspect_command
from mvp_data.cli.ledger import ledger_command
from mvp_data.cli.merge import merge_command
from mvp_data.cli.quiz import quiz_command
from mvp_data.cli.status import status_command
from mvp_data.cli.upload import upload_command
from mvp_data.cli.verify import verify_command
from mvp_data.cli.weights import weights_app
from mvp_data.config.removed import refuse_removed
from mvp_data.core.errors import MvpError
from mvp_data.core.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turn videos into masked-video-prediction puzzles: verifiable RL data for video language models.",
)
app.add_typer(weights_app, name="weights")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        typer.echo(f"mvp-data {__version__}")
        raise typer.Exit


app.command("build")(build_command)
app.command("index")(index_command)
app.command("audit")(audit_command)
app.command("inspect")(inspect_command)
app.command("quiz")(quiz_command)
app.command("verify")(verify_command)
app.command("status")(status_command)
app.command("ledger")(ledger_command)
app.command("doctor")(doctor_command)
app.command("merge")(merge_command)
app.command("upload")(upload_command)
app.command("export")(export_command)


def main() -> None:
    """Run the command; every expected error is one line on stderr and a non-zero exit code."""
    try:
        refuse_removed(sys.argv[1:])
        app(prog_name="mvp-data")
    except MvpError as error:
        complain(str(error))
        sys.exit(1)
    except BrokenPipeError:  # the reader of a pipe has ended, as in `mvp-data ledger out/ | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        complain(f"{where}{error.strerror or error}")
        sys.exit(1)
    except KeyboardInterrupt:
        complain("stopped", "stopped")
        sys.exit(130)


if __name__ == "__main__":
    main()
