"""What sessions of a cell reached: mean, median, interquartile mean and best, each with an interval over sessions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy import stats

from nbjax.analysis.selection import ACCURACY_CRITERION, CRITERIA, CellKey, Session, sessions_by_cell
from nbjax.analysis.uncertainty import LEVEL, Interval, flat

RESAMPLES = 2000
STATISTICS = ("mean", "median", "interquartile_mean", "best")


class Estimate(NamedTuple):
    """A number and its interval over sessions; no interval with one session, or where one has no finite epoch."""

    value: float
    interval: Interval | None


class CellScores(NamedTuple):
    """What a cell's sessions reached in one quantity.

    Attributes:
        key: which it is.
        criterion: what chose each session's epoch.
        quantity: `loss` (the criterion, in nats), or `accuracy`: of validation at the epoch that a loss chose, and the
            criterion itself where an accuracy chose.
        sessions: how many.
        diverged: how many of them had a loss that was not finite.
        mean: over sessions.
        std: sample standard deviation; None with one session, or where one has no finite epoch.
        median: over sessions.
        interquartile_mean: mean of the middle half, as `scipy.stats.trim_mean(x, 0.25)` has it: a quarter of the
            sessions, rounded down, is left out at either end. Nearly as robust as the median, and steadier (Agarwal et
            al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice).
        best: the least loss or the highest accuracy. It moves with the number of sessions, and its bootstrap interval
            cannot go beyond it: `winner.expected_best` compares cells of unlike numbers.
    """

    key: CellKey
    criterion: str
    quantity: str
    sessions: int
    diverged: int
    mean: Estimate
    std: float | None
    median: Estimate
    interquartile_mean: Estimate
    best: Estimate


def describe_cells(
    history: pa.Table,
    criteria: Sequence[str] = (*CRITERIA, ACCURACY_CRITERION),
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[CellScores]:
    """Every cell under every criterion: a record of its loss and one of its accuracy; of an accuracy criterion the
    latter alone.

    Args:
        history: a row a session and epoch, as a study writes it.
        criteria: of `selection.criterion_values`.
        seed: of the bootstraps; every cell's is drawn alike.
        resamples: of each bootstrap.

    Raises:
        InputError: unknown criterion.
    """
    return [
        _describe(cell, criterion, quantity, sessions, seed, resamples)
        for criterion in criteria
        for cell, sessions in sessions_by_cell(history, criterion).items()
        for quantity in (("accuracy",) if criterion == ACCURACY_CRITERION else ("loss", "accuracy"))
    ]


def _describe(
    key: CellKey, criterion: str, quantity: str, sessions: Sequence[Session], seed: int, resamples: int
) -> CellScores:
    if quantity == "loss" or criterion == ACCURACY_CRITERION:
        scores = np.asarray([session.score for session in sessions])
    else:
        scores = np.asarray([session.validation_accuracy for session in sessions])
    whole = all(session.epoch is not None for session in sessions)
    several = len(scores) > 1 and whole
    ends = session_intervals(scores, quantity, seed, resamples) if several else [None] * len(STATISTICS)
    numbers = _statistics(scores, quantity)
    estimates = [Estimate(float(value), end) for value, end in zip(numbers, ends, strict=True)]
    return CellScores(
        key=key,
        criterion=criterion,
        quantity=quantity,
        sessions=len(scores),
        diverged=sum(session.diverged for session in sessions),
        std=float(scores.std(ddof=1)) if several else None,
        **dict(zip(STATISTICS, estimates, strict=True)),
    )


def _statistics(scores: np.ndarray, quantity: str, axis: int = -1) -> np.ndarray:
    """Mean, median, interquartile mean and best along one axis, stacked first."""
    best = scores.min(axis=axis) if quantity == "loss" else scores.max(axis=axis)
    middle = stats.trim_mean(scores, 0.25, axis=axis)
    return np.stack([scores.mean(axis=axis), np.median(scores, axis=axis), middle, best])


def session_intervals(
    scores: np.ndarray, quantity: str, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> list[Interval]:
    """Percentile bootstrap intervals of `STATISTICS` over sessions, by `scipy.stats.bootstrap`.

    Percentiles, since a median or a best of few sessions takes few values, where the bias-corrected interval is not
    defined. They are about other seeds of the same study, not other slides.

    Args:
        scores: of the sessions, finite `[sessions]`, at least two.
        quantity: `loss` or `accuracy`: which way is better.
        seed: of the draws.
        resamples: how many.
        level: of confidence, in (0, 1).
    """
    interval = stats.bootstrap(
        (scores,),
        lambda drawn, axis: _statistics(drawn, quantity, axis),
        n_resamples=resamples,
        confidence_level=level,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return list(map(Interval, interval.low.tolist(), interval.high.tolist()))


def cells_table(cells: Sequence[CellScores]) -> pa.Table:
    """A row a record, in plain columns: `mean`, `mean_low`, `mean_high`, `std` and so on."""
    rows = []
    for cell in cells:
        row = {**cell.key._asdict(), "criterion": cell.criterion, "quantity": cell.quantity, "sessions": cell.sessions}
        row |= {"diverged": cell.diverged, "std": cell.std}
        for name in STATISTICS:
            estimate = getattr(cell, name)
            columns = flat(estimate)
            row |= {name: columns["value"], f"{name}_low": columns["low"], f"{name}_high": columns["high"]}
        rows.append(row)
    table = pa.Table.from_pylist(rows)
    # A column of nothing but None has no type of its own.
    for place, field in enumerate(table.schema):
        if field.type == pa.null():
            table = table.set_column(place, field.name, table[field.name].cast(pa.float64()))
    return table
