"""Older kinds of methods on a study's own splits: what `experiments.baselines` runs and writes."""

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from nbjax.analysis import Tested, score_predictions
from nbjax.errors import InputError
from nbjax.files import replacing
from nbjax.models import load_headless
from nbjax.progress import say
from nbjax.report.baseline_figures import Scored, baseline_accuracies
from nbjax.report.grid import percent, span
from nbjax.report.reading import read_predictions, read_record
from nbjax.report.score_tables import LEVELS, family_counts
from nbjax.samples.reading import Dataset, columns, open_dataset
from nbjax.samples.texture import check_installed
from nbjax.spreadsheet import write_csv
from nbjax.training import descriptors
from nbjax.training.bank import Bank, feature_bank
from nbjax.training.baselines import METHODS, Method, predict_folds, predict_test
from nbjax.training.crossvalidation import SPLITS, held_out_folds, pooled_columns
from nbjax.training.descriptors import Descriptors
from nbjax.training.inputs import view_of
from nbjax.training.record import describe_backbone
from nbjax.training.strategy import FAST
from nbjax.training.tables import prediction_table


class Row(NamedTuple):
    """A method's line.

    Attributes:
        name: in tables.
        text: for people.
        test: its scores on the test split.
        folds: likewise with every family held out once; None where that was not done.
        chosen: what validation data chose, in words.
        seconds: by step; none for the study's own line.
    """

    name: str
    text: str
    test: Tested
    folds: Tested | None
    chosen: str
    seconds: Mapping[str, float]


def write_baselines(folder: Path, banks: Path) -> None:
    """Fits every baseline on a study's dataset, and writes predictions, tables and figure into its folder.

    Writes `baselines.parquet` and `baseline_folds.parquet` with the columns of the study's own predictions (`seed` is 0) and
    `method`; `baselines.csv`, `baselines.md`, `figures/baselines.png`.

    Args:
        folder: of the study; its dataset must be built, its sessions may be unfinished.
        banks: folder of feature banks; the backbone's is made where it is missing.

    Raises:
        InputError: no study lies there or its dataset is gone, scikit-image or OpenCV is not installed, or the backbone's
            weights have changed.
    """
    check_installed()
    study = read_record(folder / "study.json")
    dataset = open_dataset(folder / study["dataset"]["folder"])
    splits = {name: columns(dataset, name) for name in SPLITS}
    table = pooled_columns(splits)
    table["split"] = np.repeat(SPLITS, [len(splits[split]["label"]) for split in SPLITS])
    wanted = study["config"]["folds"]
    fold = held_out_folds(table, wanted) if wanted else None
    describe = _describers(study, dataset, banks)
    rows, predictions = [], []
    for number, method in enumerate(METHODS, 1):
        if not study["backbone"]["pretrained"]:
            method = method._replace(text=method.text.replace("frozen features", "features of random weights"))
        say(f"{number} of {len(METHODS)} baselines: {method.text}")
        row, *found = _run(method, describe[method.descriptors], table, fold, len(study["dataset"]["classes"]))
        rows.append(row)
        predictions.append(found)
    for name, tables in zip(("baselines", "baseline_folds"), zip(*predictions, strict=True), strict=True):
        _write_predictions(folder / f"{name}.parquet", [row.name for row in rows], tables)
    _write(folder, study, [*rows, *_own_row(folder, study)])


def _describers(study: Mapping[str, Any], dataset: Dataset, banks: Path) -> dict[str, Callable[[], Descriptors]]:
    """What gives each kind of descriptors; patches are read once."""
    read = functools.cache(lambda: descriptors.pooled_patches(dataset))
    return {
        "features": lambda: descriptors.feature_descriptors(_bank(study, dataset, banks)),
        "patterns": lambda: descriptors.pattern_descriptors(*read()),
        "words": lambda: descriptors.word_descriptors(*read()),
    }


def _bank(study: Mapping[str, Any], dataset: Dataset, banks: Path) -> Bank:
    """The features of the study's backbone: of the middle of each sample, as its sessions had them but for a bank of crops."""
    config, name = study["config"], study["backbone"]["name"]
    backbone = load_headless(name, config["weights"], config["input_size"])
    if describe_backbone(backbone)["sha256"] != study["backbone"]["sha256"]:
        raise InputError(f"backbone {name}: its weights are no longer those of the study; run the study again.")
    view = view_of(dataset.card["patch_size"], config["input_size"] or backbone.network.input_size, FAST)
    return feature_bank(dataset, backbone, backbone.network.stages[-1].name, view, banks, config["bank_dtype"])


def _run(
    method: Method,
    describe: Callable[[], Descriptors],
    table: Mapping[str, np.ndarray],
    fold: np.ndarray | None,
    classes: int,
) -> tuple[Row, pa.Table, pa.Table | None]:
    """One baseline: its line, its test predictions and those of held-out families."""
    seconds: dict[str, float] = {}
    known = (table["split"], table["label"], table["family"])
    described = _timed(seconds, "descriptors", describe)
    fitted, found = _timed(seconds, "fit", predict_test, method, described, *known)
    is_test = table["split"] == "test"
    seed = np.zeros(1, int)
    of_test = {name: values[is_test] for name, values in table.items()}
    test = prediction_table(seed, found[None], of_test, np.arange(len(found)))
    folds = None
    if fold is not None:
        found = _timed(seconds, "folds", predict_folds, method, fitted.penalty, described, fold, *known[1:])
        folds = prediction_table(seed, found[None], table, np.arange(len(found)))
        folds = folds.append_column("fold", pa.array(fold, pa.int32()))
    least, *_, most = method.penalties
    end = ", the end of what was tried" if fitted.penalty in (least, most) else ""
    chosen = f"C = {fitted.penalty:g} (of {least:g} to {most:g}{end})"
    held_out = None if folds is None else score_predictions(folds, classes)
    return Row(method.name, method.text, score_predictions(test, classes), held_out, chosen, seconds), test, folds


def _timed(seconds: dict[str, float], step: str, function: Any, *arguments: Any) -> Any:
    start = time.perf_counter()
    result = function(*arguments)
    seconds[step] = round(time.perf_counter() - start, 2)
    return result


def _own_row(folder: Path, study: Mapping[str, Any]) -> list[Row]:
    """The study's own line, from its predictions; none while it is unfinished, or where it learned nothing."""
    classes = len(study["dataset"]["classes"])
    tables = [read_predictions(folder / f"{name}_predictions.parquet", classes) for name in ("test", "fold")]
    test, folds = (None if table is None else score_predictions(table, classes) for table in tables)
    if test is None or study["chosen"] is None or study["chosen"].get("epochs") == 0:
        return []
    text = f"this study: {study['backbone']['name']}, {study['strategy']}"
    rate = f"learning rate {study['chosen']['learning_rate']:g}, batch size {study['chosen']['batch_size']}"
    return [Row("study", text, test, folds, rate, {})]


def _write_predictions(path: Path, names: list[str], tables: Any) -> None:
    """One table, with the column `method`; an earlier run's is removed where there are none."""
    if tables[0] is None:
        path.unlink(missing_ok=True)
        return
    marked = [
        table.append_column("method", pa.array([name] * len(table))) for name, table in zip(names, tables, strict=True)
    ]
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pa.concat_tables(marked), temporary)


def _write(folder: Path, study: Mapping[str, Any], rows: list[Row]) -> None:
    """Writes the two tables and the figure."""
    first = rows[0].test
    write_csv([_numbers(row) for row in rows], folder / "baselines.csv")
    counted = (
        f"{first.score('accuracy').units} test {LEVELS[first.units.level]} of {family_counts(first.score('accuracy'))} families; "
        f"always answering the most frequent label: {percent(_chance(first))}"
    )
    with replacing(folder / "baselines.md") as temporary:
        temporary.write_text(_markdown(rows, counted), encoding="utf-8")
    scored = [
        Scored(
            row.text if row.test.sessions == 1 else f"{row.text}\n(mean of {row.test.sessions} sessions)",
            row.test.score("accuracy"),
            row.folds and row.folds.score("accuracy"),
            row.name == "study",
        )
        for row in rows
    ]
    every = "" if rows[0].folds is None else f", {family_counts(rows[0].folds.score('accuracy'))} in all"
    title = f"{study['name']}: {family_counts(first.score('accuracy'))} families in the test split{every}"
    figure = baseline_accuracies(scored, _chance(first), title)
    with replacing(folder / "figures" / "baselines.png") as temporary:
        figure.savefig(temporary, format="png", facecolor="white", metadata={"Software": None})


def _chance(result: Tested) -> float:
    """Accuracy of always answering the most frequent label."""
    return float(np.bincount(result.units.labels).max() / len(result.units.labels))


def _numbers(row: Row) -> dict[str, Any]:
    """A line of the CSV file."""
    level = row.test.units.level
    line: dict[str, Any] = {"method": row.name, "text": row.text, "sessions": row.test.sessions, "level": level}
    for name, result in (("test", row.test), ("folds", row.folds)):
        accuracy = result and result.score("accuracy")
        line |= {
            f"{name}_accuracy": accuracy and accuracy.estimate,
            f"{name}_low": accuracy and accuracy.low,
            f"{name}_high": accuracy and accuracy.high,
            f"{name}_accuracy_std": accuracy and accuracy.std,
            f"{name}_roc_auc": result and result.score("roc_auc").estimate,
            f"{name}_loss": result and result.score("loss").estimate,
            f"{name}_units": accuracy and accuracy.units,
            f"{name}_families": accuracy and "+".join(map(str, accuracy.families)),
            f"{name}_distinct_families": accuracy and accuracy.distinct_families,
        }
    steps = ("descriptors", "fit", "folds")
    return {**line, "chosen": row.chosen, **{f"seconds_{step}": row.seconds.get(step) for step in steps}}


def _markdown(rows: list[Row], counted: str) -> str:
    """The table for people."""
    header, level = ["method", "sessions"], rows[0].test.units.level
    for where in ("test split", "every family held out once"):
        header += [f"accuracy by {level}, {where}", "95 % interval, by family", "ROC-AUC"]
    header += ["chosen by validation data", "seconds"]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        seconds = f"{sum(row.seconds.values()):.1f}" if row.seconds else "–"
        line = [row.text, str(row.test.sessions), *_scores(row.test), *_scores(row.folds), row.chosen, seconds]
        lines.append([cell.replace("|", r"\|") for cell in line])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    caution = "Each interval is of its method alone, for other families of the same kinds: it says little of the difference of two methods."
    return f"{table}\n\n{counted}. {caution}\n"


def _scores(result: Tested | None) -> list[str]:
    if result is None:
        return ["–"] * 3
    accuracy, area = result.score("accuracy"), result.score("roc_auc").estimate
    text = "–" if accuracy.estimate is None else percent(accuracy.estimate)
    text += "" if accuracy.std is None else f" ± {percent(accuracy.std)}"
    interval = span(accuracy.low, accuracy.high, percent) or "none"
    return [text, interval, "–" if area is None else f"{area:.3f}"]
