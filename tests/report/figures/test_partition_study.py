import numpy as np

from nbjax.analysis.leak_curve import point_of
from nbjax.analysis.variance import variance_components
from nbjax.report.figures.partition_study import leak_figure, score_distribution, variance_figure

RNG = np.random.default_rng(0)
SCORES = 0.7 + 0.1 * RNG.normal(size=(30, 1)) + 0.01 * RNG.normal(size=(30, 5))


def test_bars_are_the_shares_and_deviations():
    components = {name: variance_components(SCORES, resamples=50) for name in ("samples", "families")}
    left, right = variance_figure(components, "a title").axes
    widths = [patch.get_width() for patch in left.patches]
    # Part by part, each with one bar a level.
    parts = components["samples"][:3]
    np.testing.assert_allclose(widths, [part.share for part in parts for _ in range(2)])
    widths = [patch.get_width() for patch in right.patches]
    np.testing.assert_allclose(widths, [100 * part.variance**0.5 for part in parts for _ in range(2)])
    assert "30 partitions x 5 seeds" in right.get_title(loc="right")


def test_every_partition_is_in_the_histogram_and_each_seed_is_marked():
    filing = np.array([0.71, 0.72, 0.7])
    (axis,) = score_distribution(SCORES, filing, 0.8843, "a title").axes
    assert sum(patch.get_height() for patch in axis.patches) == 30
    lines = {line.get_label().split(",")[0]: line.get_xdata() for line in axis.lines}
    np.testing.assert_allclose(lines["the paper's one partition (neuroblastoma"], 0.8843)
    assert any(np.array_equal(np.asarray(line.get_xdata()), filing) for line in axis.lines)
    (alone,) = score_distribution(SCORES, filing, None, "a title").axes
    assert len(alone.lines) == len(axis.lines) - 1


def test_a_curve_passes_through_its_points():
    rng = np.random.default_rng(1)
    points = {fraction: point_of(0.6 + 0.2 * fraction + 0.01 * rng.normal(size=(8, 3))) for fraction in (0.0, 0.5, 1.0)}
    (axis,) = leak_figure({"reported": points, "true": points}, "a title").axes
    for line in axis.lines:
        np.testing.assert_allclose(line.get_xdata(), list(points))
        np.testing.assert_allclose(line.get_ydata(), [point.mean for point in points.values()])
