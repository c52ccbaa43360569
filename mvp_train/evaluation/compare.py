"""Compare two evaluations: a paired test on the samples that both have.

The samples of a video group resemble each other. So the interval resamples whole groups, and the p-value flips the
signs of whole groups: under the null hypothesis both signs are equally likely.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvp_data.core.errors import ConfigError
from mvp_data.core.seeds import stable_hash
from mvp_data.core.statistics import clusters, group_sums, intervals
from mvp_data.core.text import printable
from mvp_train.evaluation.evaluate import COMPLETIONS, read_completions
from mvp_train.evaluation.metrics import Outcome, by_task, grouped, least_values, pair_values, pairs_of, sample_values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FLIPS = 10_000
MAX_REPORT_BYTES = 256 << 20
_CELLS = 1 << 22  # signs in one block: 32 MB


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
    """Two evaluations on their common samples of a task; `resampled` is the unit of the intervals."""

    task: str
    a: str  # the model and its probe
    b: str
    differ: Sequence[str]  # other settings that differ, such as `max_new_tokens: 64 and 256`
    pairs: int
    samples: int
    only_a: int
    only_b: int
    video_groups: int
    resampled: str
    metrics: Mapping[str, Difference]


def compare(a: Path, b: Path, *, seed: int = 0) -> list[Comparison]:
    """Compare two `report.json` files task by task, from the `completions.parquet` next to each.

    Probes may differ, so that their effect can be measured; the prompt and the reward may not. Raises `ConfigError`
    if they do, if a file is missing or not a report, or if the samples differ or have no key in common.
    """
    where = f"{a} and {b} cannot be compared"
    (model_a, asked_a), (model_b, asked_b) = _asked(a), _asked(b)
    for name in ("prompt", "reward"):
        if asked_a.get(name) != asked_b.get(name):
            raise ConfigError(f"{where}: {name} is {asked_a.get(name)} in one and {asked_b.get(name)} in the other")
    sides = [grouped(read_completions(path.parent / COMPLETIONS), lambda outcome: outcome.key) for path in (a, b)]
    keys = [key for key in sides[0] if key in sides[1]]
    if not keys:
        raise ConfigError(f"{where}: they have no common sample")
    names = ["task", "k", "l", "config_hash", "video_group", "pair_id"]
    names += ["answer"] if asked_a.get("probe") == asked_b.get("probe") else []  # a moved gap has another one
    for key in keys:
        _check_same(sides[0][key][0], sides[1][key][0], names, where)
    facts = [{**model_a, **asked_a}, {**model_b, **asked_b}]
    found = []
    for task, same in by_task(sides[0][key] for key in keys).items():
        common = [sample[0].key for sample in same]
        only = [sum(s[0].task == task for s in side.values()) - len(common) for side in sides]
        found.append(_test([[side[key] for key in common] for side in sides], facts, only, seed))
    return found


def sign_flip(change: "Array", codes: "NDArray[np.intp]", seed: int) -> "Array":
    """Two-sided p-values of the column sums of `change` (samples x columns), from random sign flips of the groups.

    p is the share of flips whose sum is at least as far from 0 as the observed one. The observed one counts as a flip,
    so p is never 0 (Phipson and Smyth 2010, "Permutation p-values should never be zero").
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
    pairs = f" ({found.pairs} pairs)" if found.pairs else ""
    lines = [
        f"a: {found.a}",
        f"b: {found.b}",
        *([f"different settings: {'; '.join(found.differ)}"] if found.differ else []),
        f"{found.task}: {found.samples} samples{pairs} of {found.video_groups} video groups in both "
        f"({found.only_a} only in a, {found.only_b} only in b); intervals over {found.resampled}",
        f"{'':<10}{'a':>7}{'b':>8}{'b - a':>9}   95 % interval        p",
    ]
    for name, d in found.metrics.items():
        lines.append(f"{name:<10}{d.a:7.3f}{d.b:8.3f}{d.difference:+9.3f}   {d.low:+.3f} ..{d.high:+.3f}{d.p:9.4f}")
    return "\n".join(map(printable, lines))  # the names come from the reports


def _asked(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model and the settings of a report, as plain values."""
    try:
        with path.open("rb") as file:
            report = json.loads(file.read(MAX_REPORT_BYTES))
        return dict(report["about"]["model"]), dict(report["ask"])
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name a report.json of mvp-train eval") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ConfigError(f"{path}: not a report.json of mvp-train eval") from error


def _check_same(a: Outcome, b: Outcome, names: Sequence[str], where: str) -> None:
    for name in names:
        if getattr(a, name) != getattr(b, name):
            values = f"{getattr(a, name)} in one and {getattr(b, name)} in the other"
            raise ConfigError(f"{where}: not the same shards, {name} of {a.key} is {values}")


def _name(facts: Mapping[str, Any]) -> str:
    return ", ".join(str(facts.get(name)) for name in ("path", "probe") if facts.get(name))


def _test(
    sides: Sequence[list[list[Outcome]]], facts: Sequence[Mapping[str, Any]], only: Sequence[int], seed: int
) -> Comparison:
    rollouts = {min(len(sample) for sample in side) for side in sides}
    count = rollouts.pop() if len(rollouts) == 1 else 1  # pass@k is compared where k is the same
    groups = [sample[0].video_group for sample in sides[0]]
    pairs = [pairs_of(side) for side in sides]
    firsts = [pair[0] for pair in pairs[0]]
    metrics = _differences(firsts, [pair_values(side) for side in pairs], seed) if firsts else {}
    metrics |= _differences(sides[0], [sample_values(side, count) for side in sides], seed)
    first, second = facts
    unlike = [key for key in first if first[key] != second.get(key) and key not in ("path", "probe", "batch_size")]
    return Comparison(
        task=sides[0][0][0].task,
        a=_name(first),
        b=_name(second),
        differ=[f"{key}: {first[key]} and {second.get(key)}" for key in unlike],
        pairs=len(pairs[0]),
        samples=len(groups),
        only_a=only[0],
        only_b=only[1],
        video_groups=len(set(groups)),
        resampled=clusters(groups)[1],
        metrics=metrics,
    )


def _differences(units: list[list[Outcome]], values: list[dict[str, "Array"]], seed: int) -> dict[str, Difference]:
    """The test of each metric, given its values of both sides for each of `units`: samples, or first ones of pairs."""
    import numpy as np

    (a, b), codes = values, clusters([unit[0].video_group for unit in units])[0]
    change = np.stack([b[name] - a[name] for name in a], axis=1)
    most = 1 - least_values(units, a)
    low, high = intervals(change, codes, stable_hash("compare", seed), least=-most, most=most)
    p = sign_flip(change, codes, seed)
    means = np.stack([[side[name].mean() for name in a] for side in (a, b)])
    columns = np.stack([*means, change.mean(axis=0), low, high, p]).T.tolist()
    names = [f.name for f in fields(Difference)]
    return {name: Difference(**dict(zip(names, row, strict=True))) for name, row in zip(a, columns, strict=True)}
