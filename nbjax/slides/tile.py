"""Slides to patches: a grid without overlap from each slide's top-left corner (paper III.A)."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from nbjax.errors import InputError
from nbjax.fields import check, check_types
from nbjax.files import sha256
from nbjax.slides.manifest import SCHEMA, Manifest, SlideRecord
from nbjax.slides.reader import SlideFile, find_slides, open_slide
from nbjax.slides.tissue import MINIMUM_TISSUE, tissue_fraction
from nbjax.threads import map_ahead

PATCH_SIZE = 250
# Scanners of one model differ by about 1 %; a 20x and a 40x scan differ by 100 %.
RESOLUTION_TOLERANCE = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiling:
    """How slides become patches.

    Attributes:
        patch_size: pixels at level 0; what is left at the right and lower borders is lost.
        minimum_tissue: in [0, 1]; a patch with a smaller stained fraction is rejected.
        allow_mixed_resolution: accept slides whose files state different micrometres per pixel.
        allow_small_slides: accept slides smaller than a patch; the manifest then lists them without any patch.
    """

    patch_size: int = PATCH_SIZE
    minimum_tissue: float = MINIMUM_TISSUE
    allow_mixed_resolution: bool = False
    allow_small_slides: bool = False

    def __post_init__(self) -> None:
        """Raises InputError where a field is of another type or out of its range."""
        check_types(self)
        check(self.patch_size >= 32, "patch_size", self.patch_size, "at least 32 pixels")
        check(0 <= self.minimum_tissue <= 1, "minimum_tissue", self.minimum_tissue, "a fraction from 0 to 1")


def tile_folder(
    folder: str | Path,
    tiling: Tiling,
    progress: Callable[[Sequence[SlideFile]], Iterable[SlideFile]] = iter,
) -> tuple[Manifest, list[str]]:
    """Tiles every slide of a labelled folder.

    Args:
        folder: `<label>/<slide>.<ext>` or `<label>/<family>/<slide>.<ext>`.
        tiling: patch size and what is accepted.
        progress: wraps the list of slides, for a progress bar.

    Returns:
        The manifest, and the names of files in the folder that are not slides.

    Raises:
        InputError: see `find_slides` and `open_slide`; a slide smaller than a patch; mixed resolutions.
    """
    files, ignored = find_slides(folder)
    rows: list[dict] = []
    slides = {}
    tiled = map_ahead(lambda file: _tile_slide(Path(folder) / file.name, file, tiling), files)
    for file, (record, of_slide) in zip(progress(files), tiled, strict=True):
        slides[file.name] = record
        rows.extend(of_slide)
    if not tiling.allow_mixed_resolution:
        _check_resolution(slides.values())
    return Manifest(pa.Table.from_pylist(rows, SCHEMA), slides, tiling.patch_size, tiling.minimum_tissue), ignored


def _tile_slide(path: Path, file: SlideFile, tiling: Tiling) -> tuple[SlideRecord, list[dict]]:
    """What the manifest holds of one slide, and of its patches."""
    size = tiling.patch_size
    rows = []
    with open_slide(path) as slide:
        if min(slide.width, slide.height) < size and not tiling.allow_small_slides:
            raise InputError(
                f"{path}: {slide.width}x{slide.height} pixels are smaller than one patch ({size}x{size}); "
                "remove the slide, scan it larger, or set allow_small_slides."
            )
        for x, y in grid(slide.width, slide.height, size):
            tissue = tissue_fraction(slide.read(x, y, size, size))
            kept = tissue >= tiling.minimum_tissue
            reason = "" if kept else "too little tissue"
            rows.append({**_columns(file), "x": x, "y": y, "tissue": tissue, "kept": kept, "reason": reason})
        return SlideRecord(file.name, sha256(path), slide.width, slide.height, slide.mpp), rows


def _columns(file: SlideFile) -> dict[str, str]:
    return {"slide": file.name, "family": file.family, "label": file.label}


def grid(width: int, height: int, patch_size: int) -> Iterator[tuple[int, int]]:
    """Top-left corners (x, y) of the whole patches of a slide, in row-major order."""
    for y in range(0, height - patch_size + 1, patch_size):
        for x in range(0, width - patch_size + 1, patch_size):
            yield x, y


def _check_resolution(slides: Iterable[SlideRecord]) -> None:
    known = sorted((record.mpp, record.name) for record in slides if record.mpp is not None)
    if known and known[-1][0] > known[0][0] * (1 + RESOLUTION_TOLERANCE):
        raise InputError(
            f"the slides differ in resolution: {known[0][1]} has {known[0][0]:.3f} and {known[-1][1]} {known[-1][0]:.3f} "
            "micrometres per pixel; rescan or resample them alike, or set allow_mixed_resolution."
        )


def read_patches(folder: str | Path, table: pa.Table, patch_size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Reads patches slide by slide, each slide opened once.

    Args:
        folder: the slides' folder.
        table: manifest rows (columns slide, x, y).
        patch_size: pixels.

    Yields:
        The row's index in `table` and its pixels, uint8 `[patch_size, patch_size, 3]`.
    """
    names = np.asarray(table["slide"].to_pylist(), dtype=object)
    xs, ys = table["x"].to_numpy(), table["y"].to_numpy()
    for name in sorted(set(names)):
        with open_slide(Path(folder) / name) as slide:
            for row in np.flatnonzero(names == name):
                yield int(row), slide.read(int(xs[row]), int(ys[row]), patch_size, patch_size)


def check_unchanged(folder: str | Path, manifest: Manifest) -> None:
    """Checks that the slides are those the manifest was made from.

    Raises:
        InputError: a slide is missing or its bytes differ.
    """
    for record in manifest.slides.values():
        path = Path(folder) / record.name
        if not path.is_file():
            raise InputError(
                f"{path}: the manifest names this slide but it is missing; restore it or tile the folder again."
            )
        if sha256(path) != record.sha256:
            raise InputError(
                f"{path}: the slide changed since the manifest was made; restore it or tile the folder again."
            )
