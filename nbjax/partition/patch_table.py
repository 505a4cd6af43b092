"""A table of patches and their splits, of any program: checked before a pixel is read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from nbjax.errors import InputError
from nbjax.partition.inputs import SPLITS
from nbjax.slides.header import read_header
from nbjax.table import Table, read_table, texts, whole_numbers

COLUMNS = ("slide", "family", "label", "x", "y", "split")


def read_patch_table(path: str | Path) -> pa.Table:
    """Reads a row a patch: `slide`, `family`, `label` as text, `x`, `y` as int64, `split` as one of `SPLITS`.

    Returns:
        The columns of `COLUMNS`, by slide and otherwise in the file's order.

    Raises:
        InputError: what `nbjax.table` refuses; a corner left of or above the slide; an unknown split; one split alone;
            a patch that is listed twice in one split; labels that differ in capitals alone.
    """
    table = read_table(path, COLUMNS)
    names = {name: texts(table, name) for name in ("slide", "family", "label", "split")}
    corners = {name: whole_numbers(table, name) for name in ("x", "y")}
    for name, values in corners.items():
        for index in np.flatnonzero(values < 0)[:1].tolist():
            raise InputError(
                f"{table.path}: {table.row(index)} has {values[index]} in the column {name}; expected a pixel of the "
                "slide, 0 or more."
            )
    _check_splits(table, names["split"])
    _check_labels(table, names["label"])
    _check_twice(
        table, list(zip(names["slide"], *(corners[name].tolist() for name in ("x", "y")), names["split"], strict=True))
    )
    columns = names | corners
    return pa.table({name: columns[name] for name in COLUMNS}).sort_by("slide")


def _check_splits(table: Table, splits: Sequence[str]) -> None:
    for index, split in enumerate(splits):
        if split not in SPLITS:
            raise InputError(
                f"{table.path}: {table.row(index)} has {split!r} in the column split; expected {', '.join(SPLITS)}."
            )
    if len(set(splits)) == 1:
        raise InputError(
            f"{table.path}: every patch is in {splits[0]}; expected two splits or more, between which to look."
        )


def _check_labels(table: Table, labels: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for label in dict.fromkeys(labels):
        other = seen.setdefault(label.casefold(), label)
        if other != label:
            raise InputError(
                f"{table.path}: the column label has both {other!r} and {label!r}; write one label in one way."
            )


def _check_twice(table: Table, places: list[tuple[str, int, int, str]]) -> None:
    """A patch in two splits is a finding; twice in one, the table is not a row a patch."""
    first: dict[tuple[str, int, int, str], int] = {}
    for index, place in enumerate(places):
        if first.setdefault(place, index) != index:
            slide, x, y, split = place
            raise InputError(
                f"{table.path}: {table.row(first[place])} and {table.row(index)} are one patch ({slide} at x={x}, "
                f"y={y}, {split}); expected a row a patch."
            )


def check_places(patches: pa.Table, folder: str | Path, patch_size: int) -> None:
    """Checks that every patch lies inside a slide of the folder, before any is read.

    Args:
        patches: columns slide, x and y, as `read_patch_table` gives them.
        folder: of the slides.
        patch_size: pixels of a patch's edge.

    Raises:
        InputError: no such folder or slide, a slide outside the folder, a patch that reaches beyond its slide.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"{folder}: there is no such folder of slides; give with --slides the one that the table's slides lie in."
        )
    slides = np.asarray(patches["slide"].to_pylist(), dtype=object)
    x, y = (patches[name].to_numpy() for name in ("x", "y"))
    names = sorted(set(slides.tolist()))
    missing = [name for name in names if _outside(name) or not (folder / name).is_file()]
    if missing:
        others = f" and {len(missing) - 1} others of the table" if missing[1:] else ""
        raise InputError(
            f"{folder}: there is no slide {missing[0]}{others}; the column slide must hold paths below --slides, as "
            "D/slide1.png."
        )
    for name in names:
        header = read_header(folder / name)
        size = (header.width, header.height)
        rows = slides == name
        for corner, values, edge in (("x", x, size[0]), ("y", y, size[1])):
            beyond = values[rows & (values > edge - patch_size)]
            if beyond.size:
                raise InputError(
                    f"{folder / name}: the patch at {corner}={beyond[0]} with an edge of {patch_size} pixels reaches "
                    f"beyond the slide, which has {size[0]}x{size[1]}; correct the table, or say the patches' size "
                    "with --patch_size."
                )


def _outside(name: str) -> bool:
    return Path(name).is_absolute() or ".." in Path(name).parts


def shared_slides(patches: pa.Table) -> list[str]:
    """Slides whose patches are of several families, by name: right for a slide that holds several patients, else a
    mistake.
    """
    families: dict[str, set[str]] = {}
    for slide, family in zip(patches["slide"].to_pylist(), patches["family"].to_pylist(), strict=True):
        families.setdefault(slide, set()).add(family)
    return sorted(slide for slide, of_slide in families.items() if len(of_slide) > 1)
