"""The paper's numbers against another copy of them."""

import json

import pytest

from nbjax.report.paper import published


@pytest.fixture(scope="module")
def results(shared):
    return json.loads((shared / "paper/results.json").read_text(encoding="utf-8"))


def test_figure_11(results):
    found = {
        name: {"loss": score.loss, "accuracy_percent": 100 * score.accuracy}
        for name, score in published.FIGURE11.items()
    }
    assert found.keys() == results["straightforward"].keys()
    for name, score in found.items():
        assert score == pytest.approx(results["straightforward"][name])


@pytest.mark.parametrize(
    ("strategy", "key"),
    [("extension", "extension_loss_by_nonlinearities_0_to_6"), ("unfreezing", "unfreezing_loss_by_layers_0_to_10")],
)
def test_figures_13_and_15(results, strategy, key):
    assert {name: list(losses) for name, losses in published.DEPTH_LOSS[strategy].items()} == results[key]


def test_tables(results):
    for (label, split), counts in published.TABLE2.items():
        assert list(counts) == results["dataset"]["table2"][label][split]
    assert len(published.TABLE2) == 6
    for strategy, (_, _, score) in published.TABLE4.items():
        assert [score.loss, 100 * score.accuracy] == pytest.approx(results["table4"][strategy][1:])
    assert sorted(100 * other.accuracy for other in published.TABLE1) == pytest.approx(
        sorted(results["table1"].values())
    )


def test_best_and_epoch_0(results):
    best, epoch0 = results["best_model"], results["epoch0"]
    assert pytest.approx((best["mean_best_loss"], best["mean_best_accuracy_percent"] / 100)) == published.BEST_MEAN
    assert pytest.approx((best["test_loss"], best["test_accuracy_percent"] / 100)) == published.BEST_TEST
    assert epoch0["sessions"] == published.SESSIONS
    assert published.EPOCH0["loss"] == (epoch0["loss_mean"], epoch0["loss_std"])
    assert published.EPOCH0["accuracy"] == pytest.approx(
        (epoch0["accuracy_mean_percent"] / 100, epoch0["accuracy_std_percent"] / 100)
    )


def test_a_loss_is_given_only_for_what_the_paper_ran():
    assert published.best_loss("inception_v3", 4, 0) == 0.278
    assert published.best_loss("vgg19", 0, 6) == 0.282
    assert published.best_loss("resnet50", 0, 0) == 0.550
    for backbone, nonlinearities, unfrozen in [
        ("resnet50", 1, 0),
        ("efficientnet_lite0", 0, 0),
        ("inception_v3", 7, 0),
        ("inception_v3", 2, 2),
        ("vgg19", 0, -1),
    ]:
        assert published.best_loss(backbone, nonlinearities, unfrozen) is None
