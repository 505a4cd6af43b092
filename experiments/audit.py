"""Looks for leaks between the splits of a built dataset, or of any table of patches.

    python -m experiments.audit --dataset=data/neuroblastoma/phantom/1.0.0
    python -m experiments.audit --table=patches.csv --slides=slides

A table (CSV or Parquet) has a row a patch and the columns slide, family, label, x, y and split (train, validation or
test). Without `--slides` the pixels are not looked at. Exit status 1 where something is found.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from absl import flags

from experiments.cli import run
from nbjax.errors import InputError
from nbjax.files import check_file, replacing
from nbjax.partition import SPLITS, Fingerprints, Violation, audit_patches, fingerprint_patches
from nbjax.progress import bar
from nbjax.slides.tile import PATCH_SIZE, read_patches

DATASET = flags.DEFINE_string("dataset", None, "folder of a built dataset")
TABLE = flags.DEFINE_string("table", None, "CSV or Parquet table of patches and their splits")
SLIDES = flags.DEFINE_string("slides", None, "with --table: the folder of slides, to compare pixels too")
SIZE = flags.DEFINE_integer("patch_size", PATCH_SIZE, "with --table: pixels of a patch's edge")
OUT = flags.DEFINE_string("out", "audit.json", "where all findings go")

COLUMNS = ("slide", "family", "label", "x", "y", "split")
SHOWN = 5


def main() -> None:
    """Audits what the flags name."""
    if (DATASET.value is None) == (TABLE.value is None):
        raise InputError("say what to audit: either --dataset or --table.")
    check_file(OUT.value)
    found, patches = _audit_dataset() if DATASET.value else _audit_table()
    kinds = {kind: [one.message for one in found if one.kind == kind] for kind in dict.fromkeys(v.kind for v in found)}
    with replacing(Path(OUT.value)) as temporary:
        temporary.write_text(json.dumps({"patches": patches, "findings": kinds}, indent=1) + "\n", encoding="utf-8")
    for kind, messages in kinds.items():
        print(f"{kind}: {len(messages)}")
        for message in messages[:SHOWN]:
            print(f"  {message}")
    print(f"\n{patches} patches, {len(found)} findings: {OUT.value}")
    if found:
        sys.exit(1)


def _audit_dataset() -> tuple[list[Violation], int]:
    """Every patch of every split once, whatever transforms its samples have."""
    from nbjax.samples.reading import columns, open_dataset, picture

    dataset = open_dataset(DATASET.value)
    tables: list[dict[str, np.ndarray]] = []
    jobs = []
    for index, split in enumerate(SPLITS):
        table = columns(dataset, split)
        place = np.rec.fromarrays([table[name] for name in ("slide", "y", "x")])
        _, first = np.unique(place, return_index=True)
        jobs += [(split, int(row)) for row in first]
        of_split = {name: table[name][first] for name in COLUMNS if name != "split"}
        tables.append({**of_split, "split": np.full(len(first), index)})
    merged: dict[str, Any] = {name: np.concatenate([table[name] for table in tables]) for name in COLUMNS}
    merged["label"] = np.asarray(dataset.card["classes"])[merged["label"]]
    prints = fingerprint_patches(picture(dataset, *job) for job in bar(jobs, "audit", "patch", len(jobs)))
    return audit_patches(**merged, patch_size=dataset.card["patch_size"], fingerprints=prints), len(jobs)


def _audit_table() -> tuple[list[Violation], int]:
    table = _read_table(Path(TABLE.value))
    columns: dict[str, Any] = {name: np.asarray(table[name].to_pylist()) for name in COLUMNS}
    unknown = sorted(set(columns["split"].tolist()) - set(SPLITS))
    if unknown:
        raise InputError(f"{TABLE.value}: the column split holds {unknown[0]!r}; expected {', '.join(SPLITS)}.")
    columns["split"] = np.asarray([SPLITS.index(split) for split in columns["split"]])
    prints = None if SLIDES.value is None else _fingerprints(table)
    return audit_patches(**columns, patch_size=SIZE.value, fingerprints=prints), len(table)


def _read_table(path: Path) -> pa.Table:
    if not path.is_file():
        raise InputError(f"{path}: there is no such table; give a CSV or Parquet file with a row a patch.")
    try:
        table = pyarrow.parquet.read_table(path) if path.suffix == ".parquet" else pyarrow.csv.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a CSV or Parquet table ({error}).") from error
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise InputError(f"{path}: has no column {', '.join(missing)}; expected {', '.join(COLUMNS)}.")
    # By slide, the order in which pixels are read.
    return table.sort_by("slide")


def _fingerprints(table: pa.Table) -> Fingerprints:
    def pixels() -> Iterator[np.ndarray]:
        patches = read_patches(SLIDES.value, table, SIZE.value)
        for row, (index, patch) in enumerate(bar(patches, "audit", "patch", len(table))):
            assert row == index
            yield patch

    return fingerprint_patches(pixels())


if __name__ == "__main__":
    run(main)
