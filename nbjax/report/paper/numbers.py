"""What the paper's figures show, as tables: one function each, from a history of sessions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from nbjax.analysis.selection import CELL, Cell, Session, rows_of_cell, select_epochs, summarise_cells
from nbjax.report.paper import published
from nbjax.report.reading import METRICS

STRATEGIES = ("straightforward", "extension", "unfreezing")
# By what its count is called in the history.
COUNTS = {"extension": "nonlinearities", "unfreezing": "unfrozen"}


class Found(NamedTuple):
    """What a search over cells found.

    Attributes:
        best: the session with the least selected loss of all (the paper's best).
        cell: the one with the least mean of its sessions' selected losses.
        sessions: that were run, over all cells; those with a loss that was never finite count.
        cells: how many there are.
    """

    best: Session
    cell: Cell
    sessions: int
    cells: int


def search(sessions: Sequence[Session], cells: Sequence[Cell]) -> Found | None:
    """The best session and the best cell; None where no cell has only sessions with a finite loss."""
    whole = [cell for cell in cells if np.isfinite(cell.mean)]
    if not whole:
        return None
    best = min(sessions, key=lambda session: session.loss)
    return Found(best, min(whole, key=lambda cell: cell.mean), len(sessions), len(cells))


def _groups(history: pa.Table, criterion: str, strategies: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], Found]]:
    """What was found for each (backbone, strategy, nonlinearities, unfrozen) of those strategies."""
    sessions, cells = select_epochs(history, criterion), summarise_cells(history, criterion)
    width = CELL.index("learning_rate")
    for key in dict.fromkeys(session.cell[:width] for session in sessions):
        if key[1] not in strategies:
            continue
        found = search(
            [session for session in sessions if session.cell[:width] == key],
            [cell for cell in cells if cell.key[:width] == key],
        )
        if found is not None:
            yield key, found


def _row(found: Found) -> dict[str, Any]:
    cell = found.cell
    return {
        "best_loss": found.best.loss,
        "best_accuracy": found.best.validation_accuracy,
        "mean_loss": cell.mean,
        "std_loss": cell.std,
        "mean_accuracy": cell.accuracy_mean,
        "std_accuracy": cell.accuracy_std,
        "learning_rate": cell.key.learning_rate,
        "batch_size": cell.key.batch_size,
        "sessions_of_cell": cell.sessions,
        "cells": found.cells,
        "sessions": found.sessions,
    }


def family_of_backbones(name: str) -> str:
    """Inception, ResNet, VGG and so on, by which Figure 11 parts backbones."""
    return name.rstrip("0123456789").split("_")[0]


def _place(row: Mapping[str, Any]) -> tuple[str, int, str]:
    """By which backbones are sorted: families together, resnet18 before resnet152."""
    name = row["backbone"]
    return family_of_backbones(name), len(name), name


def by_backbone(history: pa.Table, criterion: str) -> pa.Table:
    """Figure 11: each backbone with a new last layer, families of backbones together, the smaller first.

    Returns:
        Columns backbone; best_loss, best_accuracy: of the best session, at its selected epoch; mean_loss, std_loss,
        mean_accuracy, std_accuracy, learning_rate, batch_size, sessions_of_cell: of the cell with the least mean;
        cells, sessions: of the whole search; paper_loss, paper_accuracy.
    """
    rows = []
    for (backbone, *_), found in _groups(history, criterion, ("straightforward",)):
        paper = published.FIGURE11.get(backbone)
        papers = {"paper_loss": paper.loss if paper else None, "paper_accuracy": paper.accuracy if paper else None}
        rows.append({"backbone": backbone, **_row(found), **papers})
    rows.sort(key=_place)
    return pa.Table.from_pylist(rows)


def by_depth(history: pa.Table, criterion: str, strategy: str) -> pa.Table:
    """Figures 13 and 15: each backbone for each number k of non-linearities, or of unfrozen layers.

    Backbones that have only k = 0 are left out.

    Args:
        history: of sessions.
        criterion: that selects epochs.
        strategy: `extension` or `unfreezing`.

    Returns:
        Columns as of `by_backbone`, and k, without paper_accuracy; sorted likewise, then by k.
    """
    rows = []
    for (backbone, _, nonlinearities, unfrozen), found in _groups(history, criterion, ("straightforward", strategy)):
        k = nonlinearities if strategy == "extension" else unfrozen
        losses = published.DEPTH_LOSS[strategy].get(backbone, ())
        paper = losses[k] if 0 <= k < len(losses) else None
        rows.append({"backbone": backbone, "k": k, **_row(found), "paper_loss": paper})
    deep = {row["backbone"] for row in rows if row["k"] != 0}
    rows = [row for row in rows if row["backbone"] in deep]
    rows.sort(key=lambda row: (*_place(row), row["k"]))
    return pa.Table.from_pylist(rows)


def by_strategy(history: pa.Table, criterion: str) -> pa.Table:
    """Table 4: for each strategy the backbone and k whose best session has the least selected loss.

    Returns:
        Columns strategy, backbone, k, those of `by_backbone` up to sessions (cells and sessions of all backbones and
        k), paper_backbone, paper_k, paper_loss, paper_accuracy.
    """
    rows, everything = [], list(_groups(history, criterion, STRATEGIES))
    for strategy in STRATEGIES:
        groups = [(key, found) for key, found in everything if key[1] == strategy]
        if not groups:
            continue
        (backbone, _, nonlinearities, unfrozen), found = min(groups, key=lambda group: group[1].best.loss)
        found = found._replace(
            cells=sum(one.cells for _, one in groups), sessions=sum(one.sessions for _, one in groups)
        )
        name, k, score = published.TABLE4[strategy]
        papers = {"paper_backbone": name, "paper_k": k, "paper_loss": score.loss, "paper_accuracy": score.accuracy}
        rows.append(
            {"strategy": strategy, "backbone": backbone, "k": nonlinearities or unfrozen, **_row(found), **papers}
        )
    return pa.Table.from_pylist(rows)


class Curves(NamedTuple):
    """The best session beside its cell.

    Attributes:
        best: the session.
        sessions: of its cell that are in the means: those that ran to the last epoch with finite losses.
        left_out: of its cell that are not.
        table: columns epoch and, for each metric, `<metric>_best`, `<metric>_mean` and `<metric>_std` (null with one
            session).
    """

    best: Session
    sessions: int
    left_out: int
    table: pa.Table


def best_curves(history: pa.Table, criterion: str) -> Curves | None:
    """Figures 16 and 17: the curves of the session with the least selected loss, and its cell's mean and deviation.

    None where no session has a finite loss, or the best one did not run to its cell's last epoch.
    """
    best = min(select_epochs(history, criterion), key=lambda session: session.loss)
    cell = rows_of_cell(history, best.cell)
    epochs = int(cell["epoch"].to_numpy().max()) + 1
    seeds, counts = np.unique(cell["seed"].to_numpy(), return_counts=True)
    diverged = set(cell.filter(cell["diverged"])["seed"].to_pylist())
    whole = [seed for seed, count in zip(seeds.tolist(), counts.tolist(), strict=True) if count == epochs]
    whole = [seed for seed in whole if seed not in diverged]
    if best.seed not in whole:
        return None
    columns: dict[str, Any] = {"epoch": np.arange(epochs)}
    kept = cell.filter(pa.array(np.isin(cell["seed"].to_numpy(), whole)))
    for name in METRICS:
        values = kept[name].to_numpy().astype(np.float64).reshape(len(whole), epochs)
        columns[f"{name}_best"] = values[whole.index(best.seed)]
        columns[f"{name}_mean"] = values.mean(axis=0)
        columns[f"{name}_std"] = values.std(axis=0, ddof=1) if len(whole) > 1 else pa.nulls(epochs, pa.float64())
    return Curves(best, len(whole), len(seeds) - len(whole), pa.table(columns))


def starts(history: pa.Table) -> pa.Table:
    """Figures 18 and 19: epoch 0 of every distinct start, one row each.

    A session's start follows from its seed, so sessions that differ in learning rate, batch size or unfrozen layers
    start alike: they count once. What was not finite is left out.

    Returns:
        Columns backbone, nonlinearities, scratch, seed and the four metrics.
    """
    first = history.filter(pa.array(history["epoch"].to_numpy() == 0))
    scratch = [strategy == "scratch" for strategy in first["strategy"].to_pylist()]
    names = ("backbone", "nonlinearities", "seed")
    keys = list(zip(*(first[name].to_pylist() for name in names), scratch, strict=True))
    finite = np.isfinite(np.stack([first[name].to_numpy() for name in METRICS])).all(axis=0)
    rows = {key: row for row, key in reversed(list(enumerate(keys))) if finite[row]}
    order = pa.array(sorted(rows.values()), pa.int64())
    return (
        first.append_column("scratch", pa.array(scratch, pa.bool_()))
        .select(["backbone", "nonlinearities", "scratch", "seed", *METRICS])
        .take(order)
    )


def losses_before_training(history: pa.Table) -> tuple[float, float, int]:
    """Mean and standard deviation over distinct starts of training and validation losses together, and how many starts.

    NaN where no start has finite losses.
    """
    table = starts(history)
    if not len(table):
        return float("nan"), float("nan"), 0
    values = np.concatenate([table[name].to_numpy().astype(np.float64) for name in ("train_loss", "validation_loss")])
    return float(values.mean()), float(values.std(ddof=1)), len(table)
