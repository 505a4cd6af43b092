import json

import numpy as np
import pyarrow.parquet
import pytest

from experiments.partitions import study
from nbjax.analysis.leak_curve import score_matrix
from nbjax.analysis.variance import estimate_components
from nbjax.config import DatasetConfig, PartitionStudyConfig, load_config
from nbjax.errors import InputError
from nbjax.report.partition_study import conclude

FIXED = DatasetConfig(standardisation="imagenet", transforms=1)


def make_config(**changes):
    settings = {
        "name": "small",
        "dataset": FIXED,
        "backbones": ("resnet18",),
        "weights": "random",
        "input_size": 64,
        "learning_rates": (1e-2,),
        "epochs": 2,
        "seeds": 3,
        "partitions": 4,
        "leak_fractions": (0.0, 1.0),
        "leak_draws": 2,
        "leak_seeds": 2,
    }
    return PartitionStudyConfig(**{**settings, **changes})


@pytest.fixture(scope="module")
def finished(slides, tmp_path_factory):
    out = tmp_path_factory.mktemp("partitions")
    return study(make_config(), str(slides), out), out


def test_tables_figures_and_an_answer_in_words(finished):
    section, out = finished
    partitions = pyarrow.parquet.read_table(out / "partitions.parquet")
    assert len(partitions) == 5 * 3
    assert len(pyarrow.parquet.read_table(out / "leak.parquet")) == 2 * 2 * 2
    assert len(pyarrow.parquet.read_table(out / "leak_regression.parquet")) == 2 * 5
    assignments = pyarrow.parquet.read_table(out / "assignments.parquet")
    assert len(assignments) == 5 * 15
    for name in ("variance", "distribution", "leak_curve"):
        assert (out / f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (out / f"figures/{name}.csv").is_file()
    text = "\n".join(section.lines)
    assert "Which families are in which split explains" in text
    assert "under 4 nearly equally good partitions with 3 seeds each" in text
    assert not list(out.rglob("*.tmp"))
    assert json.loads((out / "record.json").read_text(encoding="utf-8"))["config"]["partitions"] == 4


def test_a_backbone_has_the_size_that_the_config_says(slides, tmp_path):
    changes = {"backbones": ("small_cnn",), "input_size": 48, "partitions": 2, "seeds": 2, "leak_fractions": ()}
    study(make_config(**changes), str(slides), tmp_path)
    assert len(pyarrow.parquet.read_table(tmp_path / "partitions.parquet")) == 3 * 2


def test_each_method_of_partition_0_is_named(finished, tmp_path):
    _, out = finished
    table = pyarrow.parquet.read_table(out / "partitions.parquet")
    methods = ["filing+exact" if number == 0 else "resampled" for number in table["partition"].to_pylist()]
    table = table.set_column(table.column_names.index("method"), "method", [methods])
    section = conclude(make_config(leak_fractions=()), {"partitions": table}, tmp_path)
    assert "Iterative filing and the exact method's own partition" in "\n".join(section.lines)


def test_variance_is_that_of_the_resampled_partitions_alone(finished):
    _, out = finished
    table = pyarrow.parquet.read_table(out / "partitions.parquet")
    scores = score_matrix(table, "test_sample_accuracy")
    found = json.loads((out / "variance.json").read_text(encoding="utf-8"))
    parts = found["samples (as in the paper)"]
    estimates = [parts[name]["variance"] for name in ("partition", "seed", "interaction")]
    np.testing.assert_allclose(estimates, np.maximum(estimate_components(scores[1:]), 0), atol=1e-12)
    assert found["placed"]["filing"] == pytest.approx(scores[0].mean())


def test_the_same_command_again_uses_what_is_finished(finished, slides):
    _, out = finished
    before = (out / "partitions.parquet").read_bytes()
    kept = {path: path.stat().st_mtime_ns for path in (*out.rglob("chunks/*"), *out.rglob("banks/*/*.npy"))}
    study(make_config(), str(slides), out)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (out / "partitions.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dataset": DatasetConfig(standardisation="train")},
            r"dataset\.standardisation: found 'train'; expected imagenet or none",
        ),
        (
            {"dataset": DatasetConfig(standardisation="imagenet", method="sequential")},
            "dataset.method: found 'sequential'",
        ),
        ({"strategies": ("unfreezing-1",)}, "strategies: .* train a head alone"),
        ({"learning_rates": (0.1, 0.2)}, "learning_rates: .* one, since"),
        ({"leak_draws": 9}, "leak_draws: found 9"),
        ({"leak_fractions": (1.5,)}, "leak_fractions: .* shares in"),
        ({"seeds": 1}, "seeds: found 1; expected at least 2"),
    ],
)
def test_what_the_study_cannot_do_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        make_config(**changes)


def test_families_with_two_labels_may_be_partitioned_by_the_exact_method():
    assert make_config(dataset=DatasetConfig(standardisation="imagenet", method="exact")).dataset.method == "exact"


def test_the_config_has_two_sizes():
    small, paper = (load_config("configs/partitions.py", size=size) for size in ("small", "paper"))
    assert small.partitions < paper.partitions == 200
    assert load_config("configs/partitions.py") == paper
    with pytest.raises(InputError, match="--size=large: expected paper or small"):
        load_config("configs/partitions.py", size="large")
