"""Intervals that respect families: patches of one family are alike, so families are what is counted."""

from typing import Any, NamedTuple, get_type_hints

import numpy as np
from scipy import special, stats
from scipy.sparse.csgraph import connected_components

LEVEL = 0.95
WIDEST = 1000.0
# Families that agree to the last bit of their sums.
ROUNDING = 1e-24


class Interval(NamedTuple):
    """Ends of an interval of confidence; of 95 % where nothing else is said."""

    low: float
    high: float


def flat(record: Any) -> dict[str, Any]:
    """The fields of a record for a table: an interval is two columns, its name's and `low` and `high`.

    `interval` gives `low` and `high`, `share_interval` gives `share_low`, and `naive`, `naive_low`; None where there is
    none.
    """
    row: dict[str, Any] = {}
    for name, kind in get_type_hints(type(record)).items():
        value = getattr(record, name)
        if kind in (Interval, Interval | None):
            prefix = name.removesuffix("interval").removesuffix("_")
            ends = (None, None) if value is None else value
            row |= dict(zip((f"{prefix}_{end}".lstrip("_") for end in Interval._fields), ends, strict=True))
        else:
            row[name] = value
    return row


class FamilyEstimate(NamedTuple):
    """A score of samples and its interval for other families.

    Attributes:
        estimate: the score.
        interval: None where none can be had.
        families: number of families by label, in the labels' order; one with two labels counts for both.
        distinct_families: number of families, each counted once.
        effective: of each label the number of families had they been of equal size, `(sum n)^2 / sum n^2` (Kish).
        reason: why there is no interval; empty where there is one.
    """

    estimate: float
    interval: Interval | None
    families: tuple[int, ...]
    distinct_families: int
    effective: tuple[float, ...]
    reason: str


def family_sizes(families: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of samples of each family by label, float64 `[families, labels]`, and the family of each sample, int
    `[samples]`.

    Args:
        families: names `[samples]`, numbered in their order; one family may have samples of several labels.
        labels: `[samples]`, likewise.
    """
    names, member = np.unique(families, return_inverse=True)
    classes, of_class = np.unique(labels, return_inverse=True)
    sizes = np.zeros((len(names), len(classes)))
    np.add.at(sizes, (member, of_class), 1)
    return sizes, member


def strata_of(sizes: np.ndarray) -> np.ndarray:
    """The stratum of each family, int `[families]`: its label's, labels that share a family being one stratum.

    Args:
        sizes: number of samples of each family by label `[families, labels]`.
    """
    present = sizes > 0
    linked = connected_components(present.T.astype(int) @ present, directed=False)[1]
    strata: np.ndarray = linked[present.argmax(axis=1)]
    return strata


def family_interval(
    values: np.ndarray, families: np.ndarray, labels: np.ndarray, *, fraction: bool, level: float = LEVEL
) -> FamilyEstimate:
    """Mean of `values` over samples, with a confidence interval for other families of the same kinds.

    Families are the independent units, stratified by label with the labels' shares as they are; one with samples of two
    labels is one unit, and what it adds to both is added up before it is squared. The variance is the jackknife's of a
    ratio estimator, leaving out one family at a time within each label (Cochran, Sampling Techniques, 3rd ed., 6.17;
    the formula without leaving out, 6.3, is too small where one family holds much of a label). Student's t has the
    degrees of freedom of Satterthwaite, with the effective number of families less one of each label (of each set of
    labels that families have). A fraction's interval is made on the logit scale and stays within [0, 1], a loss's on
    the logarithmic scale and stays positive. Where every family agrees entirely, families take the place of samples in
    the interval of Clopper and Pearson. `benchmarks/coverage.md` has the coverage: a percentile bootstrap over families
    is far too narrow with few of them.

    Args:
        values: float `[samples]`; of a fraction each in [0, 1], else at least 0.
        families: `[samples]`, names.
        labels: `[samples]`.
        fraction: the values are hits or means of hits.
        level: of confidence, in (0, 1).
    """
    sizes, member = family_sizes(families, labels)
    sums = np.zeros_like(sizes)
    np.add.at(sums, (member, np.unique(labels, return_inverse=True)[1]), values)
    changes = _ratio_changes(sums, sizes) / len(values)
    return _students(float(np.mean(values)), changes, sizes, fraction, level)


def jackknife_interval(
    estimate: float,
    left_out: np.ndarray,
    sizes: np.ndarray,
    *,
    fraction: bool,
    level: float = LEVEL,
) -> FamilyEstimate:
    """The interval of `family_interval` for a score that is no plain mean, as an area under a curve is not.

    Args:
        estimate: the score with all families.
        left_out: the score without each family, float `[families]`; not looked at where a label has one family.
        sizes: number of samples of each family by label `[families, labels]`.
        fraction: the score lies in [0, 1]; else it is at least 0.
        level: of confidence, in (0, 1).
    """
    strata = strata_of(sizes)
    means = np.bincount(strata, weights=left_out) / np.bincount(strata)
    return _students(estimate, left_out - means[strata], sizes, fraction, level)


def _students(estimate: float, changes: np.ndarray, sizes: np.ndarray, fraction: bool, level: float) -> FamilyEstimate:
    """Student's interval from what leaving out each family changes `[families]` and their sizes `[families,
    labels]`.
    """
    present = sizes > 0
    counts, distinct = present.sum(axis=0), len(sizes)
    effective = tuple((sizes.sum(axis=0) ** 2 / (sizes**2).sum(axis=0)).tolist())
    about = (tuple(counts.tolist()), distinct, effective)
    if counts.min() < 2:
        reason = "a label has one family only, and nothing tells how families of that label differ"
        return FamilyEstimate(estimate, None, *about, reason)
    # The jackknife's factor, (n - 1) / n of a label with n families.
    squares = (present * (counts - 1) / counts).sum(axis=1) / present.sum(axis=1) * changes**2
    variance = float(squares.sum())
    if variance <= ROUNDING:
        variance = 0.0
    if fraction and variance == 0:
        exact = stats.binomtest(round(estimate * distinct), distinct).proportion_ci(level, "exact")
        return FamilyEstimate(estimate, Interval(float(exact.low), float(exact.high)), *about, "")
    if variance == 0:
        return FamilyEstimate(estimate, Interval(estimate, estimate), *about, "")
    if fraction and not 0 < estimate < 1:
        reason = "the score is at the end of its range, but not without every one of the families"
        return FamilyEstimate(estimate, None, *about, reason)
    freedom = variance**2 / _squared_error(squares, sizes)
    reach = float(stats.t.ppf((1 + level) / 2, freedom)) * variance**0.5
    if not fraction:
        # Two families far apart can ask for a factor that no float holds; a thousandfold says as much.
        factor = float(np.exp(min(reach / estimate, np.log(WIDEST))))
        return FamilyEstimate(estimate, Interval(estimate / factor, estimate * factor), *about, "")
    centre, scale = special.logit(estimate), 1 / (estimate * (1 - estimate))
    low, high = (float(special.expit(centre + sign * reach * scale)) for sign in (-1, 1))
    return FamilyEstimate(estimate, Interval(low, high), *about, "")


def _squared_error(squares: np.ndarray, sizes: np.ndarray) -> float:
    """Satterthwaite's sum over sets of labels of (variance from families with these labels)² / their degrees of
    freedom.
    """
    kind = np.unique(sizes > 0, axis=0, return_inverse=True)[1].ravel()
    of_family = sizes.sum(axis=1)
    effective = np.bincount(kind, of_family) ** 2 / np.bincount(kind, of_family**2)
    return float((np.bincount(kind, squares) ** 2 / np.maximum(effective - 1, 0.5)).sum())


def _ratio_changes(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """By how much leaving out each family changes the sum of all values, float `[families]`; the labels' shares stay.

    Args:
        sums: of the values `[families, labels]`.
        sizes: number of samples `[families, labels]`.
    """
    total = sizes.sum(axis=0)
    # A label with one family has no interval; there the change is not looked at.
    share = np.where(sizes < total, sizes / total, 0.0)
    changes: np.ndarray = ((sums - sums.sum(axis=0) / total * sizes) / (1 - share)).sum(axis=1)
    return changes


def naive_interval(hits: int, samples: int, level: float = LEVEL) -> Interval:
    """Wilson's interval as if every sample were independent: what a report that forgets families would print."""
    interval = stats.binomtest(hits, samples).proportion_ci(level, "wilson")
    return Interval(float(interval.low), float(interval.high))
