"""Is one method better than another on the same families? Differences of scores, family by family."""

from typing import NamedTuple

import numpy as np

from nbjax.analysis.resampling import drawn_weights, left_out_weights
from nbjax.analysis.scores import Tested
from nbjax.analysis.uncertainty import Interval, difference_interval, family_sizes, once_weights
from nbjax.analysis.weighted import weighted_scores
from nbjax.errors import InputError

METRICS = ("accuracy", "balanced_accuracy", "roc_auc")
RESAMPLES = 500


class Difference(NamedTuple):
    """A score of the first method less that of the second, every family counted once.

    Attributes:
        estimate: above 0 where the first is better; None where the score is not defined.
        interval: for other families of the same kinds; None where none can be had.
    """

    estimate: float | None
    interval: Interval | None


def differences(first: Tested, second: Tested, *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Difference]:
    """The differences in `METRICS` of two methods that predicted the same units, by metric.

    What makes a family hard for both falls out of a difference: its interval is narrower than the two scores' own let
    expect. See `uncertainty.difference_interval`.

    Args:
        first: of a study, or a method.
        second: of another, on the same test split, or with the same families held out in folds.
        seed: of the bootstrap that the interval is no narrower than.
        resamples: of it.

    Raises:
        InputError: they did not predict the same units.
    """
    ours, theirs = first.units, second.units
    alike = len(ours.labels) == len(theirs.labels)
    if not (alike and (ours.labels == theirs.labels).all() and (ours.families == theirs.families).all()):
        raise InputError(
            f"the two methods predicted {len(ours.labels)} and {len(theirs.labels)} {ours.level} units, not the same "
            "ones; run both on the same dataset."
        )
    each, (sizes, member) = once_weights(ours.families, ours.labels), family_sizes(ours.families, ours.labels)
    apart, itself = family_sizes(np.arange(len(ours.labels)), ours.labels)
    drawn = drawn_weights(np.random.default_rng(seed), apart, resamples)
    rows = {"all": (np.ones((1, len(sizes))), member), "alone": (drawn, itself)}
    if (sizes > 0).sum(axis=0).min() > 1:
        rows["left out"] = (left_out_weights(len(sizes)), member)
    scores = {
        name: [weighted_scores(units, weights, of_unit, each) for units in (ours, theirs)]
        for name, (weights, of_unit) in rows.items()
    }
    compared = {}
    for metric in METRICS:
        if metric not in scores["all"][0]:
            compared[metric] = Difference(None, None)
            continue
        by_rows = {name: one[metric][0] - other[metric][0] for name, (one, other) in scores.items()}
        estimate, interval = float(by_rows["all"][0]), None
        if "left out" in by_rows:
            independent = float(by_rows["alone"].var())
            interval = difference_interval(estimate, by_rows["left out"], sizes, independent, first.folds)
        compared[metric] = Difference(estimate, interval)
    return compared
