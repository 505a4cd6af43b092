import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbjax.errors import InputError
from nbjax.slides import (
    Tiling,
    check_labels,
    check_unchanged,
    read_manifest,
    read_patches,
    tile_folder,
    write_manifest,
)
from nbjax.slides.tile import grid


@pytest.fixture
def folder(tmp_path):
    """Two labels; the left half of every slide is stained, the right half is glass."""
    rng = np.random.default_rng(1)
    for name in ("D/a.png", "PD/b.png"):
        pixels = np.full((520, 1010, 3), 250, np.uint8)
        pixels[:, :500] = rng.integers(80, 200, (520, 500, 3))
        (tmp_path / name).parent.mkdir()
        PIL.Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


def test_stained_half_is_kept_and_glass_rejected(folder):
    manifest, ignored = tile_folder(folder, Tiling())
    assert ignored == []
    assert manifest.table.num_rows == 2 * 8
    rows = manifest.table.to_pylist()
    for row in rows:
        assert row["kept"] == (row["x"] < 500)
        assert row["reason"] == ("" if row["kept"] else "too little tissue")
    assert [(row["x"], row["y"]) for row in rows[:5]] == [(0, 0), (250, 0), (500, 0), (750, 0), (0, 250)]
    assert manifest.kept().num_rows == 8


def test_patches_are_the_slides_pixels(folder):
    manifest, _ = tile_folder(folder, Tiling())
    whole = {name: np.asarray(PIL.Image.open(folder / name)) for name in manifest.slides}
    seen = []
    for index, pixels in read_patches(folder, manifest.table, 250):
        row = manifest.table.slice(index, 1).to_pylist()[0]
        expected = whole[row["slide"]][row["y"] : row["y"] + 250, row["x"] : row["x"] + 250]
        np.testing.assert_array_equal(pixels, expected)
        seen.append(index)
    assert sorted(seen) == list(range(manifest.table.num_rows))


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(32, 500))
def test_the_grid_fits_and_does_not_overlap(width, height, size):
    corners = list(grid(width, height, size))
    assert len(corners) == (width // size) * (height // size) == len(set(corners))
    assert all(x % size == y % size == 0 and x + size <= width and y + size <= height for x, y in corners)


def test_manifest_survives_parquet_and_csv(folder, tmp_path):
    manifest, _ = tile_folder(folder, Tiling())
    write_manifest(manifest, tmp_path / "m.parquet")
    again = read_manifest(tmp_path / "m.parquet")
    assert again == manifest
    write_manifest(manifest, tmp_path / "m.csv")
    assert pyarrow.csv.read_csv(tmp_path / "m.csv").num_rows == manifest.table.num_rows


def test_damaged_manifests_are_named(folder, tmp_path):
    manifest, _ = tile_folder(folder, Tiling())
    path = tmp_path / "m.parquet"
    with pytest.raises(InputError, match="no such manifest"):
        read_manifest(path)
    pyarrow.parquet.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(InputError, match="not a patch manifest"):
        read_manifest(path)
    write_manifest(manifest, path)
    newer = pyarrow.parquet.read_table(path)
    header = newer.schema.metadata[b"nbjax"].replace(b'"schema_version": 1', b'"schema_version": 99')
    pyarrow.parquet.write_table(newer.replace_schema_metadata({"nbjax": header}), path)
    with pytest.raises(InputError, match="schema version 99"):
        read_manifest(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="not a patch manifest"):
        read_manifest(path)


def test_changed_slides_are_noticed(folder):
    manifest, _ = tile_folder(folder, Tiling())
    check_unchanged(folder, manifest)
    PIL.Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(folder / "D/a.png")
    with pytest.raises(InputError, match=r"D/a\.png: the slide changed"):
        check_unchanged(folder, manifest)
    (folder / "D/a.png").unlink()
    with pytest.raises(InputError, match=r"D/a\.png: the manifest names this slide but it is missing"):
        check_unchanged(folder, manifest)


def test_small_slides_are_refused_unless_allowed(folder):
    PIL.Image.fromarray(np.zeros((100, 300, 3), np.uint8)).save(folder / "D/small.png")
    with pytest.raises(InputError, match=r"small\.png: 300x100 pixels are smaller than one patch"):
        tile_folder(folder, Tiling())
    manifest, _ = tile_folder(folder, Tiling(allow_small_slides=True))
    assert manifest.slides["D/small.png"].width == 300
    assert "D/small.png" not in manifest.table["slide"].to_pylist()


def test_labels_that_cannot_be_classified_are_named(folder):
    PIL.Image.fromarray(np.full((300, 300, 3), 250, np.uint8)).save(folder / "D/a.png")
    manifest, _ = tile_folder(folder, Tiling())
    with pytest.raises(InputError, match="label D: no patch was kept, the most stained one has 0% tissue"):
        check_labels(manifest)
    (folder / "PD/b.png").unlink()
    manifest, _ = tile_folder(folder, Tiling())
    with pytest.raises(InputError, match="one label only"):
        check_labels(manifest)


def test_mixed_resolutions_are_refused(folder, shared, tmp_path):
    svs = (shared / "slides/wsi/CMU-1-Small-Region.svs").read_bytes()
    (folder / "D/wsi.svs").write_bytes(svs)
    # The magnification is text in the file: state twice as many micrometres per pixel, in as many bytes.
    (folder / "PD/wsi.svs").write_bytes(svs.replace(b"MPP = 0.4990", b"MPP = 0.9990"))
    with pytest.raises(InputError, match="differ in resolution"):
        tile_folder(folder, Tiling(minimum_tissue=0.0))
    manifest, _ = tile_folder(folder, Tiling(minimum_tissue=0.0, allow_mixed_resolution=True))
    assert manifest.slides["PD/wsi.svs"].mpp == pytest.approx(0.999)
