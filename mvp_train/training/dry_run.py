"""What a run would do, in words: the first prompt, tokens, batch, steps, and an estimate of memory."""

from typing import Any

from mvp_train.evaluation.metrics import level
from mvp_train.models.load import ModelSize, model_size
from mvp_train.training.plan import Plan

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
ADAPTER_BYTES = 4  # PEFT keeps adapters in float32
GIB = 1 << 30


def facts(plan: Plan) -> dict[str, Any]:
    """The plan as plain values, for `--json`; bytes are those on one device."""
    config = plan.config
    return {
        "model": plan.recipe.model.path,
        "samples": len(plan.samples),
        "tasks": plan.samples.tasks,
        "guessing": guessing(plan),
        "prompt": plan.costs[0].text,
        "prompt_tokens": max(cost.total for cost in plan.costs),
        "picture_tokens": max(cost.pictures for cost in plan.costs),
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
    """What blind guessing earns, for each kind of question: what a run has to leave behind."""
    found = {}
    for record in (plan.samples[i].record for i in plan.samples.one_of_each_shape()):
        asked = record.question
        levels = {name: level(name, asked, plan.recipe.reward) for name in ("exact", "reward")}
        found[f"{record.task}, {asked.slots} of {asked.choices}"] = levels
    return found


def memory(plan: Plan) -> dict[str, int]:
    """Bytes on one device, part by part: an estimate without fragmentation, the vision tower's activations or vLLM.

    The update recomputes each layer under gradient checkpointing, so only the layers' inputs are kept; without it
    about 16 times as much is. ZeRO-3 divides the first three parts by the number of devices.
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
    """The facts as text."""
    told = facts(plan)
    parts = told["memory_bytes"]
    update = sum(value for name, value in parts.items() if name != "generation_cache")
    standing = parts["weights"] + parts["optimizer"] + parts["reference"]
    peak = max(update, standing + parts["generation_cache"])  # the two do not happen at once
    lines = [
        "first prompt, as the model gets it:",
        told["prompt"],
        "",
        f"  prompt       {told['prompt_tokens']} tokens, {told['picture_tokens']} of them pictures",
        f"  completion   up to {told['max_completion_length']} tokens",
        f"  samples      {told['samples']}: " + ", ".join(f"{task} {n}" for task, n in told["tasks"].items()),
        *(
            f"  guessing     {kind}: reward {chance['reward']:.3f}, exact {chance['exact']:.2%}".replace("%", " %")
            for kind, chance in told["guessing"].items()
        ),
        f"  step         {told['completions_per_step']} completions, {told['completions_per_prompt']} to a prompt; "
        f"{told['prompts_per_generation']} prompts are answered together",
        f"  steps        {told['steps']}" + (f", from checkpoint {told['first_step']}" if told["first_step"] else ""),
        f"  memory       about {peak / GIB:.1f} GiB on one device: "
        + ", ".join(f"{name.replace('_', ' ')} {value / GIB:.2f}" for name, value in parts.items() if value),
        f"  output       {told['output_dir']}",
    ]
    return "\n".join(lines)


def _cache(size: ModelSize, tokens: int, width: int) -> int:
    return 2 * size.layers * size.kv_width * tokens * width
