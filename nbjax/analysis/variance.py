"""How much of a score's variance is the partition's, how much the seed's: two-way crossed random effects."""

from typing import NamedTuple

import numpy as np

from nbjax.analysis.uncertainty import LEVEL, Interval
from nbjax.errors import InputError


class Component(NamedTuple):
    """One part of the variance.

    Attributes:
        variance: its estimate; 0 where the estimate was negative.
        interval: its.
        share: of the sum of the three components, in [0, 1]; 0 where all are 0.
        share_interval: the share's.
        truncated: the estimate was negative, which means too small to be told from 0.
    """

    variance: float
    interval: Interval
    share: float
    share_interval: Interval
    truncated: bool


class Components(NamedTuple):
    """Of a table of scores.

    Attributes:
        partition: what differs between partitions, whatever the seed.
        seed: what differs between seeds, whatever the partition.
        interaction: what is left; a session is determined by its partition and seed, so that this is their interaction.
        mean: of all scores.
        partitions: how many.
        seeds: how many.
    """

    partition: Component
    seed: Component
    interaction: Component
    mean: float
    partitions: int
    seeds: int


def estimate_components(
    scores: np.ndarray, rows: np.ndarray | None = None, columns: np.ndarray | None = None
) -> np.ndarray:
    """Variances `[3]` of partition, seed and interaction by the method of moments; they may be negative.

    With y = mean + a + b + e, half the mean squared difference of two scores is var(b) + var(e) within a row, var(a) +
    var(e) within a column, and the sum of all three where both differ. Solved for the three, that equals the analysis
    of variance of the balanced table (Searle, Casella and McCulloch, Variance Components, 4.3); with weights it never
    compares a row or column with its own copy.

    Args:
        scores: float `[partitions, seeds]`.
        rows: how often each partition counts, `[partitions]`; None is once.
        columns: how often each seed counts, `[seeds]`; None is once. Two of each must count.
    """
    centred = scores - scores.mean()
    w = np.ones(scores.shape[0]) if rows is None else rows.astype(float)
    v = np.ones(scores.shape[1]) if columns is None else columns.astype(float)
    of_column = w.sum() * (w @ centred**2) - (w @ centred) ** 2
    of_row = v.sum() * (centred**2 @ v) - (centred @ v) ** 2
    everywhere = w.sum() * v.sum() * (w @ centred**2 @ v) - (w @ centred @ v) ** 2
    other_rows, other_columns = w.sum() ** 2 - w @ w, v.sum() ** 2 - v @ v
    same_column = v @ of_column / (other_rows * v.sum())
    same_row = w @ of_row / (other_columns * w.sum())
    neither = (everywhere - w**2 @ of_row - v**2 @ of_column) / (other_rows * other_columns)
    return np.array([neither - same_row, neither - same_column, same_row + same_column - neither])


def variance_components(scores: np.ndarray, resamples: int = 2000, seed: int = 0, level: float = LEVEL) -> Components:
    """Components of a table's variance, with bootstrap intervals over partitions and seeds.

    Whole rows and whole columns are drawn again with replacement, independently; draws of one row or column alone are
    left out. Ends are percentiles. With ten seeds the interval of the seed's part is a rough one.

    Args:
        scores: float `[partitions, seeds]`, one session each.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        level: of the intervals, in (0, 1).

    Raises:
        InputError: fewer than two partitions or seeds, or a score that is not finite.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or min(scores.shape) < 2:
        raise InputError(f"scores: found shape {scores.shape}, expected two or more partitions and two or more seeds.")
    if not np.isfinite(scores).all():
        raise InputError(
            "scores: some are not finite, so that their variance has no meaning; choose a smaller rate, as in "
            "--set=learning_rates=1e-4."
        )
    rng = np.random.default_rng(seed)
    raw = estimate_components(scores)
    drawn = np.array([_draw(scores, rng) for _ in range(resamples)])
    points = np.maximum(raw, 0)
    drawn = np.maximum(drawn, 0)
    ends = (0.5 - level / 2, 0.5 + level / 2)
    intervals = np.quantile(drawn, ends, axis=0).T
    share_intervals = np.quantile(_shares(drawn), ends, axis=0).T
    shares = _shares(points)
    partition, session, interaction = (
        Component(
            variance=float(points[part]),
            interval=Interval(*intervals[part].tolist()),
            share=float(shares[part]),
            share_interval=Interval(*share_intervals[part].tolist()),
            truncated=bool(raw[part] < 0),
        )
        for part in range(3)
    )
    return Components(partition, session, interaction, float(scores.mean()), *scores.shape)


def _draw(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    counts = []
    for size in scores.shape:
        drawn = np.bincount(rng.integers(0, size, size), minlength=size)
        while np.count_nonzero(drawn) < 2:
            drawn = np.bincount(rng.integers(0, size, size), minlength=size)
        counts.append(drawn)
    return estimate_components(scores, *counts)


def _shares(variances: np.ndarray) -> np.ndarray:
    total = variances.sum(axis=-1, keepdims=True)
    return np.divide(variances, total, out=np.zeros_like(variances), where=total > 0)
