"""Studies read back from their folders, finished or not, and put together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from nbjax.analysis.selection import CELL
from nbjax.errors import InputError
from nbjax.report.reading import HISTORY_COLUMNS, read_history, read_record
from nbjax.training.store import HISTORY, PROGRAMS

TABLE = "sessions.parquet"
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


class StudyFolder(NamedTuple):
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
        doubled: sessions that were left out because an earlier study has the same cell and seed.
    """

    studies: tuple[StudyFolder, ...]
    history: pa.Table
    criterion: str
    doubled: int


def read_study(folder: str | Path) -> StudyFolder:
    """Reads a study's record and its rows: all of a finished study, else those of its finished programs.

    Raises:
        InputError: no study, a damaged one, or one without a finished program.
    """
    folder = Path(folder)
    record = read_record(folder / "study.json")
    if record["chosen"] is not None:
        return StudyFolder(folder, record, read_history(folder / TABLE).select(HISTORY_COLUMNS), None)
    names = record.get("programs")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{folder / 'study.json'}: field programs is missing or no list; run the study again.")
    paths = [folder / PROGRAMS / name / HISTORY for name in names]
    done = [path for path in paths if path.is_file()]
    if not done:
        raise InputError(f"{folder}: no program of this study is finished yet; wait for the first of {len(names)}.")
    history = pa.concat_tables([read_history(path).select(HISTORY_COLUMNS) for path in done])
    return StudyFolder(folder, record, history, (len(done), len(names)))


def pool(studies: Sequence[StudyFolder]) -> Pooled:
    """Puts studies together; where several have a cell's session of one seed, the first study's counts.

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
    tables, seen, doubled = [], set[tuple[Any, ...]](), 0
    for study in studies:
        kept, left_out = _unseen(study.history, seen)
        tables.append(kept)
        doubled += left_out
    return Pooled(tuple(studies), pa.concat_tables(tables), first.record["selection"]["criterion"], doubled)


def _value(record: Mapping[str, Any], field: str) -> Any:
    found: Any = record
    for key in field.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _unseen(history: pa.Table, seen: set[tuple[Any, ...]]) -> tuple[pa.Table, int]:
    """The rows of sessions not in `seen`, which grows by them, and how many sessions were left out."""
    keys = list(zip(*(history[name].to_pylist() for name in (*CELL, "seed")), strict=True))
    known = seen.intersection(keys)
    kept = (
        history.filter(pa.array(np.fromiter((key not in known for key in keys), bool, len(keys)))) if known else history
    )
    seen.update(keys)
    return kept, len(known)
