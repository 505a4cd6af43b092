import numpy as np
import pytest

from nbjax.analysis import precision_recall_curves, reliability, roc_curves, units_at
from nbjax.report.figures import predictions
from tests.report.conftest import placed_predictions


@pytest.fixture(scope="module")
def units():
    return units_at(placed_predictions(np.random.default_rng(1), ("D", "PD")), "patch", 2)


def test_ranking_curves_are_the_sessions_and_their_mean(units):
    roc, recall = roc_curves(units), precision_recall_curves(units)
    figure = predictions.ranking_curves({"PD": roc}, {"PD": recall}, "patches")
    for axis, curves, start in zip(figure.axes, (roc, recall), (1, 0), strict=True):
        *sessions, mean, guessing = axis.lines
        assert len(sessions) == len(curves.up) == 4
        for line, values in zip(sessions, curves.up, strict=True):
            np.testing.assert_array_equal(line.get_ydata()[start:], values)
        np.testing.assert_allclose(mean.get_ydata()[start:], curves.up.mean(axis=0))
        assert f"{curves.areas.mean():.3f} ± {curves.areas.std(ddof=1):.3f}" in mean.get_label()
        assert f"{curves.chance:.3f}" in guessing.get_label()
        assert "28 patches, 4 sessions" in axis.get_title()
    assert figure.axes[0].lines[0].get_xydata()[0].tolist() == [0, 0]


def test_confusion_matrix_says_shares_and_numbers():
    matrix = np.array([[6.0, 2.0], [0.0, 0.0]])
    (axis,) = predictions.confusion_matrix(matrix, ("a$", "b"), "patches", 4).axes
    assert [text.get_text() for text in axis.texts] == ["75.0 %\n6", "25.0 %\n2", "–", "–"]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == [r"a\$", "b"]
    assert axis.get_title() == "Patches, 4 sessions together"


def test_reliability_diagram_has_every_bin_where_it_is():
    # A bin of 15 between two that hold something is empty.
    confidence = np.array([0.52, 0.52, 0.9, 0.9, 0.9, 0.99])
    curve = reliability(confidence, np.array([1, 0, 1, 1, 0, 1]))
    figure = predictions.reliability_diagram({"as trained": curve}, {"as trained": "so much"}, "patches", 3)
    points, diagonal = figure.axes[0].lines
    np.testing.assert_allclose(points.get_xydata(), [[0.52, 0.5], [0.9, 2 / 3], [0.99, 1]])
    np.testing.assert_allclose(diagonal.get_xdata(), diagonal.get_ydata())
    values, edges, _ = figure.axes[1].patches[0].get_data()
    np.testing.assert_allclose(edges, np.arange(7, 16) / 15)
    np.testing.assert_allclose(values, [2 / 6, 0, 0, 0, 0, 0, 3 / 6, 1 / 6][: len(values)])
    assert "3 sessions pooled" in figure.axes[0].get_title()
