"""A small study folder, made anew for each test."""

import functools
import html.parser
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import scipy.special

from nbjax.report.study_page import write_report
from nbjax.training import store
from nbjax.training.crossvalidation import Choice, choices_table

CELL = {"backbone": "resnet18", "strategy": "straightforward", "nonlinearities": 0, "unfrozen": 0}
RATES, SEEDS, EPOCHS = (0.001, 0.01), 4, 6
COUNTS = {"train": (6, 40), "validation": (3, 12), "test": (5, 15)}


class Page(html.parser.HTMLParser):
    """Text of the page, rows of its tables by id, and every tag's attributes."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tables, self.tags, self.words = {}, [], []
        self.table, self.hidden, self.cell = None, False, False
        self.feed(self.source)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "br" and self.cell:
            self.table[-1][-1] += "\n"
        self.hidden = self.hidden or tag in ("style", "script")
        if tag == "table":
            self.table = self.tables.setdefault(dict(attributes).get("id"), [])
        elif tag == "tr":
            self.table.append([])
        elif tag in ("td", "th"):
            self.table[-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        self.hidden = self.hidden and tag not in ("style", "script")
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data):
        if not self.hidden:
            self.words.append(data)
        if self.cell:
            self.table[-1][-1] += data


def page_of(folder):
    return Page(write_report(folder))


def per_cent(value):
    return f"{100 * value:.1f} %"


def scores_of(page, column=1):
    """Score and interval by name, of one column of the table of test scores."""
    return {row[0]: (*row[column].split("\n"), "")[:2] for row in page.tables["test"][1:]}


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
                label: {
                    "method": "filing",
                    "reason": "",
                    "discrepancy": 0.0712,
                    "mu": 0.2,
                    "epsilon": 0.1,
                    **shares,
                }
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


def placed_predictions(rng, classes, families=5, fold=False, noise=1.5):
    """Predictions as studies write them: a family's one or two slides, two patches a slide, each under two transforms.

    Losses and probabilities follow from logits, as float32.
    """
    places = [
        (label, f"{classes[label]}/p{family}", f"{classes[label]}/p{family}/{slide}", 250 * patch, 0, transform)
        for label in range(len(classes))
        for family in range(families)
        for slide in range(1 + family % 2)
        for patch in range(2)
        for transform in (0, 3)
    ]
    label, family, slide, x, y, transform = (list(column) for column in zip(*places, strict=True))
    hardness = rng.normal(0, 1, families)
    tables = []
    for seed in range(SEEDS):
        logits = rng.normal(0, noise, (len(label), len(classes))) + 1.5 * np.eye(len(classes))[label]
        logits[np.arange(len(label)), label] += [hardness[int(name.split("/p")[1])] for name in family]
        logarithms = scipy.special.log_softmax(logits, axis=1)
        columns = {"seed": np.full(len(label), seed, np.int32), "sample": np.arange(len(label), dtype=np.int32)}
        columns |= {"slide": slide, "family": family, "label": label, "transform": transform, "x": x, "y": y}
        probabilities = np.exp(logarithms).astype(np.float32)
        if len(classes) == 2:
            columns["probability"] = probabilities[:, 1]
        else:
            columns["probabilities"] = list(probabilities)
        columns["loss"] = -logarithms[np.arange(len(label)), label].astype(np.float32)
        if fold:
            columns["fold"] = np.asarray([int(name[-1]) for name in family], np.int32)
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def write_study(
    folder,
    change=lambda record: None,
    classes=("D", "PD"),
    history=None,
    test="drawn",
    folds="drawn",
    validation=None,
    choices=((0.01, 4, 0.5), (0.01, 4, 0.5)),
):
    """Writes a study into a folder.

    Args:
        folder: to write into.
        change: edits the record in place.
        classes: names of the labels.
        history: a table in place of the one drawn.
        test: a table in place of the one drawn; None leaves it out. Those drawn are as an older version wrote them,
            without slides and places.
        folds: likewise.
        validation: a table; None as in an older version.
        choices: of each held-out fold its learning rate, epochs and loss; None leaves them out, as it does without
            folds.
    """
    rng = np.random.default_rng(0)
    record = study_record(classes)
    change(record)
    (folder / "study.json").write_text(json.dumps(record), encoding="utf-8")
    pyarrow.parquet.write_table(history_table(rng) if history is None else history, folder / "sessions.parquet")
    for name, table in (("test", test), ("fold", folds), ("validation", validation)):
        if table is not None:
            table = prediction_table(rng, classes) if isinstance(table, str) else table
            pyarrow.parquet.write_table(table, folder / f"{name}_predictions.parquet")
    if choices is not None and (folds is not None or not any(epochs for _, epochs, _ in choices)):
        made = [Choice(0, rate, epochs, loss) for rate, epochs, loss in choices]
        # Random folds learned nothing, so that no predictions of theirs are missed.
        table = choices_table({"fold": made, "random_fold": [one._replace(epochs=0) for one in made]}, [8])
        store.write_table(table, folder / "fold_choices.parquet")
    return folder


@pytest.fixture
def make_study(tmp_path):
    """`write_study` into a folder of the test's own."""
    return functools.partial(write_study, tmp_path)


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
