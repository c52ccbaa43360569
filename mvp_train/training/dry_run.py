"""Describe a plan: the first prompt, tokens, batch size, steps, and an estimate of memory."""

from typing import Any

from mvp_train.evaluation.metrics import level
from mvp_train.models.load import ModelSize, model_size
from mvp_train.training.plan import Plan

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
ADAPTER_BYTES = 4  # PEFT keeps adapters in float32
GIB = 1 << 30


def facts(plan: Plan) -> dict[str, Any]:
    """The plan as plain values, for `--json`; bytes are per device."""
    config = plan.config
    return {
        "model": plan.recipe.model.path,
        "samples": len(plan.samples),
        "tasks": plan.samples.tasks,
        "guessing": guessing(plan),
        "prompt": plan.costs[0].text,
        "prompt_tokens": max(cost.total for cost in plan.costs),
        "picture_tokens": max(cost.images for cost in plan.costs),
        "max_completion_length": config.max_completion_length,
        "completions_per_step": plan.completions_per_step,
        "completions_per_prompt": config.num_generations,
        "prompts_per_generation": plan.prompts_per_generation,
        "steps": plan.steps,
        "first_step": plan.first_step,
        "output_dir": str(plan.recipe.output_dir),
        "memory_bytes": memory(plan),
    }


def guessing(plan: Plan) -> dict[str, dict[str, float]]:
    """The chance level of each kind of question: a trained model must score above it."""
    found = {}
    for record in (plan.samples[i].record for i in plan.samples.one_of_each_shape()):
        asked = record.question
        levels = {name: level(name, asked, plan.recipe.reward) for name in ("exact", "reward")}
        found[f"{record.task}, {asked.slots} of {asked.choices}"] = levels
    return found


def memory(plan: Plan) -> dict[str, int]:
    """Estimated bytes of each part on one device, without fragmentation, the activations of the vision tower, and vLLM.

    With gradient checkpointing only the inputs of the layers are kept; without it, about 16 times as much. ZeRO-3
    divides the first three parts by the number of devices.
    """
    size, config, recipe = model_size(plan.model, plan.recipe.lora), plan.config, plan.recipe
    width = BYTES[recipe.model.dtype]
    trained_width = ADAPTER_BYTES if recipe.lora is not None else width
    reference = size.parameters * width if config.beta and recipe.lora is None else 0
    prompt = max(cost.total for cost in plan.costs)
    length = prompt + config.max_completion_length
    answering = config.per_device_train_batch_size * config.steps_per_generation
    kept = 1 if config.gradient_checkpointing else 16
    return {
        "weights": size.parameters * width + (size.trained * trained_width if recipe.lora is not None else 0),
        "gradients": size.trained * trained_width,
        "optimizer": 2 * size.trained * trained_width,
        "reference": reference,
        "generation_cache": _cache(size, answering * length, width),
        "activations": config.per_device_train_batch_size * length * size.hidden * size.layers * width * kept,
        "logits": 2 * config.per_device_train_batch_size * config.max_completion_length * size.vocabulary * 4,
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


def _cache(size: ModelSize, tokens: int, width: int) -> int:
    return 2 * size.layers * size.kv_width * tokens * width
