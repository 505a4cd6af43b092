"""Choosing: an epoch of each session, then a cell of the grid; by training and validation data alone (paper IV.B)."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from nbjax.errors import InputError


class CellKey(NamedTuple):
    """What tells a cell of the grid from the others, as a history's columns have it."""

    backbone: str
    strategy: str
    nonlinearities: int
    unfrozen: int
    learning_rate: float
    batch_size: int


CELL = CellKey._fields
CRITERIA = ("max_train_validation_loss", "validation_loss")
ACCURACY_CRITERION = "min_train_validation_accuracy"


def key_of(values: Mapping[str, Any]) -> CellKey:
    """The key of a cell among its values by name; others are not looked at."""
    return CellKey(*(values[name] for name in CELL))


def keys_of_rows(history: pa.Table) -> list[CellKey]:
    """The cell of each row."""
    return list(itertools.starmap(CellKey, zip(*(history[name].to_pylist() for name in CELL), strict=True)))


def rows_of_cell(history: pa.Table, key: CellKey) -> pa.Table:
    """One cell's rows, by seed and epoch."""
    kept = history.filter(pa.array([of_row == key for of_row in keys_of_rows(history)], pa.bool_()))
    return kept.sort_by([("seed", "ascending"), ("epoch", "ascending")])


class Session(NamedTuple):
    """One session's selected epoch.

    Attributes:
        cell: whose session it is.
        seed: of the session.
        epoch: the selected one; None where the session diverged from the first.
        loss: the criterion there, in nats, the validation loss where an accuracy chose; infinite where the session has
            no finite epoch.
        validation_loss: there.
        validation_accuracy: there, in [0, 1].
        diverged: some loss of the session was not finite.
        score: the criterion there as it reads, a loss in nats or an accuracy in [0, 1]; infinite, or 0 of an accuracy,
            where the session has no finite epoch.
    """

    cell: CellKey
    seed: int
    epoch: int | None
    loss: float
    validation_loss: float
    validation_accuracy: float
    diverged: bool
    score: float


class Cell(NamedTuple):
    """A cell's sessions, summed up over the losses they were selected by.

    Attributes:
        key: which it is.
        sessions: how many.
        diverged: how many of them diverged.
        mean: of the selected losses; infinite where a session has no finite epoch.
        std: their sample standard deviation; None with one session.
        median: of them.
        best: the least of them.
        accuracy_mean: mean validation accuracy at the selected epochs.
        accuracy_std: its sample standard deviation; None with one session.
        validation_loss_mean: mean validation loss there.
    """

    key: CellKey
    sessions: int
    diverged: int
    mean: float
    std: float | None
    median: float
    best: float
    accuracy_mean: float
    accuracy_std: float | None
    validation_loss_mean: float


def criterion_values(history: pa.Table, criterion: str) -> np.ndarray:
    """What a session's epochs are compared by, float64 `[rows]`; the least is best; not finite counts as infinite.

    Args:
        history: columns train_loss and validation_loss; of an accuracy also train_accuracy and validation_accuracy.
        criterion: `max_train_validation_loss` (the paper's text, IV.B.2: the larger of both losses, so that a lucky
            validation split alone does not win), `validation_loss` (the authors' program), or
            `min_train_validation_accuracy` (the paper's text for accuracy: its negative, of epochs with finite losses).

    Raises:
        InputError: another criterion.
    """
    train, validation = (history[f"{split}_loss"].to_numpy().astype(np.float64) for split in ("train", "validation"))
    if criterion != ACCURACY_CRITERION:
        return criterion_of(train, validation, criterion)
    accuracies = (history[f"{split}_accuracy"].to_numpy().astype(np.float64) for split in ("train", "validation"))
    values = -np.minimum(*accuracies)
    return np.where(np.isfinite(np.maximum(train, validation)) & np.isfinite(values), values, np.inf)


def criterion_of(train: np.ndarray, validation: np.ndarray, criterion: str) -> np.ndarray:
    """A criterion of `CRITERIA` of training and validation losses, float64 of any one shape; not finite counts as
    infinite.

    Raises:
        InputError: another criterion.
    """
    if criterion not in CRITERIA:
        known = ", ".join((*CRITERIA, ACCURACY_CRITERION))
        raise InputError(f"criterion: found {criterion!r}; expected one of {known}.")
    values = validation if criterion == "validation_loss" else np.maximum(train, validation)
    return np.where(np.isfinite(values), values, np.inf)


def select_epochs(history: pa.Table, criterion: str) -> list[Session]:
    """Each session's epoch with the least criterion, the earliest of equals; sorted by cell and seed."""
    values, of_accuracy = criterion_values(history, criterion), criterion == ACCURACY_CRITERION
    accuracy, loss = history["validation_accuracy"].to_numpy(), history["validation_loss"].to_numpy()
    epochs, diverged = history["epoch"].to_numpy(), history["diverged"].to_numpy(zero_copy_only=False)
    rows_of: dict[tuple[CellKey, int], list[int]] = {}
    for row, of_row in enumerate(zip(keys_of_rows(history), history["seed"].to_pylist(), strict=True)):
        rows_of.setdefault(of_row, []).append(row)
    sessions = []
    for cell, seed in sorted(rows_of):
        rows = sorted(rows_of[cell, seed], key=lambda row: epochs[row])
        best = min(rows, key=lambda row: values[row])
        whole, value = bool(np.isfinite(values[best])), float(values[best])
        loss_there = float(loss[best]) if whole else float("inf")
        score = (-value if whole else 0.0) if of_accuracy else value
        sessions.append(
            Session(
                cell=cell,
                seed=seed,
                epoch=int(epochs[best]) if whole else None,
                loss=loss_there if of_accuracy else value,
                validation_loss=loss_there,
                validation_accuracy=float(accuracy[best]) if whole else float("nan"),
                diverged=bool(diverged[rows].any()),
                score=score,
            )
        )
    return sessions


def sessions_by_cell(history: pa.Table, criterion: str) -> dict[CellKey, list[Session]]:
    """Each cell's sessions at their selected epochs, sorted by cell and seed."""
    by_cell: dict[CellKey, list[Session]] = {}
    for session in select_epochs(history, criterion):
        by_cell.setdefault(session.cell, []).append(session)
    return by_cell


def summarise_cells(history: pa.Table, criterion: str) -> list[Cell]:
    """One record a cell, in the order of their keys.

    Raises:
        InputError: the criterion is not a loss.
    """
    if criterion not in CRITERIA:
        raise InputError(f"criterion: found {criterion!r}; expected one of {', '.join(CRITERIA)}.")
    return [_summarise(key, sessions) for key, sessions in sessions_by_cell(history, criterion).items()]


def median_epoch(sessions: Sequence[Session]) -> int:
    """Median of the kept epochs, rounded down; a session without a finite epoch learned nothing and counts as 0."""
    return int(np.median([session.epoch or 0 for session in sessions]))


def _summarise(key: CellKey, sessions: Sequence[Session]) -> Cell:
    losses = np.asarray([session.loss for session in sessions])
    accuracies = np.asarray([session.validation_accuracy for session in sessions])
    several = len(sessions) > 1 and bool(np.isfinite(losses).all())
    return Cell(
        key=key,
        sessions=len(sessions),
        diverged=sum(session.diverged for session in sessions),
        mean=float(losses.mean()),
        std=float(losses.std(ddof=1)) if several else None,
        median=float(np.median(losses)),
        best=float(losses.min()),
        accuracy_mean=float(accuracies.mean()),
        accuracy_std=float(accuracies.std(ddof=1)) if several else None,
        validation_loss_mean=float(np.mean([session.validation_loss for session in sessions])),
    )


def choose_cell(cells: Sequence[Cell]) -> Cell:
    """The cell with the least mean selected loss; one whose session has no finite epoch never wins over one without.

    Raises:
        InputError: no cell has only sessions with a finite epoch.
    """
    best = min(cells, key=lambda cell: cell.mean)
    if not np.isfinite(best.mean):
        raise InputError(
            "every cell has a session without any finite loss; choose smaller rates, as in "
            "--set=learning_rates=1e-4,3e-4."
        )
    return best
