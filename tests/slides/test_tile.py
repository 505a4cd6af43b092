import contextlib
import shutil
import threading

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.compute as pc
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
    open_slide,
    read_header,
    read_manifest,
    read_patches,
    remarks,
    tile,
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
    manifest, left_out = tile_folder(folder, Tiling())
    assert left_out == {}
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
    advice = r"small\.png: 300x100 pixels are smaller than one patch .* --set=dataset\.tiling\.patch_size=100, or "
    with pytest.raises(InputError, match=advice):
        tile_folder(folder, Tiling())
    assert tile_folder(folder, Tiling(patch_size=100))[0].slides.keys() == {"D/a.png", "D/small.png", "PD/b.png"}
    with pytest.raises(InputError, match=r" --patch_size=100, or .* --allow_small_slides=True\."):
        tile_folder(folder, Tiling(), flag="--")
    manifest, _ = tile_folder(folder, Tiling(allow_small_slides=True))
    assert manifest.slides["D/small.png"].width == 300
    assert "D/small.png" not in manifest.table["slide"].to_pylist()


def test_labels_that_cannot_be_classified_are_named(folder):
    PIL.Image.fromarray(np.full((300, 300, 3), 250, np.uint8)).save(folder / "D/a.png")
    manifest, _ = tile_folder(folder, Tiling())
    with pytest.raises(InputError, match=r"label D: no patch was kept.* --set=dataset\.tiling\.minimum_tissue=0\."):
        check_labels(manifest)
    one = manifest._replace(table=manifest.table.filter(pa.array([False] * (len(manifest.table) - 1) + [True])))
    with pytest.raises(InputError, match="one label only"):
        check_labels(one)
    (folder / "PD/b.png").unlink()
    with pytest.raises(InputError, match=r"the slides carry one label only \(D\)"):
        tile_folder(folder, Tiling())


def test_mixed_resolutions_are_refused(folder, shared, tmp_path):
    svs = (shared / "slides/wsi/CMU-1-Small-Region.svs").read_bytes()
    (folder / "D/wsi.svs").write_bytes(svs)
    # The magnification is text in the file: state twice as many micrometres per pixel, in as many bytes.
    (folder / "PD/wsi.svs").write_bytes(svs.replace(b"MPP = 0.4990", b"MPP = 0.9990"))
    with pytest.raises(InputError, match="differ in resolution"):
        tile_folder(folder, Tiling(minimum_tissue=0.0))
    manifest, _ = tile_folder(folder, Tiling(minimum_tissue=0.0, allow_mixed_resolution=True))
    assert manifest.slides["PD/wsi.svs"].mpp == pytest.approx(0.999)


def test_all_bad_slides_are_named_before_any_is_tiled(folder):
    grey = np.zeros((300, 300), np.uint8)
    for name in ("D/grey.png", "PD/grey.png"):
        PIL.Image.fromarray(grey).save(folder / name)
    (folder / "PD/empty.jpg").write_bytes(b"")
    PIL.Image.fromarray(np.zeros((30, 300, 3), np.uint8)).save(folder / "D/thin.png")
    with pytest.raises(InputError) as refused:
        tile_folder(folder, Tiling(), progress=lambda files: pytest.fail("began to tile"))
    said = str(refused.value)
    assert "3 of 6 slides" in said
    assert "D/grey.png, PD/grey.png: its colours are grey" in said
    assert "PD/empty.jpg: the file is empty" in said
    assert "D/thin.png: 300x30 pixels are smaller than one patch" in said


def cut(path):
    """Takes a file's second half away."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def counting_opens(monkeypatch):
    opened = []

    def opening(path):
        opened.append(path.name)
        return open_slide(path)

    monkeypatch.setattr(tile, "open_slide", opening)
    return opened


def test_what_was_tiled_is_kept_when_another_slide_is_damaged(folder, tmp_path, monkeypatch):
    out = tmp_path / "manifest.parquet"
    whole = (folder / "D/a.png").read_bytes()
    cut(folder / "D/a.png")
    with pytest.raises(InputError, match=r"D/a\.png: not a readable image .* What was tiled of the others is kept\."):
        tile_folder(folder, Tiling(), out=out)
    assert not out.exists()
    (folder / "D/a.png").write_bytes(whole)
    opened = counting_opens(monkeypatch)
    manifest, _ = tile_folder(folder, Tiling(), out=out)
    assert opened == ["a.png"]
    assert [path.name for path in tmp_path.glob("*.parquet")] == ["manifest.parquet"]
    assert read_manifest(out) == manifest == tile_folder(folder, Tiling())[0]


def test_an_interrupted_call_keeps_what_it_tiled(folder, tmp_path, monkeypatch):
    def stopped(files):
        yield files[0]
        yield files[1]
        raise KeyboardInterrupt

    PIL.Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(folder / "PD/c.png")
    with pytest.raises(KeyboardInterrupt):
        tile_folder(folder, Tiling(), progress=stopped, out=tmp_path / "m.parquet")
    opened = counting_opens(monkeypatch)
    tile_folder(folder, Tiling(), out=tmp_path / "m.parquet")
    assert set(opened) <= {"b.png", "c.png"}


def test_slides_are_tiled_again_only_where_something_changed(folder, tmp_path, monkeypatch):
    out = tmp_path / "manifest.parquet"
    first, _ = tile_folder(folder, Tiling(), out=out)
    content = out.read_bytes()
    opened = counting_opens(monkeypatch)
    assert tile_folder(folder, Tiling(), out=out)[0] == first
    assert (opened, out.read_bytes()) == ([], content)
    # A slide of another name is the same slide, as long as its bytes are.
    (folder / "PD/b.png").rename(folder / "PD/c.png")
    moved, _ = tile_folder(folder, Tiling(), out=out)
    assert opened == []
    assert moved.table["family"].to_pylist() == ["D/a"] * 8 + ["PD/c"] * 8
    PIL.Image.fromarray(np.full((520, 1010, 3), 90, np.uint8)).save(folder / "D/a.png")
    tile_folder(folder, Tiling(), out=out)
    assert opened == ["a.png"]
    for other in (Tiling(minimum_tissue=0.3), Tiling(patch_size=200)):
        opened.clear()
        assert tile_folder(folder, other, out=out)[0] == tile_folder(folder, other)[0]
        assert sorted(set(opened)) == ["a.png", "c.png"]
    # What is damaged is no help, and no harm.
    out.write_bytes(out.read_bytes()[:-200])
    assert tile_folder(folder, Tiling(), out=out)[0] == tile_folder(folder, Tiling())[0]


@pytest.mark.parametrize("cores", [1, 7])
def test_cores_change_neither_the_manifest_nor_the_memory(folder, monkeypatch, cores):
    expected, _ = tile_folder(folder, Tiling())
    lock, sizes = threading.Lock(), []
    now = [0]

    @contextlib.contextmanager
    def opening(path):
        with open_slide(path) as slide:
            with lock:
                now[0] += read_header(path).memory
                sizes.append(now[0])
            yield slide
            with lock:
                now[0] -= read_header(path).memory

    monkeypatch.setattr(tile, "open_slide", opening)
    monkeypatch.setattr(tile.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(tile, "OPEN_BYTES", 5_000_000)
    for copy in range(6):
        shutil.copy(folder / "D/a.png", folder / f"D/copy {copy}.png")
    manifest, _ = tile_folder(folder, Tiling())
    assert manifest.table.filter(pc.is_in(manifest.table["slide"], pa.array(["D/a.png", "PD/b.png"]))) == expected.table
    # An open slide takes 2.1 MB here.
    assert max(sizes) <= 5_000_000


def test_remarks_name_what_a_reader_should_know(folder):
    assert remarks(tile_folder(folder, Tiling(patch_size=130))[0]) == [
        "9.9% of the slides' pixels are lost beyond the grid of 130x130 patches, at the right and lower borders; "
        "most of D/a.png: 9.9%"
    ]
    PIL.Image.fromarray(np.full((260, 260, 3), 250, np.uint8)).save(folder / "D/glass.png", dpi=(101_600, 101_600))
    without, _, mixed = remarks(tile_folder(folder, Tiling())[0])
    assert without == "1 of 3 slides gave no patch: D/glass.png"
    assert mixed.startswith(
        "Of 3 slides 1 state a resolution (such as D/glass.png: 0.25 micrometres per pixel) and 2 none (D/a"
    )


def test_every_slide_has_one_resolution_or_it_is_said(folder):
    for name, per_inch in (("D/x.png", 101_600), ("PD/y.png", 50_800)):
        PIL.Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(folder / name, dpi=(per_inch, per_inch))
    advice = r"D/x\.png has 0\.250 and PD/y\.png 0\.500 .* --set=dataset\.tiling\.allow_mixed_resolution=True\."
    with pytest.raises(InputError, match=advice):
        tile_folder(folder, Tiling())
    assert tile_folder(folder, Tiling(allow_mixed_resolution=True))[0].slides["PD/y.png"].mpp == pytest.approx(0.5)
