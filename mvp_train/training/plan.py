"""The plan of a training run, and its description: the first prompt, tokens, batch, steps, an estimate of memory."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvp_train.dataset import Samples
from mvp_train.evaluation.metrics import level
from mvp_train.models.load import PromptCost, model_size
from mvp_train.recipe import Recipe

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
ADAPTER_BYTES = 4  # PEFT keeps adapters in float32
GIB = 1 << 30


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
    def prompts_per_generation(self) -> int:
        """Different prompts in one generation, over all devices."""
        return int(self.config.generation_batch_size // self.config.num_generations)


def facts(plan: Plan) -> dict[str, Any]:
    """The plan as plain values, for `--json`; bytes are per device."""
    config = plan.config
    guessing = {}
    for sample in plan.samples.one_of_each_shape():  # a trained model must score above these chance levels
        asked = sample.record.question
        levels = {name: level(name, asked, plan.recipe.reward) for name in ("exact", "reward")}
        guessing[f"{sample.record.task}, {asked.slots} of {asked.choices}"] = levels
    completions = config.per_device_train_batch_size * config.world_size * config.gradient_accumulation_steps
    return {
        "model": plan.recipe.model.path,
        "samples": len(plan.samples),
        "tasks": plan.samples.tasks,
        "guessing": guessing,
        "prompt": plan.costs[0].text,
        "prompt_tokens": max(cost.total for cost in plan.costs),
        "picture_tokens": max(cost.images for cost in plan.costs),
        "max_completion_length": config.max_completion_length,
        "completions_per_step": completions,
        "completions_per_prompt": config.num_generations,
        "prompts_per_generation": plan.prompts_per_generation,
        "steps": plan.steps,
        "first_step": plan.first_step,
        "output_dir": str(plan.recipe.output_dir),
        "memory_bytes": _memory(plan),
    }


def describe(plan: Plan) -> str:
    """The facts as text for a terminal."""
    known = facts(plan)
    parts = known["memory_bytes"]
    update = sum(value for name, value in parts.items() if name != "generation_cache")
    generation = sum(parts[name] for name in ("weights", "optimizer", "reference", "generation_cache"))
    peak = max(update, generation)  # the two take turns
    resumed = f", from checkpoint {known['first_step']}" if known["first_step"] else ""
    lines = [
        "first prompt, as the model sees it:",
        known["prompt"],
        "",
        f"  prompt       {known['prompt_tokens']} tokens, {known['picture_tokens']} of them for images",
        f"  completion   up to {known['max_completion_length']} tokens",
        f"  samples      {known['samples']}: " + ", ".join(f"{task} {n}" for task, n in known["tasks"].items()),
        *(
            f"  guessing     {kind}: reward {chance['reward']:.3f}, exact {chance['exact']:.2%}".replace("%", " %")
            for kind, chance in known["guessing"].items()
        ),
        f"  step         {known['completions_per_step']} completions, {known['completions_per_prompt']} to a prompt; "
        f"{known['prompts_per_generation']} prompts are answered together",
        f"  steps        {known['steps']}{resumed}",
        f"  memory       about {peak / GIB:.1f} GiB on one device: "
        + ", ".join(f"{name.replace('_', ' ')} {value / GIB:.2f}" for name, value in parts.items() if value),
        f"  output       {known['output_dir']}",
    ]
    return "\n".join(lines)


def _memory(plan: Plan) -> dict[str, int]:
    """Estimated bytes of each part on one device, without fragmentation, the activations of the vision tower, and vLLM.

    With gradient checkpointing only the inputs of the layers are kept; without it, about 16 times as much. ZeRO-3
    divides the first three parts by the number of devices.
    """
    text, parameters, adapter = model_size(plan.model, plan.recipe.lora)
    config, width = plan.config, BYTES[plan.recipe.model.dtype]
    weights = parameters * width
    trained = adapter * ADAPTER_BYTES or weights
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    length = max(cost.total for cost in plan.costs) + config.max_completion_length
    batch = config.per_device_train_batch_size
    state = text.hidden_size * text.num_hidden_layers * width  # of one token
    cached = 2 * text.num_key_value_heads * head * text.num_hidden_layers * width  # keys and values of one token
    return {
        "weights": weights + adapter * ADAPTER_BYTES,
        "gradients": trained,
        "optimizer": 2 * trained,
        "reference": weights if config.beta and not adapter else 0,
        "generation_cache": batch * config.steps_per_generation * length * cached,
        "activations": batch * length * state * (1 if config.gradient_checkpointing else 16),
        "logits": 2 * batch * config.max_completion_length * text.vocab_size * 4,
    }
