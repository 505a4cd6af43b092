"""A study's files, checked before anything is made of them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from nbjax.analysis.selection import CELL, CRITERIA
from nbjax.errors import InputError
from nbjax.files import check_if_sealed

# Field by dotted path (`*` stands for every key) and what it must be.
FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "command": str,
    "strategy": str,
    "cut": str,
    "crop": str,
    "chosen": (dict, type(None)),
    "head.initialisation": str,
    "selection.criterion": str,
    "dataset.classes": list,
    "dataset.patch_size": int,
    "dataset.phantom": bool,
    "dataset.source": str,
    "dataset.folder": str,
    "dataset.sha256": str,
    "dataset.slides.*": int,
    "dataset.families.*": int,
    "dataset.rejected": dict,
    "dataset.rejected.*": int,
    "dataset.border_pixels_lost": (int, float),
    "dataset.counts.*.*.families": int,
    "dataset.counts.*.*.patches": int,
    "dataset.counts.*.*.balanced": int,
    "dataset.counts.*.*.samples": int,
    "dataset.counts.*.*.transforms": int,
    "dataset.partition.*.method": str,
    "dataset.partition.*.discrepancy": (int, float),
    "dataset.partition.*.proportions": list,
    "dataset.partition.*.diversities": list,
    "dataset.standardisation.mode": str,
    "dataset.config.proportions": list,
    "dataset.config.diversities": list,
    "backbone.name": str,
    "backbone.pretrained": bool,
    "backbone.provenance": str,
    "backbone.parameters": int,
    "backbone.sha256": str,
    "versions": dict,
    "hardware": dict,
    "seconds.*": (int, float),
}
METRICS = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
HISTORY_COLUMNS = (*CELL, "seed", "epoch", *METRICS, "diverged")
PREDICTION_COLUMNS = ("seed", "sample", "family", "label", "loss")


def read_record(path: Path) -> dict[str, Any]:
    """Reads `study.json`.

    Raises:
        InputError: it is missing, not JSON, or lacks a field that the report shows.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give the folder of a study, or run the study first.")
    check_if_sealed(path, "run the study again, with the same command")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a study's record ({error}); run the study again.") from error
    for field, kind in FIELDS.items():
        for place, value in _values(path, record, field):
            # In Python a bool is an int; in a record it is not.
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise InputError(f"{path}: field {place} is {value!r}; expected {_words(kind)}; run the study again.")
    splits, classes = record["dataset"]["counts"], record["dataset"]["classes"]
    if "train" not in splits or any(set(labels) != set(classes) for labels in splits.values()):
        raise InputError(
            f"{path}: field dataset.counts does not hold the labels of dataset.classes; run the study again."
        )
    chosen, criterion = record["chosen"], record["selection"]["criterion"]
    if chosen is not None and not set(CELL) <= set(chosen):
        raise InputError(
            f"{path}: field chosen has {', '.join(chosen)}; expected {', '.join(CELL)}; run the study again."
        )
    if criterion not in CRITERIA:
        raise InputError(f"{path}: field selection.criterion is {criterion!r}; expected {' or '.join(CRITERIA)}.")
    return dict(record)


def _values(path: Path, record: Any, field: str) -> Iterator[tuple[str, Any]]:
    values = [("", record)]
    for key in field.split("."):
        deeper = []
        for place, value in values:
            if not isinstance(value, Mapping) or (key != "*" and key not in value):
                missing = f"{place}.{key}".strip(".") if isinstance(value, Mapping) else place or field
                raise InputError(f"{path}: field {missing} is missing or of another kind; run the study again.")
            deeper += [(f"{place}.{name}".lstrip("."), value[name]) for name in (value if key == "*" else [key])]
        values = deeper
    yield from values


def _words(kind: type | tuple[type, ...]) -> str:
    names = {
        str: "text",
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        list: "a list",
        dict: "an object",
    }
    return " or ".join(names.get(type_, "null") for type_ in (kind if isinstance(kind, tuple) else (kind,)))


def read_history(path: Path) -> pa.Table:
    """Reads `sessions.parquet`, one row a session and epoch."""
    return _read(path, HISTORY_COLUMNS)


def read_predictions(path: Path, classes: int) -> pa.Table | None:
    """Reads a table of predictions, one row a seed and sample; None where there is no such file yet.

    Raises:
        InputError: it is damaged, lacks a column, is empty, or names a class that does not exist.
    """
    if not path.is_file():
        return None
    table = _read(path, (*PREDICTION_COLUMNS, "probability" if classes == 2 else "probabilities"))
    labels = set(table["label"].to_pylist())
    if not labels or not labels <= set(range(classes)):
        raise InputError(
            f"{path}: labels are {sorted(labels)}; expected numbers of 0 to {classes - 1}; run the study again."
        )
    return table


def _read(path: Path, columns: Sequence[str]) -> pa.Table:
    check_if_sealed(path, "run the study again, with the same command")
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable table of a study ({error}); run the study again.") from error
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise InputError(f"{path}: has no column {', '.join(missing)}; run the study again.")
    return table
