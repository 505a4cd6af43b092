"""How certain the chosen cell's sessions are, and how certain they should be: temperatures from validation
predictions.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import scipy.special

from nbjax.analysis.calibration import Reliability, probabilities, reliability, scale_temperatures
from nbjax.analysis.units import Units, units_at
from nbjax.analysis.weighted import weighted_scores

# Beyond these no float32 loss tells one logit from another.
CERTAIN = 80.0


class Calibration(NamedTuple):
    """Test predictions before and after temperature scaling; every array is `[sessions]`.

    Attributes:
        temperature: of each session, fitted on its validation predictions; above 1 where it was too certain.
        at_bound: validation does not determine it: it lies at an end of its range.
        loss_before: of the test units, in nats.
        loss_after: likewise.
        error_before: expected calibration error of the test units.
        error_after: likewise.
        before: reliability of the test units, all sessions pooled.
        after: likewise.
        level: of the units.
        validation_samples: that fitted each temperature.
    """

    temperature: np.ndarray
    at_bound: np.ndarray
    loss_before: np.ndarray
    loss_after: np.ndarray
    error_before: np.ndarray
    error_after: np.ndarray
    before: Reliability
    after: Reliability
    level: str
    validation_samples: int


def calibrate(validation: pa.Table, test: pa.Table, level: str, classes: int) -> Calibration:
    """Fits a temperature for each session by validation and applies it to the test split, which fits nothing.

    Args:
        validation: a row a seed and sample.
        test: of the same seeds.
        level: of the test units, `sample` or `patch`.
        classes: how many there are.

    Raises:
        InputError: the seeds did not predict the same samples.
    """
    units_at(validation, "sample", classes)  # checks the table
    (validation, fitting, fitting_labels), (test, logits, labels) = (
        _logits(one, classes) for one in (validation, test)
    )
    scaled = scale_temperatures(fitting, fitting_labels, logits, labels)
    before, after = units_at(test, level, classes), units_at(_with(test, scaled.logits), level, classes)
    scores = [weighted_scores(units, np.ones((1, len(units.labels)))) for units in (before, after)]
    losses, errors = ([one[name][:, 0] for one in scores] for name in ("loss", "expected_calibration_error"))
    return Calibration(
        temperature=scaled.temperature,
        at_bound=scaled.at_bound,
        loss_before=losses[0],
        loss_after=losses[1],
        error_before=errors[0],
        error_after=errors[1],
        before=_reliability(before),
        after=_reliability(after),
        level=level,
        validation_samples=fitting.shape[1],
    )


def _reliability(units: Units) -> Reliability:
    return reliability(units.confidence, units.hits)


def _logits(table: pa.Table, classes: int) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """The table sorted, logits `[sessions, samples, outputs]` and labels `[samples]`.

    Taken from the loss where it says more: a probability next to 1 has lost what tells it from 1.
    """
    table = table.sort_by([("seed", "ascending"), ("sample", "ascending")])
    sessions = len(table["seed"].unique())
    labels = table["label"].to_numpy().astype(np.int64)
    losses = table["loss"].to_numpy().astype(np.float64)
    if classes == 2:
        with np.errstate(divide="ignore", over="ignore"):
            logits = np.where(labels == 1, -1.0, 1.0) * np.log(np.expm1(losses))
        logits = np.clip(logits, -CERTAIN, CERTAIN)[:, None]
    else:
        every = np.asarray(table["probabilities"].to_pylist(), np.float64)
        logits = np.log(np.maximum(every, np.exp(-CERTAIN)))
        logits[np.arange(len(labels)), labels] = -losses
    return table, logits.reshape(sessions, -1, logits.shape[1]), labels[: len(labels) // sessions]


def _with(table: pa.Table, logits: np.ndarray) -> pa.Table:
    """The sorted table with the probabilities and losses of other logits."""
    flat = logits.reshape(-1, logits.shape[2])
    every = probabilities(flat)
    labels = table["label"].to_numpy().astype(np.int64)
    wide = np.concatenate([np.zeros_like(flat), flat], axis=1) if flat.shape[1] == 1 else flat
    losses = -scipy.special.log_softmax(wide, axis=1)[np.arange(len(labels)), labels]
    name, values = ("probability", every[:, 1]) if flat.shape[1] == 1 else ("probabilities", pa.array(list(every)))
    for column, new in ((name, values), ("loss", losses)):
        table = table.set_column(table.column_names.index(column), column, pa.array(new))
    return table
