import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbjax.slides import Tiling, magnification_warning, nuclear_width, nuclear_widths, open_slide, tile_folder

FLAG = "--allow_mixed_resolution"


def cells(size, width, seed=0):
    """Pink tissue with round nuclei of a given width beside glass: uint8 `[size, size, 3]`."""
    rng = np.random.default_rng(seed)
    picture = PIL.Image.new("RGB", (4 * size, 4 * size), (225, 165, 200))
    drawing = PIL.ImageDraw.Draw(picture)
    for x, y in rng.uniform(0, 4 * size, (int(0.25 * (size / width) ** 2), 2)):
        drawing.ellipse((x, y, x + 4 * width, y + 4 * width), fill=(90, 50, 130))
    drawing.rectangle((0, 0, size, 4 * size), fill=(245, 243, 246))
    small = np.asarray(picture.resize((size, size), PIL.Image.Resampling.BOX)).astype(float)
    return np.clip(small + rng.normal(0, 2, small.shape), 0, 255).astype(np.uint8)


def reduced(pixels, factor):
    return PIL.Image.fromarray(pixels).reduce(factor)


@pytest.mark.parametrize("gain", [1.0, 0.6])
def test_the_width_follows_the_nuclei(gain):
    widths = [nuclear_width([(cells(250, width) * gain).astype(np.uint8)]) for width in (6, 9, 12)]
    assert widths[1] / widths[0] == pytest.approx(9 / 6, rel=0.15)
    assert widths[2] / widths[0] == pytest.approx(2, rel=0.2)


def test_nothing_to_measure_on_one_colour():
    assert nuclear_width([np.full((100, 100, 3), 200, np.uint8)]) is None


@given(st.lists(st.floats(8, 12), max_size=8), st.lists(st.floats(4, 6), min_size=1, max_size=7))
def test_a_group_of_half_the_size_is_named(large, small):
    widths = {f"large {i}": width for i, width in enumerate(large)}
    assert magnification_warning(widths, FLAG) is None
    widths |= {f"small {i}": width * 0.75 for i, width in enumerate(small)}
    warning = magnification_warning(widths, FLAG)
    if large:
        fewer = "small" if len(small) <= len(large) else "large"
        assert f"on {min(len(small), len(large))} of {len(widths)} slides ({fewer} 0" in warning
        assert FLAG in warning
    else:
        assert warning is None


def widths_of(folder, patch_size):
    tiling = Tiling(patch_size=patch_size, allow_mixed_resolution=True)
    return nuclear_widths(folder, tile_folder(folder, tiling)[0])


def test_a_scan_beside_its_reductions_is_noticed(shared, tmp_path):
    with open_slide(shared / "slides/wsi/CMU-1-Small-Region.svs") as slide:
        region = slide.read(500, 500, 1000, 1000)
    for label, factor in (("A", 1), ("A", 2), ("B", 4)):
        (tmp_path / label).mkdir(exist_ok=True)
        reduced(region, factor).save(tmp_path / label / f"{factor}.png")
    warning = magnification_warning(widths_of(tmp_path, 250), FLAG)
    assert "times as large on 1 of 3 slides (A/1.png)" in warning


@pytest.mark.parametrize("halved", [False, True])
def test_real_slides_of_one_magnification_are_not_accused(shared, tmp_path, halved):
    source = shared / "slides/breakhis100x"
    files = sorted(source.glob("*/*/*.png"))[::8]
    for index, path in enumerate(files):
        target = tmp_path / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        picture = PIL.Image.open(path).convert("RGB")
        (picture.reduce(2) if halved and index % 2 else picture).save(target)
    warning = magnification_warning(widths_of(tmp_path, 224), FLAG)
    assert (warning is not None) == halved
