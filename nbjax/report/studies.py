"""Studies read back from their folders, finished or not, and put together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from nbjax.analysis.selection import CellKey, keys_of_rows
from nbjax.errors import InputError
from nbjax.report.reading import HISTORY_COLUMNS, read_history, read_record
from nbjax.training.folder import StudyFolder
from nbjax.training.store import HISTORY

# What must be alike in studies that are put together, by dotted path in their records.
ALIKE = (
    "dataset.sha256",
    "dataset.config",
    "selection.criterion",
    "config.fidelity",
    "config.input_size",
    "config.optimiser",
    "config.momentum",
    "config.accuracy_goal",
)


class StudyRows(NamedTuple):
    """What a study has so far.

    Attributes:
        folder: where.
        record: `study.json`.
        history: one row a session and epoch.
        progress: how many of its programs are in `history`, and how many it has; None where it is finished.
    """

    folder: Path
    record: dict[str, Any]
    history: pa.Table
    progress: tuple[int, int] | None


class Pooled(NamedTuple):
    """Studies on one dataset as one.

    Attributes:
        studies: those put together.
        history: their rows.
        criterion: that chose epochs in all of them.
        doubled: sessions that were left out because an earlier study has the same cell, and either the same seed or
            another number of epochs: what is not alike is not put together.
    """

    studies: tuple[StudyRows, ...]
    history: pa.Table
    criterion: str
    doubled: int


def read_study(folder: str | Path) -> StudyRows:
    """Reads a study's record and its rows: all of a finished study, else those of its finished programs.

    Raises:
        InputError: no study, a damaged one, or one without a finished program.
    """
    folder = Path(folder)
    record = read_record(StudyFolder(folder).record)
    history, progress = read_rows(StudyFolder(folder), record)
    if progress is not None and not progress[0]:
        raise InputError(f"{folder}: no program of this study is finished yet; wait for the first of {progress[1]}.")
    return StudyRows(folder, record, history.select(HISTORY_COLUMNS), progress)


def read_rows(files: StudyFolder, record: Mapping[str, Any]) -> tuple[pa.Table, tuple[int, int] | None]:
    """The rows that there are; of an unfinished study how many of its programs they are of, and how many it has.

    Raises:
        InputError: a file is missing or damaged.
    """
    if record["chosen"] is not None:
        return read_history(files.sessions), None
    names = record.get("programs")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{files.record}: field programs is missing or no list; run the study again.")
    histories = [read_history(folder / HISTORY).select(HISTORY_COLUMNS) for folder in files.finished(names)]
    if not histories:
        return pa.table({name: pa.array([], pa.float64()) for name in HISTORY_COLUMNS}), (0, len(names))
    return pa.concat_tables(histories), (len(histories), len(names))


def pool(studies: Sequence[StudyRows]) -> Pooled:
    """Puts studies together; a cell's sessions come from the first study that has it and from those of as many epochs.

    Raises:
        InputError: they differ in what must be alike, or in a backbone's weights.
    """
    first = studies[0]
    weights: dict[str, tuple[Path, str]] = {}
    for study in studies:
        for field in ALIKE:
            mine, theirs = _value(first.record, field), _value(study.record, field)
            if mine != theirs:
                raise InputError(
                    f"{study.folder}: {field} is {theirs!r} and in {first.folder} {mine!r}; "
                    "studies that differ in it have figures of their own."
                )
        for backbone in study.record.get("backbones", []):
            folder, sha256 = weights.setdefault(backbone["name"], (study.folder, backbone["sha256"]))
            if sha256 != backbone["sha256"]:
                raise InputError(
                    f"{study.folder}: {backbone['name']} has other weights than in {folder}; studies that differ in "
                    "them have figures of their own."
                )
    tables, seen, doubled = [], dict[CellKey, tuple[int, set[int]]](), 0
    for study in studies:
        kept, left_out = _unseen(study.history, int(study.record["config"]["epochs"]), seen)
        tables.append(kept)
        doubled += left_out
    return Pooled(tuple(studies), pa.concat_tables(tables), first.record["selection"]["criterion"], doubled)


def _value(record: Mapping[str, Any], field: str) -> Any:
    value: Any = record
    for key in field.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _unseen(history: pa.Table, epochs: int, seen: dict[CellKey, tuple[int, set[int]]]) -> tuple[pa.Table, int]:
    """The rows of sessions that are new, and how many sessions were left out.

    Args:
        history: of a study.
        epochs: of its sessions.
        seen: by cell, the number of epochs and the seeds that there are already; grows.
    """
    cells = keys_of_rows(history)
    seeds = history["seed"].to_pylist()
    seeds_of: dict[CellKey, set[int]] = {}
    for cell, seed in zip(cells, seeds, strict=True):
        seeds_of.setdefault(cell, set()).add(seed)
    new = {}
    for cell, of_cell in seeds_of.items():
        known_epochs, known_seeds = seen.setdefault(cell, (epochs, set()))
        new[cell] = of_cell - known_seeds if known_epochs == epochs else set()
        known_seeds |= new[cell]
    left_out = sum(len(of_cell) - len(new[cell]) for cell, of_cell in seeds_of.items())
    kept = np.fromiter((seed in new[cell] for cell, seed in zip(cells, seeds, strict=True)), bool, len(seeds))
    return history.filter(pa.array(kept)), left_out
