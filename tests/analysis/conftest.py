"""Predictions and histories drawn for tests of the analysis."""

import numpy as np
import pyarrow as pa
import pytest

CELL = {"backbone": "resnet18", "strategy": "straightforward", "nonlinearities": 0, "unfrozen": 0}


def predictions(seed=0, sessions=3, families=4, classes=2, transforms=2, digits=6):
    """Families of every label, two slides each, one to six patches a slide, some transforms a patch."""
    rng = np.random.default_rng(seed)
    rows = [
        {"slide": f"{label}/f{family}/s{slide}", "family": f"{label}/f{family}", "label": label, "x": 250 * patch}
        for label in range(classes)
        for family in range(families)
        for slide in range(2)
        for patch in range(rng.integers(1, 7))
        for _ in range(transforms)
    ]
    label = np.asarray([row["label"] for row in rows])
    names = np.unique([row["family"] for row in rows], return_inverse=True)[1]
    own = rng.normal(0, 0.8, (names.max() + 1, classes))[names]
    tables = []
    for session in range(sessions):
        logits = 1.2 * np.eye(classes)[label] + own + rng.normal(0, 0.7, (len(rows), classes))
        every = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        if classes == 2:
            # Rounded, so that some are tied.
            one = np.clip(every[:, 1].round(digits), 1e-6, 1 - 1e-6)
            every = np.stack([1 - one, one], axis=1)
            found = {"probability": one}
        else:
            found = {"probabilities": list(every)}
        found["loss"] = -np.log(every[np.arange(len(rows)), label])
        table = pa.Table.from_pylist([{**row, "y": 0} for row in rows])
        for name, values in {"seed": [session] * len(rows), "sample": range(len(rows)), **found}.items():
            table = table.append_column(name, pa.array(values))
        tables.append(table)
    return pa.concat_tables(tables)


def history(cells, epochs=4, seed=0):
    """A history of cells: learning rate to (mean loss, number of seeds); losses fall with the epoch, with noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for rate, (mean, seeds) in cells.items():
        for session in range(seeds):
            for epoch in range(epochs):
                train, validation = mean + 0.2 / (1 + epoch) + rng.normal(0, 0.05, 2)
                losses = {"train_loss": train, "validation_loss": validation}
                accuracies = {"train_accuracy": 1 - train / 2, "validation_accuracy": 1 - validation / 2}
                place = {"learning_rate": rate, "batch_size": 8, "seed": session, "epoch": epoch, "diverged": False}
                rows.append({**CELL, **place, **losses, **accuracies})
    return pa.Table.from_pylist(rows)


@pytest.fixture
def make_predictions():
    return predictions


@pytest.fixture
def make_history():
    return history
