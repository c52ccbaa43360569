"""Small recipes for training runs, and a reward from which an untrained model learns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mvp_train.recipe import Recipe, from_values
from mvp_train.reward import MvpReward, RewardConfig

LANGUAGE = r".*language_model.*\.(q_proj|v_proj)"
LORA = {"r": 2, "target_modules": LANGUAGE}
GRPO: dict[str, Any] = {
    "max_steps": 4,
    "per_device_train_batch_size": 4,
    "num_generations": 4,
    "max_completion_length": 6,
    "learning_rate": 1e-2,
    "use_cpu": True,
    "bf16": False,
    "logging_steps": 1,
    "save_steps": 2,
    "report_to": "none",
    "disable_tqdm": True,
}


def recipe(model: Path, shards: Path, out: Path, **grpo: Any) -> Recipe:
    return from_values(
        {
            "model": {"path": str(model), "dtype": "float32"},
            "data": {"shards": str(shards)},
            "grpo": {**GRPO, "output_dir": str(out), **grpo},
        }
    )


def by_length(completions: Sequence[Any], **columns: Any) -> list[float]:
    """A reward that differs between the completions of an untrained model, so that there is a gradient."""
    MvpReward(RewardConfig())(completions=completions, **columns)  # logs the parts of the real reward
    return [len(completion[0]["content"]) % 7 / 7 for completion in completions]
