"""The report: one HTML page that needs nothing else, made from a study's folder at any time."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import pyarrow.csv

from nbjax.analysis.metrics import TestResult, score_test
from nbjax.analysis.selection import Cell, summarise_cells
from nbjax.errors import InputError
from nbjax.files import replacing
from nbjax.report import words
from nbjax.report.drawing import Drawn, draw
from nbjax.report.reading import read_history, read_predictions, read_record
from nbjax.report.tables import cell_rows, dataset_rows, interval, loss, partition_rows, percent, varying

HERE = Path(__file__).parent


def write_report(folder: str | Path) -> Path:
    """Writes `report.html`, `figures/*.png` and the figures' numbers, `figures/*.csv`, into a study's folder.

    Reads `study.json`, `sessions.parquet` and, where they are there already, `test_predictions.parquet` and
    `fold_predictions.parquet`.

    Returns:
        The page's path.

    Raises:
        InputError: a file of the study is missing or damaged.
    """
    folder = Path(folder)
    study = read_record(folder / "study.json")
    history = read_history(folder / "sessions.parquet")
    cells = summarise_cells(history, study["selection"]["criterion"])
    classes = len(study["dataset"]["classes"])
    test, folds = (_score(folder / f"{name}_predictions.parquet", classes) for name in ("test", "fold"))
    drawn = draw(folder, study, history, test, folds)
    images = {name: _save(one, folder / "figures" / name) for name, one in drawn.items()}
    page = _template().render(**_context(study, cells, test, folds), drawn=drawn, images=images)
    with replacing(folder / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / "report.html"


def _score(path: Path, classes: int) -> TestResult | None:
    table = read_predictions(path, classes)
    if table is None:
        return None
    try:
        return score_test(table, classes)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("page.html")


def _save(drawn: Drawn, stem: Path) -> str:
    """Writes the PNG and its numbers, and returns the PNG as base64 text for the page."""
    file = io.BytesIO()
    drawn.figure.savefig(file, format="png", facecolor="white", metadata={"Software": None})
    with replacing(stem.with_suffix(".png")) as temporary:
        temporary.write_bytes(file.getvalue())
    if drawn.numbers is not None:
        with replacing(stem.with_suffix(".csv")) as temporary:
            pyarrow.csv.write_csv(drawn.numbers, temporary)
    return base64.b64encode(file.getvalue()).decode()


def _context(
    study: Mapping[str, Any], cells: list[Cell], test: TestResult | None, folds: TestResult | None
) -> dict[str, Any]:
    dataset, rows = study["dataset"], cell_rows(cells, study["chosen"])
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
        "partition_rows": partition_rows(dataset["partition"], dataset["config"]),
        "cell_rows": rows,
        "cell_names": varying(rows, ("backbone", "strategy")),
        "sessions": sum(cell.sessions for cell in cells),
        "chosen_sessions": test.sessions if test else 0,
        "fold_count": folds.folds if folds else 0,
        "test": _test_rows(test, folds, dataset["classes"]),
        "confusion": _confusion(test, dataset["classes"]),
    }


def _test_rows(test: TestResult | None, folds: TestResult | None, classes: list[str]) -> list[dict[str, str]]:
    if test is None:
        return []
    columns = [_result_column(result, classes) for result in (test, folds)]
    return [{"name": name, "test": columns[0][name], "folds": columns[1].get(name, "–")} for name in columns[0]]


def _result_column(result: TestResult | None, classes: list[str]) -> dict[str, str]:
    if result is None:
        return {}
    recall = {f"{label} classified rightly": percent(one) for label, one in zip(classes, result.recall, strict=True)}
    if len(classes) == 2:
        names = (f"specificity ({classes[0]} classified rightly)", f"sensitivity ({classes[1]} classified rightly)")
        recall = dict(zip(names, recall.values(), strict=True))
    return {
        "accuracy": percent(result.accuracy.estimate),
        "95 % interval, by family": interval(result.accuracy, percent),
        "as if samples were independent": f"{percent(result.naive[0])} to {percent(result.naive[1])}",
        "standard deviation over sessions": percent(result.accuracy_std),
        "always the most frequent label": percent(words.chance(result)),
        **recall,
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
    return [
        {"name": name, "shares": [percent(count / row.sum() if row.sum() else None) for count in row]}
        for name, row in zip(classes, test.confusion, strict=True)
    ]
