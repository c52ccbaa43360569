"""Checking a recipe: everything that is refused before a run starts."""

from pathlib import Path
from typing import Any

import pytest

from mvp_data.core.errors import ConfigError, MissingDependencyError, MvpError
from mvp_train.recipe import from_values
from tests.train.training.runs import GRPO, recipe

pytest.importorskip("trl", reason="needs the train extra")

from mvp_train.training.prepare import plan


def test_a_checkpoint_inside_a_generation_is_refused(tiny: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"save_steps: 3 must be a multiple of 2, the updates of a generation"):
        plan(recipe(tiny, shards, tmp_path / "run", num_iterations=2, save_steps=3))
    plan(recipe(tiny, shards, tmp_path / "run", num_iterations=2, save_steps=4))


@pytest.mark.parametrize(
    ("grpo", "said"),
    [
        ({"learning_rat": 1}, "unknown key learning_rat; did you mean learning_rate"),
        ({"num_generations": 3}, "divisible"),
        ({"save_only_model": True}, "a run cannot resume"),
        ({"model_init_kwargs": "abc"}, "grpo"),
        ({"max_completion_length": "abc"}, "max_completion_length"),
        ({"remove_unused_columns": True}, "cannot be set"),
        ({"per_device_train_batch_size": 64}, "8 samples, but one step needs 16"),
        ({"max_steps": "many"}, "max_steps"),
        ({"use_vllm": True}, "pip install vllm"),
        ({"report_to": "trackio"}, "pip install trackio"),
        ({"deepspeed": {"zero_optimization": {"stage": 3}}}, "pip install deepspeed"),
    ],
)
def test_grpo_settings_that_are_refused(
    tiny: Path, shards: Path, tmp_path: Path, grpo: dict[str, Any], said: str
) -> None:
    with pytest.raises((ConfigError, MissingDependencyError), match=r"grpo|samples") as error:
        plan(recipe(tiny, shards, tmp_path / "run", **grpo))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_frames_that_do_not_fit_the_model(tiny_qwen3: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--patch-multiple 32"):
        plan(recipe(tiny_qwen3, shards, tmp_path / "run"))


def test_a_prompt_that_is_too_long(tiny: Path, shards: Path, tmp_path: Path) -> None:
    made = from_values(
        {
            "model": {"path": str(tiny), "max_prompt_tokens": 100},
            "data": {"shards": str(shards)},
            "grpo": {**GRPO, "output_dir": str(tmp_path / "run")},
        }
    )
    with pytest.raises(ConfigError, match=r"a prompt takes \d+ tokens \(48 for images\)"):
        plan(made)


def test_missing_shards(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(MvpError, match="nowhere"):
        plan(recipe(tiny, tmp_path / "nowhere", tmp_path / "run"))


def test_a_bad_lora_section(tiny: Path, shards: Path, tmp_path: Path) -> None:
    values = {"model": {"path": str(tiny)}, "data": {"shards": str(shards)}, "grpo": GRPO}
    with pytest.raises(ConfigError, match="lora: unknown key rank"):
        plan(from_values({**values, "lora": {"rank": 2}}))
