"""The command line of the trainer."""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from mvp_data import __version__
from mvp_data.errors import MvpError
from mvp_train.recipe import Recipe, ShardsConfig, from_values, read_recipe

if TYPE_CHECKING:
    from mvp_train.dataset import Samples
    from mvp_train.evaluation.ask import Answers

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
ModelPath = Annotated[str, typer.Option("--model", help="Folder or Hub name of a model; instead of the recipe's.")]
Shards = Annotated[list[str] | None, typer.Option("--shards", help="Folder, tar or URL; may be given several times.")]
OptionalRecipe = Annotated[Path | None, typer.Argument(help="A recipe; or give --model and --shards.")]
Engine = Annotated[str, typer.Option("--engine", help="transformers, or vllm where it is installed.")]
Limit = Annotated[int, typer.Option("--limit", help="Only so many samples, drawn by the recipe's seed; 0: all.", min=0)]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Samples asked at once.", min=1)]
MaxNewTokens = Annotated[
    int, typer.Option("--max-new-tokens", help="Longest answer; 0: the recipe's grpo.max_completion_length.", min=0)
]
Seed = Annotated[int, typer.Option("--seed", help="Another seed draws other answers.")]
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
    from mvp_train.training.prepare import plan
    from mvp_train.training.run import train

    planned = plan(read_recipe(recipe, overrides or []), overwrite=overwrite)
    if dry_run:
        from mvp_train.training.dry_run import describe, facts

        typer.echo(json.dumps(facts(planned), indent=1) if as_json else describe(planned))
        return
    try:
        final = train(planned)
    except KeyboardInterrupt:
        from mvp_train.training.run_folder import last_checkpoint, step_of

        step = step_of(last_checkpoint(planned.recipe.output_dir))
        again = f"goes on from step {step}" if step else "begins again: there is no checkpoint yet"
        _fail(f"stopped; the same command {again}", code=130)
    if as_json:
        typer.echo(json.dumps({"model": str(final), "steps": planned.steps}))
    elif planned.first_step >= planned.steps:
        typer.echo(f"all {planned.steps} steps were done before; the model is in {final}. --overwrite starts again")
    else:
        typer.echo(f"{planned.steps} steps done; the model is in {final}, the log beside it")


@app.command("eval")
def eval_command(
    recipe: OptionalRecipe = None,
    overrides: Overrides = None,
    model: ModelPath = "",
    shards: Shards = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "val",
    out: Annotated[Path, typer.Option("--out", help="New folder for report, completions and page.")] = Path("eval"),
    samples: Annotated[int, typer.Option("--samples", help="Completions of each sample.", min=1)] = 1,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="0: greedy, the default; 1 for several completions.")
    ] = None,
    max_new_tokens: MaxNewTokens = 0,
    batch_size: BatchSize = 8,
    limit: Limit = 0,
    seed: Seed = 0,
    shuffle_context: Annotated[
        bool, typer.Option("--shuffle-context", help="Ablation: the context pictures in another order.")
    ] = False,
    remove_context: Annotated[bool, typer.Option("--remove-context", help="Ablation: no context at all.")] = False,
    blank_candidates: Annotated[
        bool, typer.Option("--blank-candidates", help="Ablation: all candidates grey; what is left is a leak.")
    ] = False,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option("--compare", help="Two report.json: a paired test, and nothing else.")
    ] = None,
    engine: Engine = "transformers",
    as_json: AsJson = False,
) -> None:
    """Measure a model on held-out puzzles, against chance: of a recipe, the trained model if there is one.

    Examples:

      mvp-train eval recipes/smoke.yaml --out eval/

      mvp-train eval --model Qwen/Qwen2.5-VL-7B-Instruct --shards shards/ --split test --samples 8 --out eval-base/

      mvp-train eval --compare eval-base/report.json eval/report.json
    """
    if compare is not None:
        from mvp_train.evaluation import compare as comparing

        found = comparing.compare(*compare)
        said = [asdict(one) for one in found]
        typer.echo(json.dumps(said, indent=1) if as_json else _plain("\n\n".join(map(comparing.to_text, found))))
        return
    from mvp_train.evaluation.ask import ABLATIONS, AskConfig
    from mvp_train.evaluation.evaluate import evaluate
    from mvp_train.evaluation.metrics import to_text

    flags = (shuffle_context, remove_context, blank_candidates)
    if sum(flags) > 1:
        _fail("one ablation at a time: --shuffle-context, --remove-context or --blank-candidates")
    chosen = _narrowed(_trained(_chosen(recipe, overrides, model, shards), model), split, limit)
    ask = AskConfig(
        prompt=chosen.prompt,
        reward=chosen.reward,
        ablation="".join(name for name, on in zip(ABLATIONS, flags, strict=True) if on),
        rollouts=samples,
        temperature=float(samples > 1) if temperature is None else temperature,
        max_new_tokens=max_new_tokens or _answer_tokens(chosen),
        batch_size=batch_size,
        seed=seed,
    )
    rows, load, about = _to_ask(chosen, engine, ask.max_new_tokens)
    try:
        report = evaluate(load, rows, out, ask, about)
    except KeyboardInterrupt:
        with suppress(OSError):
            out.rmdir()  # which is empty until the end
        _fail("stopped; nothing was written", code=130)
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=1))
        return
    asked = f"split {split}{', ' if ask.ablation else ''}{ask.ablation.replace('_', ' ')}"
    typer.echo(f"{chosen.model.path}, {asked}")
    typer.echo(to_text(report.rows))
    typer.echo(f"answers to look at: {(out / 'page.html').resolve().as_uri()}")


@app.command("filter")
def filter_command(
    recipe: OptionalRecipe = None,
    overrides: Overrides = None,
    model: ModelPath = "",
    shards: Shards = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "train",
    out: Annotated[Path, typer.Option("--out", help="The Parquet file to write.")] = Path("pass_rates.parquet"),
    rollouts: Annotated[int, typer.Option("--rollouts", help="Completions of each sample.", min=1)] = 8,
    temperature: Annotated[float, typer.Option("--temperature", help="0: greedy, for one rollout only.")] = 1.0,
    max_new_tokens: MaxNewTokens = 0,
    batch_size: BatchSize = 8,
    limit: Limit = 0,
    seed: Seed = 0,
    engine: Engine = "transformers",
    as_json: AsJson = False,
) -> None:
    """Measure how often a recipe's model gets each sample right; data.pass_rates then leaves out what teaches nothing.

    The same command goes on where it was stopped, in whatever way.

    Examples:

      mvp-train filter recipes/qwen7b.yaml --out pass_rates.parquet

      mvp-train grpo recipes/qwen7b.yaml data.pass_rates=pass_rates.parquet
    """
    from mvp_train.evaluation.ask import AskConfig
    from mvp_train.evaluation.pass_rates import filter_samples

    chosen = _narrowed(_chosen(recipe, overrides, model, shards), split, limit)
    ask = AskConfig(
        prompt=chosen.prompt,
        reward=chosen.reward,
        rollouts=rollouts,
        temperature=temperature,
        max_new_tokens=max_new_tokens or _answer_tokens(chosen),
        batch_size=batch_size,
        seed=seed,
    )
    rows, load, about = _to_ask(chosen, engine, ask.max_new_tokens)
    try:
        counts = filter_samples(load, rows, out, ask, about)
    except KeyboardInterrupt:
        _fail("stopped; the same command goes on where this one ended", code=130)
    if as_json:
        typer.echo(json.dumps({task: asdict(count) for task, count in counts.items()}))
        return
    typer.echo(chosen.model.path)
    for task, count in counts.items():
        typer.echo(
            f"{task}: {count.samples} sample{'s' * (count.samples != 1)}, {count.always} always right, "
            f"{count.never} never, {count.useful} useful: their completions earn different rewards"
        )
    if any(count.useful for count in counts.values()):
        typer.echo(f"train on the useful ones: mvp-train grpo RECIPE data.pass_rates={out}")


def _chosen(path: Path | None, overrides: list[str] | None, model: str, shards: list[str] | None) -> Recipe:
    """The recipe to ask by; `model` and `shards` replace its own, or stand without one."""
    if path is None and not (model and shards):
        _fail("name a recipe, or give --model and --shards")
    if path is None:
        return from_values({"model": {"path": model}, "data": {"shards": list(shards or [])}})
    recipe = read_recipe(path, overrides or [])
    data = replace(recipe.data, shards=tuple(ShardsConfig(path=place) for place in shards)) if shards else recipe.data
    return replace(recipe, model=replace(recipe.model, path=model or recipe.model.path), data=data)


def _trained(recipe: Recipe, model: str) -> Recipe:
    """The recipe with what its runs have come to in place of its model, unless `model` was asked for."""
    from mvp_train.training.run_folder import trained_model

    found = None if model else trained_model(recipe.output_dir)
    return recipe if found is None else replace(recipe, model=replace(recipe.model, path=str(found)))


def _narrowed(recipe: Recipe, split: str, limit: int) -> Recipe:
    """Each sample of a split once, or so many of them at random."""
    once = tuple(ShardsConfig(path=item.path) for item in recipe.data.shards)
    order = "shuffled" if limit else "as_written"
    return replace(recipe, data=replace(recipe.data, shards=once, split=split, order=order, limit=limit, pass_rates=""))


def _answer_tokens(recipe: Recipe) -> int:
    return int(recipe.grpo.get("max_completion_length") or 256)


def _to_ask(
    recipe: Recipe, engine: str, max_new_tokens: int
) -> tuple["Samples", Callable[[], "Answers"], dict[str, Any]]:
    """The samples, what loads the model, and what a report says of both."""
    from mvp_train.dataset import select

    if engine not in ("transformers", "vllm"):
        _fail(f"--engine {engine}: is neither transformers nor vllm")
    samples = select(recipe.data)

    def load() -> "Answers":
        if engine == "vllm":
            from mvp_train.models.vllm import VllmModel

            shown = [samples[i] for i in samples.one_of_each_shape()]
            pictures = max(len(sample.context) + len(sample.candidates) for sample in shown)
            return VllmModel(recipe.model, pictures=pictures, max_new_tokens=max_new_tokens)
        from mvp_train.models.load import load_model

        return load_model(recipe.model)

    about = {"model": {**asdict(recipe.model), "engine": engine}, "data": asdict(recipe.data)}
    return samples, load, about


def _plain(text: str) -> str:
    """Text that cannot drive the terminal: an error may quote names from a recipe or a shard of somebody else."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _fail(message: str, code: int = 1) -> NoReturn:
    typer.echo(f"mvp-train: {_plain(message)}", err=True)
    raise typer.Exit(code)


def main() -> None:
    """Entry point: every expected error is one line on stderr and a non-zero exit code."""
    try:
        app(prog_name="mvp-train")
    except MvpError as error:
        typer.echo(f"mvp-train: {_plain(str(error))}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("mvp-train: stopped", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
