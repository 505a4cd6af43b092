"""Figures show the tables they are given."""

import numpy as np
import pyarrow as pa
import pytest

from nbjax.analysis.distribution import loss_accuracy_pairs
from nbjax.report.figures.paper import (
    backbone_scores,
    best_curve,
    depth_losses,
    histogram_edges,
    loss_accuracy_density,
    start_histogram,
)
from nbjax.report.figures.style import GREY
from nbjax.report.paper import numbers, published


def line(axis, label):
    (found,) = [one for one in axis.lines if one.get_label() == label]
    return found


def bars(axis):
    """Ends of the error bars, by panel: `[n, 2, 2]`."""
    (collection,) = [one for one in axis.collections if type(one).__name__ == "LineCollection"]
    return np.asarray(collection.get_segments())


def test_backbones_and_the_papers_beside(paper_history):
    table = numbers.by_backbone(paper_history, "validation_loss")
    figure = backbone_scores(table)
    columns = table.to_pydict()
    for axis, metric in zip(figure.axes, ("loss", "accuracy"), strict=True):
        np.testing.assert_allclose(line(axis, "best session").get_xdata(), columns[f"best_{metric}"])
        mean, std = np.array(columns[f"mean_{metric}"]), np.array(columns[f"std_{metric}"])
        np.testing.assert_allclose(bars(axis)[:, :, 0], np.stack([mean - std, mean + std], axis=1))
        paper = [np.nan if value is None else value for value in columns[f"paper_{metric}"]]
        np.testing.assert_allclose(line(axis, "the paper's best").get_xdata(), paper)
        dotted = [one.get_ydata()[0] for one in axis.lines if one.get_linestyle() == ":"]
        assert dotted == [0.5, 1.5]  # between EfficientNet, ResNet and VGG
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == columns["backbone"]
    assert "18 sessions in 6 cells, 3 of them in a best cell" in figure.get_suptitle()


@pytest.mark.parametrize("strategy", ["extension", "unfreezing"])
def test_depths_with_the_band_before_training(paper_history, strategy):
    table = numbers.by_depth(paper_history, "validation_loss", strategy)
    figure = depth_losses(table, strategy, (0.7, 0.04, 27))
    backbones = list(dict.fromkeys(table["backbone"].to_pylist()))
    for axis, backbone in zip(figure.axes, backbones, strict=False):
        columns = table.filter(pa.array([name == backbone for name in table["backbone"].to_pylist()])).to_pydict()
        assert axis.get_title() == backbone
        np.testing.assert_allclose(line(axis, "best session").get_ydata(), columns["best_loss"])
        np.testing.assert_array_equal(line(axis, "best session").get_xdata(), columns["k"])
        mean, std = np.array(columns["mean_loss"]), np.array(columns["std_loss"])
        np.testing.assert_allclose(bars(axis)[:, :, 1], np.stack([mean - std, mean + std], axis=1))
        (band,) = [one for one in axis.patches if "before training: mean ± deviation of 27 starts" in one.get_label()]
        assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.66, 0.74))
        grey = [one for one in axis.lines if one.get_label() == "the paper's best"]
        if backbone in published.DEPTH_LOSS[strategy]:
            assert (grey[0].get_linestyle(), grey[0].get_color()) == ("--", GREY)
            wanted = published.DEPTH_LOSS[strategy][backbone][: len(columns["k"])]
            np.testing.assert_array_equal(grey[0].get_ydata(), wanted)
        else:
            assert not grey


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_the_best_session_and_its_cell(paper_history, metric):
    curves = numbers.best_curves(paper_history, "validation_loss")
    (axis,) = best_curve(curves.table, metric, curves.sessions, [(0.278, "the paper"), (0.31, "its mean")]).axes
    for split, word in (("train", "training"), ("validation", "validation")):
        values = curves.table[f"{split}_{metric}_best"].to_numpy()
        np.testing.assert_array_equal(line(axis, f"{word}: best session").get_ydata(), values)
        (band,) = [one for one in axis.collections if one.get_label().startswith(f"{word}: mean")]
        mean, std = (curves.table[f"{split}_{metric}_{kind}"].to_numpy() for kind in ("mean", "std"))
        heights = band.get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == pytest.approx(((mean - std).min(), (mean + std).max()))
    assert line(axis, "the paper").get_ydata()[0] == 0.278
    assert line(axis, "its mean").get_ydata()[0] == 0.31
    assert "3" in axis.get_title()


def test_a_cell_of_one_session_has_no_band(make_history):
    history = make_history([("resnet18", "straightforward", 0, 0, 0.1, 8)], seeds=1)
    curves = numbers.best_curves(history, "validation_loss")
    (axis,) = best_curve(curves.table, "loss", 1).axes
    values = curves.table["train_loss_best"].to_numpy()
    heights = axis.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (values.min(), values.max())
    figure = backbone_scores(numbers.by_backbone(history, "validation_loss"))
    assert not np.isfinite(bars(figure.axes[0])).any()


def test_the_papers_own_cell_has_its_best_and_its_mean():
    assert [value for value, _ in published.best_lines("loss", "inception_v3", 4, 0)] == [0.278, 0.310]
    assert [value for value, _ in published.best_lines("accuracy", "inception_v3", 4, 0)] == [0.8836, 0.8695]
    assert [value for value, _ in published.best_lines("loss", "vgg19", 0, 6)] == [0.282]
    assert published.best_lines("accuracy", "vgg19", 0, 6) == []
    assert published.best_lines("loss", "efficientnet_lite0", 4, 0) == []


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_histograms_count_every_start(paper_history, metric):
    table = numbers.starts(paper_history)
    figure = start_histogram(table, metric, {"train": 0.25, "validation": 0.0005})
    (axis,) = figure.axes
    edges = histogram_edges(table, metric)
    assert len(edges) == 51
    train, validation = (patch for patch in axis.patches if patch.get_label().startswith(("training", "validation")))
    for patch, split in ((train, "train"), (validation, "validation")):
        values = table[f"{split}_{metric}"].to_numpy()
        counts = np.histogram(values, edges)[0]
        assert counts.sum() == 27
        assert patch.get_path().vertices[:, 1].max() == counts.max()
        text = "{:.1%} ± {:.2%}" if metric == "accuracy" else "{:.3f} ± {:.3f}"
        assert text.format(values.mean(), values.std(ddof=1)) in patch.get_label()
    words = " ".join(text.get_text() for legend in figure.legends for text in legend.get_texts())
    assert {"loss": "0.705 ± 0.042", "accuracy": "50.0% ± 9.95%"}[metric] in words
    assert "one peak: p = 0.250" in words
    assert "one peak: p < 0.001" in words
    assert "27 random starts" in axis.get_title()


def test_hexagons_hold_every_epoch_within_the_axes(paper_history):
    pairs = loss_accuracy_pairs(paper_history, "validation")
    figure, hexagons = loss_accuracy_density(pairs)
    loss, accuracy = (paper_history[f"validation_{name}"].to_numpy() for name in ("loss", "accuracy"))
    inside = (loss <= 0.8) & (accuracy >= 0.4)
    assert 0 < inside.sum() < len(loss)
    assert sum(hexagons["epochs"].to_pylist()) == inside.sum()
    axis = figure.axes[0]
    assert (*axis.get_xlim(), *axis.get_ylim()) == (0, 0.8, 40, 100)
    assert f"{(~inside).sum()} outside" in axis.get_title()
    assert "66 sessions" in axis.get_title()
