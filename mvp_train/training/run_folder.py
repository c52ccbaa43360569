"""The output folder of a run: which run owns it, its checkpoints, and a lock against a second run."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from mvp_data.core.errors import OutputError
from mvp_data.core.version import __version__
from mvp_data.system.files import atomic_write
from mvp_data.system.locks import locked_folder
from mvp_train.recipe import Recipe, read_recipe, to_yaml

RECIPE_NAME = "run.yaml"  # not `recipe.yaml`, which may be a file of the user
INPUTS_NAME = "run_inputs.json"
STATE_NAME = "trainer_state.json"
METRICS_NAME = "metrics.jsonl"
PAGE_NAME = "completions.html"
FINAL_NAME = "final"
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets")  # their versions are written with the recipe
# A run may be resumed with other values of these; the others decide what is learned.
MAY_CHANGE = frozenset(
    ("max_steps", "num_train_epochs", "save_steps", "save_total_limit", "save_strategy", "logging_steps", "report_to")
)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint in a folder: it has an optimiser and a state."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]
    for path in sorted(found, key=step_of, reverse=True):
        optimizer = any(path.glob("optimizer*")) or any(path.glob("global_step*"))  # the second is DeepSpeed's
        if optimizer and saved_step(path):
            return path
    return None


def saved_step(folder: Path) -> int:
    """The step of the model in a folder, by the state next to it, which is written last; 0 without one."""
    try:
        return int(json.loads((folder / STATE_NAME).read_bytes())["global_step"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return 0


def step_of(checkpoint: Path | None) -> int:
    """The step of a checkpoint; 0 without one."""
    return int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0


def trained_model(folder: Path) -> Path | None:
    """The latest model of the run in `folder`: the final one, or a later checkpoint."""
    checkpoint, final = last_checkpoint(folder), folder / FINAL_NAME
    return final if final.is_dir() and saved_step(final) >= step_of(checkpoint) else checkpoint


def check_owner(recipe: Recipe, inputs: Mapping[str, str], *, overwrite: bool) -> None:
    """Raise `OutputError` if the output folder holds models of another run, or models that no run of ours wrote."""
    folder, path = recipe.output_dir, recipe.output_dir / RECIPE_NAME
    if not any(folder.glob("checkpoint-*")) and not (folder / FINAL_NAME).exists():
        return
    if not path.is_file():
        raise OutputError(f"{folder}: holds models but no {RECIPE_NAME}, so not a run; choose another grpo.output_dir")
    if overwrite:
        return
    try:
        before = dict(json.loads((folder / INPUTS_NAME).read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        advice = "choose another grpo.output_dir, or pass --overwrite"
        raise OutputError(f"{folder / INPUTS_NAME}: missing or damaged; {advice}") from error
    changed = _changes(read_recipe(path), recipe)
    changed += [f"the content of {key}" for key in inputs if before.get(key) != inputs[key] and key not in changed]
    if changed:
        raise OutputError(
            f"{folder}: holds models of a run that differs in {', '.join(changed)}; "
            "choose another grpo.output_dir, or pass --overwrite to start again"
        )


@contextmanager
def owned(recipe: Recipe, inputs: Mapping[str, str], config_json: str, *, overwrite: bool) -> Iterator[None]:
    """Hold the output folder for one run, and write the recipe and TRL's whole configuration there.

    Only the first of a run's processes does this. Raises `OutputError` if another run uses the folder.
    """
    if int(os.environ.get("RANK", "0")) != 0:
        yield
        return
    folder = recipe.output_dir
    busy = "another run uses it; wait for it to end, or choose another grpo.output_dir"
    with locked_folder(folder, unusable="cannot be used as grpo.output_dir", busy=busy):
        if overwrite:
            for path in [*folder.glob("checkpoint-*"), folder / FINAL_NAME]:
                shutil.rmtree(path, ignore_errors=True)
            for name in (METRICS_NAME, PAGE_NAME):
                (folder / name).unlink(missing_ok=True)
        versions = [f"mvp-train {__version__}", *(f"{name} {version(name)}" for name in PACKAGES if find_spec(name))]
        written = f"# {', '.join(versions)}\n{to_yaml(recipe)}"
        texts = {RECIPE_NAME: written, "grpo_config.json": config_json, INPUTS_NAME: json.dumps(inputs)}
        for name, text in texts.items():
            with atomic_write(folder / name) as file:
                file.write(text.encode())
        yield


def _changes(old: Recipe, new: Recipe) -> list[str]:
    """Dotted names of the keys that differ, without those that may change."""
    found = []
    for section, before in asdict(old).items():
        after = asdict(new)[section]
        if not isinstance(before, Mapping) or not isinstance(after, Mapping):
            found += [section] * (before != after)
            continue
        keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        found += [f"{section}.{key}" for key in keys if not (section == "grpo" and key in MAY_CHANGE)]
    return found
