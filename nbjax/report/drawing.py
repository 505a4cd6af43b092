"""Which figures a study has data for, each with the numbers it shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from nbjax.analysis.curves import Curves, curves_table, precision_recall_curves, roc_curves
from nbjax.analysis.selection import key_of, rows_of_cell
from nbjax.errors import InputError
from nbjax.report.calibrating import Calibration
from nbjax.report.figures.predictions import confusion_matrix, ranking_curves, reliability_diagram
from nbjax.report.figures.study import family_accuracies, family_splits, learning_curves, sample_sheet
from nbjax.report.findings import Tested
from nbjax.report.held_out import chance
from nbjax.report.reading import METRICS
from nbjax.report.score_tables import LEVELS, confusion
from nbjax.report.table import percent, span, three
from nbjax.samples.reading import Dataset, columns, open_dataset, picture

SHEET_COLUMNS = 8

# Figures of what a study found, not of its dataset.
OF_RESULTS = ("curves", "ranking", "confusion", "reliability", "test_families", "fold_families")


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
    folder: Path,
    study: Mapping[str, Any],
    history: pa.Table,
    test: Tested | None,
    folds: Tested | None,
    calibration: Calibration | None = None,
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
        # Its labels are numbered as they were stored, whichever of them is positive.
        drawn["samples"] = Drawn(sample_sheet(_sheet(opened, rows, opened.card["classes"])), None)
        drawn["families"] = _families(rows, opened.card["classes"])
    if study["chosen"] is not None:
        drawn |= _curves(history, study["chosen"])
    if test is not None:
        drawn |= _model(test, classes, calibration)
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
    return Drawn(family_splits(sizes), pa.Table.from_pylist(numbers))


def _curves(history: pa.Table, chosen: Mapping[str, Any]) -> dict[str, Drawn]:
    """The chosen cell's sessions that did not diverge; no figure where all did."""
    table = rows_of_cell(history, key_of(chosen))
    epochs, sessions = (len(np.unique(table[name].to_numpy())) for name in ("epoch", "seed"))
    if not len(table) or len(table) != epochs * sessions:
        raise InputError(
            f"sessions.parquet: the chosen cell has {len(table)} rows for {sessions} seeds and {epochs} epochs; "
            "expected one a seed and epoch; run the study again."
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
    return {"curves": Drawn(learning_curves(curves, count), pa.table(numbers), count, sessions - count)}


def _model(test: Tested, classes: Sequence[str], calibration: Calibration | None) -> dict[str, Drawn]:
    """What the test split says of the chosen cell; the matrix is of its sessions taken together."""
    units, count = LEVELS[test.units.level], test.sessions
    matrix = confusion(test)
    numbers = [
        {
            "label": classes[row],
            "predicted": classes[column],
            test.units.level: float(matrix[row, column]),
            "sessions": count,
        }
        for row in range(len(classes))
        for column in range(len(classes))
    ]
    figure = confusion_matrix(matrix, classes, units, count)
    return {
        **_ranking(test, classes),
        "confusion": Drawn(figure, pa.Table.from_pylist(numbers), count),
        **({} if calibration is None else {"reliability": _reliability(calibration, count)}),
    }


def _ranking(test: Tested, classes: Sequence[str]) -> dict[str, Drawn]:
    """Curves of class 1, or of each of more than two classes against the rest; none where one of two is absent."""
    labels = test.units.labels
    positives = [1] if len(classes) == 2 else range(len(classes))
    both = [label for label in positives if 0 < (labels == label).sum() < len(labels)]
    if not both:
        return {}
    roc, recall = (
        {classes[label]: curves(test.by_session, label) for label in both}
        for curves in (roc_curves, precision_recall_curves)
    )
    numbers = [_curve_numbers(label, curves) for panel in (roc, recall) for label, curves in panel.items()]
    intervals: tuple[dict[str, str], dict[str, str]] = ({}, {})
    if len(classes) == 2:
        for said, metric in zip(intervals, ("roc_auc", "average_precision"), strict=True):
            score = test.score(metric)
            if score.interval is not None:
                said[classes[1]] = f"together, by family {three(score.estimate)} ({span(score.interval, three)})"
    figure = ranking_curves(roc, recall, LEVELS[test.units.level], intervals)
    return {"ranking": Drawn(figure, pa.concat_tables(numbers), test.sessions)}


def _curve_numbers(label: str, curves: Curves) -> pa.Table:
    table = curves_table(curves)
    for name, value in (("positive", label), ("curve", curves.name)):
        table = table.add_column(0, name, pa.array([value] * len(table)))
    return table


def _reliability(calibration: Calibration, sessions: int) -> Drawn:
    curves = {"as trained": calibration.before, "temperature scaled": calibration.after}
    errors = (calibration.error_before, calibration.error_after)
    texts = {
        name: f"calibration error {percent(float(errors_of_sessions.mean()))}"
        for name, errors_of_sessions in zip(curves, errors, strict=True)
    }
    numbers = [
        {"predictions": name, "low": low, "high": high, "count": count, "confidence": confidence, "right": right}
        for name, curve in curves.items()
        for low, high, count, confidence, right in zip(
            *(values.tolist() for values in (curve.low, curve.high, curve.counts, curve.confidence, curve.right)),
            strict=True,
        )
    ]
    figure = reliability_diagram(curves, texts, LEVELS[calibration.level], sessions)
    return Drawn(figure, pa.Table.from_pylist(numbers), sessions)


def _accuracies(result: Tested, classes: Sequence[str]) -> Drawn:
    """How many of each family's units are classified rightly by all sessions together."""
    units, hits = result.units, result.units.hits[0]
    rows = []
    for label, family in sorted(set(zip(units.labels.tolist(), units.families.tolist(), strict=True))):
        here = (units.labels == label) & (units.families == family)
        rows.append((classes[label], family, int(here.sum()), float(hits[here].mean())))
    names = ("label", "family", LEVELS[units.level], "accuracy")
    numbers = pa.Table.from_pylist([dict(zip(names, row, strict=True)) | {"sessions": result.sessions} for row in rows])
    figure = family_accuracies(rows, chance(result), LEVELS[units.level], result.sessions)
    return Drawn(figure, numbers, result.sessions)
