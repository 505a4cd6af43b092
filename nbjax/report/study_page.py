"""The report: one HTML page that needs nothing else, made from a study's folder at any time."""

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa

from nbjax.analysis.cells import cells_table
from nbjax.analysis.mistakes import family_table, misclassified_table
from nbjax.analysis.scores import scores_table
from nbjax.errors import InputError
from nbjax.files import replacing
from nbjax.progress import say
from nbjax.report import score_tables, tables, words
from nbjax.report.answer import answer, cautions, families, verdict_words
from nbjax.report.drawing import OF_RESULTS, draw
from nbjax.report.findings import Findings, find
from nbjax.report.held_out import fold_settings, folds_table, guessing
from nbjax.report.html import as_text, render, save
from nbjax.report.limits import limits
from nbjax.report.sections import BASELINES_SECTION, Section, of_study, read_section
from nbjax.report.table import percent
from nbjax.spreadsheet import write_csv

# What other programs may want of the page.
TABLES = ("cells", "scores", "families", "misclassified")


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Writes `report.html`, `figures/*.png` with their numbers, `figures/*.csv`, and `tables/*.csv`: cells, scores,
    families and misclassified patches.

    Reads of the study's folder `study.json` and, of a finished study, `sessions.parquet` and, where they are there,
    `test_predictions.parquet`, `fold_predictions.parquet` and `validation_predictions.parquet`; of an unfinished one
    the histories of its finished programs.

    Args:
        folder: the study's.
        out: folder to write into; else the study's.

    Returns:
        The page's path.

    Raises:
        InputError: a file of the study is missing or damaged.
    """
    folder = Path(folder)
    out = folder if out is None else Path(out)
    findings = find(folder)
    drawn = draw(folder, findings.study, findings.history, findings.test, findings.folds, findings.calibration)
    numbers = _numbers(findings)
    for name, table in numbers.items():
        write_csv(table, out / "tables" / f"{name}.csv")
    images = {name: save(figure, out / "figures" / name) for name, figure in drawn.items()}
    _remove_old(out, made=(*(f"figures/{name}" for name in drawn), *(f"tables/{name}" for name in numbers)))
    sections = {
        **_dataset(findings),
        **_results(findings),
        **_test(findings),
        **_wrong(numbers),
        "baselines": _baselines(findings),
    }
    page = render("study_page.html", {**sections, "drawn": drawn, "images": images, "image": as_text})
    with replacing(out / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out / "report.html"


def _remove_old(out: Path, made: Collection[str]) -> None:
    """Of what this page does not show, what an earlier one left: the study then stood otherwise."""
    for name in (*(f"figures/{name}" for name in OF_RESULTS), *(f"tables/{name}" for name in TABLES)):
        if name not in made:
            for ending in (".png", ".csv"):
                (out / f"{name}{ending}").unlink(missing_ok=True)


def _baselines(findings: Findings) -> Section | None:
    """What experiments.baselines found on this study, if it ran."""
    path = findings.folder / BASELINES_SECTION
    if not path.is_file():
        return None
    try:
        section = read_section(path)
        if section.about == of_study(findings.study):
            return section
        why = f"{BASELINES_SECTION} was made when this study stood otherwise"
    except InputError as error:
        # The study's own page is not lost for it.
        why = str(error).split("; ")[0].rstrip(".")
    again = f"python -m experiments.baselines --study={shlex.quote(str(findings.folder))}"
    said = f"{why}; {again} makes it anew."
    say(said)
    return Section("Older kinds of methods", [said])


def _numbers(findings: Findings) -> dict[str, pa.Table]:
    """What other programs may want of the page, not rounded."""
    numbers = {}
    if findings.losses:
        numbers["cells"] = cells_table([*findings.losses, *findings.accuracies])
    results = {"test": findings.test, "folds": findings.folds, "random folds": findings.random_folds}
    scores = [
        scores_table(tested.every_score).add_column(0, "of", pa.array([name] * len(tested.every_score)))
        for name, tested in results.items()
        if tested is not None
    ]
    return numbers | ({"scores": pa.concat_tables(scores)} if scores else {}) | _mistakes(findings)


def _mistakes(findings: Findings) -> dict[str, pa.Table]:
    """Families and misclassified patches, of the families held out in turn or else of the test split."""
    tested = findings.folds or findings.test
    if tested is None or "slide" not in tested.table.column_names:
        return {}
    return {
        "families": family_table(tested.table, findings.classes),
        "misclassified": misclassified_table(tested.table, findings.classes),
    }


def _wrong(numbers: dict[str, pa.Table]) -> dict[str, Any]:
    if "misclassified" not in numbers:
        return {"families_table": None, "misclassified_table": None, "mistakes": 0}
    return {
        "families_table": tables.families_table(numbers["families"]),
        "misclassified_table": tables.misclassified_table(numbers["misclassified"]),
        "mistakes": len(numbers["misclassified"]),
    }


def _dataset(findings: Findings) -> dict[str, Any]:
    study, dataset = findings.study, findings.study["dataset"]
    kept = sum(row["patches"] for labels in dataset["counts"].values() for row in labels.values())
    audit = dataset.get("audit", {})
    return {
        "study": study,
        "title": words.title(study),
        "kicker": words.kicker(findings),
        "answer": answer(findings),
        "verdict": None if findings.verdict is None else verdict_words(findings, findings.verdict),
        "cautions": cautions(findings),
        "slides": sum(dataset["slides"].values()),
        "families": families(dataset),
        "kept": kept,
        "border": percent(dataset["border_pixels_lost"]),
        "dataset_table": tables.dataset_table(dataset["counts"]),
        "partition_table": tables.partition_table(dataset["partition"], dataset["config"]),
        "leaks": dataset.get("leak", "none") != "none",
        "clean": words.is_clean(dataset),
        "audit": words.audit(dataset, kept),
        "audit_table": tables.audit_table(audit) if "audit" in dataset else None,
        "findings": [message for row in audit.values() for message in row["messages"]],
        "limits": limits(findings),
        "nature": words.nature(findings),
        "fingerprints": words.fingerprints(study),
        "no_command": words.NO_COMMAND,
        "report_command": f"python -m experiments.report --study={shlex.quote(str(findings.folder))}",
        "baselines_command": f"python -m experiments.baselines --study={shlex.quote(str(findings.folder))}",
    }


def _results(findings: Findings) -> dict[str, Any]:
    winner = findings.winner
    return {
        "progress": words.progress(findings),
        "criterion": words.CRITERIA[findings.study["selection"]["criterion"]],
        "compared": bool(findings.beats),
        "cells_table": tables.cells_table(findings),
        "statistics_table": tables.statistics_table(findings),
        "best": "" if findings.chosen is None else words.best(findings),
        "winner": "" if winner is None else words.winner(findings),
        "winner_table": None if winner is None else tables.winner_table(winner),
        "winner_splits": winner.nested.splits if winner is not None and winner.nested is not None else 0,
        "expected_table": None if winner is None else tables.expected_table(winner),
    }


def _test(findings: Findings) -> dict[str, Any]:
    test, folds, classes = findings.test, findings.folds, findings.classes
    shown = [("held out once", folds), ("test split", test), ("split at random", findings.random_folds)]
    results = [(name, tested) for name, tested in shown if tested is not None]
    scores = score_tables.scores_table(results) if results else None
    if test is None:
        nothing = findings.verdict is not None and findings.verdict.nothing
        return {
            "test_table": None,
            "fold_count": 0,
            "nothing": nothing,
            "scores_table": scores,
            "folds_table": folds_table(findings),
        }
    units = score_tables.LEVELS[test.units.level]
    return {
        "nothing": False,
        "positive": words.positive(findings),
        "unit": test.units.level,
        "units": units,
        "chosen_sessions": test.sessions,
        "guessing": guessing(test),
        "fold_count": folds.folds if folds else 0,
        "fold_settings": "" if folds is None else fold_settings(findings),
        "folds_table": folds_table(findings),
        "uncertainty": words.uncertainty(findings),
        "test_table": score_tables.test_table(test, folds, classes),
        "wider_table": score_tables.wider_table(test),
        "scores_table": scores,
        "confusion_table": score_tables.confusion_table(test, classes),
        "calibration": words.calibration(findings),
        "temperature_table": None
        if findings.calibration is None
        else score_tables.temperature_table(findings.calibration),
    }
