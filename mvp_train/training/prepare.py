"""Check a recipe before any weights are loaded, and make the plan of its run."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mvp_data.core.errors import ConfigError, MissingDependencyError
from mvp_data.core.seeds import stable_hash
from mvp_data.core.text import one_line
from mvp_data.shards.tar import Sample
from mvp_train.dataset import Samples, select, to_row
from mvp_train.models.load import (
    INSTALL,
    RANDOM,
    PromptCost,
    base_of,
    find_model,
    fingerprint,
    load_processor,
    lora_config,
    prompt_cost,
    quiet_libraries,
)
from mvp_train.recipe import Recipe, checked
from mvp_train.training.plan import Plan
from mvp_train.training.run_folder import check_owner, last_checkpoint, step_of

SET_BY_US = ("remove_unused_columns", "shuffle_dataset")  # keys of GRPOConfig that follow from the rest of a recipe


def plan(recipe: Recipe, *, overwrite: bool = False) -> Plan:
    """Check a recipe against its shards, TRL's configuration, the model's processor and earlier checkpoints.

    With `overwrite`, `train` will discard an earlier run in the output folder. The message of a `ConfigError`,
    `ShardError`, `OutputError` or `MissingDependencyError` says what to change.
    """
    samples = select(recipe.data)
    quiet_libraries()
    config = _config(recipe)
    model = find_model(recipe.model)
    if base_of(model) is not None:
        raise ConfigError(f"{model}: is a LoRA adapter; merge it into its base model first (docs/training.md)")
    lora_config(recipe.lora)
    processor = load_processor(model)
    needed = config.generation_batch_size // config.num_generations
    if len(samples) < needed:
        raise ConfigError(f"{len(samples)} samples, but one step needs {needed}: lower the batch, or give more shards")
    inputs = _inputs(recipe, samples, model)
    check_owner(recipe, inputs, overwrite=overwrite)
    return Plan(
        recipe=recipe,
        inputs=inputs,
        samples=samples,
        config=config,
        model=model,
        processor=processor,
        costs=tuple(_cost(processor, recipe, sample) for sample in samples.one_of_each_shape()),
        validation=None if config.eval_strategy == "no" else select(replace(recipe.data, split="val", pass_rates="")),
        first_step=0 if overwrite else step_of(last_checkpoint(recipe.output_dir)),
        overwrite=overwrite,
    )


def _inputs(recipe: Recipe, samples: Samples, model: Path) -> dict[str, str]:
    """Fingerprints of the data and the model at the recipe's paths, so that a run is never resumed with others."""
    found = {"data.shards": f"{stable_hash(*(shards.state for shards in samples.sets)):016x}"}
    if recipe.data.pass_rates:
        found["data.pass_rates"] = hashlib.sha256(Path(recipe.data.pass_rates).read_bytes()).hexdigest()[:16]
    if not recipe.model.path.startswith(RANDOM):
        found["model.path"] = fingerprint(model)
    return found


def _config(recipe: Recipe) -> Any:
    """TRL's configuration; `ConfigError` with its own message where it refuses a value."""
    try:
        from mvp_train.training.trainer import GRPOConfig
    except ImportError as error:
        raise MissingDependencyError(f"training needs TRL ({one_line(error)}): {INSTALL}") from error
    given = checked("grpo", recipe.grpo, GRPOConfig)
    if taken := sorted(set(given) & set(SET_BY_US)):
        raise ConfigError(f"grpo: {', '.join(taken)} cannot be set; use data.order for the order of samples")
    if given.get("save_only_model"):
        raise ConfigError("grpo.save_only_model: a run cannot resume from such checkpoints; use save_total_limit")
    _need({"deepspeed": given.get("deepspeed"), "vllm": given.get("use_vllm")})
    init = {"dtype": recipe.model.dtype, "attn_implementation": recipe.model.attn_implementation}
    shuffled = recipe.data.order == "shuffled"  # by TRL in each epoch; `dataset.select` makes the other orders
    try:
        given["model_init_kwargs"] = {**init, **(given.get("model_init_kwargs") or {})}
        given["output_dir"] = str(recipe.output_dir)
        config = GRPOConfig(**given, remove_unused_columns=False, shuffle_dataset=shuffled)
    except (ValueError, TypeError, ImportError) as error:
        hint = "; without a GPU: grpo.use_cpu=true grpo.bf16=false" if "use_cpu" in str(error) else ""
        raise ConfigError(f"grpo: {one_line(error)}{hint}") from error
    updates = config.steps_per_generation * config.num_iterations / config.gradient_accumulation_steps
    if config.save_strategy == "steps" and updates > 1 and config.save_steps % updates:
        raise ConfigError(
            f"grpo.save_steps: {config.save_steps:g} must be a multiple of {updates:g}, the updates of a generation: "
            "a run that resumes between them would sample other completions"
        )
    _need({name: name in config.report_to for name in ("tensorboard", "wandb", "mlflow", "trackio")})
    return config


def _need(packages: Mapping[str, Any]) -> None:
    """Raise `MissingDependencyError` for the packages that a recipe needs and that are not installed."""
    if missing := [name for name, asked in packages.items() if asked and find_spec(name) is None]:
        raise MissingDependencyError(f"grpo: this recipe needs {', '.join(missing)}: pip install {' '.join(missing)}")


def _cost(processor: Any, recipe: Recipe, sample: Sample) -> PromptCost:
    """The tokens of the prompt of a sample; `ConfigError` if it is too long."""
    row = to_row(sample, recipe.prompt)
    cost = prompt_cost(processor, row["prompt"], row["images"])
    if cost.total > recipe.model.max_prompt_tokens:
        raise ConfigError(
            f"a prompt takes {cost.total} tokens ({cost.images} for images), model.max_prompt_tokens is "
            f"{recipe.model.max_prompt_tokens}: raise it, or build shards with a lower --max-pixels or --context-frames"
        )
    return cost
