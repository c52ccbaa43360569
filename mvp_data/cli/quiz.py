"""The command `mvp-data quiz`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mvp_data.cli.common import AsJson
from mvp_data.errors import ConfigError, OutputError


def quiz_command(
    shards: Annotated[Path, typer.Argument(help="A folder of shards, or one shard.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write a page; it saves its answers as JSON.")] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the page on 127.0.0.1, and grade each answer at once.")
    ] = False,
    grade: Annotated[Path | None, typer.Option("--grade", help="Grade the answers that a page saved.")] = None,
    results: Annotated[
        Path | None, typer.Option("--results", help="File for the graded answers; --serve goes on from it.")
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Puzzles.", min=1)] = 30,
    seed: Annotated[int, typer.Option("--seed", help="Another seed asks other puzzles.")] = 0,
    split: Annotated[str, typer.Option("--split", help="Only train, val or test.")] = "",
    task: Annotated[str, typer.Option("--task", help="Only puzzles of this task, such as mvp.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let a person solve puzzles, by hand: the score beside chance is the human baseline.

    Examples:

      mvp-data quiz shards/ --n 30 --serve --results results.json

      mvp-data quiz shards/ --n 30 --out quiz.html

      mvp-data quiz shards/ --grade answers.json
    """
    from mvp_data import quiz, quiz_score, quiz_server

    if sum((out is not None, serve, grade is not None)) != 1:
        raise ConfigError("give one of --out PAGE, --serve and --grade ANSWERS")
    for file in (out, results):
        if file is not None and shards.is_dir() and file.resolve().parent == shards.resolve():
            raise OutputError(f"{file}: is in the folder of shards, which must hold nothing else; choose another one")
    config = quiz_score.QuizConfig(puzzles=n, seed=seed, split=split, task=task)
    if out is not None:
        count = quiz.write_quiz(shards, out, config)
        if as_json:
            typer.echo(json.dumps({"puzzles": count, "page": str(out)}))
            return
        typer.echo(f"{count} puzzles to solve: {out.resolve().as_uri()}")
        typer.echo(f"then: mvp-data quiz {shards} --grade answers.json")
        return
    if grade is not None:
        found = quiz.grade(shards, grade)
        if results is not None:
            quiz.write_results(found, results)
    else:
        results = results or Path("results.json")
        found = quiz_server.serve(
            shards, results, config, say=lambda url: typer.echo(f"open {url}\nCtrl-C stops; {results}", err=True)
        )
    typer.echo(quiz_score.to_json(found) if as_json else quiz_score.to_text(found))
