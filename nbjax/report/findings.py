"""What a study has found so far: everything that its report says, computed once, from its files alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from nbjax.analysis.cells import CellScores, describe_cells
from nbjax.analysis.comparison import Comparison, compare_with_chosen
from nbjax.analysis.scores import Tested, score_predictions
from nbjax.analysis.selection import CellKey, key_of, keys_of_rows
from nbjax.analysis.verdict import Verdict, judge
from nbjax.analysis.winner import NestedChoice, expected_best, losses_by_cell, nested_choice
from nbjax.errors import InputError
from nbjax.files import SEAL, damage
from nbjax.report.calibrating import Calibration, calibrate
from nbjax.report.reading import PREDICTION_COLUMNS, read_predictions, read_record
from nbjax.report.studies import read_rows
from nbjax.training.crossvalidation import choices_table
from nbjax.training.folder import FOLDS, StudyFolder

# Enough for the three figures that are printed of an interval's end, and seconds for a report.
RESAMPLES = 1000


class Winner(NamedTuple):
    """What having picked the best of many is worth.

    Attributes:
        nested: cells chosen by half of the seeds and read on the other half; None with fewer than two cells or seeds.
        reason: why there is none; empty where there is one.
        place: of the chosen cell among those that competed; None where it has a session without a finite epoch.
        expected: least selected loss to expect of n of the chosen cell's sessions, n = 1, 2, …; empty where `place` is
            None.
    """

    nested: NestedChoice | None
    reason: str
    place: int | None
    expected: np.ndarray


class Findings(NamedTuple):
    """A study so far.

    Attributes:
        folder: the study's.
        study: its record.
        history: a row a session and epoch.
        progress: how many of its programs are in `history`, and how many it has; None where it is finished.
        losses: of each cell, under the study's criterion.
        accuracies: of each cell, at the epochs that the criterion chose.
        chosen: which of them is the chosen one; None while there is none.
        beats: by cell, at how many seeds the chosen cell beats it.
        winner: None while no cell is chosen.
        verdict: whether the chosen cell learned anything; None while there is none.
        test: on the test split; None before that was looked at, and where nothing was learned.
        folds: with every family held out once; None where that was not done.
        random_folds: with patches held out at random, those of one family on both sides, as careless practice has it;
            None where that was not done.
        choices: what the sessions of each fold were trained with, as `nbjax.training.crossvalidation.choices_table` has
            it, by `fold` and `random_fold`; empty where nothing was held out.
        calibration: None without validation predictions.
    """

    folder: Path
    study: dict[str, Any]
    history: pa.Table
    progress: tuple[int, int] | None
    losses: list[CellScores]
    accuracies: list[CellScores]
    chosen: int | None
    beats: dict[CellKey, Comparison]
    winner: Winner | None
    verdict: Verdict | None
    test: Tested | None
    folds: Tested | None
    random_folds: Tested | None
    choices: dict[str, list[dict[str, Any]]]
    calibration: Calibration | None

    @property
    def sessions(self) -> int:
        """Of all cells so far."""
        return sum(cell.sessions for cell in self.losses)

    @property
    def classes(self) -> list[str]:
        """Names of the labels, in their order; of two the positive one is the last."""
        return list(self.study["dataset"]["classes"])


def find(folder: str | Path) -> Findings:
    """Reads a study's folder, finished or not, and computes what its report says.

    Raises:
        InputError: a file of the study is missing or damaged.
    """
    folder = Path(folder)
    files = StudyFolder(folder)
    study, swapped = _positive_last(read_record(files.record))
    history, progress = read_rows(files, study)
    criterion, chosen = study["selection"]["criterion"], study["chosen"]
    cells = describe_cells(history, [criterion], resamples=RESAMPLES)
    losses, accuracies = ([cell for cell in cells if cell.quantity == name] for name in ("loss", "accuracy"))
    place = None if chosen is None else _place(files, losses, chosen)
    verdict = None
    if chosen is not None:
        verdict = judge(history, key_of(chosen), criterion, study["dataset"]["counts"]["validation"])
    # What an unfinished study's folder holds of predictions is another's: of the one that was there before. And where
    # nothing was learned, predictions of the test split are those of a random start; held-out folds choose for
    # themselves.
    choices = {} if verdict is None else _choices(files)
    learned = verdict is not None and not verdict.nothing
    kept = {"test": learned, "fold": learned or bool(choices), "random_fold": learned or bool(choices)}
    read = {name: _tested(files, name, study, swapped) if wanted else None for name, wanted in kept.items()}
    for name, folds in choices.items():
        if read[name] is None and any(fold["epochs"] for fold in folds):
            raise InputError(f"{files.predictions(name)} is missing; run the study again, with the same command.")
    return Findings(
        folder=folder,
        study=study,
        history=history,
        progress=progress,
        losses=losses,
        accuracies=accuracies,
        chosen=place,
        beats={} if chosen is None else compare_with_chosen(history, criterion, key_of(chosen)),
        winner=None if chosen is None else _winner(history, criterion, chosen),
        verdict=verdict,
        test=read["test"],
        folds=read["fold"],
        random_folds=read["random_fold"],
        choices=choices,
        calibration=None if read["test"] is None else _calibration(files, read["test"], study, swapped),
    )


def _positive_last(study: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The record with the positive one of two labels in the last place, and whether that is another order than
    stored.
    """
    classes, positive = study["dataset"]["classes"], study.get("config", {}).get("positive")
    if len(classes) != 2 or positive is None or positive == classes[1]:
        return study, False
    return {**study, "dataset": {**study["dataset"], "classes": classes[::-1]}}, True


def _predictions(path: Path, classes: int, swapped: bool) -> pa.Table | None:
    """Predictions, with the two labels in the other order where they are `swapped`; the losses are the same."""
    table = read_predictions(path, classes)
    if table is None and path.with_name(path.name + SEAL).exists():
        raise InputError(f"{path} is missing; run the study again, with the same command.")
    if table is None or not swapped:
        return table
    for name in ("label", "probability"):
        other = pa.compute.subtract(pa.scalar(1, table[name].type), table[name])
        table = table.set_column(table.column_names.index(name), name, other)
    return table


def _place(files: StudyFolder, cells: Sequence[CellScores], chosen: Mapping[str, Any]) -> int:
    for place, cell in enumerate(cells):
        if cell.key == key_of(chosen):
            return place
    raise InputError(f"{files.sessions}: has no session of the chosen cell; run the study again.")


def _winner(history: pa.Table, criterion: str, chosen: Mapping[str, Any]) -> Winner:
    cells, losses = losses_by_cell(history, criterion)
    key = key_of(chosen)
    place = cells.index(key) if key in cells else None
    expected = np.zeros(0) if place is None else expected_best(losses[place])
    if len(set(keys_of_rows(history))) < 2:
        return Winner(None, "there was one cell, so that nothing was picked among cells", place, expected)
    if len(losses) < 2:
        return Winner(None, "one cell alone has a finite loss in every session", place, expected)
    if losses.shape[1] < 2:
        return Winner(None, "with one seed a cell, no seed is left to check the choice", place, expected)
    return Winner(nested_choice(losses), "", place, expected)


def _tested(files: StudyFolder, name: str, study: Mapping[str, Any], swapped: bool) -> Tested | None:
    path, classes = files.predictions(name), len(study["dataset"]["classes"])
    table = _predictions(path, classes, swapped)
    if table is None:
        # Every finished study has these, and held-out ones some.
        if name == "test":
            raise InputError(f"{path} is missing; run the study again, with the same command.")
        return None
    try:
        return score_predictions(table, classes, resamples=RESAMPLES)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _choices(files: StudyFolder) -> dict[str, list[dict[str, Any]]]:
    path, wanted = files.fold_choices, choices_table({}, []).schema
    beside = [path.with_name(path.name + SEAL), *(files.predictions(name) for name in FOLDS)]
    if not any(file.exists() for file in (path, *beside)):
        return {}
    if (harm := damage(path)) is not None:
        raise InputError(f"{path} {harm}; run the study again, with the same command.")
    try:
        table = pyarrow.parquet.read_table(path)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: not Parquet; remove it, and the study's command makes it again.") from error
    whole = table.schema.equals(wanted) and not any(column.null_count for column in table.columns)
    if not whole or set(table["of"].to_pylist()) != set(FOLDS):
        raise InputError(
            f"{path}: expected rows of {' and '.join(FOLDS)} with {', '.join(wanted.names)}; "
            "remove it, and the study's command makes it again."
        )
    choices: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        choices.setdefault(row["of"], []).append(row)
    return choices


def _calibration(files: StudyFolder, test: Tested, study: Mapping[str, Any], swapped: bool) -> Calibration | None:
    path, classes = files.predictions("validation"), len(study["dataset"]["classes"])
    validation = _predictions(path, classes, swapped)
    if validation is None:
        return None
    missing = [name for name in PREDICTION_COLUMNS if name not in validation.column_names]
    if missing or set(validation["seed"].to_pylist()) != set(test.table["seed"].to_pylist()):
        raise InputError(f"{path}: is not of the sessions that predicted the test split; run the study again.")
    return calibrate(validation, test.table, test.units.level, classes)
