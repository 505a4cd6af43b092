"""The report: one HTML page that needs nothing else, made from a study's folder at any time."""

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import numpy as np
import pyarrow as pa
import pyarrow.parquet
from matplotlib.figure import Figure

from nbjax.analysis.metrics import TestResult, score_test
from nbjax.analysis.selection import Cell, summarise_cells
from nbjax.errors import InputError
from nbjax.files import replacing
from nbjax.report import figures, words
from nbjax.report.tables import cell_rows, dataset_rows, interval, loss, partition_rows, percent
from nbjax.samples.reading import columns, decode, open_dataset

HERE = Path(__file__).parent
SHEET_COLUMNS = 6


def write_report(folder: str | Path) -> Path:
    """Writes `report.html` and `figures/*.png` into a study's folder.

    Reads `study.json`, `sessions.parquet` and, where they are there already, `test_predictions.parquet` and
    `fold_predictions.parquet`.

    Returns:
        The page's path.

    Raises:
        InputError: a file of the study is missing or damaged.
    """
    folder = Path(folder)
    study = _read_json(folder / "study.json")
    history = _read_table(folder / "sessions.parquet")
    classes = len(study["dataset"]["classes"])
    cells = summarise_cells(history, study["selection"]["criterion"])
    test, folds = (_score(folder / f"{name}_predictions.parquet", classes) for name in ("test", "fold"))
    drawn = _draw(folder, study, history, test, folds)
    images = {name: _save(figure, folder / "figures" / f"{name}.png") for name, figure in drawn.items()}
    page = _template().render(**_context(study, cells, test, folds), figures=images)
    with replacing(folder / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / "report.html"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a study's record ({error}); run the study again.") from error
    return record


def _read_table(path: Path) -> pa.Table:
    try:
        return pyarrow.parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable table of a study ({error}); run the study again.") from error


def _score(path: Path, classes: int) -> TestResult | None:
    return score_test(_read_table(path), classes) if path.is_file() else None


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("page.html")


def _draw(
    folder: Path, study: Mapping[str, Any], history: pa.Table, test: TestResult | None, folds: TestResult | None
) -> dict[str, Figure]:
    """Every figure that the study has data for."""
    drawn = {}
    dataset = folder / study["dataset"]["folder"]
    if dataset.is_dir():
        splits = open_dataset(dataset).splits
        rows = {name: columns(split) for name, split in splits.items()}
        labels = study["dataset"]["classes"]
        drawn["samples"] = figures.sample_sheet(_sheet(splits["train"], rows["train"], labels))
        drawn["families"] = figures.family_splits(_family_sizes(rows, labels))
    if study["chosen"] is not None:
        curves = _chosen_curves(history, study["chosen"])
        drawn["curves"] = figures.learning_curves(curves, len(curves["train_loss"]))
    for name, result in (("test_families", test), ("fold_families", folds)):
        if result is not None:
            drawn[name] = _family_figure(result, study["dataset"]["classes"])
    return drawn


def _sheet(split: Any, rows: Mapping[str, np.ndarray], labels: list[str]) -> dict[str, np.ndarray]:
    """Untransformed patches of each label, of as many families as possible."""
    sheet = {}
    for index, label in enumerate(labels):
        plain = np.flatnonzero((rows["label"] == index) & (rows["transform"] == 0))
        order = np.lexsort((rows["y"][plain], rows["x"][plain], rows["family"][plain]))
        spread = np.linspace(0, len(plain) - 1, min(SHEET_COLUMNS, len(plain))).round().astype(int)
        sheet[label] = np.stack([decode(split[int(plain[order[place]])]["image"]) for place in spread])
    return sheet


def _family_sizes(rows: Mapping[str, Mapping[str, np.ndarray]], labels: list[str]) -> dict[str, dict[str, list[int]]]:
    sizes: dict[str, dict[str, list[int]]] = {label: {} for label in labels}
    for split, values in rows.items():
        for index, label in enumerate(labels):
            plain = (values["label"] == index) & (values["transform"] == 0)
            sizes[label][split] = np.unique(values["family"][plain], return_counts=True)[1].tolist()
    return sizes


def _chosen_curves(history: pa.Table, chosen: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Metrics of the chosen cell's sessions that did not diverge, each `[sessions, epochs + 1]`."""
    keep = np.ones(len(history), bool)
    for key in ("backbone", "strategy", "nonlinearities", "unfrozen", "learning_rate", "batch_size"):
        keep &= np.asarray(history[key].to_pylist(), dtype=object) == chosen[key]
    table = history.filter(pa.array(keep)).sort_by([("seed", "ascending"), ("epoch", "ascending")])
    sessions = len(table["seed"].unique())
    names = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    curves = {name: table[name].to_numpy().reshape(sessions, -1) for name in names}
    finite = np.isfinite(curves["train_loss"]).all(axis=1) & np.isfinite(curves["validation_loss"]).all(axis=1)
    return {name: values[finite] for name, values in curves.items()}


def _family_figure(result: TestResult, classes: list[str]) -> Figure:
    rows = [(classes[label], family, *values) for (label, family), values in result.family_accuracy.items()]
    return figures.family_accuracies(rows, words.chance(result))


def _save(figure: Figure, path: Path) -> str:
    """Writes the PNG and returns it as base64 text for the page."""
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor="white", metadata={"Software": None})
    with replacing(path) as temporary:
        temporary.write_bytes(file.getvalue())
    return base64.b64encode(file.getvalue()).decode()


def _context(
    study: Mapping[str, Any], cells: list[Cell], test: TestResult | None, folds: TestResult | None
) -> dict[str, Any]:
    dataset = study["dataset"]
    patches = sum(row["patches"] for labels in dataset["counts"].values() for row in labels.values())
    return {
        "study": study,
        "css": markupsafe.Markup((HERE / "page.css").read_text(encoding="utf-8")),
        "js": markupsafe.Markup((HERE / "page.js").read_text(encoding="utf-8")),
        "classes": " and ".join(dataset["classes"]),
        "answer": words.answer(study, test, folds),
        "cautions": words.cautions(study, cells, test),
        "nature": words.nature(study),
        "fingerprints": words.fingerprints(study),
        "criterion": words.CRITERIA[study["selection"]["criterion"]],
        "slides": sum(dataset["slides"].values()),
        "families": sum(dataset["families"].values()),
        "kept": patches,
        "border": percent(dataset["border_pixels_lost"]),
        "dataset_rows": dataset_rows(dataset["counts"]),
        "partition_rows": partition_rows(dataset["partition"], dataset["config"]["proportions"]),
        "cell_rows": cell_rows(cells, study["chosen"]),
        "sessions": sum(cell.sessions for cell in cells),
        "chosen_sessions": test.sessions if test else 0,
        "fold_count": folds.folds if folds else 0,
        "test": _test_rows(test, folds),
        "confusion": _confusion(test, dataset["classes"]),
    }


def _test_rows(test: TestResult | None, folds: TestResult | None) -> list[dict[str, str]]:
    if test is None:
        return []
    columns = [_result_column(result) for result in (test, folds)]
    return [{"name": name, "test": columns[0][name], "folds": columns[1].get(name, "–")} for name in columns[0]]


def _result_column(result: TestResult | None) -> dict[str, str]:
    if result is None:
        return {}
    return {
        "accuracy": percent(result.accuracy.estimate),
        "95 % interval, by family": interval(result.accuracy, percent),
        "as if samples were independent": f"{percent(result.naive[0])} to {percent(result.naive[1])}",
        "standard deviation over sessions": percent(result.accuracy_std),
        "always the most frequent label": percent(words.chance(result)),
        "area under the ROC curve": "–" if result.roc_auc is None else f"{result.roc_auc:.3f}",
        "loss": loss(result.loss.estimate),
        "95 % interval of the loss, by family": interval(result.loss, loss),
        "loss: standard deviation over sessions": loss(result.loss_std),
        "families": " + ".join(map(str, result.accuracy.families)),
        "samples": f"{result.samples:,}",
        "sessions": str(result.sessions),
    }


def _confusion(test: TestResult | None, classes: list[str]) -> list[dict[str, Any]]:
    if test is None:
        return []
    shares = test.confusion / test.confusion.sum(axis=1, keepdims=True)
    return [
        {"name": name, "shares": [percent(share) for share in row]} for name, row in zip(classes, shares, strict=True)
    ]
