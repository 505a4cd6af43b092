import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from nbjax.analysis.leakage import Curves, compare, mean_of, measure, read_curves, summarise
from nbjax.errors import InputError

CELL = {"backbone": "b", "strategy": "scratch", "nonlinearities": 0, "unfrozen": -1, "learning_rate": 0.1}


def drawn(seed, sessions=5, epochs=21):
    rng = np.random.default_rng(seed)
    return Curves(*rng.gamma(5, 0.1, (3, sessions, epochs)))


def history(curves):
    """Rows as a study's table has them."""
    sessions, epochs = curves.train.shape
    return pa.Table.from_pylist(
        [
            {
                **CELL,
                "batch_size": 8,
                "seed": seed,
                "epoch": epoch,
                **{f"{split}_loss": float(values[seed, epoch]) for split, values in curves._asdict().items()},
            }
            for seed in range(sessions)
            for epoch in range(epochs)
        ]
    )


def test_comparisons_are_scipys_paired_tests():
    measures = {leak: measure(drawn(seed)) for seed, leak in enumerate(("none", "exchange", "random"))}
    found = compare(measures)
    assert list(found) == [("none", "exchange"), ("none", "random"), ("exchange", "random")]
    for (one, other), difference in found.items():
        first, second = measures[one].gap, measures[other].gap
        paired = stats.ttest_rel(first, second)
        assert difference.p == pytest.approx(paired.pvalue)
        assert difference.interval == pytest.approx(tuple(paired.confidence_interval(0.95)))
        assert difference.p_ranks == pytest.approx(stats.wilcoxon(first, second).pvalue)
        assert difference.effect == pytest.approx(paired.statistic / np.sqrt(5))


def test_the_end_is_the_last_tenth_of_the_epochs():
    curves = drawn(0)
    found = measure(curves)
    train, validation, test = (values[:, -2:].mean(axis=1) for values in curves)
    np.testing.assert_allclose(found.gap, validation - train)
    np.testing.assert_allclose(found.hidden, test - validation)
    np.testing.assert_allclose(found.learned, test - curves.test[:, 0])
    assert measure(drawn(0, epochs=3)).train.tolist() == drawn(0, epochs=3).train[:, -1].tolist()


def test_a_rise_is_found_and_noise_is_none():
    rng = np.random.default_rng(0)
    epochs = np.arange(21)
    shape = 0.7 - 0.05 * np.minimum(epochs, 5) + 0.02 * np.maximum(epochs - 5, 0)
    flat, rising = rng.normal(0, 0.05, (2, 400, 5, 21)) + np.array([np.full(21, 0.7), shape])[:, None, None]
    means = [np.array([measure(Curves(one, one, one)).rise.mean() for one in group]) for group in (flat, rising)]
    # Noise alone, within four standard errors of none; with a session's own minimum it would be about 0.1.
    assert abs(means[0].mean()) < 4 * means[0].std() / 20
    assert means[1].mean() == pytest.approx(0.02 * 14.5, abs=0.02)


def test_the_order_of_rows_changes_nothing():
    table = history(drawn(1))
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    for one, other in zip(read_curves(table), read_curves(shuffled), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(read_curves(table).test, drawn(1).test)


def test_equal_sessions_have_no_spread():
    found = mean_of(np.full(4, 0.25))
    assert (found.mean, found.std, *found.interval) == (0.25, 0.0, 0.25, 0.25)
    assert mean_of(np.zeros(4)).p == 1


def test_summary_holds_each_measure():
    measures = {"none": measure(drawn(2)), "random": measure(drawn(3))}
    summary = summarise(measures)
    assert summary["random"]["gap"] == mean_of(measures["random"].gap)
    assert set(summary["none"]) == set(measures["none"]._fields)


def test_what_cannot_be_compared_is_said():
    table = history(drawn(0))
    rate = table.column_names.index("learning_rate")
    other = table.set_column(rate, "learning_rate", pa.array(np.full(len(table), 0.2)))
    loss = table.column_names.index("train_loss")
    infinite = table.set_column(loss, "train_loss", pa.array(np.full(len(table), np.nan)))
    for bad, expected in (
        (table.drop_columns("test_loss"), "test_curve=True"),
        (pa.concat_tables([table, other]), "2 cells"),
        (table.slice(1), "104 rows of 5 seeds and 21 epochs"),
        (infinite, "diverged"),
    ):
        with pytest.raises(InputError, match=expected):
            read_curves(bad)
    with pytest.raises(InputError, match="at least 2 seeds"):
        measure(drawn(0, sessions=1))
    with pytest.raises(InputError, match="different numbers of sessions"):
        compare({"none": measure(drawn(0)), "random": measure(drawn(0, sessions=4))})


def test_a_curve_that_falls_to_its_end_does_not_rise():
    rng = np.random.default_rng(0)
    falling = 0.7 * np.exp(-np.arange(101) / 60) + rng.normal(0, 1e-3, (10, 101))
    rise = mean_of(measure(Curves(falling, falling, falling)).rise)
    assert abs(rise.mean) < 1e-3
    assert not rise.interval.low > 0
