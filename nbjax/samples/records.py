"""What is written of a patch: its records, plainly or on Apache Beam."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa

from nbjax.samples.plan import SamplePlan
from nbjax.samples.standardise import Standardisation, standardise
from nbjax.samples.transforms import TRANSFORMS, apply_transform
from nbjax.slides.tile import read_patches

# Level 1 packs H&E patches within a few percent of level 6 and is several times faster.
PNG_LEVEL = 1
# On Beam: a step's records should take a few megabytes.
PATCHES_A_STEP = 16
# For an estimate of the dataset's size; with names, numbers and the file's own index a record takes a little more.
PATCHES_LOOKED_AT = 16
RECORD_BYTES = 300
TFDS_MEMORY = 1000 * 2**20
Record = tuple[str, dict[str, Any]]


def records_of_patch(
    pixels: np.ndarray, row: dict[str, Any], transforms: np.ndarray, storage: str, moments: Standardisation
) -> list[Record]:
    """Keys and records of one patch, with its image encoded, so that TFDS needs no TensorFlow to write it.

    Args:
        pixels: uint8 `[S, S, 3]`.
        row: of the manifest.
        transforms: those under which it is a sample.
        storage: `samples`: a PNG a sample; `standardised`: its float32 pixels; `compact`: a PNG of the patch, and in
            `transforms` a 1 for each transform under which it is a sample of this split.
        moments: of the split.
    """
    place = {name: row[name] for name in ("label", "family", "slide", "x", "y")}
    key = f"{row['slide']}/{row['y']}/{row['x']}"
    if storage == "compact":
        mask = np.zeros(len(TRANSFORMS), np.int32)
        mask[transforms] = 1
        return [(key, {"image": _png(pixels), **place, "transforms": mask})]
    encode = partial(standardise, standardisation=moments) if storage == "standardised" else _png
    return [
        (f"{key}/{transform}", {"image": encode(apply_transform(pixels, transform)), **place, "transform": transform})
        for transform in transforms.tolist()
    ]


def estimate_bytes(folder: Path, plan: SamplePlan, patch_size: int, storage: str) -> int:
    """About how many bytes of disk a dataset takes while it is written: from a few of its patches, and a tenth more.

    Args:
        folder: of the slides.
        plan: the samples.
        patch_size: pixels of a patch's edge.
        storage: as for `records_of_patch`.
    """
    looked_at = np.unique(np.linspace(0, plan.patches.num_rows - 1, PATCHES_LOOKED_AT).astype(int))
    table = plan.patches.take(looked_at)
    if storage == "standardised":
        sizes = [patch_size**2 * 3 * np.dtype(np.float32).itemsize]
    else:
        sizes = [_png(pixels).getbuffer().nbytes for _, pixels in read_patches(folder, table, patch_size)]
    placed = np.unique(np.stack([plan.patch, plan.split]), axis=1).shape[1]
    records = placed if storage == "compact" else len(plan.patch)
    total = int(records * (1.1 * float(np.mean(sizes)) + RECORD_BYTES))
    # TFDS sorts what is larger on the disk.
    return total if total < TFDS_MEMORY else 2 * total


def _png(pixels: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=PNG_LEVEL)
    file.seek(0)
    return file


def records_of_slide(
    folder: Path, table: pa.Table, transforms: list[np.ndarray], size: int, encode: Callable[..., list[Record]]
) -> Any:
    """A Beam transform that gives the records of `table`, a few patches of one slide a step.

    Args:
        folder: of the slides; every worker must see it.
        table: rows of the manifest, by slide.
        transforms: of each row.
        size: pixels of a patch's edge.
        encode: `records_of_patch` but for its first three arguments.
    """
    import apache_beam as beam

    names = np.asarray(table["slide"].to_pylist())
    steps = []
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        for rows_of_step in np.array_split(rows, -(-len(rows) // PATCHES_A_STEP)):
            steps.append((table.take(rows_of_step).to_pylist(), [transforms[row] for row in rows_of_step]))
    return beam.Create(steps) | beam.Reshuffle() | beam.FlatMap(partial(_records, folder, size, encode))


def _records(
    folder: Path, size: int, encode: Callable[..., list[Record]], step: tuple[list[dict[str, Any]], list[np.ndarray]]
) -> Iterator[Record]:
    rows, transforms = step
    for index, pixels in read_patches(folder, pa.Table.from_pylist(rows), size):
        yield from encode(pixels, rows[index], transforms[index])
