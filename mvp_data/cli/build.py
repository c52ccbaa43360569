"""The commands `mvp-data build` and `mvp-data index`, whose options are generated from the configuration fields."""

import inspect as signatures
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mvp_data.cli.common import AsJson, fail, print_json
from mvp_data.config.fields import value_type
from mvp_data.config.options import all_options, from_options, read_yaml
from mvp_data.config.presets import PRESETS
from mvp_data.core.text import counts, times
from mvp_data.pipeline.build import build, index
from mvp_data.pipeline.report import to_text
from mvp_data.system.signals import Stopped

PANELS = {
    "": "Run",
    "decode": "Decoding and shots",
    "frames": "Frames",
    "embed": "Similarity",
    "mask": "Hidden segment",
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
Preset = Annotated[
    str | None,
    typer.Option("--preset", help=f"Options for a purpose; those given beside it win. One of: {', '.join(PRESETS)}."),
]
LogJson = Annotated[bool, typer.Option("--log-json", help="Log events to stderr as JSON lines, without bars.")]


def _takes_options(*panels: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace the `**options` of a command with one typed parameter for each option of these panels."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = signatures.signature(command)
        parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        for group, f in all_options():
            if group not in panels:
                continue
            flag = "--" + f.name.replace("_", "-")
            choices = f" One of: {', '.join(f.metadata['choices'])}." if f.metadata["choices"] else ""
            default = "" if f.default is None else f" Default: {f.default}."
            text = (f.metadata["help"] + choices + default).replace("[", r"\[")  # otherwise Rich reads it as markup
            extra = typer.Option(flag, help=text, show_default=False, rich_help_panel=PANELS[group])
            annotation = Annotated[value_type(f) | None, extra]  # type: ignore[valid-type]
            parameters.append(
                signatures.Parameter(f.name, signatures.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            )
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


@_takes_options(*PANELS)
def build_command(
    src: Sources = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the shards; new or empty.")] = None,
    config: ConfigFile = None,
    preset: Preset = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier build in OUT.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the sources and options, and stop.")] = False,
    as_json: AsJson = False,
    log_json: LogJson = False,
    **options: Any,
) -> None:
    """Build shards of puzzles from videos. After an interruption the same command resumes.

    Examples:

      mvp-data build --src ./videos --out shards/

      mvp-data build --src ./clips --out shards/ --preset short

      mvp-data build --src list.csv --src 'more/*.mkv' --out shards/ --hidden-frames 5 --mask-policy within_shot

      mvp-data build --config build.yaml --workers 8
    """
    chosen = from_options(_merge(config, {"src": src, "out": out, "preset": preset, **options}))
    if dry_run:
        options = {**chosen.to_options(), "bank": str(chosen.bank_folder)}
        _print_plan(options, chosen.src, chosen.limit, as_json=as_json)
        return
    report = _resumable(lambda: build(chosen, overwrite=overwrite, log_json=log_json))
    if as_json:
        print_json(report)
    else:
        typer.echo(to_text(report))
    if not report.samples:
        fail(f"no samples were written; mvp-data ledger {report.out} --skipped shows why for each file")


@_takes_options(*_INDEX_PANELS)
def index_command(
    src: Sources = None,
    config: ConfigFile = None,
    preset: Preset = None,
    num_tasks: Annotated[int, typer.Option("--num-tasks", help="Number of runs that share the sources.")] = 1,
    task_index: Annotated[int, typer.Option("--task-index", help="Number of this run, from 0.")] = 0,
    as_json: AsJson = False,
    log_json: LogJson = False,
    **options: Any,
) -> None:
    """Decode, cut, sample and embed videos into a bank, for a later `build --bank`.

    Examples:

      mvp-data index --src ./videos --bank bank/

      mvp-data index --src ./videos --bank bank/ --num-tasks 8 --task-index $SLURM_ARRAY_TASK_ID
    """
    merged = _merge(config, {"src": src, "preset": preset, **options})
    if not merged.get("bank"):
        fail("no bank: pass a folder with --bank")
    chosen = from_options({**merged, "out": f"{merged['bank']}.out"})  # a required value; this folder is not created
    report = _resumable(lambda: index(chosen, num_tasks=num_tasks, task_index=task_index, log_json=log_json))
    if as_json:
        print_json(report)
        return
    typer.echo(f"{report.videos} videos of {report.sources} sources are in {report.bank}")
    typer.echo(f"  skipped   {counts(report.skipped)}")
    typer.echo(f"  time      {times(report.seconds)}")


def _merge(config: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the file, overridden by those of the command line."""
    from_file = read_yaml(config) if config is not None else {}
    return {**from_file, **{name: value for name, value in given.items() if value is not None}}


def _resumable(run: Callable[[], Any]) -> Any:
    try:
        return run()
    except KeyboardInterrupt as error:
        code = error.exit_code if isinstance(error, Stopped) else 130
        fail("stopped; run the same command again to resume", code)


def _print_plan(options: Mapping[str, Any], src: tuple[str, ...], limit: int, *, as_json: bool) -> None:
    from mvp_data.embedding.load import load_embedder
    from mvp_data.sources.scan import scan

    load_embedder(options["embedder"])  # fail now rather than in the build
    found = scan(src, limit=limit)
    plan = {"sources": len(found.sources), "problems": len(found.problems), "options": dict(options)}
    if as_json:
        print_json(plan)
        return
    typer.echo(f"would decode {plan['sources']} sources ({plan['problems']} files are not usable), with:")
    for name, value in options.items():
        typer.echo(f"  {name}: {value}")
