import io

import numpy as np
import PIL.Image

from nbjax.report.figures import study


def pixels(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor="white")
    return np.asarray(PIL.Image.open(file).convert("RGB"))


def test_learning_curves_are_means_and_standard_deviations():
    rng = np.random.default_rng(0)
    names = [f"{split}_{metric}" for split in ("train", "validation") for metric in ("loss", "accuracy")]
    curves = {name: rng.random((5, 7)) for name in names}
    figure = study.learning_curves(curves, 5)
    for axis, metric in zip(figure.axes, ("loss", "accuracy"), strict=True):
        train, validation = axis.lines
        assert (train.get_linestyle(), validation.get_linestyle()) == (":", "-")
        for line, band, split in zip(axis.lines, axis.collections, ("train", "validation"), strict=True):
            values = curves[f"{split}_{metric}"]
            np.testing.assert_allclose(line.get_ydata(), values.mean(axis=0))
            heights = band.get_paths()[0].vertices[:, 1]
            spread = values.std(axis=0, ddof=1)
            np.testing.assert_allclose(heights.max(), (values.mean(axis=0) + spread).max())
            np.testing.assert_allclose(heights.min(), (values.mean(axis=0) - spread).min())
        assert "5 sessions" in axis.get_title()


def test_family_accuracies_stand_where_they_belong():
    rows = [("PD", "p1", 24, 0.25), ("D", "p2", 8, 1.0), ("PD", "p$3$", 16, 0.75)]
    (axis,) = study.family_accuracies(rows, 0.6).axes
    marks = {tuple(place) for collection in axis.collections for place in collection.get_offsets()}
    assert marks == {(1.0, 0), (0.25, 1), (0.75, 2)}
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["p2", "p1", r"p\$3\$"]


def test_family_splits_add_up():
    (axis,) = study.family_splits({"D": {"train": [3, 5], "test": [2]}, "PD": {"train": [4], "test": [1, 1]}}).axes
    assert sorted(patch.get_width() for patch in axis.patches) == [1, 1, 2, 3, 4, 5]
    assert "2 families, 8 patches" in {text.get_text() for text in axis.texts}


def test_sample_sheet_shows_the_patches_themselves():
    rng = np.random.default_rng(0)
    rows = {"a$b$": rng.integers(0, 255, (3, 250, 250, 3), np.uint8), "D": np.zeros((1, 250, 250, 3), np.uint8)}
    figure = study.sample_sheet(rows)
    shown = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert len(shown) == 4
    np.testing.assert_array_equal(shown[2], rows["a$b$"][2])
    assert pixels(figure).std() > 30


def test_names_with_dollar_signs_can_be_drawn():
    assert pixels(study.family_accuracies([("$x_$", "a/$_", 3, 0.5)], 0.5)).std() > 1
