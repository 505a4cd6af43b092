import dataclasses
import shutil

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

import nbjax.training.study
from experiments.leakage import leakage
from nbjax.config import DatasetConfig, StudyConfig, load_config
from nbjax.errors import InputError
from nbjax.training.strategy import PRESETS

CONFIG = StudyConfig(
    name="small",
    dataset=DatasetConfig(transforms=1),
    backbones=("resnet18",),
    weights="random",
    input_size=32,
    learning_rates=(1e-5,),
    batch_sizes=(8,),
    epochs=3,
    seeds=3,
    folds=0,
    # The training split's moments, which the default head takes, are other ones under a leak.
    fidelity=PRESETS["plain"],
    checkpoint_seconds=0,
    test_curve=True,
)
LEAKS = ["none", "exchange", "random"]


@pytest.fixture(scope="module")
def finished(slides, tmp_path_factory):
    out = tmp_path_factory.mktemp("leakage")
    return leakage(CONFIG, str(slides), out, out / "banks", LEAKS), out


def test_each_experiment_has_the_same_sessions_and_its_own_leak(finished):
    section, out = finished
    rows = pyarrow.parquet.read_table(out / "leakage.parquet").to_pandas()
    assert len(rows) == 3 * 3 * 4
    first = rows[rows.epoch == 0].pivot(index="seed", columns="leak", values="test_loss").to_numpy()
    # Untrained, a seed's session is the same in every experiment, and so is the test split.
    np.testing.assert_allclose(first, first[:, :1].repeat(3, axis=1), atol=1e-6)
    # The validation split is another in each.
    first = rows[rows.epoch == 0].pivot(index="seed", columns="leak", values="validation_loss").to_numpy()
    assert (np.abs(np.diff(first, axis=1)) > 1e-6).all()
    assert sum(line.startswith("Experiment") for line in section.lines) == 3
    assert (out / "figures/figure8.png").stat().st_size > 10_000
    gap = pyarrow.csv.read_csv(out / "summary.csv").to_pandas().set_index(["leak", "measure"]).loc[("random", "gap")]
    of_one = rows[(rows.leak == "random") & (rows.epoch == 3)]
    assert gap["mean"] == pytest.approx((of_one.validation_loss - of_one.train_loss).mean(), rel=1e-5)


def test_the_test_curve_is_the_loss_of_the_predictions(finished):
    _, out = finished
    rows = pyarrow.parquet.read_table(out / "none/sessions.parquet").to_pandas()
    worst = np.maximum(rows.train_loss, rows.validation_loss)
    kept = rows.loc[worst.groupby(rows.seed).idxmin()].set_index("seed")
    predictions = pyarrow.parquet.read_table(out / "none/test_predictions.parquet").to_pandas()
    hits = (predictions.probability > 0.5) == predictions.label
    np.testing.assert_allclose(kept.test_loss, predictions.groupby("seed").loss.mean(), rtol=1e-4)
    np.testing.assert_allclose(kept.test_accuracy, hits.groupby(predictions.seed).mean(), atol=1e-6)


@pytest.mark.slow
def test_stopped_in_between_it_ends_in_the_same_bytes(finished, slides, tmp_path, monkeypatch):
    section, out = finished
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    shutil.rmtree(copy / "random/programs")
    whole, calls = nbjax.training.study.advance, []

    def stopped(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(nbjax.training.study, "advance", stopped)
    with pytest.raises(KeyboardInterrupt):
        leakage(CONFIG, str(slides), copy, copy / "banks", LEAKS)
    assert list(copy.glob("random/programs/*/in_flight/*"))
    assert leakage(CONFIG, str(slides), copy, copy / "banks", LEAKS).lines == section.lines
    assert len(calls) == 4
    assert (copy / "leakage.parquet").read_bytes() == (out / "leakage.parquet").read_bytes()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"batch_sizes": (8, 16)}, "config field batch_sizes: .* has one"),
        ({"seeds": 1}, "field seeds: found 1; a leakage experiment needs 2 or more"),
        ({"test_curve": False}, "field test_curve: found False; a leakage experiment needs True"),
        ({"backbones": ("small_cnn",), "strategies": ("scratch",), "input_size": 40}, "needs at least 46 pixels"),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_runs(change, expected, slides, tmp_path):
    config = dataclasses.replace(CONFIG, **change)
    with pytest.raises(InputError, match=expected):
        leakage(config, str(slides), tmp_path, tmp_path / "banks", LEAKS)
    assert not list(tmp_path.rglob("*.npy"))


@pytest.mark.parametrize("name", ["leakage", "leakage_frozen"])
def test_configs_have_both_sizes(name):
    paper, small = (load_config(f"configs/{name}.py", size=size) for size in ("paper", "small"))
    assert (paper.seeds, paper.epochs, paper.dataset.transforms) == (10, 100, 7)
    assert small.phantom != paper.phantom
    assert paper.test_curve
    assert small.test_curve
