"""The command line of `mvp-train`."""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from mvp_data.core.errors import ConfigError, MvpError
from mvp_data.core.text import plural, printable
from mvp_data.core.version import __version__
from mvp_train.recipe import Recipe, ShardsConfig, from_values, read_recipe

if TYPE_CHECKING:
    from mvp_train.dataset import Samples
    from mvp_train.evaluation.ask import Answers, AskConfig

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train and evaluate video language models on the shards that mvp-data makes.",
)

RecipeFile = Annotated[Path, typer.Argument(help="A recipe, such as recipes/smoke.yaml.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Overrides of recipe keys, such as grpo.learning_rate=2e-6.")
]
ModelPath = Annotated[str, typer.Option("--model", help="Folder or Hub name of a model; replaces the recipe's.")]
Shards = Annotated[list[str] | None, typer.Option("--shards", help="Folder, tar or URL of shards; repeat for several.")]
OptionalRecipe = Annotated[Path | None, typer.Argument(help="A recipe; or give --model and --shards.")]
Engine = Annotated[str, typer.Option("--engine", help="transformers, or vllm where it is installed.")]
Limit = Annotated[int, typer.Option("--limit", help="Number of samples, drawn by the recipe's seed; 0: all.", min=0)]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Samples in one batch.", min=1)]
MaxNewTokens = Annotated[
    int, typer.Option("--max-new-tokens", help="Longest completion; 0: the recipe's grpo.max_completion_length.", min=0)
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the sampled completions.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"mvp-train {__version__}")
        raise typer.Exit


@app.command("grpo")
def grpo_command(
    recipe: RecipeFile,
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, print the plan, and exit.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Discard an earlier run in grpo.output_dir.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model with GRPO. The same command resumes from the last checkpoint.

    Examples:

      mvp-train grpo recipes/smoke.yaml

      mvp-train grpo recipes/qwen7b.yaml data.shards=shards/ grpo.learning_rate=2e-6 --dry-run
    """
    from mvp_train.training.prepare import plan

    planned = plan(read_recipe(recipe, overrides or []), overwrite=overwrite)
    if dry_run:
        from mvp_train.training.plan import describe, facts

        typer.echo(json.dumps(facts(planned), indent=1) if as_json else describe(planned))
        return
    from mvp_train.training.trainer import train  # needs TRL, which `plan` checks

    try:
        final = train(planned)
    except KeyboardInterrupt:
        from mvp_train.training.run_folder import last_checkpoint, step_of

        step = step_of(last_checkpoint(planned.recipe.output_dir))
        where = f"resume from step {step}" if step else "start again: there is no checkpoint yet"
        _stop(f"stopped; run the same command again to {where}")
    if as_json:
        typer.echo(json.dumps({"model": str(final), "steps": planned.steps}))
    elif planned.first_step >= planned.steps:
        typer.echo(f"all {planned.steps} steps were already done; the model is in {final}; --overwrite starts again")
    else:
        typer.echo(f"{planned.steps} steps done; the model is in {final}, the log next to it")


@app.command("eval")
def eval_command(
    recipe: OptionalRecipe = None,
    overrides: Overrides = None,
    model: ModelPath = "",
    shards: Shards = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "val",
    out: Annotated[Path, typer.Option("--out", help="New folder for the results.")] = Path("eval"),
    samples: Annotated[int, typer.Option("--samples", help="Completions of each sample.", min=1)] = 1,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", help="0: greedy. Default: 0 for one completion, 1 for more."),
    ] = None,
    max_new_tokens: MaxNewTokens = 0,
    batch_size: BatchSize = 8,
    limit: Limit = 0,
    seed: Seed = 0,
    probe: Annotated[
        str,
        typer.Option("--probe", help="shuffled-context, removed-context, blank-candidates, unmarked-gap or moved-gap."),
    ] = "",
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--compare", help="Only compare two report.json files by a paired test."),
    ] = None,
    engine: Engine = "transformers",
    as_json: AsJson = False,
) -> None:
    """Evaluate a model on held-out samples and compare it with chance. With a recipe: its trained model, if any.

    Examples:

      mvp-train eval recipes/smoke.yaml --out eval/

      mvp-train eval --model Qwen/Qwen2.5-VL-7B-Instruct --shards shards/ --split test --samples 8 --out eval-base/

      mvp-train eval recipes/smoke.yaml --probe moved-gap --out eval-moved/

      mvp-train eval --compare eval-base/report.json eval/report.json
    """
    if compare is not None:
        from mvp_train.evaluation import compare as comparing

        found = comparing.compare(*compare)
        values = [asdict(one) for one in found]
        typer.echo(json.dumps(values, indent=1) if as_json else "\n\n".join(map(comparing.to_text, found)))
        return
    from mvp_train.evaluation.ask import PROBES
    from mvp_train.evaluation.evaluate import evaluate
    from mvp_train.evaluation.metrics import to_text

    chosen = _asked_recipe(recipe, overrides or [], model, shards or [], split, limit, trained=True)
    load, rows, ask, about = _to_ask(
        chosen,
        engine,
        max_new_tokens,
        probe=probe,
        rollouts=samples,
        temperature=float(samples > 1) if temperature is None else temperature,
        batch_size=batch_size,
        seed=seed,
    )
    try:
        report = evaluate(load, rows, out, ask, about)
    except KeyboardInterrupt:
        with suppress(OSError):
            out.rmdir()  # it is empty until the end
        _stop("stopped; nothing was written")
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=1))
        return
    typer.echo(", ".join(filter(None, [chosen.model.path, f"split {split}", PROBES.get(probe)])))
    typer.echo(to_text(report.rows))
    typer.echo(f"page of completions: {(out / 'page.html').resolve().as_uri()}")


@app.command("filter")
def filter_command(
    recipe: OptionalRecipe = None,
    overrides: Overrides = None,
    model: ModelPath = "",
    shards: Shards = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "train",
    out: Annotated[Path, typer.Option("--out", help="The Parquet file to write.")] = Path("pass_rates.parquet"),
    rollouts: Annotated[int, typer.Option("--rollouts", help="Completions of each sample.", min=1)] = 8,
    temperature: Annotated[float, typer.Option("--temperature", help="0: greedy, for a single completion.")] = 1.0,
    max_new_tokens: MaxNewTokens = 0,
    batch_size: BatchSize = 8,
    limit: Limit = 0,
    seed: Seed = 0,
    engine: Engine = "transformers",
    as_json: AsJson = False,
) -> None:
    """Measure how often a model answers each sample right, so that data.pass_rates can leave out useless samples.

    The same command resumes after any kind of interruption.

    Examples:

      mvp-train filter recipes/qwen7b.yaml --out pass_rates.parquet

      mvp-train grpo recipes/qwen7b.yaml data.pass_rates=pass_rates.parquet
    """
    from mvp_train.evaluation.pass_rates import measure_pass_rates

    chosen = _asked_recipe(recipe, overrides or [], model, shards or [], split, limit, trained=False)
    asked = {"rollouts": rollouts, "temperature": temperature, "batch_size": batch_size, "seed": seed}
    load, rows, ask, about = _to_ask(chosen, engine, max_new_tokens, **asked)
    try:
        counts = measure_pass_rates(load, rows, out, ask, about)
    except KeyboardInterrupt:
        _stop("stopped; run the same command again to resume")
    if as_json:
        typer.echo(json.dumps({task: asdict(count) for task, count in counts.items()}))
        return
    typer.echo(chosen.model.path)
    for task, count in counts.items():
        typer.echo(
            f"{task}: {plural(count.samples, 'sample')}, {count.always} always right, "
            f"{count.never} never right, {count.useful} useful (their completions earn different rewards)"
        )
    if any(count.useful for count in counts.values()):
        typer.echo(f"train on the useful samples: mvp-train grpo RECIPE data.pass_rates={out}")


def _asked_recipe(
    path: Path | None, overrides: list[str], model: str, shards: list[str], split: str, limit: int, *, trained: bool
) -> Recipe:
    """The recipe with each sample of a split once, or `limit` of them at random.

    `model` and `shards` replace those of the recipe, or suffice without a recipe. With `trained`, the latest model that
    the recipe has trained replaces its base model, unless `model` is given.
    """
    from mvp_train.training.run_folder import trained_model

    if path is not None:
        recipe = read_recipe(path, overrides)
    elif model and shards:
        recipe = from_values({"model": {"path": model}, "data": {"shards": shards}})
    else:
        raise ConfigError("name a recipe, or give --model and --shards")
    found = trained_model(recipe.output_dir) if trained and not model else None
    once = tuple(ShardsConfig(path=place) for place in shards or [item.path for item in recipe.data.shards])
    order = "shuffled" if limit else "as_written"
    data = replace(recipe.data, shards=once, split=split, order=order, limit=limit, pass_rates="")
    return replace(recipe, model=replace(recipe.model, path=model or str(found or recipe.model.path)), data=data)


def _to_ask(
    recipe: Recipe, engine: str, max_new_tokens: int, **asked: Any
) -> tuple[Callable[[], "Answers"], "Samples", "AskConfig", dict[str, Any]]:
    """A function that loads the model, the samples, how they are asked, and the facts about both for the report."""
    from mvp_train.dataset import select
    from mvp_train.evaluation.ask import AskConfig

    if engine not in ("transformers", "vllm"):
        raise ConfigError(f"--engine {engine}: must be transformers or vllm")
    tokens = max_new_tokens or int(recipe.grpo.get("max_completion_length") or 256)
    ask = AskConfig(prompt=recipe.prompt, reward=recipe.reward, max_new_tokens=tokens, **asked)
    samples = select(recipe.data)

    def load() -> "Answers":
        if engine == "vllm":
            from mvp_train.models.vllm import VllmModel

            images = max(len(sample.context) + len(sample.candidates) for sample in samples.one_of_each_shape())
            return VllmModel(recipe.model, images=images, max_new_tokens=tokens)
        from mvp_train.models.load import load_model

        return load_model(recipe.model)

    return load, samples, ask, {"model": {**asdict(recipe.model), "engine": engine}, "data": asdict(recipe.data)}


def _complain(message: str) -> None:
    typer.echo(f"mvp-train: {printable(message)}", err=True)


def _stop(message: str) -> NoReturn:
    """End an interrupted command."""
    _complain(message)
    raise typer.Exit(130)


def main() -> None:
    """Entry point: each expected error is one line on stderr and a non-zero exit code."""
    try:
        app(prog_name="mvp-train")
    except MvpError as error:
        _complain(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        _complain("stopped")
        sys.exit(130)


if __name__ == "__main__":
    main()
