"""Confidence intervals of means over samples in groups, such as the samples of one video.

The samples of a group are correlated. Intervals that treat them as independent would be too narrow, so the bootstrap
draws whole groups.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from mvp_data.core.seeds import stable_hash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RESAMPLES = 2000
_CELLS = 1 << 19  # numbers in one block of resampling weights: 4 MB


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over samples with its 95 % interval, and the mean of random guessing."""

    mean: float
    low: float
    high: float
    chance: float


def clusters(groups: Sequence[str]) -> tuple["NDArray[np.intp]", str]:
    """The group number of each sample, and the name of the groups; if there is only one, each sample is a group."""
    import numpy as np

    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    return (codes, "video groups") if codes.max() else (np.arange(len(codes)), "samples")


def intervals(
    values: "Array", codes: "NDArray[np.intp]", seed: int, *, least: "Array", most: "Array", level: float = 0.95
) -> tuple["Array", "Array"]:
    """Lower and upper ends of the intervals of the column means of `values` [samples, columns], grouped by `codes`."""
    import numpy as np

    sums, counts = group_sums(values, codes)
    sizes = np.broadcast_to(counts[:, None], sums.shape)
    return ratio_intervals(sums, sizes, seed, least=least, most=most, levels=(level,))[0]


def ratio_intervals(
    sums: "Array", sizes: "Array", seed: int, *, least: "Array", most: "Array", levels: Sequence[float]
) -> list[tuple["Array", "Array"]]:
    """Lower and upper ends of the intervals of sum / size for each level; both arguments are [clusters, columns].

    Bootstrap percentiles over clusters are too narrow for few videos and near the ends of the range: no hit among 20
    videos does not mean that the rate is 0. So they are widened to the score interval (Wilson 1927), computed with the
    variance of the bootstrap, Student's t for few clusters, and the possible range `least` to `most`. Columns without
    variance are treated as one yes-or-no answer per cluster. Clusters of size 0 are ignored. With fewer than two
    clusters left, the interval is the whole range.
    """
    import numpy as np

    span, held = most - least, np.count_nonzero(sizes, axis=0)
    if held.max() < 2:
        return [(least, most) for _ in levels]
    whole = np.divide(sums.sum(axis=0), sizes.sum(axis=0), out=least + span / 2, where=held > 0)
    drawn = []
    for weights in _draws(len(sums), seed):
        size = weights @ sizes
        drawn.append(np.divide(weights @ sums, size, out=np.tile(whole, (len(weights), 1)), where=size > 0))
    means = np.concatenate(drawn)
    mean, variance = (whole - least) / span, means.var(axis=0) / span**2
    flat = variance < 1e-12
    groups = np.maximum(held, 2)
    base = np.where(flat, 1 / groups, variance / np.where(flat, 1, mean * (1 - mean)))  # 1 / effective sample size
    found = []
    for level in levels:
        t = {free: _student(free, level) for free in {int(count) - 1 for count in groups}}
        share = base * np.array([t[int(count) - 1] for count in groups]) ** 2 * groups / (groups - 1)
        middle = (mean + share / 2) / (1 + share)
        half = np.sqrt(share * mean * (1 - mean) + share**2 / 4) / (1 + share)
        low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
        low, high = np.minimum(low, least + span * (middle - half)), np.maximum(high, least + span * (middle + half))
        low, high = np.where(held < 2, least, low), np.where(held < 2, most, high)
        found.append((np.clip(low, least, most), np.clip(high, least, most)))
    return found


def group_sums(values: "Array", codes: "NDArray[np.intp]") -> tuple["Array", "Array"]:
    """Sums of the rows of each group [groups, columns], and the sizes of the groups."""
    import numpy as np

    counts = np.bincount(codes).astype(float)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, codes, values)
    return sums, counts


def _draws(groups: int, seed: int) -> Iterator["NDArray[Any]"]:
    """How often each resample draws each group, in blocks [resamples, groups]."""
    import numpy as np

    rng = np.random.default_rng(stable_hash("bootstrap", seed))
    block = max(1, _CELLS // groups)
    for start in range(0, RESAMPLES, block):
        yield rng.multinomial(groups, np.full(groups, 1 / groups), size=min(block, RESAMPLES - start))


def _student(free: int, level: float = 0.95) -> float:
    """The two-sided quantile of Student's t distribution with `free` degrees of freedom, to 1 %.

    >>> [round(_student(free), 3) for free in (1, 2, 3, 4)]
    [12.706, 4.303, 3.182, 2.776]
    >>> round(_student(10), 2), round(_student(1000), 2)
    (2.23, 1.96)
    """
    if free <= 4:
        return math.sqrt(free) * math.tan(_angle(free, level))
    z = NormalDist().inv_cdf((1 + level) / 2)
    return z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)  # Cornish-Fisher


def _angle(free: int, level: float) -> float:
    """atan(t / sqrt(free)) for 1 to 4 degrees of freedom, by bisection (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        sine, cosine = math.sin(angle), math.cos(angle)
        within = (
            2 / math.pi * angle,
            sine,
            2 / math.pi * (angle + sine * cosine),
            sine * (1 + cosine**2 / 2),
        )[free - 1]
        low, high = (angle, high) if within < level else (low, angle)
    return low


def chi_square_p(statistic: float, freedom: int) -> float:
    """The probability that a chi-square variable exceeds `statistic`; exact, by recursion over degrees of freedom.

    >>> round(chi_square_p(14.067, 7), 4)
    0.05
    """
    if freedom == 0:
        return 1.0
    half = statistic / 2
    p = math.erfc(math.sqrt(half)) if freedom % 2 else math.exp(-half)
    for n in range(2 - freedom % 2, freedom, 2):
        p += math.exp(-half + n / 2 * math.log(half) - math.lgamma(n / 2 + 1)) if half else 0.0
    return min(p, 1.0)


def quantiles(values: Iterable[float], parts: int) -> tuple[float, ...]:
    """The `parts` + 1 quantiles that cut the values into equal parts, with linear interpolation.

    >>> quantiles([3.0, 1.0, 2.0], 4)
    (1.0, 1.5, 2.0, 2.5, 3.0)
    """
    ordered, found = sorted(values), list[float]()
    for i in range(parts + 1):
        at = i * (len(ordered) - 1) / parts
        low, high = ordered[math.floor(at)], ordered[math.ceil(at)]
        found.append(round(low + (high - low) * (at - math.floor(at)), 6))
    return tuple(found)
