import io

import numpy as np

from nbjax.analysis.leakage import Curves, Mean, compare, measure, summarise
from nbjax.analysis.uncertainty import Interval
from nbjax.report.figures.leakage import STYLES, loss_curves, loss_numbers
from nbjax.report.leakage import ROWS, answer, comparison_table, experiment_table

RNG = np.random.default_rng(0)
CURVES = {leak: Curves(*RNG.gamma(5, 0.1, (3, 4, 9))) for leak in ("none", "exchange", "random_samples")}


def test_lines_are_means_and_bands_standard_deviations():
    figure = loss_curves(CURVES, "small")
    left, right = figure.axes
    for place, (leak, curves) in enumerate(CURVES.items()):
        for axis, line, values, dash in (
            (left, 2 * place, curves.train, ":"),
            (left, 2 * place + 1, curves.validation, "-"),
            (right, place, curves.test, "--"),
        ):
            drawn = axis.lines[line]
            np.testing.assert_allclose(drawn.get_ydata(), values.mean(axis=0))
            assert (drawn.get_linestyle(), drawn.get_color()) == (dash, STYLES[leak][0])
            heights = axis.collections[line].get_paths()[0].vertices[:, 1]
            spread = values.std(axis=0, ddof=1)
            np.testing.assert_allclose(heights.max(), (values.mean(axis=0) + spread).max())
            np.testing.assert_allclose(heights.min(), (values.mean(axis=0) - spread).min())
    assert "4 sessions" in figure.get_suptitle()
    figure.savefig(io.BytesIO(), format="png")


def test_numbers_are_those_of_the_lines():
    numbers = loss_numbers(CURVES).to_pandas()
    assert len(numbers) == 3 * 3 * 9
    rows = numbers[(numbers.leak == "exchange") & (numbers.split == "test")]
    np.testing.assert_allclose(rows["mean"], CURVES["exchange"].test.mean(axis=0))
    np.testing.assert_allclose(rows["std"], CURVES["exchange"].test.std(axis=0, ddof=1))


def words(gap):
    summary = summarise({leak: measure(curves) for leak, curves in CURVES.items()})
    return " ".join(answer(summary, {("none", "random_samples"): gap}))


def test_words_follow_the_interval():
    def difference(low, high):
        return Mean(4, (low + high) / 2, 0.1, Interval(low, high), 0.01, 0.125, 1.0)

    assert ", larger." in words(difference(0.1, 0.3))
    assert ", smaller." in words(difference(-0.3, -0.1))
    assert "0.100 (95 % interval -0.100 to 0.300)" in words(difference(-0.1, 0.3))
    assert ", no difference is shown." in words(difference(-0.1, 0.3))
    assert "4 sessions" in words(difference(0.1, 0.3))
    assert compare({leak: measure(curves) for leak, curves in CURVES.items()})


def test_tables_have_the_numbers_of_the_analysis():
    measures = {leak: measure(curves) for leak, curves in CURVES.items()}
    summary, gaps = summarise(measures), compare(measures)
    grid = experiment_table(summary)
    assert len(grid.rows) == len(ROWS)
    for row, name in zip(grid.rows, ROWS, strict=True):
        of_one = [summary[leak][name] for leak in CURVES]
        assert [entry.value for entry in row[1:]] == [mean.mean for mean in of_one]
        assert all(f"{mean.interval.low:.3f} to" in entry.under for mean, entry in zip(of_one, row[1:], strict=True))
    pairs = comparison_table(gaps)
    assert [row[2].value for row in pairs.rows] == [one.mean for one in gaps.values()]
    p_values = [one.p for one in gaps.values()]
    assert [row[3].text for row in pairs.rows] == ["< 0.001" if p < 0.001 else f"{p:.3f}" for p in p_values]
