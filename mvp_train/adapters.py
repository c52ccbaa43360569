"""The reward in the signatures of verl, EasyR1 and ms-swift. For TRL, use `mvp_train.reward.mvp_reward`.

The rows of `mvp-data export` hold the right answer as text. `CAFB/8` is the answer and the number of labels in the
pool; `ABCF/8/any` is an answer whose order does not count. EasyR1 and ms-swift load this file by its path, so its
imports are absolute. None of the three needs to be installed.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mvp_data.core.errors import ConfigError
from mvp_train.reward import RewardConfig, Score, score

REWARD_NAME, REWARD_TYPE = "mvp", "batch"  # EasyR1 reads these names
SWIFT_NAME = "mvp"  # for ms-swift: --reward_funcs mvp
WEIGHTS = RewardConfig()
_TRUTH = re.compile(r"([A-Z]+)/([0-9]{1,2})(/any)?")


def verl_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Mapping[str, Any] | None = None, **_: Any
) -> dict[str, float]:
    """verl's `compute_score` for one completion. verl logs the other parts too, and plots `acc`, which is exact."""
    scored = _score(solution_str, ground_truth)
    return {"score": scored.reward, "acc": scored.exact, **_parts(scored)}


def easyr1_score(reward_inputs: Sequence[Mapping[str, Any]], **_: Any) -> list[dict[str, float]]:
    """EasyR1's batch reward, from `response` and `ground_truth` of each input. It logs the other parts too."""
    scored = [_score(item["response"], item["ground_truth"]) for item in reward_inputs]
    return [{"overall": s.reward, "format": float(s.valid), "accuracy": s.exact, **_parts(s)} for s in scored]


class SwiftReward:
    """ms-swift's outcome reward: `--external_plugins path/of/adapters.py --reward_funcs mvp`."""

    def __init__(self, args: Any = None, **_: Any) -> None:
        self.args = args

    def __call__(self, completions: Sequence[str], solution: Sequence[str], **_: Any) -> list[float]:
        """The reward of each completion; `solution` holds the right answers, in the same order."""
        return [_score(text, truth).reward for text, truth in zip(completions, solution, strict=True)]


def _score(completion: str, ground_truth: str) -> Score:
    """Raises `ConfigError` if the ground truth does not have the form of an export."""
    truth = _TRUTH.fullmatch(ground_truth)
    if truth is None:
        raise ConfigError(f"ground truth {ground_truth!r:.60} is not like CAFB/8: make the rows with `mvp-data export`")
    return score(completion, truth[1], int(truth[2]), WEIGHTS, ordered=truth[3] is None)


def _parts(scored: Score) -> dict[str, float]:
    """All grades except `reward`, a name that verl itself uses."""
    return {name: float(value) for name, value in asdict(scored).items() if name != "reward"}


if "swift" in sys.modules:  # ms-swift loads this file as a plugin
    from swift.rewards import orms

    orms[SWIFT_NAME] = SwiftReward
