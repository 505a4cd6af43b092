import numpy as np
import pytest
import sklearn.metrics
from scipy import stats

from nbjax.analysis import differences, score_predictions
from nbjax.analysis.differences import METRICS
from nbjax.analysis.uncertainty import difference_interval
from nbjax.errors import InputError


def shifted(table, by):
    """Predictions whose logits of class 1 are so much higher for its own samples, lower for the others."""
    label, probability = table["label"].to_numpy(), table["probability"].to_numpy()
    logit = np.log(probability / (1 - probability)) + by * (2 * label - 1)
    for name, values in {
        "probability": 1 / (1 + np.exp(-logit)),
        "loss": np.logaddexp(0, np.where(label == 1, -logit, logit)),
    }.items():
        table = table.set_column(table.column_names.index(name), name, [values])
    return table


def scored(table):
    return score_predictions(table, 2, resamples=20)


def test_a_difference_is_that_of_the_two_scores(make_predictions):
    table = make_predictions(families=6)
    one, other = scored(shifted(table, 0.5)), scored(table)
    found = differences(one, other)
    for metric in METRICS:
        expected = one.score(metric).estimate - other.score(metric).estimate
        assert found[metric].estimate == pytest.approx(expected)
        low, high = found[metric].interval
        assert low < expected < high
        back = differences(other, one)[metric]
        np.testing.assert_allclose(back.interval, (-high, -low), atol=1e-12)
    labels, families = one.units.labels, one.units.families
    weights = np.array([1 / (families == family).sum() for family in families])
    areas = [
        sklearn.metrics.roc_auc_score(labels, both.units.probabilities[0, :, 1], sample_weight=weights)
        for both in (one, other)
    ]
    assert found["roc_auc"].estimate == pytest.approx(areas[0] - areas[1])


def test_with_many_families_it_is_the_paired_t_interval():
    rng = np.random.default_rng(0)
    apart = rng.normal(0.05, 0.2, 400)
    left_out = (apart.sum() - apart) / 399
    sizes = np.ones((400, 1))
    low, high = difference_interval(apart.mean(), left_out, sizes)
    theirs = stats.ttest_1samp(apart, 0).confidence_interval(0.95)
    np.testing.assert_allclose((low, high), (theirs.low, theirs.high), atol=1e-3)


def test_what_makes_a_family_hard_for_both_falls_out(make_predictions):
    table = make_predictions(families=12, seed=3)
    one, other = scored(shifted(table, 0.1)), scored(table)
    found = differences(one, other)["roc_auc"]
    alone = one.score("roc_auc").interval
    assert np.ptp(found.interval) < 0.8 * np.ptp(alone)


def test_other_units_are_refused(make_predictions):
    with pytest.raises(InputError, match="not the same ones; run both on the same dataset"):
        differences(scored(make_predictions(families=5)), scored(make_predictions(families=6)))


def test_one_family_of_a_label_gives_no_interval(make_predictions):
    table = make_predictions(families=3)
    keep = [row["label"] == 0 or row["family"] == "1/f0" for row in table.to_pylist()]
    tested = scored(table.filter(keep))
    assert all(one.interval is None and one.estimate == 0 for one in differences(tested, tested).values())
