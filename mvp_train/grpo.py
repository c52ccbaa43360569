"""GRPO on shards: check everything that is cheap to check, then let TRL train."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mvp_data.errors import ConfigError, MissingDependencyError, MvpError, OutputError
from mvp_data.files import atomic_write
from mvp_train.dataset import Samples, select, to_row
from mvp_train.models import (
    INSTALL,
    PromptCost,
    base_of,
    find_model,
    load_processor,
    lora_config,
    prompt_cost,
    quiet_libraries,
    with_weights,
)
from mvp_train.recipe import Recipe, checked, read_recipe, to_yaml
from mvp_train.reward import MvpReward

RECIPE_NAME = "recipe.yaml"  # in the output folder: whose checkpoints lie there
FINAL_NAME = "final"
OURS = ("remove_unused_columns", "shuffle_dataset")  # keys of GRPOConfig that follow from the rest of a recipe
# A run may be resumed with other values of these; all others decide what is learned.
MAY_CHANGE = (
    "max_steps",
    "num_train_epochs",
    "save_steps",
    "save_total_limit",
    "save_strategy",
    "logging_steps",
    "report_to",
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything about a run that is known before the model is loaded."""

    recipe: Recipe
    samples: Samples
    config: Any  # trl.GRPOConfig
    model: Path
    processor: Any
    costs: tuple[PromptCost, ...]  # one for each kind of sample: pictures, K and l; the first is the first sample's
    first_step: int

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        if self.config.max_steps > 0:
            return int(self.config.max_steps)
        config = self.config
        generations = len(self.samples) // self.prompts_per_generation  # TRL leaves out what does not fill one
        updates = (
            generations * config.steps_per_generation * config.num_iterations // config.gradient_accumulation_steps
        )
        return int(updates * config.num_train_epochs)

    @property
    def completions_per_step(self) -> int:
        """Completions in one optimiser step, over all devices."""
        config = self.config
        return int(config.per_device_train_batch_size * config.world_size * config.gradient_accumulation_steps)

    @property
    def prompts_per_generation(self) -> int:
        """Different prompts that are answered together, over all devices."""
        return int(self.config.generation_batch_size // self.config.num_generations)


def plan(recipe: Recipe) -> Plan:
    """Check a recipe against its shards, TRL's configuration, the model's processor and earlier checkpoints.

    Raises:
        ConfigError, ShardError, OutputError, MissingDependencyError: one line that says what to change.
    """
    samples = select(recipe.data)
    quiet_libraries()
    config = _config(recipe)
    model = find_model(recipe.model)
    base_of(model)  # an adapter whose base is missing stops here
    lora_config(recipe.lora)
    processor = load_processor(model)
    needed = config.generation_batch_size // config.num_generations
    if len(samples) < needed:
        raise ConfigError(f"{len(samples)} samples, and one step shows {needed}: lower the batch, or give more shards")
    costs = tuple(_cost(processor, recipe, samples, index) for index in samples.one_of_each_shape())
    return Plan(
        recipe=recipe,
        samples=samples,
        config=config,
        model=model,
        processor=processor,
        costs=costs,
        first_step=_step(last_checkpoint(recipe.output_dir)),
    )


def train(plan: Plan, *, overwrite: bool = False, reward: Callable[..., list[float]] | None = None) -> Path:
    """Train to the end of the plan, from the last checkpoint if there is one; returns the folder of the final model.

    `reward` replaces the recipe's reward, in TRL's signature: for controls.

    Raises:
        OutputError: the output folder holds checkpoints of another recipe.
        ShardError: a sample cannot be read; the message has its key.
    """
    from mvp_train.trainer import Trainer

    recipe, folder = plan.recipe, plan.recipe.output_dir
    _claim(recipe, overwrite=overwrite)
    with_weights(recipe.model)
    checkpoint = last_checkpoint(folder)
    trainer = Trainer(plan, reward or MvpReward(recipe.reward), first_step=_step(checkpoint))
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except MvpError as error:
        raise type(error)(_last_line(error)) from error
    finally:
        trainer.run_log.close()
    final = folder / FINAL_NAME
    trainer.save_model(str(final))
    return final


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder: one whose last file, the trainer's state, can be read."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]
    for path in sorted(found, key=_step, reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_bytes())
            return path
        except (OSError, ValueError):
            continue  # the run was killed while it wrote this one
    return None


def trained_model(folder: Path) -> Path | None:
    """The model that a run in `folder` has come to: the final one, else the last checkpoint's."""
    final = folder / FINAL_NAME
    return final if final.is_dir() else last_checkpoint(folder)


def _config(recipe: Recipe) -> Any:
    """TRL's configuration; its complaints as one line."""
    try:
        from mvp_train.trainer import GRPOConfig
    except ImportError as error:
        raise MissingDependencyError(f"training needs TRL ({error}): {INSTALL}") from error
    given = checked("grpo", recipe.grpo, GRPOConfig)
    if taken := sorted(set(given) & set(OURS)):
        raise ConfigError(f"grpo: {', '.join(taken)} cannot be set; use data.order for the order of samples")
    init = {"dtype": recipe.model.dtype, "attn_implementation": recipe.model.attn_implementation}
    given["model_init_kwargs"] = {**init, **(given.get("model_init_kwargs") or {})}
    given.setdefault("output_dir", str(recipe.output_dir))
    try:
        shuffled = recipe.data.order == "shuffled"  # anew in each epoch; the other orders are ours
        return GRPOConfig(**given, remove_unused_columns=False, shuffle_dataset=shuffled)
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(f"grpo: {' '.join(str(error).split())}") from error


def _cost(processor: Any, recipe: Recipe, samples: Samples, index: int) -> PromptCost:
    """What the prompt of a sample costs; refuses one that is too long."""
    row = to_row(samples[index], recipe.prompt)
    cost = prompt_cost(processor, row["prompt"], row["images"])
    if cost.total > recipe.model.max_prompt_tokens:
        raise ConfigError(
            f"a prompt takes {cost.total} tokens ({cost.pictures} of them pictures), model.max_prompt_tokens is "
            f"{recipe.model.max_prompt_tokens}: raise it, or build shards with --max-pixels or --context-frames lower"
        )
    return cost


def _claim(recipe: Recipe, *, overwrite: bool) -> None:
    """Make the output folder this recipe's; `OutputError` if checkpoints of another one lie there."""
    folder, path = recipe.output_dir, recipe.output_dir / RECIPE_NAME
    if last_checkpoint(folder) is not None and not overwrite:
        if not path.is_file():
            raise OutputError(f"{folder}: holds checkpoints but no {RECIPE_NAME}; choose another grpo.output_dir")
        if changed := _changes(read_recipe(path), recipe):
            raise OutputError(
                f"{folder}: holds checkpoints of a recipe that differs in {', '.join(changed)}; "
                "choose another grpo.output_dir, or pass --overwrite to start again"
            )
    if int(os.environ.get("RANK", "0")) == 0:
        folder.mkdir(parents=True, exist_ok=True)
        if overwrite:
            _discard(folder)
        with atomic_write(path) as file:
            file.write(to_yaml(recipe).encode())


def _changes(old: Recipe, new: Recipe) -> list[str]:
    """Dotted names of the keys that differ and matter."""
    found = []
    for section, before in asdict(old).items():
        after = asdict(new)[section]
        if not isinstance(before, Mapping) or not isinstance(after, Mapping):
            found += [section] * (before != after)
            continue
        keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        found += [f"{section}.{key}" for key in keys if not (section == "grpo" and key in MAY_CHANGE)]
    return found


def _discard(folder: Path) -> None:
    """Remove what an earlier run left, and nothing else."""
    import shutil

    from mvp_train.logs import METRICS_NAME, PAGE_NAME

    for path in [*folder.glob("checkpoint-*"), folder / FINAL_NAME]:
        shutil.rmtree(path, ignore_errors=True)
    for name in (METRICS_NAME, PAGE_NAME):
        (folder / name).unlink(missing_ok=True)


def _last_line(error: MvpError) -> str:
    """The message alone: an error that comes out of a DataLoader's worker has the worker's traceback before it."""
    lines = str(error).strip().splitlines()
    return lines[0] if len(lines) == 1 else lines[-1].partition("Error: ")[2]


def _step(checkpoint: Path | None) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0
