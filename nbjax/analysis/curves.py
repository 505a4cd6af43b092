"""Curves and confusion matrices of some sessions' predictions, as arrays for whoever draws them.

scikit-learn is slow to import: only what calls it waits.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nbjax.analysis.units import Units
from nbjax.errors import InputError

POINTS = 101


class Curves(NamedTuple):
    """One curve a session, all on the same points of the horizontal axis.

    Attributes:
        name: `roc` (false positive rate across, true positive rate up) or `precision_recall` (recall across, precision
            up).
        level: sample, patch, slide or family.
        units: how many of these there are.
        across: ascending, in [0, 1], `[points]`.
        up: in [0, 1], `[sessions, points]`.
        areas: of each session: area under the ROC curve, or average precision, of all thresholds `[sessions]`.
        chance: what guessing would give: its area.
    """

    name: str
    level: str
    units: int
    across: np.ndarray
    up: np.ndarray
    areas: np.ndarray
    chance: float


def roc_curves(units: Units, label: int = 1) -> Curves:
    """True positive rate at each false positive rate, a class against the rest; at a jump the upper end.

    Vertical averaging of the sessions' curves (Fawcett 2006, An introduction to ROC analysis) is a mean over `up`.

    Raises:
        InputError: no unit has the label, or every one.
    """
    import sklearn.metrics

    positive = _positive(units, label)
    across, up = np.linspace(0, 1, POINTS), []
    for scores in units.probabilities[:, :, label]:
        false, true, _ = sklearn.metrics.roc_curve(positive, scores, drop_intermediate=False)
        # Of points one above the other NumPy takes the last, the upper, there and the lower on the way to them.
        up.append(np.interp(across, false, true))
    areas = [sklearn.metrics.roc_auc_score(positive, scores) for scores in units.probabilities[:, :, label]]
    return Curves("roc", units.level, len(positive), across, np.stack(up), np.asarray(areas), 0.5)


def precision_recall_curves(units: Units, label: int = 1) -> Curves:
    """Precision at the highest threshold that reaches each recall, a class against the rest; not interpolated.

    Raises:
        InputError: no unit has the label, or every one.
    """
    import sklearn.metrics

    positive = _positive(units, label)
    across, up = np.linspace(0, 1, POINTS), []
    for scores in units.probabilities[:, :, label]:
        precision, recall, _ = sklearn.metrics.precision_recall_curve(positive, scores)
        # scikit-learn's first points have the lowest thresholds; the last is not a threshold at all.
        precision, recall = precision[-2::-1], recall[-2::-1]
        up.append(precision[np.searchsorted(recall, across - 1e-12)])
    areas = [sklearn.metrics.average_precision_score(positive, scores) for scores in units.probabilities[:, :, label]]
    chance = float(positive.mean())
    return Curves("precision_recall", units.level, len(positive), across, np.stack(up), np.asarray(areas), chance)


def _positive(units: Units, label: int) -> np.ndarray:
    positive = units.labels == label
    if positive.all() or not positive.any():
        raise InputError(
            f"{int(positive.sum())} of {len(positive)} units have label {label}; a curve needs some of both."
        )
    return positive


def confusion_matrices(units: Units) -> np.ndarray:
    """Units by label (rows) and predicted class (columns), int `[sessions, classes, classes]`."""
    import sklearn.metrics

    names = range(units.probabilities.shape[2])
    return np.stack(
        [sklearn.metrics.confusion_matrix(units.labels, predicted, labels=names) for predicted in units.predicted]
    )


def curves_table(curves: Curves) -> pa.Table:
    """A row a point: across, then mean and sample standard deviation over sessions, least and greatest."""
    sessions = len(curves.up)
    spread = curves.up.std(axis=0, ddof=1) if sessions > 1 else np.zeros(len(curves.across))
    return pa.table(
        {
            "across": curves.across,
            "mean": curves.up.mean(axis=0),
            "std": pa.array(spread if sessions > 1 else [None] * len(spread), pa.float64()),
            "least": curves.up.min(axis=0),
            "greatest": curves.up.max(axis=0),
            "sessions": np.full(len(curves.across), sessions),
        }
    )
