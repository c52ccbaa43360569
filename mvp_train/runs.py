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
from mvp_train.recipe import Recipe, read_recipe, to_yaml

RECIPE_NAME = "recipe.yaml"
METRICS_NAME = "metrics.jsonl"
PAGE_NAME = "completions.html"
FINAL_NAME = "final"
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets")
# A run may be resumed with other values of these; all others decide what is learned.
MAY_CHANGE = frozenset(
    ("max_steps", "num_train_epochs", "save_steps", "save_total_limit", "save_strategy", "logging_steps", "report_to")
)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in a folder: one whose last file, the trainer's state, can be read."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]
    for path in sorted(found, key=step_of, reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_bytes())
            return path
        except (OSError, ValueError):
            continue  # the run was killed while it wrote this one
    return None


def step_of(checkpoint: Path | None) -> int:
    """The step at which a checkpoint was written, 0 for none."""
    return int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0


def trained_model(folder: Path) -> Path | None:
    """The model that a run in `folder` has come to: the final one, else the last checkpoint's."""
    final = folder / FINAL_NAME
    return final if final.is_dir() else last_checkpoint(folder)


def check_owner(recipe: Recipe) -> None:
    """Raise `OutputError` if checkpoints of another recipe lie in the output folder."""
    folder, path = recipe.output_dir, recipe.output_dir / RECIPE_NAME
    if last_checkpoint(folder) is None:
        return
    if not path.is_file():
        raise OutputError(f"{folder}: holds checkpoints but no {RECIPE_NAME}; choose another grpo.output_dir")
    if changed := _changes(read_recipe(path), recipe):
        raise OutputError(
            f"{folder}: holds checkpoints of a recipe that differs in {', '.join(changed)}; "
            "choose another grpo.output_dir, or pass --overwrite to start again"
        )


@contextmanager
def owned(recipe: Recipe, config_json: str, *, overwrite: bool) -> Iterator[None]:
    """Hold the output folder for one run, and write there what runs: the recipe, and TRL's whole configuration.

    Of several processes of one run the first does it. Raises `OutputError` if another run is at work there.
    """
    if int(os.environ.get("RANK", "0")) != 0:
        yield
        return
    with _locked(recipe.output_dir) as folder:
        if overwrite:
            for path in [*folder.glob("checkpoint-*"), folder / FINAL_NAME]:
                shutil.rmtree(path, ignore_errors=True)
            for name in (METRICS_NAME, PAGE_NAME):
                (folder / name).unlink(missing_ok=True)
        with atomic_write(folder / RECIPE_NAME) as file:
            file.write(f"# {_versions()}\n{to_yaml(recipe)}".encode())
        with atomic_write(folder / "grpo_config.json") as file:
            file.write(config_json.encode())
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """The folder, made if need be; the lock dies with the process. Windows cannot lock a folder and goes without."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY) if os.name != "nt" else None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be used as grpo.output_dir ({error.strerror})") from error
    try:
        if held is not None:
            import fcntl

            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                problem = "another run is at work there; wait for it, or choose another grpo.output_dir"
                raise OutputError(f"{folder}: {problem}") from error
        yield folder
    finally:
        if held is not None:
            os.close(held)


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
