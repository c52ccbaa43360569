"""What a run says of itself: a bar or lines on stderr, `metrics.jsonl`, and a page of sample completions."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mvp_train.dataset import Samples
from mvp_train.page import Shown, write_page
from mvp_train.reward import RewardConfig, score

METRICS_NAME = "metrics.jsonl"
PAGE_NAME = "completions.html"
SHOWN = 12  # puzzles on the page: the latest ones; each takes about 1 MB
PAGE_EVERY_S = 60.0  # writing the page takes a moment
_SAID = ("reward", "mvp/exact", "mvp/valid", "frac_reward_zero_std", "completions/mean_length", "data_wait_share")
_SHORT = {"frac_reward_zero_std": "flat groups", "completions/mean_length": "length", "data_wait_share": "data wait"}


class StepClock:
    """Seconds spent in the parts of a step, by name, since the last `take`."""

    def __init__(self) -> None:
        self._spent_s: dict[str, float] = {}
        self._since_s = time.perf_counter()

    def timed(self, name: str, call: Any, *args: Any, **kwargs: Any) -> Any:
        """`call(*args, **kwargs)`, its time added to `name`."""
        start_s = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            self._spent_s[name] = self._spent_s.get(name, 0.0) + time.perf_counter() - start_s

    def take(self, completions: int) -> dict[str, float]:
        """Shares and rates since the last call, which starts anew; `update` is what no other part took."""
        now_s = time.perf_counter()
        whole_s = max(now_s - self._since_s, 1e-9)
        spent_s, self._spent_s, self._since_s = self._spent_s, {}, now_s
        shares = {f"{name}_share": seconds / whole_s for name, seconds in spent_s.items()}
        return {**shares, "update_share": 1 - sum(shares.values()), "completions_per_second": completions / whole_s}


class RunLog:
    """Writes what a trainer logs. A resumed run appends; of a step that was done again the last line counts."""

    def __init__(self, folder: Path, samples: Samples, weights: RewardConfig, *, first_step: int, steps: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._samples, self._weights = folder, samples, weights
        self._file = (folder / METRICS_NAME).open("a", encoding="utf-8")
        self._bar = tqdm(total=steps, initial=first_step, desc="train", unit=" steps", disable=None, ncols=100)
        self._steps, self._shown, self._paged_s = steps, list[Shown](), 0.0

    def write(self, step: int, logs: Mapping[str, Any]) -> None:
        """One line of `metrics.jsonl`, and one in the terminal."""
        self._file.write(json.dumps({"step": step, "time": round(time.time(), 3), **logs}, default=float) + "\n")
        self._file.flush()
        if "reward" not in logs:  # the trainer's closing summary
            return
        said = ", ".join(
            f"{_SHORT.get(name, name.removeprefix('mvp/'))} {logs[name]:.3g}" for name in _SAID if name in logs
        )
        self._bar.update(step - self._bar.n)
        if self._bar.disable:
            print(f"step {step} of {self._steps}: {said}", file=sys.stderr, flush=True)
        else:
            self._bar.write(f"step {step}: {said}", file=sys.stderr)

    def show(self, step: int, inputs: Sequence[Mapping[str, Any]], completions: Sequence[Any]) -> None:
        """Keep the first completion of a batch for the page, which is written now and then."""
        row, completion = inputs[0], completions[0]
        text = completion if isinstance(completion, str) else str(completion[-1]["content"])
        scored = score(text, row["answer"], row["pool"], self._weights)
        sample = self._samples[row["row"]]
        self._shown = [*self._shown, Shown(sample=sample, completion=text, score=scored, step=step)][-SHOWN:]
        if time.monotonic() - self._paged_s > PAGE_EVERY_S:
            self._write_page()

    def close(self) -> None:
        """Write the page a last time."""
        self._bar.close()
        self._file.close()
        self._write_page()

    def _write_page(self) -> None:
        if self._shown:
            write_page(self._folder / PAGE_NAME, self._shown[::-1], "Latest completions")
            self._paged_s = time.monotonic()
