import numpy as np
import pyarrow as pa
import pytest

from nbjax.analysis import choose_cell, select_epochs, summarise_cells
from nbjax.errors import InputError


def history(sessions):
    """One row an epoch: sessions are (learning rate, seed, train losses, validation losses)."""
    rows = []
    for rate, seed, train, validation in sessions:
        bad = not np.isfinite([*train, *validation]).all()
        for epoch, (one, other) in enumerate(zip(train, validation, strict=True)):
            rows.append(
                {
                    "backbone": "resnet18",
                    "strategy": "straightforward",
                    "nonlinearities": 0,
                    "unfrozen": 0,
                    "learning_rate": rate,
                    "batch_size": 8,
                    "seed": seed,
                    "epoch": epoch,
                    "train_loss": one,
                    "validation_loss": other,
                    "validation_accuracy": 1 - other / 2,
                    "diverged": bad,
                }
            )
    return pa.Table.from_pylist(rows)


def test_the_papers_rule_distrusts_a_lucky_validation_split():
    table = history([(0.1, 0, [0.9, 0.5, 0.3], [0.2, 0.4, 0.6])])
    (paper,) = select_epochs(table, "max_train_validation_loss")
    (authors,) = select_epochs(table, "validation_loss")
    assert (paper.epoch, paper.loss, paper.validation_accuracy) == (1, 0.5, pytest.approx(0.8))
    assert (authors.epoch, authors.loss) == (0, 0.2)


def test_the_earliest_of_equal_epochs():
    (session,) = select_epochs(history([(0.1, 0, [0.5, 0.5, 0.5], [0.4, 0.4, 0.4])]), "validation_loss")
    assert session.epoch == 0


def test_cells_are_summed_up_over_seeds():
    table = history(
        [(0.1, seed, [loss], [loss]) for seed, loss in enumerate([0.2, 0.4, 0.9])] + [(0.2, 0, [0.3], [0.3])]
    )
    first, second = summarise_cells(table, "validation_loss")
    losses = np.array([0.2, 0.4, 0.9])
    assert first.sessions == 3
    assert (first.mean, first.std) == (pytest.approx(losses.mean()), pytest.approx(losses.std(ddof=1)))
    assert (first.median, first.best) == (0.4, 0.2)
    assert second.std is None
    assert choose_cell([first, second]).key.learning_rate == 0.2


def test_order_of_rows_changes_nothing():
    table = history([(rate, seed, [0.5, 0.1 * seed + rate], [0.4, rate]) for rate in (0.1, 0.2) for seed in range(4)])
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    assert summarise_cells(shuffled, "validation_loss") == summarise_cells(table, "validation_loss")


def test_diverged_sessions_are_counted_and_never_win():
    nan = float("nan")
    table = history(
        [(0.1, 0, [0.6, nan], [0.6, nan]), (0.1, 1, [0.1, 0.1], [0.1, 0.1]), (0.2, 0, [nan, nan], [nan, nan])]
    )
    first, second = summarise_cells(table, "max_train_validation_loss")
    assert (first.diverged, first.mean) == (1, pytest.approx(0.35))
    assert (second.diverged, second.mean) == (1, np.inf)
    assert choose_cell([second, first]) == first
    with pytest.raises(InputError, match="every cell has a session without any finite loss"):
        choose_cell([second])


def test_unknown_criterion():
    with pytest.raises(InputError, match="criterion: found 'best'"):
        select_epochs(history([(0.1, 0, [0.5], [0.5])]), "best")


def test_the_most_of_the_lesser_accuracy(make_history):
    table = make_history({0.1: (0.5, 2)}, epochs=6)
    for session in select_epochs(table, "min_train_validation_accuracy"):
        rows = [row for row in table.to_pylist() if row["seed"] == session.seed]
        lesser = [min(row["train_accuracy"], row["validation_accuracy"]) for row in rows]
        assert (session.score, session.epoch) == (pytest.approx(max(lesser)), lesser.index(max(lesser)))
        assert session.loss == rows[session.epoch]["validation_loss"]
    with pytest.raises(InputError, match="criterion: found 'min_train_validation_accuracy'; expected one of max_"):
        summarise_cells(table, "min_train_validation_accuracy")


def test_an_accuracy_of_an_epoch_without_a_finite_loss_does_not_count(make_history):
    table = make_history({0.1: (0.5, 2)}, epochs=2)
    losses = table["train_loss"].to_numpy().copy()
    losses[1], losses[2:] = np.nan, np.nan
    table = table.set_column(table.column_names.index("train_loss"), "train_loss", [losses])
    first, second = select_epochs(table, "min_train_validation_accuracy")
    assert (first.epoch, second.epoch) == (0, None)
    assert (second.score, second.loss) == (0, np.inf)
