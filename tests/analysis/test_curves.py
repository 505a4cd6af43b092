import numpy as np
import pyarrow as pa
import pytest
import sklearn.metrics

from nbjax.analysis.curves import confusion_matrices, curves_table, precision_recall_curves, roc_curves
from nbjax.analysis.units import units_at
from nbjax.errors import InputError


def test_every_threshold_lies_on_the_roc_curve(make_predictions):
    units = units_at(make_predictions(families=9, digits=1), "patch", 2)
    curves = roc_curves(units)
    for up, scores, area in zip(curves.up, units.probabilities[:, :, 1], curves.areas, strict=True):
        assert area == sklearn.metrics.roc_auc_score(units.labels, scores)
        np.testing.assert_allclose(np.trapezoid(up, curves.across), area, atol=0.01)
        assert (np.diff(up) >= 0).all()
        assert up[-1] == 1
        # No false positive: the share of positives above the highest negative.
        assert up[0] == np.mean(scores[units.labels == 1] > scores[units.labels == 0].max())


def test_the_drawn_roc_curve_has_its_area_with_few_negatives():
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = np.array([0] * 5 + [1] * 7)
        scores = rng.permutation(np.linspace(0.05, 0.95, 12))
        table = pa.table(
            {
                "seed": np.zeros(12, np.int32),
                "sample": np.arange(12, dtype=np.int32),
                "slide": [f"s{number}" for number in range(12)],
                "family": [f"f{number}" for number in range(12)],
                "label": labels,
                "probability": scores,
                "loss": np.ones(12),
            }
        )
        curves = roc_curves(units_at(table, "sample", 2))
        # A jump between two of the points that are drawn is a ramp as wide as they are apart.
        apart = curves.across[1]
        assert np.trapezoid(curves.up[0], curves.across) == pytest.approx(curves.areas[0], abs=apart)
        assert curves.areas[0] == sklearn.metrics.roc_auc_score(labels, scores)


def test_precision_at_each_recall_is_that_of_the_highest_threshold_that_reaches_it(make_predictions):
    units = units_at(make_predictions(families=9, digits=1), "patch", 2)
    curves = precision_recall_curves(units)
    positive = units.labels == 1
    for up, scores in zip(curves.up, units.probabilities[:, :, 1], strict=True):
        for place in (0.0, 0.3, 0.5, 0.77, 1.0):
            reaching = [t for t in np.unique(scores) if np.mean(scores[positive] >= t) >= place - 1e-9]
            taken = scores >= max(reaching)
            assert up[np.argmin(np.abs(curves.across - place))] == pytest.approx(positive[taken].mean())
    assert curves.chance == pytest.approx(positive.mean())


def test_confusions_and_a_class_against_the_rest(make_predictions):
    units = units_at(make_predictions(classes=3), "slide", 3)
    found = confusion_matrices(units)
    assert found.shape == (3, 3, 3)
    np.testing.assert_array_equal(found[1], sklearn.metrics.confusion_matrix(units.labels, units.predicted[1]))
    area = sklearn.metrics.roc_auc_score(units.labels == 2, units.probabilities[0, :, 2])
    assert roc_curves(units, label=2).areas[0] == pytest.approx(area)


def test_the_table_and_one_session(make_predictions):
    table = make_predictions(sessions=1)
    units = units_at(table, "patch", 2)
    written = curves_table(roc_curves(units))
    assert written["std"].null_count == len(written) == 101
    only = table.filter(pa.array(table["label"].to_numpy() == 1))
    with pytest.raises(InputError, match="units have label 1; a curve needs some of both"):
        roc_curves(units_at(only, "patch", 2))
