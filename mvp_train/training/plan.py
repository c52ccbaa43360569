"""The plan of a training run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvp_train.dataset import Samples
from mvp_train.models.load import PromptCost
from mvp_train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything about a run that is known before the weights are loaded."""

    recipe: Recipe
    inputs: Mapping[str, str]  # fingerprints of the data and the model, by their recipe keys
    samples: Samples
    config: Any  # trl.GRPOConfig
    model: Path
    processor: Any
    costs: tuple[PromptCost, ...]  # one for each shape of sample; the first is that of the first sample
    validation: Samples | None  # the val split, if grpo.eval_strategy asks for it
    first_step: int  # of the checkpoint to resume from, or 0
    overwrite: bool

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        config = self.config
        if config.max_steps > 0:
            return int(config.max_steps)
        generations = len(self.samples) // self.prompts_per_generation  # TRL drops an incomplete last one
        batches = generations * config.steps_per_generation * config.num_iterations
        updates: int = -(-batches // config.gradient_accumulation_steps)
        return math.ceil(updates * float(config.num_train_epochs))

    @property
    def completions_per_step(self) -> int:
        """Completions in one optimiser step, over all devices."""
        config = self.config
        return int(config.per_device_train_batch_size * config.world_size * config.gradient_accumulation_steps)

    @property
    def prompts_per_generation(self) -> int:
        """Different prompts in one generation, over all devices."""
        return int(self.config.generation_batch_size // self.config.num_generations)
