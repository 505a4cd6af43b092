"""Intervals that respect families: patches of one family are alike, so families are what is counted."""

from typing import NamedTuple

import numpy as np
from scipy import special, stats

LEVEL = 0.95
WIDEST = 1000.0
# Families that agree to the last bit of their sums.
ROUNDING = 1e-24


class Interval(NamedTuple):
    """A mean and its interval.

    Attributes:
        estimate: mean over samples.
        low: lower end; None where no interval can be had.
        high: upper end; None likewise.
        families: number of families by label, in the labels' order.
        effective: the same number had the families been of equal size, `(sum n)^2 / sum n^2` (Kish).
        reason: why there is no interval; empty where there is one.
    """

    estimate: float
    low: float | None
    high: float | None
    families: tuple[int, ...]
    effective: tuple[float, ...]
    reason: str


def family_interval(
    values: np.ndarray, families: np.ndarray, labels: np.ndarray, *, fraction: bool, level: float = LEVEL
) -> Interval:
    """Mean of `values` over samples, with a confidence interval for other families of the same kinds.

    Families are the independent units, stratified by label with the labels' shares as they are. The variance is the
    jackknife's of a ratio estimator, leaving out one family at a time within each label (Cochran, Sampling Techniques, 3rd
    ed., 6.17; the formula without leaving out, 6.3, is too small where one family holds much of a label). Student's t has the
    degrees of freedom of Satterthwaite, with each label's effective number of families less one. A fraction's interval is
    made on the logit scale and stays within [0, 1], a loss's on the logarithmic scale and stays positive. Where every family
    agrees entirely, families take the place of samples in the interval of Clopper and Pearson. `benchmarks/coverage.md`
    has the coverage: a percentile bootstrap over families is far too narrow with few of them.

    Args:
        values: float `[samples]`; of a fraction each in [0, 1], else at least 0.
        families: `[samples]`, names.
        labels: `[samples]`.
        fraction: the values are hits or means of hits.
        level: of confidence, in (0, 1).
    """
    strata = [_stratum(values[labels == label], families[labels == label]) for label in np.unique(labels)]
    variances = [_ratio_variance(sums, sizes, len(values)) if len(sizes) > 1 else 0.0 for sums, sizes in strata]
    return _students(float(np.mean(values)), variances, [sizes for _, sizes in strata], fraction, level)


def jackknife_interval(
    estimate: float,
    left_out: np.ndarray,
    labels: np.ndarray,
    sizes: np.ndarray,
    *,
    fraction: bool,
    level: float = LEVEL,
) -> Interval:
    """The interval of `family_interval` for a score that is no plain mean, as an area under a curve is not.

    Args:
        estimate: the score with all families.
        left_out: the score without each family, float `[families]`; not looked at where a label has one family.
        labels: of the families `[families]`.
        sizes: number of samples of each family `[families]`.
        fraction: the score lies in [0, 1]; else it is at least 0.
        level: of confidence, in (0, 1).
    """
    variances, counted = [], []
    for label in np.unique(labels):
        here, count = left_out[labels == label], (labels == label).sum()
        variances.append(float((count - 1) / count * ((here - here.mean()) ** 2).sum()))
        counted.append(sizes[labels == label].astype(np.float64))
    return _students(estimate, variances, counted, fraction, level)


def _students(
    estimate: float, variances: list[float], strata: list[np.ndarray], fraction: bool, level: float
) -> Interval:
    """Student's interval from each label's share of the variance and the sizes of its families."""
    counts = tuple(len(sizes) for sizes in strata)
    effective = tuple(float(sizes.sum() ** 2 / (sizes**2).sum()) for sizes in strata)
    if min(counts) < 2:
        reason = "a label has one family only, and nothing tells how families of that label differ"
        return Interval(estimate, None, None, counts, effective, reason)
    variance = sum(variances)
    if variance <= ROUNDING:
        variance = 0.0
    if fraction and variance == 0:
        exact = stats.binomtest(round(estimate * sum(counts)), sum(counts)).proportion_ci(level, "exact")
        return Interval(estimate, float(exact.low), float(exact.high), counts, effective, "")
    if variance == 0:
        return Interval(estimate, estimate, estimate, counts, effective, "")
    if fraction and not 0 < estimate < 1:
        reason = "the score is at the end of its range, but not without every one of the families"
        return Interval(estimate, None, None, counts, effective, reason)
    freedom = variance**2 / sum(v**2 / max(n - 1, 0.5) for v, n in zip(variances, effective, strict=True))
    reach = float(stats.t.ppf((1 + level) / 2, freedom)) * variance**0.5
    if not fraction:
        # Two families far apart can ask for a factor that no float holds; a thousandfold says as much.
        factor = float(np.exp(min(reach / estimate, np.log(WIDEST))))
        return Interval(estimate, estimate / factor, estimate * factor, counts, effective, "")
    centre, scale = special.logit(estimate), 1 / (estimate * (1 - estimate))
    low, high = (float(special.expit(centre + sign * reach * scale)) for sign in (-1, 1))
    return Interval(estimate, low, high, counts, effective, "")


def _stratum(values: np.ndarray, families: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the values and number of samples of each family of one label."""
    _, member = np.unique(families, return_inverse=True)
    return np.bincount(member, weights=values), np.bincount(member).astype(np.float64)


def _ratio_variance(sums: np.ndarray, sizes: np.ndarray, samples: int) -> float:
    """Variance that one label contributes to the mean over all `samples`, by leaving out one family at a time."""
    off = (sums - sums.sum() / sizes.sum() * sizes) / (1 - sizes / sizes.sum())
    return float((len(sums) - 1) / len(sums) * (off**2).sum() / samples**2)


def naive_interval(hits: int, samples: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval as if every sample were independent: what a report that forgets families would print."""
    interval = stats.binomtest(hits, samples).proportion_ci(level, "wilson")
    return float(interval.low), float(interval.high)
