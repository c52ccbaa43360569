"""The folder of a run: whose it is, how far the run has come, and that only one run is at work in it."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mvp_data import __version__
from mvp_data.errors import OutputError
from mvp_data.files import atomic_write
from mvp_data.locks import locked_folder
from mvp_train.recipe import Recipe, read_recipe, to_yaml

RECIPE_NAME = "run.yaml"  # not `recipe.yaml`: a user's own may lie in the folder
INPUTS_NAME = "run_inputs.json"
STATE_NAME = "trainer_state.json"
METRICS_NAME = "metrics.jsonl"
PAGE_NAME = "completions.html"
FINAL_NAME = "final"
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets")
# A run may be resumed with other values of these; all others decide what is learned.
MAY_CHANGE = frozenset(
    ("max_steps", "num_train_epochs", "save_steps", "save_total_limit", "save_strategy", "logging_steps", "report_to")
)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder: with an optimiser, and with the state that is written last."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]
    for path in sorted(found, key=step_of, reverse=True):
        optimizer = any(path.glob("optimizer*")) or any(path.glob("global_step*"))  # the second is DeepSpeed's
        if optimizer and _steps_of_state(path) is not None:
            return path  # the run was killed while it wrote those after it
    return None


def final_step(folder: Path) -> int:
    """After how many steps the final model in a folder was written; 0 if there is none."""
    return _steps_of_state(folder / FINAL_NAME) or 0


def _steps_of_state(folder: Path) -> int | None:
    try:
        return int(json.loads((folder / STATE_NAME).read_bytes())["global_step"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def step_of(checkpoint: Path | None) -> int:
    """The step at which a checkpoint was written, 0 for none."""
    return int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0


def trained_model(folder: Path) -> Path | None:
    """The model that a run in `folder` has come to: the final one, or that of a later checkpoint."""
    checkpoint, final = last_checkpoint(folder), folder / FINAL_NAME
    return final if final.is_dir() and final_step(folder) >= step_of(checkpoint) else checkpoint


def check_owner(recipe: Recipe, inputs: Mapping[str, str], *, overwrite: bool) -> None:
    """Raise `OutputError` if models of another run lie in the output folder, or (ever) models of no run of ours."""
    folder, path = recipe.output_dir, recipe.output_dir / RECIPE_NAME
    if not any(folder.glob("checkpoint-*")) and not (folder / FINAL_NAME).exists():
        return
    if not path.is_file():
        raise OutputError(f"{folder}: holds models but no {RECIPE_NAME} of a run; choose another grpo.output_dir")
    if overwrite:
        return
    changed = _changes(read_recipe(path), recipe)
    before = _read_inputs(folder / INPUTS_NAME)
    changed += [f"what lies at {key}" for key in inputs if before.get(key) != inputs[key] and key not in changed]
    if changed:
        raise OutputError(
            f"{folder}: holds models of a run that differs in {', '.join(changed)}; "
            "choose another grpo.output_dir, or pass --overwrite to start again"
        )


def _read_inputs(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise OutputError(f"{path}: missing or damaged; choose another grpo.output_dir, or pass --overwrite") from error


@contextmanager
def owned(recipe: Recipe, inputs: Mapping[str, str], config_json: str, *, overwrite: bool) -> Iterator[None]:
    """Hold the output folder for one run, and write there what runs: the recipe, and TRL's whole configuration.

    Of several processes of one run the first does it. Raises `OutputError` if another run is at work there.
    """
    if int(os.environ.get("RANK", "0")) != 0:
        yield
        return
    folder = recipe.output_dir
    busy = "another run is at work there; wait for it, or choose another grpo.output_dir"
    with locked_folder(folder, unusable="cannot be used as grpo.output_dir", busy=busy):
        if overwrite:
            for path in [*folder.glob("checkpoint-*"), folder / FINAL_NAME]:
                shutil.rmtree(path, ignore_errors=True)
            for name in (METRICS_NAME, PAGE_NAME):
                (folder / name).unlink(missing_ok=True)
        texts = {RECIPE_NAME: f"# {_versions()}\n{to_yaml(recipe)}", "grpo_config.json": config_json}
        for name, text in {**texts, INPUTS_NAME: json.dumps(inputs)}.items():
            with atomic_write(folder / name) as file:
                file.write(text.encode())
        yield


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


def _versions() -> str:
    """`mvp-train 0.1.0, torch 2.15.0, ...`: what a figure depends on besides the recipe."""
    found = [f"mvp-train {__version__}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
