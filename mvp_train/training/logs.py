"""The log of a run: lines on stderr, `metrics.jsonl`, and a page of sample completions."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mvp_data.system.files import atomic_write
from mvp_data.tasks.catalogue import TASKS
from mvp_train.evaluation.page import Shown, write_page
from mvp_train.reward import score_record
from mvp_train.training.plan import Plan
from mvp_train.training.run_folder import METRICS_NAME, PAGE_NAME

SHOWN = 12  # completions on the page, the latest ones; each takes about 1 MB
PAGE_EVERY_S = 60.0  # at most this often, because writing the page is slow
CARD = """\
---
base_model: {model}
tags: [masked-video-prediction, grpo, trl]
---

# Trained on masked video prediction

Checkpoints and `final/` are {kind} {model}, trained with GRPO to put hidden frames of videos back in order
(`mvp-train`, [TRL](https://github.com/huggingface/trl)). Data:

{shards}

`run.yaml` and `grpo_config.json` hold the configuration, `metrics.jsonl` the log. To evaluate:
`mvp-train eval --model final --shards SHARDS`.
"""


class StepClock:
    """Measures the time of each part of a step since the last `take`."""

    def __init__(self) -> None:
        self._spent_s: dict[str, float] = {}
        self._since_s = time.perf_counter()

    def timed(self, name: str, call: Any, *args: Any, **kwargs: Any) -> Any:
        """Return `call(*args, **kwargs)` and add its time to `name`."""
        start_s = time.perf_counter()
        result = call(*args, **kwargs)
        self._spent_s[name] = self._spent_s.get(name, 0.0) + time.perf_counter() - start_s
        return result

    def take(self, completions: int) -> dict[str, float]:
        """Shares and rates since the last call, and restart; `update_share` is the time that no other part took."""
        now_s = time.perf_counter()
        whole_s = max(now_s - self._since_s, 1e-9)
        spent_s, self._spent_s, self._since_s = self._spent_s, {}, now_s
        shares = {f"{name}_share": seconds / whole_s for name, seconds in spent_s.items()}
        return {**shares, "update_share": 1 - sum(shares.values()), "completions_per_second": completions / whole_s}


class RunLog:
    """Writes what the trainer logs. For a resumed run it first removes the lines after the checkpoint."""

    def __init__(self, plan: Plan, *, first_step: int, active: bool) -> None:
        self._plan, self._folder = plan, plan.recipe.output_dir
        self._shown, self._paged_s = list[Shown](), 0.0
        self._step, self._since_s = first_step, time.monotonic()
        if not active:  # another process of the run writes the log
            return
        _cut(self._folder / METRICS_NAME, first_step)
        if first_step:
            print(f"resuming from step {first_step} of {plan.steps}", file=sys.stderr, flush=True)

    def write(self, step: int, logs: Mapping[str, Any]) -> None:
        """Write a line to `metrics.jsonl`, and one to stderr for a step or a validation."""
        with (self._folder / METRICS_NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "time": round(time.time(), 3), **logs}, default=float) + "\n")
        if "loss" in logs:
            now_s = time.monotonic()
            step_s = (now_s - self._since_s) / max(1, step - self._step)
            self._step, self._since_s = step, now_s
            left = tqdm.format_interval(step_s * (self._plan.steps - step))
            text = f"{summary(logs)}, {step_s:.1f} s a step, {left} left"
            print(f"step {step} of {self._plan.steps}: {text}", file=sys.stderr, flush=True)
        elif "eval_reward" in logs:
            named = {name.removeprefix("eval_"): value for name, value in logs.items()}
            print(f"validation at step {step}: {summary(named)}", file=sys.stderr, flush=True)
            self._since_s = time.monotonic()

    def show(self, step: int, inputs: Sequence[Mapping[str, Any]], completions: Sequence[Any]) -> None:
        """Keep the first completion of a batch for the page, and write the page if it is due."""
        row, completion = inputs[0], completions[0]
        text = completion if isinstance(completion, str) else str(completion[-1]["content"])
        sample = self._plan.samples[row["row"]]
        scored = score_record(text, sample.record, self._plan.recipe.reward)
        self._shown = [*self._shown, Shown(sample=sample, completion=text, score=scored, step=step)][-SHOWN:]
        if time.monotonic() - self._paged_s > PAGE_EVERY_S:
            self.write_page()

    def write_card(self) -> None:
        """Write `README.md`, the card of the models in this folder."""
        recipe = self._plan.recipe
        shards = "\n".join(f"- {item.path}, split {recipe.data.split}" for item in recipe.data.shards)
        kind = "LoRA adapters of" if recipe.lora is not None else "full fine-tunes of"
        (self._folder / "README.md").write_text(CARD.format(model=recipe.model.path, kind=kind, shards=shards))

    def write_page(self) -> None:
        """Write the page of the latest completions, if there are any."""
        if self._shown:
            write_page(self._folder / PAGE_NAME, self._shown[::-1], "Latest completions")
            self._paged_s = time.monotonic()


def summary(logs: Mapping[str, Any]) -> str:
    """The main figures of a log line, as far as it has them.

    >>> summary({"reward": 0.31, "mvp/exact": 0.0156, "frac_reward_zero_std": 0.25, "completions/mean_length": 12.0})
    'reward 0.310, mvp exact 1.6 %, 25 % flat groups, 12 tokens'
    """
    found = [("reward", "reward {:.3f}")]
    for task in TASKS:
        found += [(f"{task}/exact", f"{task} exact {{:.1%}}"), (f"{task}/valid", "valid {:.0%}")]
    found += [("frac_reward_zero_std", "{:.0%} flat groups"), ("completions/mean_length", "{:.0f} tokens")]
    found.append(("data_wait_share", "data wait {:.1%}"))
    parts = [text.format(logs[name]) for name, text in found if logs.get(name) is not None]
    return ", ".join(parts).replace("%", " %")


def _cut(metrics: Path, last_step: int) -> None:
    """Remove the lines after a step, and a last line that is incomplete because the run was killed."""
    if not metrics.is_file():
        return
    kept = []
    for line in metrics.read_bytes().splitlines(keepends=True):
        try:
            if line.endswith(b"\n") and json.loads(line)["step"] <= last_step:
                kept.append(line)
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    with atomic_write(metrics) as file:
        file.write(b"".join(kept))
