"""Slides to a patch manifest: one row a patch, kept or rejected and why.

    python -m experiments.tile --slides=FOLDER --out=manifest.parquet
    python -m experiments.tile --slides=FOLDER --out=manifest.parquet --csv

Slides that lie in the manifest already, tiled in the same way, are not tiled again.
`--csv` writes the same rows beside it for a spreadsheet; programs here read the Parquet, which also holds each slide's
size and checksum.
"""

from collections import Counter
from pathlib import Path

from absl import flags

from experiments.cli import run
from nbjax.errors import InputError
from nbjax.files import check_file
from nbjax.progress import bar
from nbjax.slides.folder import left_out_sentences
from nbjax.slides.manifest import check_labels, check_own, remarks, write_manifest
from nbjax.slides.nuclei import compare_magnifications
from nbjax.slides.tile import Tiling, tile_folder

SLIDES = flags.DEFINE_string("slides", None, "folder of <label>/<slide> or <label>/<family>/<slide>")
OUT = flags.DEFINE_string("out", "manifest.parquet", "the manifest to write")
CSV = flags.DEFINE_bool("csv", False, "write the rows as CSV too")
PATCH_SIZE = flags.DEFINE_integer("patch_size", Tiling.patch_size, "pixels")
MINIMUM_TISSUE = flags.DEFINE_float("minimum_tissue", Tiling.minimum_tissue, "least share of tissue of a kept patch")
MIXED = flags.DEFINE_bool("allow_mixed_resolution", False, "accept slides of different micrometres per pixel")
SMALL = flags.DEFINE_bool("allow_small_slides", False, "accept slides smaller than a patch; they give none")


def main() -> None:
    """Tiles the folder that the flags name."""
    if SLIDES.value is None:
        raise InputError("--slides is missing; give the folder of labelled slides.")
    out = Path(OUT.value)
    if out.suffix != ".parquet":
        raise InputError(f"--out={out}: a manifest is a Parquet file; give a name that ends in .parquet.")
    check_file(out)
    paths = [out, out.with_suffix(".csv")] if CSV.value else [out]
    for path in paths:
        check_own(path)
    out.parent.mkdir(parents=True, exist_ok=True)
    tiling = Tiling(
        patch_size=PATCH_SIZE.value,
        minimum_tissue=MINIMUM_TISSUE.value,
        allow_mixed_resolution=MIXED.value,
        allow_small_slides=SMALL.value,
    )
    manifest, left_out = tile_folder(SLIDES.value, tiling, lambda files: bar(files, "tiling", "slide"), out, flag="--")
    for sentence in (*left_out_sentences(left_out), *remarks(manifest)):
        print(sentence)
    check_labels(manifest, flag="--")
    kept = Counter(manifest.kept()["label"].to_pylist())
    for label, patches in sorted(Counter(manifest.table["label"].to_pylist()).items()):
        print(f"{label}: {kept[label]} of {patches} patches kept")
    if warning := compare_magnifications(SLIDES.value, manifest, tiling, flag="--"):
        print(f"caution: {warning}")
    for path in paths[1:]:
        write_manifest(manifest, path)
    print(f"\nmanifest: {', '.join(map(str, paths))}")


if __name__ == "__main__":
    run(main)
