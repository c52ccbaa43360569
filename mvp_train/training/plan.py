"""The plan of a training run: everything that is known before the model is loaded."""

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
    """Everything about a run that is known before the model is loaded."""

    recipe: Recipe
    inputs: Mapping[str, str]  # what lies behind the recipe's paths, by its key
    samples: Samples
    config: Any  # trl.GRPOConfig
    model: Path
    processor: Any
    costs: tuple[PromptCost, ...]  # one for each kind of sample: pictures, K and l; the first is the first sample's
    validation: Samples | None  # the val split, where grpo.eval_strategy asks for it
    first_step: int  # of the checkpoint to go on from
    overwrite: bool

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        if self.config.max_steps > 0:
            return int(self.config.max_steps)
        config = self.config
        generations = len(self.samples) // self.prompts_per_generation  # TRL leaves out what does not fill one
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
        """Different prompts that are answered together, over all devices."""
        return int(self.config.generation_batch_size // self.config.num_generations)
