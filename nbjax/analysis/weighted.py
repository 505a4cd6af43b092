"""Scores of weighted units, many weightings at once: what estimates, bootstraps and jackknives have in common.

All equal scikit-learn's where it has them, with `sample_weight` for the weights:

- loss: mean of minus the logarithm of the probability of the label, in nats
- accuracy: share of units whose most probable class is the label
- balanced_accuracy: mean over classes of the share of its units classified rightly
- roc_auc: area under the ROC curve; with more classes the mean over each against the rest
- average_precision: sum over thresholds of precision times the step in recall (no interpolation); likewise
- sensitivity, specificity: of class 1 and class 0, the share of its units classified rightly; of two classes only
- f1: harmonic mean of precision and recall of class 1; with more classes the mean over classes
- brier: mean of (probability of class 1 - label)²; with more classes the sum over classes of such squares
- expected_calibration_error: mean over bins of confidence, weighted by units, of the absolute difference between mean
  confidence and share classified rightly. The confidence is the probability of the predicted class; the bins are 15 of
  equal width on [0, 1], closed above (Guo et al. 2017, On Calibration of Modern Neural Networks). It is never negative,
  so with few units it is too large.
"""

import numpy as np

from nbjax.analysis.units import Units

METRICS = (
    "loss",
    "accuracy",
    "balanced_accuracy",
    "roc_auc",
    "average_precision",
    "sensitivity",
    "specificity",
    "f1",
    "brier",
    "expected_calibration_error",
)
BINARY_ONLY = ("sensitivity", "specificity")
BINS = 15
# Weights held at once, so that 2,000 resamples of 10,000 units fit any machine.
ROOM = 4_000_000


def weighted_scores(
    units: Units, weights: np.ndarray, member: np.ndarray | None = None, each: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Scores `[sessions, rows]` by metric, under each row of weights; a metric that is not defined is absent.

    Every metric needs units of every class, those of two classes aside that look at one class only.

    Args:
        units: of one level.
        weights: of the units `[rows, units]`, or of clusters of them `[rows, clusters]`; in every row some of each
            label.
        member: which cluster each unit is of, int `[units]`.
        each: how much a unit counts to begin with `[units]`; None: once.
    """
    step = max(1, ROOM // len(units.labels))
    parts = []
    for begin in range(0, len(weights), step):
        rows = weights[begin : begin + step]
        rows = rows if member is None else rows[:, member]
        parts.append(_scores(units, rows if each is None else rows * each))
    return {metric: np.concatenate([part[metric] for part in parts], axis=1) for metric in parts[0]}


def _scores(units: Units, weights: np.ndarray) -> dict[str, np.ndarray]:
    classes = units.probabilities.shape[2]
    total = weights.sum(axis=1)
    confusion = _sums(weights, _one_hot(units.labels * classes + units.predicted, classes**2))
    confusion = confusion.reshape(*confusion.shape[:2], classes, classes)
    right = np.diagonal(confusion, axis1=2, axis2=3)
    gaps = _one_hot(confidence_bins(units.confidence), BINS) * (units.hits - units.confidence)[..., None]
    scores = {
        "loss": _sums(weights, units.losses[..., None])[..., 0] / total,
        # Of the same sums, so that 1 is 1 whatever the weights.
        "accuracy": right.sum(axis=2) / confusion.sum(axis=3).sum(axis=2),
        "brier": _sums(weights, units.brier[..., None])[..., 0] / total,
        "expected_calibration_error": np.abs(_sums(weights, gaps)).sum(axis=2) / total,
    }
    present = np.isin(np.arange(classes), units.labels)
    of_class = confusion.sum(axis=3)
    if classes == 2:
        for label, metric in enumerate(("specificity", "sensitivity")):
            if present[label]:
                scores[metric] = right[..., label] / of_class[..., label]
    if present.all():
        scores["balanced_accuracy"] = (right / of_class).mean(axis=2)
        f1 = 2 * right / (of_class + confusion.sum(axis=2))
        scores["f1"] = f1[..., 1] if classes == 2 else f1.mean(axis=2)
        scores |= _rankings(units, weights)
    return scores


def _sums(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weighted sums `[sessions, rows, columns]` of values `[sessions, units, columns]`, in one matrix product."""
    sessions, count, columns = values.shape
    sums = weights @ np.moveaxis(values, 1, 0).reshape(count, sessions * columns)
    return np.moveaxis(sums.reshape(len(weights), sessions, columns), 1, 0)


def _one_hot(numbers: np.ndarray, count: int) -> np.ndarray:
    return (numbers[..., None] == np.arange(count)).astype(np.float64)


def confidence_bins(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """The bin of each confidence in [0, 1], int: of equal width, closed above, the first at 0 too."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def _rankings(units: Units, weights: np.ndarray) -> dict[str, np.ndarray]:
    classes = units.probabilities.shape[2]
    positives = [1] if classes == 2 else range(classes)
    pairs = np.stack(
        [
            np.mean([_ranking(probabilities[:, label], units.labels == label, weights) for label in positives], axis=0)
            for probabilities in units.probabilities
        ]
    )
    return {"roc_auc": pairs[:, 0], "average_precision": pairs[:, 1]}


def _ranking(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Area under the ROC curve and average precision, each `[rows]`, from sums down to each score."""
    order = np.argsort(-scores, kind="stable")
    ranked, positive, weights = scores[order], positive[order], weights[:, order]
    # Sums before and after all units of the same score, since their order among themselves means nothing.
    before, after = np.searchsorted(-ranked, -ranked, "left"), np.searchsorted(-ranked, -ranked, "right")
    found = np.zeros((len(weights), len(order) + 1))
    np.cumsum(weights * positive, axis=1, out=found[:, 1:])
    above = np.cumsum(weights[:, : after[positive].max()], axis=1)[:, after[positive] - 1]
    hits, misses = weights[:, positive], weights[:, ~positive]
    # A negative loses to every positive above it, and to half of those at its own score.
    losses = (found[:, before[~positive]] + found[:, after[~positive]]) / 2
    area = np.einsum("ru,ru->r", misses, losses) / (misses.sum(axis=1) * hits.sum(axis=1))
    # Weights that no float holds add up to a little more than they should.
    area = np.minimum(area, 1.0)
    precision = np.divide(found[:, after[positive]], above, out=np.zeros_like(above), where=above > 0)
    return area, np.minimum(np.einsum("ru,ru->r", hits, precision) / hits.sum(axis=1), 1.0)
