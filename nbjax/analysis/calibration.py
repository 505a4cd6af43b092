"""Does a probability of 0.8 come true in 80 of 100 cases? Reliability, and temperature scaling by validation data
alone.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from nbjax.analysis.weighted import BINS, confidence_bins
from nbjax.errors import InputError

# Beyond these a temperature says no more than "as certain as can be" or "a guess".
COLDEST, HOTTEST = 0.05, 20.0
# How near to an end the search comes that ends there.
MARGIN = 1e-3


class Reliability(NamedTuple):
    """Confidence against how often it was right, by bins of confidence that hold something.

    Attributes:
        low: lower edge of each bin, which is open there `[bins]`.
        high: upper edge, closed `[bins]`.
        counts: predictions in it, int `[bins]`.
        confidence: their mean probability of the predicted class `[bins]`.
        right: share of them whose predicted class is the label `[bins]`.
        error: the expected calibration error: mean of |right - confidence|, weighted by counts.
    """

    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    right: np.ndarray
    error: float


def reliability(confidence: np.ndarray, hits: np.ndarray, bins: int = BINS) -> Reliability:
    """Reliability curve of predictions, any shape; of several sessions all are pooled.

    With few predictions the error is too large, since bins of two or three are far off by chance alone.

    Args:
        confidence: probability of the predicted class, in [0, 1] (`Units.confidence`).
        hits: 1 where that class is the label, else 0 (`Units.hits`), of the same shape.
        bins: of equal width on [0, 1].
    """
    confidence, hits = np.ravel(confidence), np.ravel(hits)
    member = confidence_bins(confidence, bins)
    counts = np.bincount(member, minlength=bins)
    held = np.flatnonzero(counts)
    mean, right = (np.bincount(member, values, bins)[held] / counts[held] for values in (confidence, hits))
    error = float((counts[held] * np.abs(right - mean)).sum() / len(confidence))
    return Reliability(held / bins, (held + 1) / bins, counts[held], mean, right, error)


def mean_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Cross-entropy in nats of logits `[samples, outputs]`: binary for one output, else over classes."""
    logits = logits.astype(np.float64)
    if logits.shape[1] == 1:
        return float(np.logaddexp(0, np.where(labels == 1, -logits[:, 0], logits[:, 0])).mean())
    chosen = np.take_along_axis(special.log_softmax(logits, axis=1), labels[:, None].astype(np.int64), axis=1)
    return float(-chosen.mean())


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Probability of every class, float64 `[..., classes]`, of logits `[..., outputs]`; one output is of class 1."""
    logits = logits.astype(np.float64)
    if logits.shape[-1] == 1:
        return np.concatenate([special.expit(-logits), special.expit(logits)], axis=-1)
    return special.softmax(logits, axis=-1)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T in [0.05, 20] at which logits / T have the least loss (Guo et al. 2017, section 4.2).

    It changes no prediction, only how certain it is. The loss is convex in 1 / T, so that its minimum is the only one;
    where every sample is classified rightly there is none, and T is the lower bound.

    Args:
        logits: of validation samples `[samples, outputs]`; never of the test split.
        labels: of them, int `[samples]`.

    Raises:
        InputError: no samples, or a logit that is not finite.
    """
    if not len(logits) or not np.isfinite(logits).all():
        raise InputError(f"logits of {len(logits)} validation samples; expected finite ones, of at least one sample.")

    def loss(temperature: float) -> float:
        return mean_loss(logits / temperature, labels)

    minimum = optimize.minimize_scalar(
        lambda logarithm: loss(float(np.exp(logarithm))),
        bounds=(np.log(COLDEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    # Where all margins are wide the loss is 0 to the last bit over a range, and the search stops anywhere in it.
    return min((COLDEST, float(np.exp(minimum.x)), HOTTEST), key=loss)


class Scaled(NamedTuple):
    """Sessions before and after temperature scaling; every array is `[sessions]` but the logits.

    Attributes:
        temperature: of each session, fitted on its validation logits; above 1 where it was too certain.
        at_bound: the temperature is at an end of its range, so that validation does not determine it.
        loss_before: of the test samples, in nats.
        loss_after: likewise.
        error_before: their expected calibration error.
        error_after: likewise.
        logits: of the test samples after scaling `[sessions, samples, outputs]`.
    """

    temperature: np.ndarray
    at_bound: np.ndarray
    loss_before: np.ndarray
    loss_after: np.ndarray
    error_before: np.ndarray
    error_after: np.ndarray
    logits: np.ndarray


def scale_temperatures(
    validation_logits: np.ndarray, validation_labels: np.ndarray, test_logits: np.ndarray, test_labels: np.ndarray
) -> Scaled:
    """Fits each session's temperature on validation samples and applies it to the test samples, which fit nothing.

    Args:
        validation_logits: `[sessions, samples, outputs]`.
        validation_labels: int `[samples]`.
        test_logits: `[sessions, samples, outputs]`.
        test_labels: int `[samples]`.

    Raises:
        InputError: there are no validation samples, or a logit is not finite.
    """
    temperature = np.asarray([fit_temperature(one, validation_labels) for one in validation_logits])
    logits = test_logits / temperature[:, None, None]
    return Scaled(
        temperature=temperature,
        at_bound=(temperature < COLDEST * (1 + MARGIN)) | (temperature > HOTTEST * (1 - MARGIN)),
        loss_before=np.asarray([mean_loss(one, test_labels) for one in test_logits]),
        loss_after=np.asarray([mean_loss(one, test_labels) for one in logits]),
        error_before=np.asarray([_error(one, test_labels) for one in test_logits]),
        error_after=np.asarray([_error(one, test_labels) for one in logits]),
        logits=logits,
    )


def _error(logits: np.ndarray, labels: np.ndarray) -> float:
    every = probabilities(logits)
    return reliability(every.max(axis=1), every.argmax(axis=1) == labels).error
