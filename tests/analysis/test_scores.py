import numpy as np
import pyarrow as pa
import pytest
import sklearn.metrics
from scipy import stats

from nbjax.analysis import family_interval, jackknife_interval
from nbjax.analysis.resampling import drawn_weights
from nbjax.analysis.scores import score_levels, score_units, scores_table
from nbjax.analysis.units import units_at
from nbjax.analysis.weighted import METRICS, weighted_scores


def plain_calibration_error(confidence, hits, weights, bins=15):
    total = 0.0
    for number in range(bins):
        inside = [i for i, value in enumerate(confidence) if number / bins < value <= (number + 1) / bins]
        total += abs(sum(weights[i] * (hits[i] - confidence[i]) for i in inside))
    return total / sum(weights)


def scikit_learns(labels, every, weights):
    predicted, given = every.argmax(axis=1), {"sample_weight": weights}
    found = {
        "loss": sklearn.metrics.log_loss(labels, every, **given),
        "accuracy": sklearn.metrics.accuracy_score(labels, predicted, **given),
        "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(labels, predicted, **given),
        "expected_calibration_error": plain_calibration_error(every.max(axis=1), predicted == labels, weights),
    }
    if every.shape[1] == 2:
        one = every[:, 1]
        found["brier"] = sklearn.metrics.brier_score_loss(labels, one, **given)
        found["roc_auc"] = sklearn.metrics.roc_auc_score(labels, one, **given)
        found["average_precision"] = sklearn.metrics.average_precision_score(labels, one, **given)
        found["f1"] = sklearn.metrics.f1_score(labels, predicted, **given)
        found["sensitivity"] = sklearn.metrics.recall_score(labels, predicted, **given)
        found["specificity"] = sklearn.metrics.recall_score(labels, predicted, pos_label=0, **given)
        return found
    found["brier"] = np.average(((every - np.eye(every.shape[1])[labels]) ** 2).sum(axis=1), weights=weights)
    found["f1"] = sklearn.metrics.f1_score(labels, predicted, average="macro", **given)
    one_hot = np.eye(every.shape[1])[labels]
    for name, score in (
        ("roc_auc", sklearn.metrics.roc_auc_score),
        ("average_precision", sklearn.metrics.average_precision_score),
    ):
        found[name] = np.mean([score(one_hot[:, k], every[:, k], **given) for k in range(every.shape[1])])
    return found


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("level", ["sample", "patch", "slide", "family"])
def test_every_score_equals_scikit_learns_under_any_weights(make_predictions, classes, level):
    units = units_at(make_predictions(classes=classes, digits=1), level, classes)
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 4, (3, len(units.labels))).astype(float)
    weights[:, [np.flatnonzero(units.labels == label)[0] for label in range(classes)]] += 1
    ours = weighted_scores(units, weights)
    assert set(ours) == set(METRICS) - ({"sensitivity", "specificity"} if classes > 2 else set())
    for session, every in enumerate(units.probabilities):
        for row, some in enumerate(weights):
            for metric, value in scikit_learns(units.labels, every, some).items():
                np.testing.assert_allclose(ours[metric][session, row], value, rtol=1e-9, err_msg=metric)


def test_estimates_are_means_over_sessions_with_their_deviation(make_predictions):
    table = make_predictions(sessions=4)
    units = units_at(table, "patch", 2)
    every = [scikit_learns(units.labels, one, np.ones(len(units.labels))) for one in units.probabilities]
    for score in score_levels(table, 2, ["patch"], resamples=50):
        values = [one[score.metric] for one in every]
        np.testing.assert_allclose(score.estimate, np.mean(values), rtol=1e-9)
        np.testing.assert_allclose(score.std, np.std(values, ddof=1), rtol=1e-6, atol=1e-12)
        assert (score.sessions, score.units) == (4, len(units.labels))


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc", "f1"])
def test_bootstraps_equal_scipys(make_predictions, metric):
    units = units_at(make_predictions(seed=2, sessions=2, families=12), "patch", 2)
    (score,) = (one for one in score_units(units, resamples=4000) if one.metric == metric)
    clusters = [np.unique(units.families[units.labels == label]) for label in (0, 1)]

    def statistic(*drawn):
        weights = sum((units.families[:, None] == some).sum(axis=1) for some in drawn).astype(float)
        return weighted_scores(units, weights[None])[metric].mean()

    given = {"vectorized": False, "paired": False, "method": "percentile", "n_resamples": 600}
    # SciPy draws from numbers only.
    numbered = [np.arange(len(some)) for some in clusters]
    theirs = stats.bootstrap(
        numbered,
        lambda *drawn: statistic(*(some[one] for some, one in zip(clusters, drawn, strict=True))),
        rng=np.random.default_rng(1),
        **given,
    )
    # A percentile's own standard error is 2.7 times a mean's where values are normal.
    error = 4 * theirs.standard_error / 600**0.5 * 2.7
    low, high = theirs.confidence_interval
    np.testing.assert_allclose(score.bootstrap, (low, high), atol=error)


def test_the_headline_of_accuracy_and_loss_is_the_family_interval(make_predictions):
    units = units_at(make_predictions(families=6), "sample", 2)
    found = {score.metric: score for score in score_units(units, resamples=50)}
    for metric, values in (("accuracy", units.hits), ("loss", units.losses)):
        expected = family_interval(values.mean(axis=0), units.families, units.labels, fraction=metric == "accuracy")
        assert found[metric].interval == expected.interval
    rows = units.labels == 1
    expected = family_interval(units.hits.mean(axis=0)[rows], units.families[rows], units.labels[rows], fraction=True)
    assert (found["sensitivity"].interval.low, found["sensitivity"].families) == (expected.interval.low, (6,))


def test_order_of_rows_changes_nothing(make_predictions):
    table = make_predictions()
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    assert score_levels(shuffled, 2, resamples=50) == score_levels(table, 2, resamples=50)


def twice(table, renamed=""):
    """Every sample again under a new number, in the same family or in a new one of the same values."""
    again = table.set_column(
        table.column_names.index("sample"), "sample", pa.array(table["sample"].to_numpy() + len(table))
    )
    for name in ("family", "slide"):
        names = pa.array([one + renamed for one in table[name].to_pylist()])
        again = again.set_column(table.column_names.index(name), name, names)
    return pa.concat_tables([table, again])


def test_samples_twice_narrow_the_naive_interval_alone(make_predictions):
    table = make_predictions(families=6, transforms=1)
    once, again = (score_levels(one, 2, ["sample"], resamples=1000) for one in (table, twice(table)))
    for one, other in zip(once, again, strict=True):
        np.testing.assert_allclose(
            (*other.interval, *other.bootstrap),
            (*one.interval, *one.bootstrap),
            rtol=1e-9,
        )
        assert other.naive.high - other.naive.low < 0.85 * (one.naive.high - one.naive.low), one.metric
        assert other.times_wider > one.times_wider > 1
    # The patches are the same ones.
    for one, other in zip(*(score_levels(t, 2, ["patch"], resamples=50) for t in (table, twice(table))), strict=True):
        assert (one.units, one.naive.low) == (other.units, pytest.approx(other.naive.low))


def test_families_twice_narrow_every_interval(make_predictions):
    table = make_predictions(families=6, transforms=1)
    once, again = (score_levels(one, 2, ["patch"], resamples=1000) for one in (table, twice(table, "b")))
    for one, other in zip(once, again, strict=True):
        assert other.estimate == pytest.approx(one.estimate)
        for name in ("interval", "bootstrap", "naive"):
            widths = [getattr(score, name).high - getattr(score, name).low for score in (one, other)]
            assert widths[1] < 0.85 * widths[0], (one.metric, name)


def test_where_every_unit_is_a_family_nothing_is_wider(make_predictions):
    for score in score_levels(make_predictions(families=7), 2, ["family"], resamples=200):
        assert score.naive == score.bootstrap
        assert score.times_wider == (1 if score.naive.high > score.naive.low else None)


def test_one_family_of_a_label_gives_no_interval_but_says_why(make_predictions):
    table = make_predictions(families=3)
    keep = [row["label"] == 0 or row["family"] == "1/f0" for row in table.to_pylist()]
    for score in score_levels(table.filter(pa.array(keep)), 2, resamples=50):
        assert score.estimate is not None
        if score.metric == "specificity":
            assert score.interval is not None
            assert score.bootstrap is not None
        else:
            assert (score.interval, score.bootstrap, score.times_wider) == (None, None, None)
            assert "one family only" in score.reason


def test_families_all_alike_have_an_interval_for_every_fraction(make_predictions):
    table = make_predictions(families=3)
    label = table["label"].to_numpy()
    for name, values in {
        "probability": np.full(len(label), 0.9),
        "loss": -np.log(np.where(label == 1, 0.9, 0.1)),
    }.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    (f1,) = (score for score in score_levels(table, 2, ["family"], resamples=50) if score.metric == "f1")
    expected = stats.binomtest(4, 6).proportion_ci(0.95, "exact")
    assert (f1.estimate, *f1.interval) == pytest.approx((2 / 3, expected.low, expected.high))


def test_a_missing_label_leaves_out_what_needs_it(make_predictions):
    table = make_predictions()
    only = table.filter(pa.array(table["label"].to_numpy() == 1))
    found = {score.metric: score for score in score_levels(only, 2, ["patch"], resamples=50)}
    assert found["roc_auc"].estimate is None
    assert found["roc_auc"].reason == "roc_auc needs units of every label"
    assert found["specificity"].estimate is None
    assert found["sensitivity"].estimate == found["accuracy"].estimate


def test_perfect_predictions_have_an_interval(make_predictions):
    table = make_predictions(families=5)
    label = table["label"].to_numpy()
    for name, values in {
        "probability": np.where(label == 1, 0.9, 0.1),
        "loss": np.full(len(label), -np.log(0.9)),
    }.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    found = {score.metric: score for score in score_levels(table, 2, ["patch"], resamples=50)}
    expected = stats.binomtest(10, 10).proportion_ci(0.95, "exact").low
    for metric in ("accuracy", "balanced_accuracy", "roc_auc", "average_precision", "f1"):
        assert found[metric].interval == (pytest.approx(expected), 1.0), metric


def of_patients(table):
    """The same predictions, the first two families of label 1 being those of label 0: patients with two labels."""
    names = [name.replace("1/f0", "0/f0").replace("1/f1", "0/f1") for name in table["family"].to_pylist()]
    return table.set_column(table.column_names.index("family"), "family", pa.array(names))


@pytest.mark.parametrize("level", ["patch", "family"])
def test_patients_with_two_labels_are_counted_once(make_predictions, level):
    table = make_predictions(families=6)
    apart, together = (score_levels(one, 2, [level], resamples=400) for one in (table, of_patients(table)))
    for one, other in zip(apart, together, strict=True):
        assert other.estimate == pytest.approx(one.estimate)
        assert (one.units, other.units) == (one.units, one.units)
        if one.metric in ("sensitivity", "specificity"):
            assert (other.families, other.distinct_families) == ((6,), 6)
            # Of one label nothing has changed.
            assert other.interval == one.interval
        else:
            assert (one.families, one.distinct_families) == ((6, 6), 12)
            assert (other.families, other.distinct_families) == ((6, 6), 10)
            assert None not in (other.interval, other.bootstrap, other.naive)


def test_the_jackknife_leaves_out_a_patient_with_both_labels(make_predictions):
    units = units_at(of_patients(make_predictions(families=5)), "patch", 2)
    left_out = []
    for family in np.unique(units.families):
        rows = units.families != family
        areas = [sklearn.metrics.roc_auc_score(units.labels[rows], one[rows, 1]) for one in units.probabilities]
        left_out.append(np.mean(areas))
    (score,) = (one for one in score_units(units, resamples=50) if one.metric == "roc_auc")
    sizes = [
        [(units.labels[units.families == f] == label).sum() for label in (0, 1)] for f in np.unique(units.families)
    ]
    expected = jackknife_interval(score.estimate, np.asarray(left_out), np.asarray(sizes), fraction=True)
    np.testing.assert_allclose(score.interval, expected.interval, rtol=1e-9)


def test_every_draw_of_patients_has_every_label():
    rng = np.random.default_rng(0)
    # One label has two families, both of which have the other label too.
    sizes = np.array([[3, 1], [2, 4], [5, 0], [1, 0], [2, 0]])
    weights = drawn_weights(rng, sizes, 500)
    assert (weights.sum(axis=1) == 5).all()
    assert ((weights @ (sizes > 0)) > 0).all()
    # Without a common family each label is drawn from alone.
    weights = drawn_weights(rng, np.eye(2)[[0, 0, 1, 1, 1]], 500)
    assert (weights[:, :2].sum(axis=1) == 2).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_the_table_holds_no_nan(make_predictions, classes):
    scores = score_levels(make_predictions(classes=classes, sessions=1), classes, resamples=50)
    table = scores_table(scores)
    assert len(table) == 4 * len(METRICS)
    assert table.column_names[:2] == ["level", "metric"]
    for row in table.to_pylist():
        assert not any(isinstance(value, float) and np.isnan(value) for value in row.values())
        assert row["std"] is None
        assert (row["estimate"] is None) == (row["reason"] != "")
        undefined = classes > 2 and row["metric"] in ("sensitivity", "specificity")
        assert (row["estimate"] is None) == undefined
