import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nbjax.analysis.comparison import (
    compare_cells,
    paired_improvement,
    probability_of_improvement,
)
from nbjax.analysis.selection import keys_of_rows
from nbjax.errors import InputError

SCORES = st.lists(st.integers(0, 6), min_size=2, max_size=8).map(lambda values: np.asarray(values, float))


@given(SCORES, SCORES)
def test_it_is_mann_and_whitneys_statistic_ties_included(first, second):
    ours = probability_of_improvement(first, second, resamples=20)
    theirs = stats.mannwhitneyu(second, first).statistic / (len(first) * len(second))
    assert ours.probability == pytest.approx(theirs)
    back = probability_of_improvement(second, first, resamples=20)
    assert ours.probability + back.probability == pytest.approx(1)
    assert ours.p_value == pytest.approx(back.p_value)
    turned = probability_of_improvement(-first, -second, lower_is_better=False, resamples=20)
    assert turned.probability == ours.probability


def test_the_interval_equals_scipys_bootstrap():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 1, 15), rng.normal(0.5, 1, 12)

    def statistic(x, y, axis):
        return (x[..., :, None] < y[..., None, :]).mean(axis=(-2, -1))

    ours = probability_of_improvement(first, second, resamples=9999)
    given = {"method": "percentile", "vectorized": True, "paired": False, "n_resamples": 2000}
    theirs = stats.bootstrap((first, second), statistic, rng=rng, **given)
    np.testing.assert_allclose(ours.interval, theirs.confidence_interval, atol=0.02)


def test_a_session_without_a_finite_loss_is_beaten_by_all():
    result = probability_of_improvement(np.array([0.3, 0.4]), np.array([np.inf, np.inf]))
    assert (result.probability, result.interval) == (1, None)
    assert probability_of_improvement(np.full(3, np.inf), np.full(3, np.inf)).p_value == 1
    assert probability_of_improvement(np.array([0.3]), np.array([0.2, 0.4])).interval is None


def test_pairs_take_out_what_a_seed_does_to_both():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 1, 20)
    first = {seed: value - 0.1 for seed, value in enumerate(shared)}
    second = dict(enumerate(shared)) | {99: 0.0}
    paired = paired_improvement(first, second)
    assert (paired.probability, paired.interval, paired.sessions) == (1, None, (20, 20))
    assert paired.p_value == pytest.approx(stats.binomtest(20, 20).pvalue)
    apart = probability_of_improvement(np.array(list(first.values())), np.array(list(second.values())))
    assert apart.interval.low < 0.5 < apart.interval.high
    with pytest.raises(InputError, match="share no seed"):
        paired_improvement({0: 0.1}, {1: 0.1})


def test_cells_against_the_chosen_one(make_history):
    table = make_history({0.1: (0.3, 6), 0.2: (0.6, 6), 0.4: (0.6, 5)})
    reference = keys_of_rows(table)[0]._replace(learning_rate=0.1, batch_size=8)
    for paired in (False, True):
        found = compare_cells(table, "max_train_validation_loss", reference, paired=paired)
        assert [cell.learning_rate for cell, _ in found] == [0.2, 0.4]
        assert all(one.probability == 1 for _, one in found)
    turned = compare_cells(table, "min_train_validation_accuracy", reference)
    assert all(one.probability == 1 for _, one in turned)
    assert found[1][1].sessions == (5, 5)
    with pytest.raises(InputError, match="no cell"):
        compare_cells(table, "validation_loss", reference._replace(batch_size=9))


def test_sessions_that_do_not_overlap_have_no_interval():
    one = probability_of_improvement(np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5, 0.6]))
    assert (one.probability, one.interval) == (1.0, None)
    pairs = paired_improvement({0: 0.1, 1: 0.2, 2: 0.3}, {0: 0.4, 1: 0.5, 2: 0.6})
    assert (pairs.probability, pairs.interval) == (1.0, None)
    assert pairs.p_value == pytest.approx(0.25)
