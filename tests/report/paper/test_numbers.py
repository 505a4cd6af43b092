"""Numbers of the paper's figures against sums done by hand on the rows."""

import statistics
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest

from nbjax.report.paper import numbers, published

CELL = ("backbone", "strategy", "nonlinearities", "unfrozen", "learning_rate", "batch_size")


def by_hand(history, criterion):
    """(loss, accuracy) at each session's selected epoch, by cell, from the rows as they are."""
    sessions = defaultdict(list)
    for row in history.to_pylist():
        loss = row["validation_loss"]
        if criterion == "max_train_validation_loss":
            loss = max(loss, row["train_loss"])
        sessions[tuple(row[name] for name in CELL), row["seed"]].append(
            (loss, row["epoch"], row["validation_accuracy"])
        )
    cells = defaultdict(list)
    for (cell, _), epochs in sessions.items():
        loss, _, accuracy = min(epochs)
        cells[cell].append((loss, accuracy))
    return cells


def expected(cells, wanted):
    """Of the cells that `wanted` accepts: best loss and its accuracy, mean and deviation of the best cell, counts."""
    some = {cell: values for cell, values in cells.items() if wanted(cell)}
    best = min(value for values in some.values() for value in values)
    cell = min(some, key=lambda cell: statistics.fmean(loss for loss, _ in some[cell]))
    losses, accuracies = zip(*some[cell], strict=True)
    return {
        "best_loss": best[0],
        "best_accuracy": best[1],
        "mean_loss": statistics.fmean(losses),
        "std_loss": statistics.stdev(losses),
        "mean_accuracy": statistics.fmean(accuracies),
        "std_accuracy": statistics.stdev(accuracies),
        "learning_rate": cell[4],
        "sessions": sum(map(len, some.values())),
        "cells": len(some),
    }


@pytest.mark.parametrize("criterion", ["max_train_validation_loss", "validation_loss"])
def test_backbones(paper_history, criterion):
    cells = by_hand(paper_history, criterion)
    rows = numbers.by_backbone(paper_history, criterion).to_pylist()
    assert [row["backbone"] for row in rows] == ["efficientnet_lite0", "resnet18", "vgg19"]
    for row in rows:
        wanted = expected(cells, lambda cell, row=row: cell[:2] == (row["backbone"], "straightforward"))
        assert {name: row[name] for name in wanted} == pytest.approx(wanted)
        paper = published.FIGURE11.get(row["backbone"])
        assert (row["paper_loss"], row["paper_accuracy"]) == (tuple(paper) if paper else (None, None))


@pytest.mark.parametrize(("strategy", "count", "deepest"), [("extension", 2, 2), ("unfreezing", 3, 1)])
def test_depths(paper_history, strategy, count, deepest):
    cells = by_hand(paper_history, "validation_loss")
    rows = numbers.by_depth(paper_history, "validation_loss", strategy).to_pylist()
    backbones = ["efficientnet_lite0", "resnet18", "vgg19"] if strategy == "extension" else ["resnet18", "vgg19"]
    assert [(row["backbone"], row["k"]) for row in rows] == [(b, k) for b in backbones for k in range(deepest + 1)]
    for row in rows:
        kind = strategy if row["k"] else "straightforward"
        wanted = expected(
            cells, lambda cell, row=row, kind=kind: cell[:2] == (row["backbone"], kind) and cell[count] == row["k"]
        )
        assert {name: row[name] for name in wanted} == pytest.approx(wanted)


def test_strategies(paper_history):
    cells = by_hand(paper_history, "validation_loss")
    rows = numbers.by_strategy(paper_history, "validation_loss").to_pylist()
    assert [row["strategy"] for row in rows] == ["straightforward", "extension", "unfreezing"]
    for row in rows:
        of_strategy = expected(cells, lambda cell, row=row: cell[1] == row["strategy"])
        same = ("best_loss", "best_accuracy", "sessions", "cells")
        assert {name: row[name] for name in same} == pytest.approx({name: of_strategy[name] for name in same})
        setting = expected(
            cells,
            lambda cell, row=row: cell[:2] == (row["backbone"], row["strategy"]) and max(cell[2], cell[3]) == row["k"],
        )
        assert row["mean_loss"] == pytest.approx(setting["mean_loss"])
        assert (row["paper_backbone"], row["paper_k"]) == published.TABLE4[row["strategy"]][:2]


def test_best_curves(paper_history):
    curves = numbers.best_curves(paper_history, "validation_loss")
    rows = paper_history.to_pylist()
    best = min(rows, key=lambda row: row["validation_loss"])
    assert (curves.best.cell, curves.best.seed) == (tuple(best[name] for name in CELL), best["seed"])
    cell = [row for row in rows if all(row[name] == best[name] for name in CELL)]
    assert curves.sessions == len({row["seed"] for row in cell}) == 3
    for epoch, row in enumerate(curves.table.to_pylist()):
        losses = [one["train_loss"] for one in cell if one["epoch"] == epoch]
        assert row["train_loss_mean"] == pytest.approx(statistics.fmean(losses))
        assert row["train_loss_std"] == pytest.approx(statistics.stdev(losses))
        (mine,) = [one for one in cell if one["epoch"] == epoch and one["seed"] == best["seed"]]
        assert row["validation_accuracy_best"] == mine["validation_accuracy"]


def test_curves_leave_out_sessions_that_diverged_or_stopped(make_history):
    history = make_history([("resnet18", "straightforward", 0, 0, 0.1, 8)], seeds=4)
    rows = history.to_pylist()
    rows[0]["validation_loss"] = rows[1]["validation_loss"] = 0.001  # seed 0 is the best
    for row in rows[4:8]:
        row["diverged"] = True
    del rows[15]
    curves = numbers.best_curves(pa.Table.from_pylist(rows), "validation_loss")
    assert (curves.best.seed, curves.sessions, curves.left_out) == (0, 2, 2)


def test_a_start_counts_once(paper_history):
    table = numbers.starts(paper_history)
    # Heads of 0, 1 and 2 non-linearities on three backbones, three seeds; unfreezing starts as k = 0 does.
    assert len(table) == 3 * 3 * 3
    assert len({tuple(row.values()) for row in table.select(["train_loss"]).to_pylist()}) == 27
    mean, std, starts = numbers.losses_before_training(paper_history)
    losses = [row[name] for row in table.to_pylist() for name in ("train_loss", "validation_loss")]
    assert (mean, std, starts) == pytest.approx((statistics.fmean(losses), statistics.stdev(losses), 27))


def test_the_order_of_rows_changes_nothing(paper_history):
    shuffled = paper_history.take(np.random.default_rng(0).permutation(len(paper_history)))
    for table_of in (
        lambda history: numbers.by_backbone(history, "validation_loss"),
        lambda history: numbers.by_depth(history, "validation_loss", "extension"),
        lambda history: numbers.by_strategy(history, "validation_loss"),
        lambda history: numbers.best_curves(history, "validation_loss").table,
    ):
        assert table_of(shuffled).equals(table_of(paper_history))
    keys = [("backbone", "ascending"), ("nonlinearities", "ascending"), ("seed", "ascending")]
    assert numbers.starts(shuffled).sort_by(keys).equals(numbers.starts(paper_history).sort_by(keys))


def test_a_cell_that_diverged_is_not_the_best_and_hides_nothing(make_history):
    history = make_history([("resnet18", "straightforward", 0, 0, rate, 8) for rate in (0.1, 1.0)])
    rows = history.to_pylist()
    for row in rows:
        if row["learning_rate"] == 1.0 and row["seed"] == 0:
            row.update(train_loss=float("nan"), validation_loss=float("inf"), diverged=True)
    (row,) = numbers.by_backbone(pa.Table.from_pylist(rows), "validation_loss").to_pylist()
    assert (row["learning_rate"], row["sessions"], row["cells"]) == (0.1, 6, 2)
    for row in rows:
        row.update(validation_loss=float("inf"), diverged=True)
    assert len(numbers.by_backbone(pa.Table.from_pylist(rows), "validation_loss")) == 0
    assert numbers.best_curves(pa.Table.from_pylist(rows), "validation_loss") is None
    assert len(numbers.starts(pa.Table.from_pylist(rows))) == 0
