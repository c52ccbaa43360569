"""Is one evaluation better than another? A paired test on the samples that both asked.

The differences of one video group belong together, so whole groups are resampled for the interval and flip their
signs for the p-value: under the null hypothesis either sign of a group's sum is as likely.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvp_data.errors import ConfigError
from mvp_data.intervals import clusters, group_sums, intervals
from mvp_data.seeds import stable_hash
from mvp_train.evaluation.evaluate import COMPLETIONS, read_completions
from mvp_train.evaluation.metrics import Outcome, by_key, by_task, least_values, sample_values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FLIPS = 10_000
MAX_REPORT_BYTES = 256 << 20
_CELLS = 1 << 22  # signs in one block: 32 MB
_ASKED = ("prompt", "reward")  # parts of a report that must agree


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One metric: both means, b minus a with its 95 % interval, and the two-sided p-value."""

    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two evaluations on the samples of a task that both have; `resampled` says what the intervals rest on."""

    task: str
    a: str  # the model, and what was asked otherwise than by default
    b: str
    differ: Sequence[str]  # what else is not the same, such as `max_new_tokens: 64 and 256`
    samples: int
    only_a: int
    only_b: int
    video_groups: int
    resampled: str
    metrics: Mapping[str, Difference]


def compare(a: Path, b: Path, *, seed: int = 0) -> list[Comparison]:
    """Compare two `report.json`, task by task; what is read is the `completions.parquet` beside each.

    Ablations may differ, since what they do is what one wants to know; the prompt and the reward may not.

    Raises:
        ConfigError: a file is missing or no report, prompts or rewards differ, no sample is in both, or a sample of
            one key is not the same puzzle in both.
    """
    where = f"{a} and {b} cannot be compared"
    (model_a, asked_a), (model_b, asked_b) = _asked(a), _asked(b)
    for name in _ASKED:
        if asked_a.get(name) != asked_b.get(name):
            raise ConfigError(f"{where}: {name} is {asked_a.get(name)} in one and {asked_b.get(name)} in the other")
    sides = [{s[0].key: s for s in by_key(read_completions(path.parent / COMPLETIONS))} for path in (a, b)]
    keys = [key for key in sides[0] if key in sides[1]]
    if not keys:
        raise ConfigError(f"{where}: no sample is in both")
    for key in keys:
        _check_same(sides[0][key][0], sides[1][key][0], where)
    facts = [{**model_a, **asked_a}, {**model_b, **asked_b}]
    found = []
    for task, same in by_task(sides[0][key] for key in keys).items():
        common = [sample[0].key for sample in same]
        only = [sum(s[0].task == task for s in side.values()) - len(common) for side in sides]
        found.append(_test([[side[key] for key in common] for side in sides], facts, only, seed))
    return found


def sign_flip(change: "Array", codes: "NDArray[np.intp]", seed: int) -> "Array":
    """Two-sided p-values of the column sums of `change` (samples x columns) when groups' signs are flipped at random.

    The share of flips at least as far from 0, the observed one among them, so p is never 0 and the test never too
    eager (Phipson and Smyth 2010, "Permutation p-values should never be zero").
    """
    import numpy as np

    sums, _ = group_sums(change, codes)
    observed = np.abs(sums.sum(axis=0)) - 1e-9  # sums in another order may differ in the last bit
    rng = np.random.default_rng(stable_hash("sign flip", seed))
    block, beyond = max(1, _CELLS // len(sums)), np.ones(change.shape[1])
    for start in range(0, FLIPS, block):
        signs = rng.choice([-1.0, 1.0], size=(min(block, FLIPS - start), len(sums)))
        beyond += (np.abs(signs @ sums) >= observed).sum(axis=0)
    return beyond / (FLIPS + 1)


def to_text(found: Comparison) -> str:
    """The comparison as lines for a terminal."""
    lines = [
        f"a: {found.a}",
        f"b: {found.b}",
        *([f"not the same: {'; '.join(found.differ)}"] if found.differ else []),
        f"{found.task}: {found.samples} samples of {found.video_groups} video groups in both "
        f"({found.only_a} only in a, {found.only_b} only in b); intervals from {found.resampled}",
        f"{'':<10}{'a':>7}{'b':>8}{'b - a':>9}   95 % interval        p",
    ]
    for name, d in found.metrics.items():
        lines.append(f"{name:<10}{d.a:7.3f}{d.b:8.3f}{d.difference:+9.3f}   {d.low:+.3f} ..{d.high:+.3f}{d.p:9.4f}")
    return "\n".join(lines)


def _asked(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model and the question of a report, as plain values."""
    try:
        with path.open("rb") as file:
            report = json.loads(file.read(MAX_REPORT_BYTES))
        return dict(report["about"]["model"]), dict(report["ask"])
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name a report.json of mvp-train eval") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ConfigError(f"{path}: is no report.json of mvp-train eval") from error


def _check_same(a: Outcome, b: Outcome, where: str) -> None:
    for name in ("task", "k", "l", "answer", "config_hash", "video_group"):
        if getattr(a, name) != getattr(b, name):
            values = f"{getattr(a, name)} in one and {getattr(b, name)} in the other"
            raise ConfigError(f"{where}: not the same shards, {name} of {a.key} is {values}")


def _name(facts: Mapping[str, Any]) -> str:
    ablation = str(facts.get("ablation") or "").replace("_", " ")
    return f"{facts.get('path')}{f', {ablation}' if ablation else ''}"


def _test(
    sides: Sequence[list[list[Outcome]]], facts: Sequence[Mapping[str, Any]], only: Sequence[int], seed: int
) -> Comparison:
    import numpy as np

    rollouts = {min(len(sample) for sample in side) for side in sides}
    count = rollouts.pop() if len(rollouts) == 1 else 1  # pass@k is compared where k is the same
    a, b = (sample_values(side, count) for side in sides)
    groups = [sample[0].video_group for sample in sides[0]]
    codes, resampled = clusters(groups)
    change = np.stack([b[name] - a[name] for name in a], axis=1)
    most = 1 - least_values(sides[0], a)
    low, high = intervals(change, codes, stable_hash("compare", seed), least=-most, most=most)
    p = sign_flip(change, codes, seed)
    metrics = {
        name: Difference(
            a=float(a[name].mean()),
            b=float(b[name].mean()),
            difference=float(change[:, i].mean()),
            low=float(low[i]),
            high=float(high[i]),
            p=float(p[i]),
        )
        for i, name in enumerate(a)
    }
    first, second = facts
    unlike = [key for key in first if first[key] != second.get(key) and key not in ("path", "ablation", "batch_size")]
    return Comparison(
        task=sides[0][0][0].task,
        a=_name(first),
        b=_name(second),
        differ=[f"{key}: {first[key]} and {second.get(key)}" for key in unlike],
        samples=len(groups),
        only_a=only[0],
        only_b=only[1],
        video_groups=len(set(groups)),
        resampled=resampled,
        metrics=metrics,
    )
