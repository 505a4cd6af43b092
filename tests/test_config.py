"""Configs: what a field takes, what `--set` understands, and the one sentence for all else."""

import dataclasses
import math
from pathlib import Path

import pytest

from nbjax.config import SIZES, PartitionStudyConfig, StudyConfig, load_config
from nbjax.errors import InputError
from nbjax.training.strategy import FAST, PAPER, Fidelity

CONFIGS = Path(__file__).parents[1] / "configs"
CONFIG = CONFIGS / "quickstart.py"


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("batch_sizes=8,16", "batch_sizes", (8, 16)),
        ("batch_sizes=8", "batch_sizes", (8,)),
        ("backbones=resnet18,vgg16", "backbones", ("resnet18", "vgg16")),
        ("strategies=extension-2+unfreezing-1", "strategies", ("extension-2+unfreezing-1",)),
        ("weights=random", "weights", "random"),
        ("weights=IMAGENET1K_V1", "weights", "IMAGENET1K_V1"),
        ("fidelity=paper", "fidelity", PAPER),
        ("fidelity=fast", "fidelity", FAST),
        ("fidelity.crop=bank", "fidelity", Fidelity(crop="bank")),
        ("fidelity.batch_norm=batch", "fidelity", Fidelity(batch_norm="batch")),
        ("accuracy_goal=0.99", "accuracy_goal", 0.99),
        ("bank_dtype=bfloat16", "bank_dtype", "bfloat16"),
        ("learning_rates=1e-5", "learning_rates", (1e-5,)),
    ],
)
def test_settings(setting, field, value):
    assert getattr(load_config(CONFIG, [setting]), field) == value


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("weights=None", r"config field weights: found 'None'; expected .* or random \(--set=weights=random\)"),
        ("learning_rates=0.0,0.1", "config field learning_rates: found .*; expected numbers above 0"),
        ("learning_rates=-1e-3", "config field learning_rates: .* above 0"),
        ("learning_rates=1e-3,1e-3", "config field learning_rates: .* each once"),
        ("strategies=extension-0", "strategy 'extension-0'"),
        ("strategies=freeze", "'freeze' is no strategy; expected straightforward, extension-K"),
        ("batch_sizes=0", "config field batch_sizes: .* 1 or more"),
        ("fidelity=exact", "expected fast or plain or paper"),
        ("fidelity.crop=left", "config field fidelity.crop: found 'left'; expected centre or bank or random"),
        ("fidelity.crops=0", "config field fidelity.crops: found 0; expected at least 1"),
        ("fidelity.norm=batch", "Fidelity has no field 'norm'"),
        ("optimiser=sdg", "config field optimiser: found 'sdg'; expected sgd or adam or adagrad"),
        ("momentum=1.0", "config field momentum: .* below 1"),
        ("accuracy_goal=2.0", "config field accuracy_goal: .* at most 1"),
        ("bank_dtype=float16", "config field bank_dtype: .* float32 or bfloat16"),
        ("memory_gib=0.0", "config field memory_gib: .* above 0"),
        ("checkpoint_seconds=-1.0", "config field checkpoint_seconds: .* 0 or more"),
        ("folds=1", "config field folds: found 1; expected 0, or 2 or more"),
        ("batchsizes=8", "did you mean 'batch_sizes'"),
        ("epochs", "expected field=value"),
        ("epochs.more=1", "field 'epochs' has no fields of its own"),
        ("epochs=2.5", "config field epochs: found 2.5; expected a whole number"),
        ("learning_rates=fast", "found .*; expected a number, or several parted by commas"),
        ("memory_gib=much", "config field memory_gib: found 'much'; expected a number or None"),
        ("test_curve=1", "config field test_curve: found 1; expected True or False"),
        (
            "dataset.proportions=0.5,0.5",
            r"field dataset\.proportions: .*; expected 3 values, parted by commas, each a number",
        ),
        ("dataset.leak=patch", r"config field dataset\.leak: found 'patch'"),
        ("dataset.tiling.minimum_tissue=2.0", r"config field dataset\.tiling\.minimum_tissue: found 2.0"),
        ("seeds=100000000", "config field seeds: found 100000000; expected at least 1, at most 1,000,000"),
        ("epochs=999999999999", "config field epochs: found .*; expected at least 1, at most 1,000,000"),
        ("input_size=100000", "config field input_size: found 100000; expected 32 to 4096 pixels, or None"),
        ("name=../../x", "config field name: found '../../x'; expected a plain name, as a folder has"),
        ("name=", "config field name: found ''; expected a plain name"),
        ("batch_sizes=99999999999999", "config field batch_sizes: found .*; expected at most 16,777,216"),
    ],
)
def test_bad_settings_get_one_sentence(setting, expected):
    with pytest.raises(InputError, match=expected) as caught:
        load_config(CONFIG, [setting])
    assert "\n" not in str(caught.value)


def test_a_config_file_is_told_what_it_lacks(tmp_path):
    path = tmp_path / "c.py"
    with pytest.raises(InputError, match="there is no such config file"):
        load_config(path)
    for text, expected in [
        ("", "defines no function get_config"),
        ("def get_config(): return 3", "returned a int; expected a StudyConfig"),
        (
            "from nbjax.config import StudyConfig\ndef get_config(): return StudyConfig(name='x', epoch=3)",
            "StudyConfig has no field 'epoch'; did you mean 'epochs'",
        ),
        (
            "from nbjax.training.strategy import Fidelity\ndef get_config(): return Fidelity(crp='bank')",
            "Fidelity has no field 'crp'; did you mean 'crop'",
        ),
    ]:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=expected):
            load_config(path)


def test_a_study_needs_no_field_but_its_name():
    assert StudyConfig(name="x").fidelity == FAST


PAPERS = ("straightforward", "extension", "unfreezing", "distribution", "best")


@pytest.mark.parametrize("name", PAPERS)
def test_both_sizes_of_the_papers_studies(name):
    paper, small = (load_config(CONFIGS / f"{name}.py", size=size) for size in SIZES)
    assert load_config(CONFIGS / f"{name}.py") == paper
    # Each has a folder of its own, and the small one needs no weights that nbjax does not bring.
    assert paper.name != small.name
    assert (small.backbones, small.weights) == (("efficientnet_lite0",), "imagenet")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [*PAPERS, "leakage", "leakage_frozen"])
def test_the_papers_studies_keep_the_papers_head_and_pixels(name, size):
    config = load_config(CONFIGS / f"{name}.py", size=size)
    assert config.dataset.standardisation == "per_split"
    assert (config.fidelity.head_input, config.fidelity.weight_decay) == ("features", 0.0)
    assert (config.optimiser, config.momentum) == ("sgd", 0.9)


def test_one_set_of_defaults_serves_studies_and_studies_over_partitions():
    study, partitions = StudyConfig(name="x"), PartitionStudyConfig(name="y")
    assert study.dataset == partitions.dataset
    assert study.dataset.standardisation == "imagenet"
    for field in ("fidelity", "epochs", "batch_sizes", "optimiser", "momentum", "criterion"):
        assert getattr(study, field) == getattr(partitions, field)
    assert set(partitions.learning_rates) < set(study.learning_rates)
    assert load_config(CONFIG).learning_rates == study.learning_rates
    for size in SIZES:
        assert load_config(CONFIGS / "partitions.py", size=size).learning_rates == partitions.learning_rates


@pytest.mark.parametrize(
    ("field", "found"), [("weight_decay", -0.1), ("weight_decay", math.nan), ("head_input", "raw")]
)
def test_a_head_is_described_in_known_words(field, found):
    with pytest.raises(InputError, match=f"config field {field}: found {found!r}"):
        Fidelity(**{field: found})


def test_sizes_leave_settings_their_say():
    config = load_config(CONFIGS / "best.py", ["seeds=3"], "small")
    assert (config.name, config.seeds) == ("best-small", 3)


def test_sizes_that_are_none(tmp_path):
    with pytest.raises(InputError, match="--size=tiny: expected paper or small"):
        load_config(CONFIGS / "best.py", size="tiny")
    with pytest.raises(InputError, match="this study has one size only; leave --size=small out"):
        load_config(CONFIG, size="small")


def test_a_study_over_partitions_has_no_field_that_it_does_not_use():
    refused = {"accuracy_goal", "bank_dtype", "folds", "test_curve", "positive", "checkpoint_seconds"}
    assert refused.isdisjoint(field.name for field in dataclasses.fields(PartitionStudyConfig))
    with pytest.raises(InputError, match="PartitionStudyConfig has no field 'folds'"):
        load_config(CONFIGS / "partitions.py", ["folds=5"])


@pytest.mark.parametrize(
    ("name", "kind", "script"), [("partitions", StudyConfig, "partitions"), ("best", PartitionStudyConfig, "study")]
)
def test_a_config_of_another_kind_names_the_script_that_runs_it(name, kind, script):
    with pytest.raises(InputError, match=rf"expected a {kind.__name__}; run it with python -m experiments\.{script}\."):
        load_config(CONFIGS / f"{name}.py", kind=kind)


@pytest.mark.parametrize("rates", ["1e39", "1e-50", "1e-3,1e999", "1e-3,1.00000000001e-3", "nan", "-1e-3", "0"])
def test_learning_rates_are_what_float32_holds_and_tells_apart(rates, recwarn):
    with pytest.raises(InputError, match=r"learning_rates: found .*; expected "):
        load_config(CONFIG, [f"learning_rates={rates}"])
    assert not recwarn.list
