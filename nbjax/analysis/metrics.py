"""Scores of predictions, through scikit-learn where it has them."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import sklearn.metrics

from nbjax.analysis.uncertainty import Interval, family_interval, naive_interval
from nbjax.errors import InputError


class TestResult(NamedTuple):
    """The chosen cell on the test split.

    Attributes:
        sessions: how many predicted.
        samples: of the test split.
        folds: how many times the sessions were trained anew; 1 for a test split.
        loss: mean over samples, after the mean over sessions; in nats.
        accuracy: likewise.
        accuracy_std: sample standard deviation of the sessions' accuracies; None with one session.
        loss_std: of their losses.
        naive: what the accuracy's interval would be if samples were independent.
        roc_auc: mean over sessions of the area under the ROC curve; None with more than two classes.
        confusion: int `[classes, classes]`, rows the label, columns the prediction, summed over sessions.
        recall: of each class, the share of its samples classified rightly; of two classes the specificity and the
            sensitivity. Mean over sessions; None for a class without samples.
        family_accuracy: by (label index, family): samples, mean accuracy.
    """

    sessions: int
    samples: int
    folds: int
    loss: Interval
    accuracy: Interval
    accuracy_std: float | None
    loss_std: float | None
    naive: tuple[float, float]
    roc_auc: float | None
    confusion: np.ndarray
    recall: tuple[float | None, ...]
    family_accuracy: dict[tuple[int, str], tuple[int, float]]


def predicted_class(table: pa.Table) -> np.ndarray:
    """Class of each row, int `[rows]`: the more probable one; of two equally probable the first."""
    if "probability" in table.column_names:
        return (table["probability"].to_numpy() > 0.5).astype(np.int64)
    return np.stack(table["probabilities"].to_pylist()).argmax(axis=1)


def _check_samples(table: pa.Table, sessions: int) -> None:
    """A mean over sessions needs the same samples from each, in a table sorted by seed and sample."""
    samples = table["sample"].to_numpy()
    per_session = len(samples) // sessions
    if len(samples) != sessions * per_session or (samples.reshape(sessions, -1) != samples[:per_session]).any():
        raise InputError(
            f"{len(samples)} predictions of {sessions} seeds are not of the same samples; expected one a seed and sample; run "
            "the study again."
        )


def score_test(table: pa.Table, classes: int) -> TestResult:
    """Scores the test predictions of one cell, or those of held-out folds.

    Args:
        table: a row a seed and sample: seed, sample, family, label, loss, probability (or probabilities).
        classes: how many there are.

    Raises:
        InputError: the seeds did not predict the same samples.
    """
    table = table.sort_by([("seed", "ascending"), ("sample", "ascending")])
    sessions = len(table["seed"].unique())
    _check_samples(table, sessions)
    label, predicted = table["label"].to_numpy(), predicted_class(table)
    hits = (label == predicted).astype(np.float64).reshape(sessions, -1)
    losses = table["loss"].to_numpy().astype(np.float64).reshape(sessions, -1)
    samples = hits.shape[1]
    labels = label[:samples]
    families = np.asarray(table["family"].to_pylist()[:samples])
    mean_hits = hits.mean(axis=0)
    confusion = sklearn.metrics.confusion_matrix(label, predicted, labels=range(classes))
    auc = None
    if classes == 2:
        probability = table["probability"].to_numpy().reshape(sessions, -1)
        auc = float(np.mean([sklearn.metrics.roc_auc_score(labels, row) for row in probability]))
    return TestResult(
        sessions=sessions,
        samples=samples,
        folds=len(table["fold"].unique()) if "fold" in table.column_names else 1,
        loss=family_interval(losses.mean(axis=0), families, labels, fraction=False),
        accuracy=family_interval(mean_hits, families, labels, fraction=True),
        accuracy_std=float(hits.mean(axis=1).std(ddof=1)) if sessions > 1 else None,
        loss_std=float(losses.mean(axis=1).std(ddof=1)) if sessions > 1 else None,
        naive=naive_interval(round(mean_hits.sum()), samples),
        roc_auc=auc,
        confusion=confusion,
        recall=tuple(float(row[one] / row.sum()) if row.sum() else None for one, row in enumerate(confusion)),
        family_accuracy={
            (int(one), str(family)): (int(here.sum()), float(mean_hits[here].mean()))
            for one, family in sorted(set(zip(labels.tolist(), families.tolist(), strict=True)))
            if (here := (labels == one) & (families == family)).any()
        },
    )
