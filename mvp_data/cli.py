"""The command line. Options of `build` and `index` are made from the fields of `config`, so they cannot drift apart."""

import inspect as signatures
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from mvp_data import __version__
from mvp_data.cli_doctor import doctor_command
from mvp_data.cli_inspect import inspect_command
from mvp_data.cli_merge import merge_command
from mvp_data.cli_quiz import quiz_command
from mvp_data.cli_status import ledger_command, status_command
from mvp_data.cli_upload import upload_command
from mvp_data.cli_verify import verify_command
from mvp_data.cli_weights import weights_app
from mvp_data.config import all_options, from_options, read_yaml
from mvp_data.errors import MvpError
from mvp_data.inspect import printable
from mvp_data.interrupts import Stopped
from mvp_data.journal import log_line
from mvp_data.options import value_type
from mvp_data.pipeline import build, index
from mvp_data.removed import refuse_removed
from mvp_data.report import counts, plural, times, to_text

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turn videos into masked-video-prediction puzzles: verifiable RL data for video language models.",
)
app.add_typer(weights_app, name="weights")

PANELS = {
    "": "Run",
    "decode": "Decode and cut",
    "frames": "Frames",
    "embed": "Likeness",
    "mask": "What is hidden",
    "mine": "Distractors",
    "puzzle": "Puzzles",
    "pack": "Shards",
}
_INDEX_PANELS = ("", "decode", "frames", "embed")

Sources = Annotated[
    list[str] | None,
    typer.Option("--src", help="Folder, file, glob, manifest, tar of videos or URL; may be given several times."),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file of options; the command line wins.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
LogJson = Annotated[bool, typer.Option("--log-json", help="Log to stderr as JSON, a line an event, without bars.")]


def _takes_options(*panels: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a command's `**options` by one typed parameter for each field of `config` in these panels."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = signatures.signature(command)
        parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        for group, f in all_options():
            if group not in panels:
                continue
            flag = "--" + f.name.replace("_", "-")
            choices = f" One of: {', '.join(f.metadata['choices'])}." if f.metadata["choices"] else ""
            default = "" if f.default is None else f" Default: {f.default}."
            text = (f.metadata["help"] + choices + default).replace("[", r"\[")  # or it is taken for markup
            extra = typer.Option(flag, help=text, show_default=False, rich_help_panel=PANELS[group])
            annotation = Annotated[value_type(f) | None, extra]  # type: ignore[valid-type]
            parameters.append(
                signatures.Parameter(f.name, signatures.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            )
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        typer.echo(f"mvp-data {__version__}")
        raise typer.Exit


@app.command("build")
@_takes_options(*PANELS)
def build_command(
    src: Sources = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the shards; new or empty.")] = None,
    config: ConfigFile = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier build in OUT.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")] = False,
    as_json: AsJson = False,
    log_json: LogJson = False,
    **options: Any,
) -> None:
    """Make shards of puzzles out of videos. The same command resumes what was interrupted.

    Examples:

      mvp-data build --src ./videos --out shards/

      mvp-data build --src list.csv --src 'more/*.mkv' --out shards/ --hidden-frames 5 --mask-policy within_shot

      mvp-data build --config build.yaml --workers 8
    """
    chosen = from_options(_merge(config, {"src": src, "out": out, **options}))
    if dry_run:
        options = {**chosen.to_options(), "bank": str(chosen.bank_folder)}
        _say_plan(options, chosen.src, chosen.limit, as_json=as_json)
        return
    report = _resumable(lambda: build(chosen, overwrite=overwrite, log_json=log_json))
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=1, default=str))
    else:
        typer.echo(to_text(report))
    if not report.samples:
        alone = report.refused.get("no_decoy", 0)
        hint = f" ({alone} hidden segments found no decoy run: try --decoy-share 0)" if alone else ""
        _fail(f"no samples were written{hint}; mvp-data ledger {report.out} --skipped shows why for each file")


@app.command("index")
@_takes_options(*_INDEX_PANELS)
def index_command(
    src: Sources = None,
    config: ConfigFile = None,
    num_tasks: Annotated[int, typer.Option("--num-tasks", help="Share the sources between this many runs.")] = 1,
    task_index: Annotated[int, typer.Option("--task-index", help="Which of them this is, from 0.")] = 0,
    as_json: AsJson = False,
    log_json: LogJson = False,
    **options: Any,
) -> None:
    """Fill a bank (decode, cut, sample, embed) and stop; `build --bank` goes on from there.

    Examples:

      mvp-data index --src ./videos --bank bank/

      mvp-data index --src ./videos --bank bank/ --num-tasks 8 --task-index $SLURM_ARRAY_TASK_ID
    """
    merged = _merge(config, {"src": src, **options})
    if not merged.get("bank"):
        _fail("no bank: give --bank a folder")
    chosen = from_options({**merged, "out": f"{merged['bank']}.out"})  # which is never made
    report = _resumable(lambda: index(chosen, num_tasks=num_tasks, task_index=task_index, log_json=log_json))
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=1, default=str))
        return
    typer.echo(f"{report.videos} videos of {report.sources} sources are in {report.bank}")
    typer.echo(f"  skipped   {counts(report.skipped)}")
    typer.echo(f"  time      {times(report.seconds)}")


@app.command("audit")
def audit_command(
    shards: Annotated[Path, typer.Argument(help="A folder of shards, or one shard.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for report.html and audit.json.")] = None,
    embedder: Annotated[str, typer.Option("--embedder", help="Another encoder than the build's.")] = "",
    embedding: Annotated[bool, typer.Option("--embedding/--no-embedding", help="Compare by encoder too.")] = True,
    fail_on: Annotated[
        str, typer.Option("--fail-on", help="leak: exit with 1 if a leak solver wins, or too little was asked.")
    ] = "none",
    as_json: AsJson = False,
) -> None:
    """Ask whether the puzzles can be won without understanding them.

    Examples:

      mvp-data audit shards/ --out audit/

      mvp-data audit shards/ --fail-on leak --json
    """
    from mvp_data.audit import audit, embedder_for
    from mvp_data.audit_report import check, gate, to_json, to_text, write_report

    check(out, shards, fail_on)
    found = audit(shards, embedder=embedder_for(shards, embedder) if embedding else None)
    typer.echo(to_json(found) if as_json else to_text(found))
    if out is not None:
        typer.echo(f"report: {write_report(found, out, shards).resolve().as_uri()}", err=as_json)
    if reason := gate(found, fail_on):
        _fail(reason)


app.command("inspect")(inspect_command)
app.command("quiz")(quiz_command)
app.command("verify")(verify_command)
app.command("status")(status_command)
app.command("ledger")(ledger_command)
app.command("doctor")(doctor_command)
app.command("merge")(merge_command)
app.command("upload")(upload_command)


@app.command("export")
def export_command(
    shards: Annotated[Path, typer.Argument(help="A folder of shards, or one shard.")],
    to: Annotated[str, typer.Option("--to", help="trl, verl, easyr1, ms-swift, llamafactory or jsonl.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the export; new or empty.")],
    thinking: Annotated[bool, typer.Option("--thinking", help="Ask for reasoning before the answer.")] = False,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="Say when each context frame was taken.")] = False,
    pass_rates: Annotated[
        Path | None, typer.Option("--pass-rates", help="Parquet of `mvp-train filter`: leave out what teaches nothing.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export in OUT.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the samples in the layout of another trainer, with its command in a README.

    Examples:

      mvp-data export shards/ --to trl --out exported/

      mvp-data export shards/ --to verl --out exported/ --thinking --pass-rates rates.parquet
    """
    from mvp_data.export import export
    from mvp_data.prompt import PromptConfig

    prompt = PromptConfig(thinking=thinking, timestamps=timestamps)
    report = export(shards, out, to=to, prompt=prompt, pass_rates=pass_rates, overwrite=overwrite)
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=1, default=str))
        return
    typer.echo(f"{plural(report.samples, 'sample')} for {report.to}: {report.out}")
    typer.echo(f"  splits    {counts(report.splits)}")
    typer.echo(f"  left out  {counts(report.left_out)}")
    typer.echo(f"how to train on them: {report.out / 'README.md'}")


def _merge(config: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The file's options, overridden by those given on the command line."""
    from_file = read_yaml(config) if config is not None else {}
    return {**from_file, **{name: value for name, value in given.items() if value is not None}}


def _resumable(run: Callable[[], Any]) -> Any:
    try:
        return run()
    except KeyboardInterrupt as error:
        code = error.exit_code if isinstance(error, Stopped) else 130
        _fail("stopped; the same command goes on where this one ended", code)


def _say_plan(options: Mapping[str, Any], src: tuple[str, ...], limit: int, *, as_json: bool) -> None:
    from mvp_data.embed import load_embedder
    from mvp_data.scan import scan

    load_embedder(options["embedder"])  # what would stop the build stops the plan
    found = scan(src, limit=limit)
    plan = {"sources": len(found.sources), "problems": len(found.problems), "options": dict(options)}
    if as_json:
        typer.echo(json.dumps(plan, indent=1))
        return
    typer.echo(f"would decode {plan['sources']} sources ({plan['problems']} files are not usable), with:")
    for name, value in options.items():
        typer.echo(f"  {name}: {value}")


def _fail(message: str, code: int = 1) -> NoReturn:
    _complain(message, "error" if code == 1 else "stopped")
    raise typer.Exit(code)


def _complain(message: str, event: str = "error") -> None:
    """One line on stderr; of JSON where the others are."""
    in_json = "--log-json" in sys.argv
    line = log_line(event, message=message) if in_json else f"mvp-data: {printable(message)}\n"
    typer.echo(line, err=True, nl=False)


def main() -> None:
    """Entry point: every expected error is one line on stderr and a non-zero exit code."""
    try:
        refuse_removed(sys.argv[1:])
        app(prog_name="mvp-data")
    except MvpError as error:
        _complain(str(error))
        sys.exit(1)
    except BrokenPipeError:  # `mvp-data ledger out/ | head`: whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"{where}{error.strerror or error}")
        sys.exit(1)
    except KeyboardInterrupt:
        _complain("stopped", "stopped")
        sys.exit(130)


if __name__ == "__main__":
    main()
