"""Looks for leaks between the splits of a built dataset, or of any table of patches.

    python -m experiments.audit --dataset=data/neuroblastoma/phantom/1.0.0
    python -m experiments.audit --table=patches.csv --slides=slides

A table (CSV or Parquet, gzipped or not) has a row a patch and the columns slide, family, label, x, y and split (train,
validation or test). Names are text: 7, 07 and 19.10 are themselves. The table is checked before anything is looked at:
what is not a patch inside its slide ends in one sentence. Without `--slides` the pixels are not looked at. Exit status
1 where something is found.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from absl import flags

from experiments.cli import run
from nbjax.errors import InputError
from nbjax.files import check_file, replacing
from nbjax.partition import SPLITS, Fingerprints, Violation, audit_patches, fingerprint_patches
from nbjax.partition.patch_table import COLUMNS, check_places, read_patch_table, shared_slides
from nbjax.progress import bar
from nbjax.slides.tile import PATCH_SIZE, read_patches

DATASET = flags.DEFINE_string("dataset", None, "folder of a built dataset")
TABLE = flags.DEFINE_string("table", None, "CSV or Parquet table of patches and their splits")
SLIDES = flags.DEFINE_string("slides", None, "with --table: the folder of slides, to compare pixels too")
SIZE = flags.DEFINE_integer("patch_size", PATCH_SIZE, "with --table: pixels of a patch's edge")
OUT = flags.DEFINE_string("out", "audit.json", "where all findings go")

SHOWN = 5


def main() -> None:
    """Audits what the flags name."""
    if (DATASET.value is None) == (TABLE.value is None):
        raise InputError("say what to audit: either --dataset=FOLDER or --table=FILE.")
    if SIZE.value < 1:
        raise InputError(f"--patch_size={SIZE.value}: expected the pixels of a patch's edge, at least 1.")
    if TABLE.value and Path(OUT.value).resolve() == Path(TABLE.value).resolve():
        raise InputError(f"--out={OUT.value} is the table itself; name another file, as in --out=audit.json.")
    check_file(OUT.value)
    _check_own(Path(OUT.value))
    violations, patches, notes = _audit_dataset() if DATASET.value else _audit_table()
    kinds = {
        kind: [violation.message for violation in violations if violation.kind == kind]
        for kind in dict.fromkeys(v.kind for v in violations)
    }
    with replacing(Path(OUT.value)) as temporary:
        content = {"patches": patches, "findings": kinds, "notes": notes}
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for kind, messages in kinds.items():
        print(f"{kind}: {len(messages)}")
        for message in messages[:SHOWN]:
            print(f"  {message}")
        if messages[SHOWN:]:
            print(f"  and {len(messages) - SHOWN} more")
    for note in notes:
        print(note)
    print(f"\n{patches} patches, {len(violations)} findings: {OUT.value}")
    if violations:
        sys.exit(1)


def _check_own(path: Path) -> None:
    """Raises InputError where a file lies at `path` that is not of an audit, so that it would be lost."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    try:
        ours = {"patches", "findings"} <= json.loads(path.read_bytes()).keys()
    except (ValueError, AttributeError):
        ours = False
    if not ours:
        raise InputError(f"--out={path} is there and is no audit; give another name, or move that file away.")


def _audit_dataset() -> tuple[list[Violation], int, list[str]]:
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
    violations = audit_patches(**merged, patch_size=dataset.card["patch_size"], fingerprints=prints)
    return violations, len(jobs), _featureless(prints)


def _audit_table() -> tuple[list[Violation], int, list[str]]:
    """Every row of a table, after a look at all of it."""
    table = read_patch_table(TABLE.value)
    if SLIDES.value is not None:
        check_places(table, SLIDES.value, SIZE.value)
    columns: dict[str, Any] = {name: np.asarray(table[name].to_pylist()) for name in COLUMNS}
    columns["split"] = np.asarray([SPLITS.index(split) for split in columns["split"]])
    prints = None if SLIDES.value is None else _fingerprints(table)
    notes = ["The pixels were not compared, only the table; --slides=FOLDER compares them too."]
    if prints is not None:
        notes = _featureless(prints)
    shared = shared_slides(table)
    if shared:
        notes.append(
            f"{len(shared)} slides have patches of several families, the first is {shared[0]}: right where a slide "
            "holds several patients, else the column family is wrong."
        )
    return audit_patches(**columns, patch_size=SIZE.value, fingerprints=prints), len(table), notes


def _featureless(prints: Fingerprints) -> list[str]:
    count = int((~prints.has_features).sum())
    return [f"{count} patches are black, blank or almost even and were not compared with others."] if count else []


def _fingerprints(table: pa.Table) -> Fingerprints:
    def pixels() -> Iterator[np.ndarray]:
        patches = read_patches(SLIDES.value, table, SIZE.value)
        for row, (index, patch) in enumerate(bar(patches, "audit", "patch", len(table))):
            assert row == index
            yield patch

    return fingerprint_patches(pixels())


if __name__ == "__main__":
    run(main)
