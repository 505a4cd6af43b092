import numpy as np
import pytest
from scipy import stats

from nbjax.analysis.cells import cells_table, describe_cells, session_intervals
from nbjax.analysis.selection import select_epochs, summarise_cells

PAPER, AUTHORS, ACCURACY = "max_train_validation_loss", "validation_loss", "min_train_validation_accuracy"


def test_statistics_are_numpys_and_scipys(make_history):
    table = make_history({0.1: (0.5, 9), 0.2: (0.6, 9)})
    found = {(one.key.learning_rate, one.criterion, one.quantity): one for one in describe_cells(table)}
    assert len(found) == 2 * 5
    for criterion in (PAPER, AUTHORS):
        sessions = [one for one in select_epochs(table, criterion) if one.cell[4] == 0.1]
        losses = np.array([one.loss for one in sessions])
        one = found[0.1, criterion, "loss"]
        assert one.sessions == 9
        assert one.mean.value == pytest.approx(losses.mean())
        assert one.std == pytest.approx(losses.std(ddof=1))
        assert one.median.value == pytest.approx(np.median(losses))
        assert one.best.value == losses.min()
        # Nine sessions: two left out at either end.
        assert one.interquartile_mean.value == pytest.approx(np.sort(losses)[2:7].mean())
        accuracies = [session.validation_accuracy for session in sessions]
        assert found[0.1, criterion, "accuracy"].best.value == max(accuracies)


def test_the_papers_rule_for_accuracy_is_the_most_of_the_lesser(make_history):
    table = make_history({0.1: (0.5, 3)})
    rows = table.to_pylist()
    best = {}
    for row in rows:
        lesser = min(row["train_accuracy"], row["validation_accuracy"])
        best[row["seed"]] = max(best.get(row["seed"], 0), lesser)
    (one,) = (one for one in describe_cells(table, [ACCURACY]))
    assert (one.quantity, one.best.value) == ("accuracy", pytest.approx(max(best.values())))
    assert one.mean.value == pytest.approx(np.mean(list(best.values())))


@pytest.mark.parametrize(("place", "statistic"), [(0, np.mean), (1, np.median), (3, np.min)])
def test_intervals_equal_scipys_bootstrap(place, statistic):
    losses = np.random.default_rng(0).normal(0.5, 0.1, 12)
    ours = session_intervals(losses, "loss", seed=1, resamples=9999)[place]
    theirs = stats.bootstrap((losses,), statistic, method="percentile", rng=np.random.default_rng(2))
    np.testing.assert_allclose(ours, theirs.confidence_interval, atol=4 * theirs.standard_error / 9999**0.5 * 2.7)


def test_order_of_rows_changes_nothing(make_history):
    table = make_history({0.1: (0.5, 4), 0.2: (0.6, 4)})
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    assert describe_cells(shuffled, resamples=50) == describe_cells(table, resamples=50)


def test_means_agree_with_those_the_study_chooses_by(make_history):
    table = make_history({0.1: (0.5, 4), 0.2: (0.6, 3)})
    for cell, one in zip(summarise_cells(table, PAPER), describe_cells(table, [PAPER])[::2], strict=True):
        assert (cell.mean, cell.std, cell.best) == (one.mean.value, one.std, one.best.value)


def test_one_session_and_diverged_ones_have_no_interval(make_history):
    table = make_history({0.1: (0.5, 1), 0.2: (0.5, 3)})
    place = table.column_names.index("train_loss")
    gone = (table["learning_rate"].to_numpy() == 0.2) & (table["seed"].to_numpy() == 0)
    table = table.set_column(place, "train_loss", [np.where(gone, np.nan, table["train_loss"].to_numpy())])
    alone, three = describe_cells(table, [PAPER], resamples=50)[::2]
    assert (alone.std, alone.mean.interval) == (None, None)
    assert (three.mean.value, three.std, three.median.interval) == (np.inf, None, None)
    assert np.isfinite(three.median.value)
    (accuracy,) = describe_cells(table, [ACCURACY], resamples=50)[1:]
    assert accuracy.best.value > 0.5
    written = cells_table([alone, three]).to_pylist()
    assert (written[0]["mean_low"], written[1]["median"]) == (None, three.median.value)
