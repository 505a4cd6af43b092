"""Intervals that respect families: patches of one family are alike, so families are what is counted."""

from typing import Any, NamedTuple, get_type_hints

import numpy as np
from scipy import stats
from scipy.sparse.csgraph import connected_components

LEVEL = 0.95
WIDEST = 1000.0
# Families that agree to the last bit of their sums.
ROUNDING = 1e-24
# How much of a family that answers at random every interval is made with: in its centre, and of each label in its
# variance. Few families may all be easy ones; without it intervals miss where one family in eight is bad
# (`benchmarks/coverage.md`).
IN_CENTRE, IN_VARIANCE = 0.5, 0.75
# The same for a loss, which has no end on the side of the bad families.
LOSS_IN_CENTRE, LOSS_IN_VARIANCE = 1.0, 1.0


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
    """A score in which every family counts once, and its interval for other families.

    Attributes:
        estimate: the score.
        interval: None where none can be had.
        families: number of families by label, in the labels' order; one with two labels counts for both.
        distinct_families: number of families, each counted once.
        reason: why there is no interval; empty where there is one.
        error: standard error, from how families differ; None where there is no interval.
    """

    estimate: float
    interval: Interval | None
    families: tuple[int, ...]
    distinct_families: int
    reason: str
    error: float | None = None


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


def once_weights(families: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights of samples under which every family counts once, float64 `[samples]`; with two labels once for either.

    Args:
        families: names `[samples]`.
        labels: `[samples]`.
    """
    sizes, member = family_sizes(families, labels)
    of_label = np.unique(labels, return_inverse=True)[1]
    weights: np.ndarray = 1 / sizes[member, of_label]
    return weights


def effective_families(sizes: np.ndarray) -> float:
    """How many families of equal size would tell as much of a mean over samples: `(sum n)^2 / sum n^2` (Kish 1965).

    Args:
        sizes: number of samples of each family by label `[families, labels]`.
    """
    of_family = sizes.sum(axis=1)
    return float(of_family.sum() ** 2 / (of_family**2).sum())


def family_interval(
    values: np.ndarray,
    families: np.ndarray,
    labels: np.ndarray,
    *,
    fraction: bool,
    guess: float = 0.5,
    folds: int = 1,
    level: float = LEVEL,
) -> FamilyEstimate:
    """Mean of `values` in which every family counts once, with an interval for other families of the same kinds.

    See `jackknife_interval`, of which this is the case of a plain mean. Were families to count by their samples, no
    number of families would give an interval that holds where the large ones are the hard ones.

    Args:
        values: float `[samples]`; of a fraction each in [0, 1], else at least 0.
        families: `[samples]`, names.
        labels: `[samples]`.
        fraction: the values are hits or means of hits.
        guess: what answering at random would give.
        folds: in how many the families were held out; 1 where one predictor was trained without any of them.
        level: of confidence, in (0, 1).
    """
    sizes, member = family_sizes(families, labels)
    weights = once_weights(families, labels)
    weights /= weights.sum()
    estimate = float(weights @ values)
    of_family = np.bincount(member, weights * values), np.bincount(member, weights)
    left_out = np.full(len(sizes), estimate)
    if len(sizes) > 1:
        left_out = (estimate - of_family[0]) / (1 - of_family[1])
    of_label = np.unique(labels, return_inverse=True)[1]
    means = np.bincount(of_label, weights * values) / np.bincount(of_label, weights)
    alone = float((weights**2) @ (values - means[of_label]) ** 2)
    return jackknife_interval(
        estimate, left_out, sizes, fraction=fraction, guess=guess, independent=alone, folds=folds, level=level
    )


def jackknife_interval(
    estimate: float,
    left_out: np.ndarray,
    sizes: np.ndarray,
    *,
    fraction: bool,
    guess: float = 0.5,
    independent: float = 0.0,
    folds: int = 1,
    level: float = LEVEL,
) -> FamilyEstimate:
    """Interval of a score in which every family counts once, for other families of the same kinds.

    Families are the independent units, stratified by label with the labels' shares as they are; one with samples of two
    labels is one unit. The variance is the jackknife's, leaving out one family at a time within each label (Efron 1982,
    The Jackknife, the Bootstrap and Other Resampling Plans, 3), and no less than independent samples would give: two
    families that agree by chance tell nothing of how families differ. Student's t has Satterthwaite's degrees of
    freedom. A part of a family that answers at random is added to the families (`IN_CENTRE`, `IN_VARIANCE`), as Agresti
    and Coull (1998) add two hits and two misses. The interval of a fraction is Wilson's, with as many trials as give
    the variance; that of a loss is made on the logarithmic scale, where leaving out the worst family weighs most.

    Where families were held out in folds, the predictors were trained on sets that overlap, and what these have in
    common by chance no difference between families shows: the variance is corrected as Nadeau and Bengio (2003,
    Inference for the Generalization Error, 3) correct it, by 1 + k / (k - 1) for k folds (`benchmarks/held_out.md`).

    Args:
        estimate: the score with all families.
        left_out: the score without each family, float `[families]`; not looked at where a label has one family.
        sizes: number of samples of each family by label `[families, labels]`.
        fraction: the score lies in [0, 1]; else it is at least 0.
        guess: the score of answering at random.
        independent: variance of the score were its samples independent, each family counting once.
        folds: in how many the families were held out; 1 where one predictor was trained without any of them.
        level: of confidence, in (0, 1).
    """
    counts, distinct = (sizes > 0).sum(axis=0), len(sizes)
    about = (tuple(counts.tolist()), distinct)
    if counts.min() < 2:
        reason = "a label has one family only, and nothing tells how families of that label differ"
        return FamilyEstimate(estimate, None, *about, reason)
    scores = left_out if fraction else np.log(np.maximum(left_out, np.finfo(float).tiny))
    variance, freedom = _jackknife(scores, sizes)
    centred, of_label = (IN_CENTRE, IN_VARIANCE) if fraction else (LOSS_IN_CENTRE, LOSS_IN_VARIANCE)
    centre = (distinct * estimate + centred * guess) / (distinct + centred)
    scale = 1.0 if fraction else centre
    strata = len(np.unique(strata_of(sizes)))
    guessing = of_label * strata * ((guess - estimate) / (distinct + strata)) ** 2
    variance = max(variance, independent / scale**2) * (1 if folds == 1 else 1 + folds / (folds - 1))
    error = variance**0.5 * scale
    variance += guessing / scale**2
    if variance <= ROUNDING:
        return FamilyEstimate(estimate, None, *about, "every sample has the score of a guess")
    reach = float(stats.t.ppf((1 + level) / 2, freedom))
    low, high = _wilson(centre, variance, reach) if fraction else _lognormal(centre, variance, reach)
    return FamilyEstimate(estimate, Interval(min(low, estimate), max(high, estimate)), *about, "", error)


def families_needed(families: int, error: float, half_width: float, level: float = LEVEL) -> int:
    """How many families an interval of a score needs that reaches so far to either side, by how these families differ.

    Args:
        families: at hand.
        error: standard error of the score with them.
        half_width: wanted, as 0.05 for five points.
        level: of confidence, in (0, 1).
    """
    return int(np.ceil(families * (stats.norm.ppf((1 + level) / 2) * error / half_width) ** 2))


def difference_interval(
    estimate: float,
    left_out: np.ndarray,
    sizes: np.ndarray,
    independent: float = 0.0,
    folds: int = 1,
    level: float = LEVEL,
) -> Interval:
    """Interval of a difference of two fractions on the same families, each counted once, for other families.

    As `jackknife_interval`, but for the scale, which is the difference's own, and for the family that is added: on it
    the two differ by a half, in either direction. Families on which only one of two methods fails may be few, and none
    of them at hand.

    Args:
        estimate: the difference, in [-1, 1].
        left_out: the difference without each family, float `[families]`, of labels with two families or more.
        sizes: number of samples of each family by label `[families, labels]`.
        independent: variance of the difference were its samples independent.
        folds: in how many the families were held out; 1 where the predictors were trained without any of them.
        level: of confidence, in (0, 1).
    """
    variance, freedom = _jackknife(left_out, sizes)
    strata = len(np.unique(strata_of(sizes)))
    overlap = 1 if folds == 1 else 1 + folds / (folds - 1)
    guessing = IN_VARIANCE * strata * (0.5 / (len(sizes) + strata)) ** 2
    error = (overlap * max(variance, independent) + guessing) ** 0.5
    reach = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    return Interval(max(estimate - reach, -1.0), min(estimate + reach, 1.0))


def _jackknife(scores: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """Variance and Satterthwaite's degrees of freedom, from the scores without each family `[families]`."""
    present, strata = sizes > 0, strata_of(sizes)
    changes = scores - (np.bincount(strata, scores) / np.bincount(strata))[strata]
    counts = present.sum(axis=0)
    # The jackknife's factor, (n - 1) / n of a label with n families.
    squares = (present * (counts - 1) / counts).sum(axis=1) / present.sum(axis=1) * changes**2
    variance = float(squares.sum())
    # Families of the same labels are one kind.
    kind = np.unique(present, axis=0, return_inverse=True)[1].ravel()
    own = np.maximum(np.bincount(kind) - 1, 0.5)
    if variance <= ROUNDING:
        return 0.0, float(own.sum())
    return variance, float(variance**2 / (np.bincount(kind, squares) ** 2 / own).sum())


def _wilson(centre: float, variance: float, reach: float) -> tuple[float, float]:
    """Wilson's interval of a fraction that as many trials as have this variance gave; `reach` in standard errors."""
    square = reach**2 * variance / (centre * (1 - centre))
    middle = (centre + square / 2) / (1 + square)
    half = (square * centre * (1 - centre) + square**2 / 4) ** 0.5 / (1 + square)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _lognormal(centre: float, variance: float, reach: float) -> tuple[float, float]:
    """Interval of what is positive; `variance` is of its logarithm."""
    # Two families far apart can ask for a factor that no float holds; a thousandfold says as much.
    factor = float(np.exp(min(reach * variance**0.5, np.log(WIDEST))))
    return centre / factor, centre * factor


def naive_interval(hits: int, samples: int, level: float = LEVEL) -> Interval:
    """Wilson's interval as if every sample were independent: what a report that forgets families would print."""
    interval = stats.binomtest(hits, samples).proportion_ci(level, "wilson")
    return Interval(float(interval.low), float(interval.high))
