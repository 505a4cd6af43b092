import numpy as np
import pyarrow as pa
import pytest
import sklearn.metrics
from scipy import stats

from nbjax.analysis import family_interval, jackknife_interval, score_predictions
from nbjax.analysis.resampling import drawn_weights
from nbjax.analysis.scores import guess, score_units, scores_table
from nbjax.analysis.uncertainty import once_weights
from nbjax.analysis.units import LEVELS, ensemble, units_at
from nbjax.analysis.weighted import METRICS, weighted_scores


def by_family(table, level, classes=2, **given):
    """Scores at one level, every family counted once."""
    return score_units(units_at(table, level, classes), families_once=True, **given)


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


@pytest.mark.parametrize("families_once", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_estimates_are_of_all_sessions_together_and_deviations_of_single_ones(make_predictions, classes, families_once):
    units = units_at(make_predictions(sessions=4, classes=classes), "patch", classes)
    weights = once_weights(units.families, units.labels) if families_once else np.ones(len(units.labels))
    together = scikit_learns(units.labels, units.probabilities.mean(axis=0), weights)
    every = [scikit_learns(units.labels, one, weights) for one in units.probabilities]
    for score in score_units(units, families_once=families_once, resamples=50):
        if score.estimate is None:
            continue
        values = [one[score.metric] for one in every]
        np.testing.assert_allclose(score.estimate, together[score.metric], rtol=1e-6)
        np.testing.assert_allclose(score.session_mean, np.mean(values), rtol=1e-9)
        np.testing.assert_allclose(score.std, np.std(values, ddof=1), rtol=1e-6, atol=1e-12)
        assert (score.sessions, score.units) == (4, len(units.labels))
        assert (score.interval is None) == (not families_once or score.metric == "expected_calibration_error")


def test_every_family_counts_once_however_many_patches_it_has(make_predictions):
    table = make_predictions(families=6, transforms=1, sessions=1)
    units = ensemble(units_at(table, "patch", 2))
    shares = [units.hits[0][units.families == family].mean() for family in np.unique(units.families)]
    tested = score_predictions(table, 2, resamples=50)
    assert tested.score("accuracy").estimate == pytest.approx(np.mean(shares))
    assert tested.scores["patch", "accuracy"].estimate == pytest.approx(units.hits.mean())
    of_families = ensemble(units_at(table, "family", 2)).hits[0]
    assert tested.scores["family", "accuracy"].estimate == pytest.approx(of_families.mean())


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc", "f1"])
def test_the_naive_interval_is_scipys_bootstrap_of_units(make_predictions, metric):
    units = ensemble(units_at(make_predictions(seed=2, sessions=2, families=8), "patch", 2))
    (score,) = (one for one in score_units(units, families_once=True, resamples=4000) if one.metric == metric)
    each = once_weights(units.families, units.labels)

    def statistic(*drawn):
        weights = np.bincount(np.concatenate(drawn).astype(int), minlength=len(each)).astype(float)
        return weighted_scores(units, weights[None] * each)[metric][0, 0]

    given = {"vectorized": False, "paired": False, "method": "percentile", "n_resamples": 600}
    strata = [np.flatnonzero(units.labels == label) for label in (0, 1)]
    theirs = stats.bootstrap(strata, statistic, rng=np.random.default_rng(1), **given)
    # A percentile's own standard error is 2.7 times a mean's where values are normal.
    error = 4 * theirs.standard_error / 600**0.5 * 2.7
    np.testing.assert_allclose(score.naive, theirs.confidence_interval, atol=error)
    assert score.times_wider == pytest.approx(np.ptp(score.interval) / np.ptp(score.naive))


def test_the_headline_of_accuracy_and_loss_is_the_family_interval(make_predictions):
    units = units_at(make_predictions(families=6), "sample", 2)
    found = {score.metric: score for score in score_units(units, families_once=True, resamples=50)}
    joint = ensemble(units)
    for metric, values in (("accuracy", joint.hits[0]), ("loss", joint.losses[0])):
        expected = family_interval(
            values, units.families, units.labels, fraction=metric == "accuracy", guess=guess(metric, 2)
        )
        assert found[metric].interval == pytest.approx(expected.interval, rel=1e-9)
    rows = units.labels == 1
    expected = family_interval(joint.hits[0][rows], units.families[rows], units.labels[rows], fraction=True)
    assert found["sensitivity"].interval.low == pytest.approx(expected.interval.low)
    assert found["sensitivity"].families == (6,)


def test_order_of_rows_changes_nothing(make_predictions):
    table = make_predictions()
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    one, other = (score_predictions(some, 2, resamples=50).every_score for some in (shuffled, table))
    assert one == other


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
    # Labels that do not follow the family, so that families differ by more than their samples do.
    table = make_predictions(families=6, transforms=1)
    once, again = (by_family(one, "sample", resamples=1000) for one in (table, twice(table)))
    for one, other in zip(once, again, strict=True):
        assert other.estimate == pytest.approx(one.estimate)
        if one.metric == "expected_calibration_error":
            assert (one.interval, one.naive, other.times_wider) == (None, None, None)
            continue
        if one.estimate < 1:
            assert np.ptp(other.naive) < 0.85 * np.ptp(one.naive), one.metric
        assert np.ptp(other.interval) <= np.ptp(one.interval) * (1 + 1e-9)
    # The patches are the same ones.
    for one, other in zip(*(by_family(t, "patch", resamples=50) for t in (table, twice(table))), strict=True):
        assert (one.units, one.interval) == (other.units, other.interval and pytest.approx(other.interval))


def test_families_twice_narrow_every_interval(make_predictions):
    table = make_predictions(families=6, transforms=1)
    once, again = (by_family(one, "patch", resamples=1000) for one in (table, twice(table, "b")))
    for one, other in zip(once, again, strict=True):
        assert other.estimate == pytest.approx(one.estimate)
        if one.interval is None:
            continue
        for name in ("interval", "naive") if one.estimate < 1 else ("interval",):
            widths = [np.ptp(getattr(score, name)) for score in (one, other)]
            assert widths[1] < 0.85 * widths[0], (one.metric, name)


def test_one_family_of_a_label_gives_no_interval_but_says_why(make_predictions):
    table = make_predictions(families=3)
    keep = [row["label"] == 0 or row["family"] == "1/f0" for row in table.to_pylist()]
    for score in by_family(table.filter(pa.array(keep)), "patch", resamples=50):
        assert score.estimate is not None
        if score.metric == "specificity":
            assert score.interval is not None
        else:
            assert (score.interval, score.times_wider) == (None, None)
            assert score.metric == "expected_calibration_error" or "one family only" in score.reason


def test_a_missing_label_leaves_out_what_needs_it(make_predictions):
    table = make_predictions()
    only = table.filter(pa.array(table["label"].to_numpy() == 1))
    found = {score.metric: score for score in by_family(only, "patch", resamples=50)}
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
    found = {score.metric: score for score in by_family(table, "patch", resamples=50)}
    exact = stats.binomtest(10, 10).proportion_ci(0.95, "exact").low
    for metric in ("accuracy", "balanced_accuracy", "roc_auc", "average_precision", "f1"):
        low, high = found[metric].interval
        assert exact - 0.15 < low < exact, metric
        assert (found[metric].estimate, high) == (pytest.approx(1.0), pytest.approx(1.0)), metric


def of_patients(table):
    """The same predictions, the first two families of label 1 being those of label 0: patients with two labels."""
    names = [name.replace("1/f0", "0/f0").replace("1/f1", "0/f1") for name in table["family"].to_pylist()]
    return table.set_column(table.column_names.index("family"), "family", pa.array(names))


@pytest.mark.parametrize("level", ["patch", "family"])
def test_patients_with_two_labels_are_counted_once(make_predictions, level):
    table = make_predictions(families=6)
    apart, together = (by_family(one, level, resamples=400) for one in (table, of_patients(table)))
    for one, other in zip(apart, together, strict=True):
        assert other.estimate == pytest.approx(one.estimate)
        assert (one.units, other.units) == (one.units, one.units)
        if one.metric in ("sensitivity", "specificity"):
            assert (other.families, other.distinct_families) == ((6,), 6)
            # Of one label nothing has changed.
            assert other.interval == pytest.approx(one.interval)
        else:
            assert (one.families, one.distinct_families) == ((6, 6), 12)
            assert (other.families, other.distinct_families) == ((6, 6), 10)
            assert (other.interval is None) == (other.metric == "expected_calibration_error")


def test_the_jackknife_leaves_out_a_patient_with_both_labels(make_predictions):
    units = units_at(of_patients(make_predictions(families=5)), "patch", 2)
    each, left_out = once_weights(units.families, units.labels), []
    for family in np.unique(units.families):
        rows = units.families != family
        mean = units.probabilities.mean(axis=0)[rows, 1]
        left_out.append(sklearn.metrics.roc_auc_score(units.labels[rows], mean, sample_weight=each[rows]))
    (score,) = (one for one in score_units(units, families_once=True, resamples=50) if one.metric == "roc_auc")
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
    scores = score_predictions(make_predictions(classes=classes, sessions=1), classes, resamples=50).every_score
    table = scores_table(scores)
    assert len(table) == (1 + len(LEVELS)) * len(METRICS)
    assert table.column_names[:3] == ["level", "counted", "metric"]
    for row in table.to_pylist():
        assert not any(isinstance(value, float) and np.isnan(value) for value in row.values())
        assert row["std"] is None
        undefined = classes > 2 and row["metric"] in ("sensitivity", "specificity")
        assert (row["estimate"] is None) == (row["session_mean"] is None) == undefined
        if row["counted"] == "families":
            assert (row["low"] is None) == (row["reason"] != "")
