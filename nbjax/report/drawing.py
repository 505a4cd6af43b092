"""Which figures a study has data for, each with the numbers it shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from nbjax.analysis.metrics import TestResult
from nbjax.analysis.selection import CELL
from nbjax.errors import InputError
from nbjax.report import figures, words
from nbjax.report.reading import METRICS
from nbjax.samples.reading import Dataset, columns, open_dataset, picture

SHEET_COLUMNS = 8


class Drawn(NamedTuple):
    """A figure of the report.

    Attributes:
        figure: the picture.
        numbers: what it shows, one row a mark; None for photographs.
        sessions: how many it shows; 0 where it shows none.
        left_out: diverged sessions that it does not show.
    """

    figure: Figure
    numbers: pa.Table | None
    sessions: int = 0
    left_out: int = 0


def draw(
    folder: Path, study: Mapping[str, Any], history: pa.Table, test: TestResult | None, folds: TestResult | None
) -> dict[str, Drawn]:
    """Every figure that the study has data for, by name.

    The dataset's two figures are left out where its folder was not kept beside the study.
    """
    drawn = {}
    classes = study["dataset"]["classes"]
    dataset = folder / study["dataset"]["folder"]
    if dataset.is_dir():
        opened = open_dataset(dataset)
        rows = {split: columns(opened, split) for split in opened.splits}
        drawn["samples"] = Drawn(figures.sample_sheet(_sheet(opened, rows, classes)), None)
        drawn["families"] = _families(rows, classes)
    if study["chosen"] is not None:
        drawn |= _curves(history, study["chosen"])
    for name, result in (("test_families", test), ("fold_families", folds)):
        if result is not None:
            drawn[name] = _accuracies(result, classes)
    return drawn


def _sheet(
    dataset: Dataset, rows: Mapping[str, Mapping[str, np.ndarray]], classes: Sequence[str]
) -> dict[str, np.ndarray]:
    """Untransformed patches of each label and split, of as many families as possible."""
    sheet = {}
    for index, label in enumerate(classes):
        for split, values in rows.items():
            plain = np.flatnonzero((values["label"] == index) & (values["transform"] == 0))
            order = plain[np.lexsort((values["y"][plain], values["x"][plain], values["family"][plain]))]
            spread = np.linspace(0, len(order) - 1, min(SHEET_COLUMNS, len(order))).round().astype(int)
            sheet[f"{label}, {split}"] = np.stack([picture(dataset, split, row) for row in order[spread]])
    return sheet


def _families(rows: Mapping[str, Mapping[str, np.ndarray]], classes: Sequence[str]) -> Drawn:
    sizes: dict[str, dict[str, list[int]]] = {label: {} for label in classes}
    numbers = []
    for split, values in rows.items():
        for index, label in enumerate(classes):
            plain = (values["label"] == index) & (values["transform"] == 0)
            names, counts = np.unique(values["family"][plain], return_counts=True)
            sizes[label][split] = counts.tolist()
            for family, count in zip(names.tolist(), counts.tolist(), strict=True):
                numbers.append({"label": label, "split": split, "family": family, "patches": count})
    return Drawn(figures.family_splits(sizes), pa.Table.from_pylist(numbers))


def _curves(history: pa.Table, chosen: Mapping[str, Any]) -> dict[str, Drawn]:
    """The chosen cell's sessions that did not diverge; no figure where all did."""
    keep = np.ones(len(history), bool)
    for key in CELL:
        keep &= np.asarray(history[key].to_pylist(), dtype=object) == chosen[key]
    table = history.filter(pa.array(keep)).sort_by([("seed", "ascending"), ("epoch", "ascending")])
    epochs, sessions = (len(np.unique(table[name].to_numpy())) for name in ("epoch", "seed"))
    if not len(table) or len(table) != epochs * sessions:
        raise InputError(
            f"sessions.parquet: the chosen cell has {len(table)} rows for {sessions} seeds and {epochs} epochs; expected "
            "one a seed and epoch; run the study again."
        )
    whole = ~table["diverged"].to_numpy(zero_copy_only=False).reshape(sessions, epochs).any(axis=1)
    curves = {name: table[name].to_numpy().reshape(sessions, epochs)[whole].astype(np.float64) for name in METRICS}
    count = int(whole.sum())
    if count == 0:
        return {}
    numbers = {"epoch": np.arange(epochs), "sessions": np.full(epochs, count)}
    for name, values in curves.items():
        numbers[f"{name}_mean"] = values.mean(axis=0)
        numbers[f"{name}_std"] = values.std(axis=0, ddof=1) if count > 1 else np.full(epochs, np.nan)
    return {"curves": Drawn(figures.learning_curves(curves, count), pa.table(numbers), count, sessions - count)}


def _accuracies(result: TestResult, classes: Sequence[str]) -> Drawn:
    rows = [(classes[label], family, *values) for (label, family), values in result.family_accuracy.items()]
    names = ("label", "family", "samples", "accuracy")
    numbers = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    return Drawn(figures.family_accuracies(rows, words.chance(result)), numbers, result.sessions)
