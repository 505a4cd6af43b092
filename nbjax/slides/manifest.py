"""The patch manifest: one row a patch, kept or rejected and why."""

import csv
import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from nbjax.english import counted, listed
from nbjax.errors import InputError
from nbjax.files import SEAL, check_seal, sealing
from nbjax.slides.names import one_patients_names
from nbjax.spreadsheet import write_csv

SCHEMA_VERSION = 1
MUCH_LOST = "; patches of another size may fit these slides better (patch_size)"
# How a study's command line names a field of the tiling.
TILING_FLAG = "--set=dataset.tiling."
SCHEMA = pa.schema(
    [
        ("slide", pa.string()),
        ("family", pa.string()),
        ("label", pa.string()),
        ("x", pa.int32()),
        ("y", pa.int32()),
        ("tissue", pa.float32()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
    ]
)


class SlideRecord(NamedTuple):
    """What the manifest remembers of a slide's file.

    Attributes:
        name: path relative to the slides' folder.
        sha256: of the file's bytes.
        width: level-0 pixels.
        height: level-0 pixels.
        mpp: micrometres per pixel, None where the file does not say.
    """

    name: str
    sha256: str
    width: int
    height: int
    mpp: float | None


class Manifest(NamedTuple):
    """Every patch of a folder of slides.

    Attributes:
        table: columns of `SCHEMA`; x, y are level-0 pixels of a patch's top-left corner; tissue is the stained
            fraction; reason is empty for a kept patch.
        slides: one record a slide, by name.
        patch_size: pixels.
        minimum_tissue: the least stained fraction of a kept patch.
        tissue_rule: `nbjax.slides.tissue.TISSUE_RULE` under which tissue was measured; empty where it is not known.
    """

    table: pa.Table
    slides: dict[str, SlideRecord]
    patch_size: int
    minimum_tissue: float
    tissue_rule: str = ""

    def kept(self) -> pa.Table:
        """The rows of kept patches."""
        return self.table.filter(self.table["kept"])


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Writes Parquet, or CSV (the rows alone) where `path` ends in `.csv`; atomically."""
    path = Path(path)
    header = {
        "schema_version": SCHEMA_VERSION,
        "patch_size": manifest.patch_size,
        "minimum_tissue": manifest.minimum_tissue,
        "tissue_rule": manifest.tissue_rule,
        "slides": [record._asdict() for record in manifest.slides.values()],
    }
    if path.suffix.lower() == ".csv":
        write_csv(manifest.table, path)
        return
    with sealing(path) as temporary:
        table = manifest.table.replace_schema_metadata({"nbjax": json.dumps(header)})
        pyarrow.parquet.write_table(table, temporary, write_page_checksum=True)


def check_own(path: str | Path) -> None:
    """Raises InputError where a file lies at `path` that is no manifest, so that it would be lost.

    One that carries a seal is ours, whatever became of it.
    """
    path = Path(path)
    if not path.is_file() or path.stat().st_size == 0 or Path(f"{path}{SEAL}").is_file():
        return
    try:
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", errors="replace") as file:
                ours = next(csv.reader(file), None) == SCHEMA.names
        else:
            ours = b"nbjax" in (pyarrow.parquet.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError):
        ours = False
    if not ours:
        raise InputError(f"--out: {path} is there and is no manifest; give another name, or move that file away.")


def read_manifest(path: str | Path) -> Manifest:
    """Reads a Parquet manifest.

    Raises:
        InputError: the file is missing, damaged, not a manifest, or of a newer schema.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such manifest; make one with `python -m experiments.tile`.")
    try:
        table = pyarrow.parquet.read_table(path, page_checksum_verification=True)
        header = json.loads((table.schema.metadata or {})[b"nbjax"])
        version = header["schema_version"]
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: not a patch manifest ({error}); make it anew with `python -m experiments.tile`."
        ) from error
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{path}: the manifest has schema version {version}, this nbjax reads up to {SCHEMA_VERSION}; update nbjax."
        )
    if Path(f"{path}{SEAL}").is_file():
        advice = (
            f"make it anew with `python -m experiments.tile`, or remove {path}{SEAL} where it was changed on purpose"
        )
        check_seal(path, advice)
    if not table.schema.remove_metadata().equals(SCHEMA):
        raise InputError(
            f"{path}: the manifest has the columns {table.column_names}; expected {SCHEMA.names}; make it anew."
        )
    slides = {record["name"]: SlideRecord(**record) for record in header["slides"]}
    rule = header.get("tissue_rule", "")
    return Manifest(table.replace_schema_metadata(None), slides, header["patch_size"], header["minimum_tissue"], rule)


def remarks(manifest: Manifest) -> list[str]:
    """What a reader of the manifest should know: slides without a patch, pixels lost, resolutions that are not
    known.
    """
    return [
        *_without_patch(manifest),
        *_lost_pixels(manifest),
        *_without_resolution(manifest),
        *_one_patients_names(manifest),
    ]


def _one_patients_names(manifest: Manifest) -> list[str]:
    alike = one_patients_names(manifest.table["family"].to_pylist())
    if not alike:
        return []
    names = next(iter(alike.values()))
    return [
        f"{sum(map(len, alike.values()))} families have names that look like those of {len(alike)} patients, as "
        f"{names[0]} and {names[1]} do: where that is so, put the slides of one patient into one folder"
    ]


def _without_patch(manifest: Manifest) -> list[str]:
    kept = set(manifest.kept()["slide"].to_pylist())
    without = [name for name in manifest.slides if name not in kept]
    return [f"{len(without)} of {len(manifest.slides)} slides gave no patch: {listed(without)}"] if without else []


def _lost_pixels(manifest: Manifest) -> list[str]:
    size = manifest.patch_size
    lost = {
        record.name: 1 - (record.width // size) * (record.height // size) * size**2 / (record.width * record.height)
        for record in manifest.slides.values()
    }
    pixels = {record.name: record.width * record.height for record in manifest.slides.values()}
    share = sum(lost[name] * pixels[name] for name in lost) / max(1, sum(pixels.values()))
    if share == 0:
        return []
    most = max(lost, key=lambda name: lost[name])
    return [
        f"{share:.1%} of the slides' pixels are lost beyond the grid of {size}x{size} patches, at the right and lower "
        f"borders; most of {most}: {lost[most]:.1%}" + (MUCH_LOST if share > 0.5 else "")
    ]


def _without_resolution(manifest: Manifest) -> list[str]:
    known = [record for record in manifest.slides.values() if record.mpp is not None]
    unknown = [record for record in manifest.slides.values() if record.mpp is None]
    if not known or not unknown:
        return []
    return [
        f"Of {counted(len(manifest.slides), 'slide')} {len(known)} state a resolution (such as {known[0].name}: "
        f"{known[0].mpp:.3g} micrometres per pixel) and {len(unknown)} none ({unknown[0].name}): whether all have the "
        "same magnification cannot be told from the files"
    ]


def check_labels(manifest: Manifest, flag: str = TILING_FLAG) -> None:
    """Checks that the kept patches can be classified; `flag` is how the command line names a field of the tiling.

    Raises:
        InputError: fewer than two labels, or a label whose every patch was rejected.
    """
    labels = sorted(set(manifest.table["label"].to_pylist()))
    if len(labels) < 2:
        raise InputError(
            f"the slides carry one label only ({labels[0]}); expected a folder for each of two or more labels."
        )
    kept = set(manifest.kept()["label"].to_pylist())
    for label in labels:
        if label not in kept:
            of_label = pyarrow.compute.equal(manifest.table["label"], label)
            best = np.max(manifest.table.filter(of_label)["tissue"].to_numpy())
            raise InputError(
                f"label {label}: no patch was kept, the most stained one has {best:.0%} tissue and "
                f"{manifest.minimum_tissue:.0%} is asked for; check its slides, or lower the limit with "
                f"{flag}minimum_tissue={math.floor(100 * best) / 100:g}."
            )
