"""The command `mvp-data quiz`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mvp_data.cli.common import AsJson
from mvp_data.core.errors import ConfigError, OutputError


def quiz_command(
    shards: Annotated[Path, typer.Argument(help="A folder of shards, or one shard.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write a page that saves the answers as JSON.")] = None,
    grade: Annotated[
        list[Path] | None, typer.Option("--grade", help="Grade the answers that a page saved; repeat for each reader.")
    ] = None,
    results: Annotated[Path | None, typer.Option("--results", help="File for the graded answers, as JSON.")] = None,
    n: Annotated[int, typer.Option("--n", help="Number of puzzles.", min=1)] = 30,
    seed: Annotated[int, typer.Option("--seed", help="Another seed chooses other puzzles.")] = 0,
    split: Annotated[str, typer.Option("--split", help="Only train, val or test.")] = "",
    task: Annotated[str, typer.Option("--task", help="Only puzzles of this task, such as mvp.")] = "",
    half: Annotated[
        str, typer.Option("--half", help="first or second: one sample of each pair; both: whole pairs.")
    ] = "first",
    reader: Annotated[str, typer.Option("--reader", help="Name of the reader, for the record.")] = "",
    kind: Annotated[str, typer.Option("--kind", help="human or model; only people are human.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let a reader solve puzzles by hand, to compare people with chance and with models.

    Examples:

      mvp-data quiz shards/ --n 30 --reader Ana --kind human --out ana.html

      mvp-data quiz shards/ --n 30 --reader Ben --kind human --half second --out ben.html

      mvp-data quiz shards/ --grade ana.json --grade ben.json
    """
    from mvp_data.quiz import page, score

    if (out is None) == (not grade):
        raise ConfigError("give either --out PAGE or --grade ANSWERS")
    for file in (out, results):
        if file is not None and shards.is_dir() and file.resolve().parent == shards.resolve():
            raise OutputError(f"{file}: a folder of shards must hold only shards; choose another folder")
    config = score.QuizConfig(puzzles=n, seed=seed, split=split, task=task, half=half, reader=reader, kind=kind)
    if grade:
        found = page.grade(shards, grade)
        if results is not None:
            page.write_results(found, results)
        typer.echo(score.to_json(found) if as_json else score.to_text(found))
    elif out is not None:
        count = page.write_quiz(shards, out, config)
        if as_json:
            typer.echo(json.dumps({"puzzles": count, "page": str(out)}))
            return
        typer.echo(f"{count} puzzles to solve: {out.resolve().as_uri()}")
        typer.echo(f"then: mvp-data quiz {shards} --grade answers.json")
