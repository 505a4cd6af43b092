"""The leakage experiments (paper III.G): what a validation split that shares families with training hides.

The experiments have the same seeds, so their sessions are compared in pairs: one seed starts from the same weights in
each. Intervals and tests are over seeds alone; they say nothing of other slides or another partition.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy import stats

from nbjax.analysis.selection import keys_of_rows
from nbjax.analysis.uncertainty import LEVEL, Interval
from nbjax.errors import InputError
from nbjax.partition.inputs import SPLITS

# Share of the epochs, the last ones, whose mean is called the end: single epochs of small batches jump.
END = 0.1


class Curves(NamedTuple):
    """Losses of one experiment by session and epoch, in nats, float64 `[sessions, epochs + 1]`; epoch 0 is
    untrained.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class Measures(NamedTuple):
    """What one experiment's sessions show, in nats, each float64 `[sessions]`.

    Attributes:
        train: training loss at the end.
        validation: validation loss at the end.
        test: test loss at the end.
        gap: validation less training loss at the end.
        rise: validation loss at the end, less its least mean over as many epochs, at the place where that of the
            *other* sessions is least: 0 for a curve that falls to its end. A session's own minimum would make every
            noisy curve rise.
        hidden: test less validation loss at the end: what the validation split does not show.
        learned: test loss at the end, less that before training; above 0 the session is worse than untrained.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    gap: np.ndarray
    rise: np.ndarray
    hidden: np.ndarray
    learned: np.ndarray


class Mean(NamedTuple):
    """A mean over sessions with Student's interval, and the test that it is 0.

    Attributes:
        sessions: how many.
        mean: of them.
        std: their sample standard deviation.
        interval: Student's.
        p: of the two-sided t-test (SciPy's `ttest_1samp`; of differences it is the paired test).
        p_ranks: of Wilcoxon's signed ranks; with n sessions it cannot be less than 2^(1 - n).
        effect: mean over standard deviation (Cohen's d of paired differences).
    """

    sessions: int
    mean: float
    std: float
    interval: Interval
    p: float
    p_ranks: float
    effect: float


def read_curves(history: pa.Table) -> Curves:
    """The curves of a study of one cell.

    Raises:
        InputError: several cells, epochs missing, no test curve, or a session that diverged.
    """
    if "test_loss" not in history.column_names:
        raise InputError("sessions.parquet has no test_loss; run the study with test_curve=True.")
    cells = len(set(keys_of_rows(history)))
    if cells != 1:
        raise InputError(f"the study has {cells} cells; a leakage experiment compares one: give one value a field.")
    table = history.sort_by([("seed", "ascending"), ("epoch", "ascending")])
    sessions, epochs = (len(table[name].unique()) for name in ("seed", "epoch"))
    if len(table) != sessions * epochs:
        raise InputError(f"found {len(table)} rows of {sessions} seeds and {epochs} epochs; run the study again.")
    curves = [table[f"{split}_loss"].to_numpy().reshape(sessions, epochs).astype(np.float64) for split in SPLITS]
    if not np.isfinite(curves).all():
        raise InputError("a session diverged; choose a smaller rate, as in --set=learning_rates=1e-4.")
    return Curves(*curves)


def measure(curves: Curves) -> Measures:
    """Sums up each session.

    Raises:
        InputError: fewer than two sessions.
    """
    sessions, epochs = curves.validation.shape
    if sessions < 2:
        raise InputError("one seed tells nothing of the spread; give at least 2 seeds.")
    last = max(1, round(END * (epochs - 1)))
    train, validation, test = (values[:, -last:].mean(axis=1) for values in curves)
    # Means over windows as long as the end: one epoch against a mean would make every falling curve rise.
    smooth = np.lib.stride_tricks.sliding_window_view(curves.validation, last, axis=1).mean(axis=2)
    others = (smooth.sum(axis=0) - smooth) / (sessions - 1)
    lowest = smooth[np.arange(sessions), others.argmin(axis=1)]
    return Measures(
        train=train,
        validation=validation,
        test=test,
        gap=validation - train,
        rise=validation - lowest,
        hidden=test - validation,
        learned=test - curves.test[:, 0],
    )


def mean_of(values: np.ndarray) -> Mean:
    """The mean over sessions `[sessions]`, at least two; of differences it is a paired comparison."""
    count, mean, std = len(values), float(values.mean()), float(values.std(ddof=1))
    if std == 0:
        p = 1.0 if mean == 0 else 0.0
        return Mean(count, mean, std, Interval(mean, mean), p, p, float(np.sign(mean)) * np.inf if mean else 0.0)
    test = stats.ttest_1samp(values, 0)
    ends = test.confidence_interval(LEVEL)
    interval = Interval(float(ends.low), float(ends.high))
    ranks = float(stats.wilcoxon(values).pvalue)
    return Mean(count, mean, std, interval, float(test.pvalue), ranks, mean / std)


def summarise(measures: Mapping[str, Measures]) -> dict[str, dict[str, Mean]]:
    """By experiment and measure."""
    return {
        leak: {name: mean_of(values) for name, values in of_one._asdict().items()} for leak, of_one in measures.items()
    }


def compare(measures: Mapping[str, Measures], name: str = "gap") -> dict[tuple[str, str], Mean]:
    """The paired difference of a measure for every two experiments, in their order: the first less the second.

    A study's seeds count from 0, so that sessions at the same place have the same seed.

    Raises:
        InputError: experiments with different numbers of sessions.
    """
    if len({len(one.gap) for one in measures.values()}) > 1:
        raise InputError("the experiments have different numbers of sessions; run them with as many seeds.")
    leaks = list(measures)
    return {
        (one, other): mean_of(getattr(measures[one], name) - getattr(measures[other], name))
        for at, one in enumerate(leaks)
        for other in leaks[at + 1 :]
    }
