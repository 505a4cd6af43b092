"""What leaking families do to a score: the curve's points, and a reference by scikit-learn alone."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nbjax.analysis.uncertainty import LEVEL, Interval


class Point(NamedTuple):
    """A mean over draws.

    Attributes:
        mean: of the draws' means over their sessions.
        interval: for the mean over all draws from this cohort.
        std: sample standard deviation over draws.
        draws: how many.
        sessions: of all draws.
    """

    mean: float
    interval: Interval
    std: float
    draws: int
    sessions: int


def point_of(values: np.ndarray, level: float = LEVEL) -> Point:
    """Mean over draws with Student's interval over them.

    Args:
        values: float `[draws, sessions]`, two draws or more.
        level: of the interval.
    """
    draws = values.mean(axis=1)
    reach = float(stats.t.ppf((1 + level) / 2, len(draws) - 1) * stats.sem(draws))
    mean = float(draws.mean())
    return Point(mean, Interval(mean - reach, mean + reach), float(draws.std(ddof=1)), len(draws), values.size)


def score_matrix(table: pa.Table, column: str) -> np.ndarray:
    """A column of a table with one row a partition and seed, float64 `[partitions, seeds]`, both ascending."""
    table = table.sort_by([("partition", "ascending"), ("seed", "ascending")])
    seeds = len(table["seed"].unique())
    return table[column].to_numpy().astype(np.float64).reshape(-1, seeds)


def leak_points(table: pa.Table, column: str) -> dict[float, Point]:
    """A point a leak fraction.

    Args:
        table: a row a fraction, partition and seed.
        column: of the score.
    """
    fractions = table["fraction"].to_numpy()
    return {
        float(fraction): point_of(score_matrix(table.filter(pa.array(fractions == fraction)), column))
        for fraction in np.unique(fractions)
    }


def leaking_folds(label: np.ndarray, family: np.ndarray, fraction: float, folds: int, seed: int) -> np.ndarray:
    """The fold of each patch, int `[patches]`: a share of the families is dealt patch by patch.

    Families are drawn label by label, one of several labels with its first. The others stay whole. With fraction 0
    these are the folds of scikit-learn's `StratifiedGroupKFold`, with fraction 1 those of its `StratifiedKFold`, both
    shuffled with this seed.

    Args:
        label: of each patch.
        family: of each patch, a name or a number, on whose order the folds depend.
        fraction: of the families, in [0, 1]; their number is rounded. A larger one deals the same families and more.
        folds: how many.
        seed: of all draws.
    """
    whole, dealt = (
        _fold_numbers(kind(folds, shuffle=True, random_state=seed), label, family)
        for kind in (StratifiedGroupKFold, StratifiedKFold)
    )
    rng = np.random.default_rng(seed)
    leaking: list[int] = []
    seen: list[int] = []
    for name in np.unique(label):
        order = rng.permutation(np.setdiff1d(family[label == name], seen))
        leaking += order[: round(fraction * len(order))].tolist()
        seen += order.tolist()
    return np.where(np.isin(family, leaking), dealt, whole)


def _fold_numbers(
    splitter: StratifiedKFold | StratifiedGroupKFold, label: np.ndarray, family: np.ndarray
) -> np.ndarray:
    groups = {"groups": family} if isinstance(splitter, StratifiedGroupKFold) else {}
    fold = np.empty(len(label), np.int64)
    for number, (_, held_out) in enumerate(splitter.split(label[:, None], label, **groups)):
        fold[held_out] = number
    return fold


def regression_accuracies(
    features: np.ndarray, label: np.ndarray, family: np.ndarray, fraction: float, repetitions: int = 5, folds: int = 5
) -> np.ndarray:
    """Accuracy of each repetition of a cross-validated logistic regression, float64 `[repetitions]`.

    Features are standardised by each training set; C is 0.01. Nothing is chosen.

    Args:
        features: `[patches, d]`.
        label: int `[patches]`.
        family: int `[patches]`.
        fraction: of leaking families, as `leaking_folds` takes it.
        repetitions: each with folds of its own, from its number as seed.
        folds: of each.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    accuracies = []
    for seed in range(repetitions):
        fold = leaking_folds(label, family, fraction, folds, seed)
        predicted = cross_val_predict(model, features, label, cv=PredefinedSplit(fold))
        accuracies.append(np.mean(predicted == label))
    return np.asarray(accuracies)
