"""Did the chosen cell learn anything? A verdict of its own, from training and validation data alone."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nbjax.analysis.selection import CellKey, keys_of_rows, rows_of_cell, select_epochs

# A loss that falls by less than this share of its start is not said to fall.
LEAST_FALL = 0.02
# Of a normal distribution, for a share that guessing would not easily reach.
NORMAL = 1.96


class Verdict(NamedTuple):
    """What became of the chosen cell's sessions.

    Attributes:
        sessions: how many there are.
        untrained: how many of them kept epoch 0, before any training, or have no finite epoch.
        last: how many kept the last epoch, so that more epochs may have been better.
        median: of the kept epochs, a session without a finite one counting as 0.
        epochs: of each session.
        edge: `least` or `greatest` where the chosen learning rate is that of the grid's, with two or more; else empty.
        training_fell: the training loss, mean over sessions, fell from its start.
        validation_fell: likewise the validation loss.
        validation_accuracy: at the kept epochs, mean over sessions, in [0, 1].
        chance: the validation accuracy of always answering the most frequent label.
        above_chance: the validation accuracy is above what guessing would easily reach on as many independent patches;
            the patches of a family are alike, so that this is necessary and not enough.
    """

    sessions: int
    untrained: int
    last: int
    median: float
    epochs: int
    edge: str
    training_fell: bool
    validation_fell: bool
    validation_accuracy: float
    chance: float
    above_chance: bool

    @property
    def nothing(self) -> bool:
        """Nothing was learned by the median session: half of the sessions or more kept the head as it started."""
        return self.median < 1


def judge(history: pa.Table, cell: CellKey, criterion: str, validation: Mapping[str, Mapping[str, int]]) -> Verdict:
    """Judges the chosen cell by its sessions' histories.

    Args:
        history: a row a session and epoch, of every cell.
        cell: the chosen one.
        criterion: that selected epochs.
        validation: of each label, the validation split's `patches` and `samples`.
    """
    sessions = [session for session in select_epochs(history, criterion) if session.cell == cell]
    kept = [session.epoch for session in sessions]
    table = rows_of_cell(history, cell)
    epochs = int(table["epoch"].to_numpy().max(initial=0))
    accuracy = float(np.mean([session.validation_accuracy for session in sessions]))
    samples = [row["samples"] for row in validation.values()]
    chance = max(samples) / sum(samples)
    patches = sum(row["patches"] for row in validation.values())
    return Verdict(
        sessions=len(sessions),
        untrained=sum(not epoch for epoch in kept),
        last=sum(epoch == epochs for epoch in kept),
        median=float(np.median([epoch or 0 for epoch in kept])),
        epochs=epochs,
        edge=_edge(history, cell),
        training_fell=_fell(table, "train_loss"),
        validation_fell=_fell(table, "validation_loss"),
        validation_accuracy=accuracy,
        chance=chance,
        above_chance=accuracy > chance + NORMAL * (chance * (1 - chance) / patches) ** 0.5,
    )


def _edge(history: pa.Table, cell: CellKey) -> str:
    """At which end of the learning rates tried with its other values a cell lies."""
    rates = sorted(
        other.learning_rate
        for other in set(keys_of_rows(history))
        if other == cell._replace(learning_rate=other.learning_rate)
    )
    if len(rates) < 2 or cell.learning_rate not in (rates[0], rates[-1]):
        return ""
    return "least" if cell.learning_rate == rates[0] else "greatest"


def _fell(table: pa.Table, column: str) -> bool:
    """Whether a loss, mean over the sessions of a cell, was ever clearly below its start."""
    losses, epochs = table[column].to_numpy().astype(np.float64), table["epoch"].to_numpy()
    means = np.asarray([losses[epochs == epoch].mean() for epoch in np.unique(epochs)])
    later = means[1:][np.isfinite(means[1:])]
    return bool(len(later) and later.min() < means[0] * (1 - LEAST_FALL))
