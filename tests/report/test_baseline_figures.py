import numpy as np

from nbjax.analysis.uncertainty import FamilyEstimate, Interval
from nbjax.report.baselines import Scored, baseline_accuracies

WIDE = FamilyEstimate(0.8, Interval(0.6, 0.9), (4, 4), 8, "")
NONE = FamilyEstimate(0.7, None, (1, 4), 5, "one family")


def test_marks_and_intervals_stand_where_they_belong():
    rows = [Scored("a", WIDE, NONE), Scored("b", NONE, None), Scored("this $study$", WIDE, WIDE, is_study=True)]
    figure = baseline_accuracies(rows, 0.5, "title")
    (axis,) = figure.axes
    test, folds = axis.collections
    assert np.asarray(test.get_offsets())[:, 0].tolist() == [0.8, 0.7, 0.8]
    assert np.asarray(folds.get_offsets())[:, 0].tolist() == [0.7, 0.8]
    # Hollow where there is no interval.
    assert test.get_facecolor()[:, 0].tolist()[1] == 1
    spans = [tuple(line.get_xdata()) for line in axis.lines if len(line.get_xdata()) == 2]
    assert spans.count((0.6, 0.9)) == 3
    assert spans.count((0.5, 0.5)) == 1
    # The line between the baselines and the study.
    assert [line.get_ydata()[0] for line in axis.lines if tuple(line.get_xdata()) == (0, 1)] == [1.5]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["a", "b", r"this \$study\$"]
    figure.draw_without_rendering()
