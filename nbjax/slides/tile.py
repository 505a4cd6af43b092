"""Slides to patches: a grid without overlap from each slide's top-left corner (paper III.A)."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nbjax.errors import InputError
from nbjax.fields import check, check_types
from nbjax.files import damage, printable, remove_sealed, sha256
from nbjax.progress import say
from nbjax.slides.folder import SlideFile, find_slides
from nbjax.slides.header import Header, read_header
from nbjax.slides.manifest import SCHEMA, TILING_FLAG, Manifest, SlideRecord, read_manifest, write_manifest
from nbjax.slides.reader import open_slide
from nbjax.slides.tissue import MINIMUM_TISSUE, TISSUE_RULE, tissue_fraction
from nbjax.threads import map_ahead

PATCH_SIZE = 250
LEAST_PATCH_SIZE = 32
# Scanners of one model differ by about 1 %; a 20x and a 40x scan differ by 100 %.
RESOLUTION_TOLERANCE = 0.1
# Slides that are open at once take no more memory than this together, whatever the number of cores; a plain image that
# takes more is decoded alone.
OPEN_BYTES = 256 * 2**20
PATCH_COLUMNS = ["x", "y", "tissue", "kept", "reason"]
PATCH_SCHEMA = pa.schema([SCHEMA.field(name) for name in PATCH_COLUMNS])


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
        least = LEAST_PATCH_SIZE
        check(self.patch_size >= least, "patch_size", self.patch_size, f"at least {least} pixels")
        check(0 <= self.minimum_tissue <= 1, "minimum_tissue", self.minimum_tissue, "a fraction from 0 to 1")


class TiledSlide(NamedTuple):
    """What is kept of a slide.

    Attributes:
        sha256: of the file's bytes.
        patches: columns x, y, tissue, kept and reason of `SCHEMA`.
    """

    sha256: str
    patches: pa.Table


def tile_folder(
    folder: str | Path,
    tiling: Tiling,
    progress: Callable[[Sequence[SlideFile]], Iterable[SlideFile]] = iter,
    out: str | Path | None = None,
    flag: str = TILING_FLAG,
) -> tuple[Manifest, dict[str, str]]:
    """Tiles every slide of a labelled folder.

    All headers are read before any pixel. A slide whose bytes (by sha256) are in the manifest `out`, tiled in the same
    way, is not tiled again. Slides whose pixels turn out to be damaged do not stop the others: what was tiled is kept
    beside `out` until the next call, which need not do it again; so it is where the call is interrupted.

    Args:
        folder: `<label>/<slide>.<ext>` or `<label>/<family>/<slide>.<ext>`.
        tiling: patch size and what is accepted.
        progress: wraps the list of slides, for a progress bar.
        out: the Parquet manifest to write; None writes and reuses none.
        flag: how the caller's command line names a field of `tiling`, for advice.

    Returns:
        The manifest, and what was left out of the folder, see `find_slides`.

    Raises:
        InputError: see `find_slides` and `read_header`, one message for all slides; a slide smaller than a patch; mixed
            resolutions; slides of one label only.
    """
    folder, out = Path(folder), Path(out) if out is not None else None
    files, left_out = find_slides(folder)
    labels = sorted({file.label for file in files})
    if len(labels) < 2:
        raise InputError(
            f"{printable(folder)}: the slides carry one label only ({printable(labels[0])}); expected a folder for "
            "each of two or more labels."
        )
    headers = _read_headers(folder, files, tiling, flag)
    if not tiling.allow_mixed_resolution:
        _check_resolution(headers, flag)
    unfinished = out.with_name(f"{out.stem}.unfinished.parquet") if out else None
    known = _known_slides([path for path in (out, unfinished) if path], tiling)
    tiled: dict[str, TiledSlide] = {}
    failures: dict[str, str] = {}
    try:
        _tile_all(folder, files, headers, tiling, known, progress, tiled, failures)
    finally:
        if unfinished and tiled and len(tiled) < len(files):
            write_manifest(_manifest(files, headers, tiled, tiling), unfinished)
    if failures:
        raise InputError(
            _name_all(folder, failures, len(files)) + (" What was tiled of the others is kept." if unfinished else "")
        )
    manifest = _manifest(files, headers, tiled, tiling)
    if out and unfinished:
        write_manifest(manifest, out)
        remove_sealed(unfinished)
    return manifest, left_out


def _read_headers(folder: Path, files: list[SlideFile], tiling: Tiling, flag: str) -> dict[str, Header]:
    """Headers by name; InputError names every slide that cannot be used."""
    headers, failures = {}, {}
    for file in files:
        try:
            headers[file.name] = read_header(folder / file.name)
        except InputError as error:
            failures[file.name] = str(error)
    messages = [_name_all(folder, failures, len(files))] if failures else []
    if not tiling.allow_small_slides:
        messages += _small_slides(folder, headers, tiling.patch_size, flag)
    if messages:
        raise InputError(" ".join(messages))
    return headers


def _small_slides(folder: Path, headers: dict[str, Header], size: int, flag: str) -> list[str]:
    """A sentence on slides smaller than a patch, with a patch that fits them all; none where there are none."""
    small = sorted((min(header.width, header.height), name) for name, header in headers.items())
    small = [(edge, name) for edge, name in small if edge < size]
    if not small:
        return []
    edge, name = small[0]
    what = f"{headers[name].width}x{headers[name].height} pixels"
    advice = (
        f"cut smaller patches with {flag}patch_size={edge}" if edge >= LEAST_PATCH_SIZE else "remove what is no slide"
    )
    if len(small) == 1:
        start = f"{printable(folder / name)}: {what} are smaller than one patch ({size}x{size})"
    else:
        start = (
            f"{len(small)} of {len(headers)} slides in {printable(folder)} are smaller than one patch ({size}x{size}), "
            f"{name} with {what} is the smallest"
        )
    # Where no slide holds a patch there is nothing to go on with.
    instead = (
        f", or accept slides without a patch with {flag}allow_small_slides=True" if len(small) < len(headers) else ""
    )
    return [f"{start}; {advice}{instead}."]


def _name_all(folder: Path, failures: dict[str, str], total: int) -> str:
    """One message that names every slide that failed, those with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, message in failures.items():
        by_reason.setdefault(message.removeprefix(f"{printable(folder / name)}: "), []).append(printable(name))
    if len(failures) == 1:
        return next(iter(failures.values()))
    reasons = [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    return f"{len(failures)} of {total} slides in {printable(folder)} cannot be used. {' '.join(reasons)}"


def _check_resolution(headers: dict[str, Header], flag: str) -> None:
    known = sorted((header.mpp, name) for name, header in headers.items() if header.mpp is not None)
    if known and known[-1][0] > known[0][0] * (1 + RESOLUTION_TOLERANCE):
        raise InputError(
            f"the slides differ in resolution: {known[0][1]} has {known[0][0]:.3f} and {known[-1][1]} "
            f"{known[-1][0]:.3f} micrometres per pixel; rescan or resample them alike, or accept it with "
            f"{flag}allow_mixed_resolution=True."
        )


def _known_slides(paths: list[Path], tiling: Tiling) -> dict[str, TiledSlide]:
    """What earlier calls tiled in the same way, by sha256; a manifest that is damaged or another's is no help."""
    known: dict[str, TiledSlide] = {}
    for path in paths:
        if not path.is_file():
            continue
        harm = damage(path)
        if harm is not None:
            say(f"{path} {harm}; its slides are tiled again.")
            continue
        try:
            earlier = read_manifest(path)
        except InputError:
            continue
        if (earlier.patch_size, earlier.minimum_tissue, earlier.tissue_rule) == (
            tiling.patch_size,
            tiling.minimum_tissue,
            TISSUE_RULE,
        ):
            names = np.asarray(earlier.table["slide"].to_pylist(), dtype=object)
            patches = earlier.table.select(PATCH_COLUMNS)
            for record in earlier.slides.values():
                known[record.sha256] = TiledSlide(record.sha256, patches.take(np.flatnonzero(names == record.name)))
    return known


def _tile_all(
    folder: Path,
    files: list[SlideFile],
    headers: dict[str, Header],
    tiling: Tiling,
    known: dict[str, TiledSlide],
    progress: Callable[[Sequence[SlideFile]], Iterable[SlideFile]],
    tiled: dict[str, TiledSlide],
    failures: dict[str, str],
) -> None:
    """Fills `tiled` by name, and `failures` with a sentence for each slide whose pixels cannot be read."""
    cores = os.cpu_count() or 1
    at_once = OPEN_BYTES // max(header.memory for header in headers.values())
    # Where memory allows fewer slides at once than there are cores, the others work on the same slides' patches.
    threads = cores // max(1, min(at_once, len(files)))

    def tile(file: SlideFile) -> TiledSlide | str:
        try:
            return _tile_slide(folder / file.name, tiling, known, threads)
        except InputError as error:
            return str(error)

    results = map_ahead(tile, files, cost=lambda file: headers[file.name].memory, most=OPEN_BYTES)
    for file, result in zip(progress(files), results, strict=True):
        if isinstance(result, str):
            failures[file.name] = result
        else:
            tiled[file.name] = result


def _tile_slide(path: Path, tiling: Tiling, known: dict[str, TiledSlide], threads: int) -> TiledSlide:
    digest = sha256(path)
    if digest in known:
        return known[digest]
    size = tiling.patch_size
    with open_slide(path) as slide:

        def measure(corner: tuple[int, int]) -> dict:
            tissue = tissue_fraction(slide.read(*corner, size, size))
            kept = tissue >= tiling.minimum_tissue
            reason = "" if kept else "too little tissue"
            return {"x": corner[0], "y": corner[1], "tissue": tissue, "kept": kept, "reason": reason}

        corners = grid(slide.width, slide.height, size)
        rows = list(map_ahead(measure, corners, threads) if threads > 1 else map(measure, corners))
    return TiledSlide(digest, pa.Table.from_pylist(rows, PATCH_SCHEMA))


def _manifest(
    files: list[SlideFile], headers: dict[str, Header], tiled: dict[str, TiledSlide], tiling: Tiling
) -> Manifest:
    """The manifest of the slides that were tiled, in the order of `files`."""
    tables, slides = [SCHEMA.empty_table()], {}
    for file in files:
        if file.name in tiled:
            digest, patches = tiled[file.name]
            header = headers[file.name]
            slides[file.name] = SlideRecord(file.name, digest, header.width, header.height, header.mpp)
            place = [
                pa.array([value] * patches.num_rows, pa.string()) for value in (file.name, file.family, file.label)
            ]
            tables.append(pa.table([*place, *patches.columns], SCHEMA))
    table = pa.concat_tables(tables).combine_chunks()
    return Manifest(table, slides, tiling.patch_size, tiling.minimum_tissue, TISSUE_RULE)


def grid(width: int, height: int, patch_size: int) -> Iterator[tuple[int, int]]:
    """Top-left corners (x, y) of the whole patches of a slide, in row-major order."""
    for y in range(0, height - patch_size + 1, patch_size):
        for x in range(0, width - patch_size + 1, patch_size):
            yield x, y


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
