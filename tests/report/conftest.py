"""A small study folder, made anew for each test."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

CELL = {"backbone": "resnet18", "strategy": "straightforward", "nonlinearities": 0, "unfrozen": 0}
RATES, SEEDS, EPOCHS = (0.001, 0.01), 4, 6
COUNTS = {"train": (6, 40), "validation": (3, 12), "test": (5, 15)}


def study_record(classes):
    counts = {
        split: {
            label: {
                "families": families,
                "patches": patches,
                "balanced": patches,
                "samples": 8 * patches,
                "transforms": 7,
            }
            for label in classes
        }
        for split, (families, patches) in COUNTS.items()
    }
    shares = {"proportions": [0.6, 0.18, 0.22], "diversities": [0.42, 0.22, 0.36]}
    return {
        "name": "small",
        "command": "python -m experiments.study --config=small.py",
        "strategy": "straightforward",
        "cut": "before the last layer",
        "crop": "the middle 224x224 pixels",
        "chosen": {**CELL, "learning_rate": 0.01, "batch_size": 8, "epochs": 3},
        "head": {"nonlinearities": 0, "initialisation": "random, one per seed"},
        "selection": {"criterion": "max_train_validation_loss"},
        "dataset": {
            "name": "neuroblastoma",
            "classes": list(classes),
            "patch_size": 250,
            "phantom": True,
            "source": "phantom drawn by nbjax",
            "folder": "dataset",
            "sha256": "ab" * 32,
            "slides": dict.fromkeys(classes, 14),
            "families": dict.fromkeys(classes, 14),
            "rejected": {"too little tissue": 17},
            "border_pixels_lost": 0.0321,
            "counts": counts,
            "partition": {
                label: {"method": "filing", "discrepancy": 0.0712, "mu": 0.2, "epsilon": 0.1, **shares}
                for label in classes
            },
            "standardisation": {"mode": "per_split", "mean": {}, "std": {}},
            "config": {"proportions": [0.7, 0.15, 0.15], "diversities": [1 / 3, 1 / 3, 1 / 3]},
        },
        "backbone": {
            "name": "resnet18",
            "pretrained": True,
            "provenance": "file resnet18.pth",
            "parameters": 11_689_512,
            "sha256": "cd" * 32,
        },
        "versions": {"nbjax": "0.1.0"},
        "hardware": {"cpu": "some", "cores": 2},
        "seconds": {"tiling": 1.25},
    }


def history_table(rng):
    """Losses that fall, with noise; one row a session and epoch."""
    rows = []
    for rate in RATES:
        for seed in range(SEEDS):
            for epoch in range(EPOCHS):
                train, validation = 0.7 * np.exp(-40 * rate * epoch) + rng.normal(0, 0.02, 2)
                accuracy = {"train_accuracy": 1 - train / 2, "validation_accuracy": 1 - validation / 2}
                losses = {"train_loss": train, "validation_loss": validation, "diverged": False}
                rows.append(
                    {**CELL, "learning_rate": rate, "batch_size": 8, "seed": seed, "epoch": epoch, **losses, **accuracy}
                )
    return pa.Table.from_pylist(rows)


def prediction_table(rng, classes):
    """Five families of each label, three samples each, predicted by every seed."""
    label = np.repeat(np.arange(len(classes)), 15)
    family = [f"{classes[one]}/p{number // 3}" for number, one in enumerate(label)]
    tables = []
    for seed in range(SEEDS):
        probabilities = rng.dirichlet(np.ones(len(classes)), len(label)) + 0.8 * np.eye(len(classes))[label]
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        columns = {"seed": np.full(len(label), seed), "sample": np.arange(len(label)), "family": family, "label": label}
        columns["loss"] = -np.log(probabilities[np.arange(len(label)), label])
        if len(classes) == 2:
            columns["probability"] = probabilities[:, 1]
        else:
            columns["probabilities"] = list(probabilities)
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


@pytest.fixture
def make_study(tmp_path):
    """Writes a study into a folder: `make_study(change=..., classes=..., history=..., test=..., folds=...)`.

    `change` edits the record in place; a table given replaces the one drawn; `test=None` leaves it out.
    """

    def make(change=lambda record: None, classes=("D", "PD"), history=None, test="drawn", folds="drawn"):
        rng = np.random.default_rng(0)
        record = study_record(classes)
        change(record)
        (tmp_path / "study.json").write_text(json.dumps(record), encoding="utf-8")
        pyarrow.parquet.write_table(history_table(rng) if history is None else history, tmp_path / "sessions.parquet")
        for name, table in (("test", test), ("fold", folds)):
            if table is not None:
                table = prediction_table(rng, classes) if isinstance(table, str) else table
                pyarrow.parquet.write_table(table, tmp_path / f"{name}_predictions.parquet")
        return tmp_path

    return make


def random_history(cells, seeds=3, epochs=4):
    """Sessions with random losses and accuracies, one row a session and epoch.

    Args:
        cells: (backbone, strategy, nonlinearities, unfrozen, learning rate, batch size) each.
        seeds: of each.
        epochs: with the first, number 0.
    """
    rng = np.random.default_rng(len(cells))
    rows = []
    for backbone, strategy, nonlinearities, unfrozen, rate, batch_size in cells:
        for seed in range(seeds):
            for epoch in range(epochs):
                numbers = rng.uniform(0.3, 0.9, 4)
                # A start follows from the seed, whatever the learning rate and the batch size.
                if epoch == 0:
                    numbers = np.random.default_rng((seed, nonlinearities, len(backbone))).uniform(0.3, 0.9, 4)
                names = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
                cell = {"backbone": backbone, "strategy": strategy, "nonlinearities": nonlinearities}
                cell |= {"unfrozen": unfrozen, "learning_rate": rate, "batch_size": batch_size}
                place = {"seed": seed, "epoch": epoch, "diverged": False}
                rows.append({**cell, **place, **dict(zip(names, numbers.tolist(), strict=True))})
    return pa.Table.from_pylist(rows)


@pytest.fixture(scope="session")
def make_history():
    """`random_history`."""
    return random_history


@pytest.fixture(scope="session")
def paper_history():
    """Two of the paper's backbones and one it has not, under its three strategies; two cells each."""
    settings = [("straightforward", 0, 0), ("extension", 1, 0), ("extension", 2, 0), ("unfreezing", 0, 1)]
    cells = [
        (backbone, *setting, rate, 8)
        for backbone in ("vgg19", "efficientnet_lite0", "resnet18")
        for setting in settings
        for rate in (1e-4, 1e-3)
        if (backbone, setting[0]) != ("efficientnet_lite0", "unfreezing")
    ]
    return random_history(cells)
