"""Files as other programs write them (tifffile, Pillow), and what their headers must be found to say."""

import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from nbjax.errors import InputError
from nbjax.slides import open_slide, read_header
from nbjax.slides.header import plausible_mpp

PIXELS = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
CHANNELS = np.moveaxis(PIXELS, 2, 0).copy()
TILES = [None, (256, 256)]


def whole(path):
    with open_slide(path) as slide:
        return slide.read(0, 0, slide.width, slide.height)


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"bigtiff": True}, {"byteorder": ">"}])
def test_tiffs_of_8_bit_colour_are_read_to_the_pixel(tmp_path, planes, tile, options):
    pixels = PIXELS if planes == "contig" else CHANNELS
    tifffile.imwrite(tmp_path / "s.tif", pixels, photometric="rgb", planarconfig=planes, tile=tile, **options)
    np.testing.assert_array_equal(whole(tmp_path / "s.tif"), PIXELS)


def test_a_tiled_tiff_is_read_by_openslide_to_the_pixel(tmp_path):
    tifffile.imwrite(tmp_path / "s.tif", PIXELS, photometric="rgb", tile=(256, 256))
    assert read_header(tmp_path / "s.tif").decoder == "openslide"
    with open_slide(tmp_path / "s.tif") as slide:
        np.testing.assert_array_equal(slide.read(100, 20, 250, 250), PIXELS[20:270, 100:350])


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("tile", TILES)
def test_a_tiff_with_fewer_strips_or_tiles_than_its_size_takes_is_refused(tmp_path, tile, planes):
    pixels = PIXELS if planes == "contig" else CHANNELS
    options = {"photometric": "rgb", "planarconfig": planes, "tile": tile, "rowsperstrip": None if tile else 64}
    tifffile.imwrite(tmp_path / "s.tif", pixels, **options)
    with tifffile.TiffFile(tmp_path / "s.tif", mode="r+b") as file:
        file.pages[0].tags["ImageLength"].overwrite(600)
    for read in (read_header, whole):
        with pytest.raises(
            InputError, match=r"s\.tif: .*it has \d+ of the \d+ (strips|tiles) that 400x600 pixels take"
        ):
            read(tmp_path / "s.tif")


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(
    ("pixels", "options", "said"),
    [
        (PIXELS.astype(np.uint16) * 257, {"photometric": "rgb"}, "has 16 bits a sample"),
        (PIXELS.astype(np.uint16) * 16, {"photometric": "rgb"}, "has 16 bits a sample"),
        (CHANNELS.astype(np.uint16), {"photometric": "rgb", "planarconfig": "separate"}, "has 16 bits a sample"),
        (PIXELS.astype(np.float32), {"photometric": "rgb"}, "has 32 bits a sample"),
        (PIXELS.view(np.int8), {"photometric": "rgb"}, "signed or floating-point"),
        (PIXELS[..., 0] > 99, {}, "has 1 bits a sample"),
        (PIXELS[..., 0], {}, "its colours are grey"),
        (PIXELS[..., 0], {"photometric": "miniswhite"}, "its colours are grey"),
        (PIXELS, {"photometric": "cielab"}, "its colours are CIELab"),
        (PIXELS, {"photometric": "ycbcr", "subsampling": (1, 1)}, "its colours are YCbCr"),
        (np.dstack([PIXELS, PIXELS[..., 0]]), {"photometric": "separated"}, "its colours are CMYK"),
        (np.dstack([PIXELS] * 2), {"photometric": "rgb"}, "has 6 samples a pixel"),
        (
            np.dstack([PIXELS, PIXELS[..., 0]]),
            {"photometric": "rgb", "extrasamples": ["unspecified"]},
            "has 4 samples a pixel",
        ),
        (CHANNELS, {"photometric": "minisblack", "metadata": {"axes": "CYX"}}, "holds 3 pages"),
        (np.stack([PIXELS, PIXELS]), {"photometric": "rgb"}, "holds 2 pages"),
    ],
)
def test_other_tiffs_are_refused(tmp_path, pixels, options, said, tile):
    tifffile.imwrite(tmp_path / "s.ome.tif", pixels, tile=tile, **options)
    for read in (read_header, whole):
        with pytest.raises(InputError, match=rf"s\.ome\.tif: .*{said}"):
            read(tmp_path / "s.ome.tif")


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("sub_pages", [0, 1])
def test_a_pyramid_is_read_as_its_largest_level(tmp_path, tile, sub_pages):
    with tifffile.TiffWriter(tmp_path / "s.tif") as writer:
        writer.write(PIXELS, photometric="rgb", tile=tile, subifds=sub_pages)
        writer.write(PIXELS[::2, ::2], photometric="rgb", tile=tile, subfiletype=1)
    np.testing.assert_array_equal(whole(tmp_path / "s.tif"), PIXELS)


@pytest.mark.parametrize("tile", TILES)
def test_a_thumbnail_before_the_picture_is_refused(tmp_path, tile):
    with tifffile.TiffWriter(tmp_path / "s.tif") as writer:
        writer.write(PIXELS[::2, ::2], photometric="rgb", tile=tile, subfiletype=1)
        writer.write(PIXELS, photometric="rgb", tile=tile)
    with pytest.raises(InputError, match="holds 2 pages"):
        read_header(tmp_path / "s.tif")


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_a_turned_tiff_is_read_as_it_is_stored(tmp_path, tile, orientation):
    turned = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "s.tif", PIXELS, photometric="rgb", tile=tile, extratags=turned)
    np.testing.assert_array_equal(whole(tmp_path / "s.tif"), PIXELS)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_turned_photograph_is_read_as_it_is_stored(tmp_path, suffix):
    exif = PIL.Image.Exif()
    exif[274] = 6
    PIL.Image.fromarray(PIXELS).save(tmp_path / f"s.{suffix}", exif=exif, quality=100, subsampling=0)
    read = whole(tmp_path / f"s.{suffix}")
    assert read.shape == PIXELS.shape
    assert np.abs(read.astype(int) - PIXELS).mean() < 3


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_transparent_pixels_of_a_tiff_are_white(tmp_path, tile, kind):
    opacity = np.full((300, 400), 255, np.uint8)
    opacity[:100] = 0
    stored = np.dstack([PIXELS, opacity])
    if kind == "assocalpha":
        stored[:100] = 0
    tifffile.imwrite(tmp_path / "s.tif", stored, photometric="rgb", extrasamples=[kind], tile=tile)
    expected = PIXELS.copy()
    expected[:100] = 255
    np.testing.assert_array_equal(whole(tmp_path / "s.tif"), expected)


@pytest.mark.parametrize("tile", TILES)
def test_a_palette_is_looked_up_and_an_8_bit_one_refused(tmp_path, tile):
    image = PIL.Image.fromarray(PIXELS).quantize(64)
    table = np.zeros((3, 256), np.uint16)
    table[:, :64] = np.array(image.getpalette()[:192]).reshape(64, 3).T
    for name, colours in (("s.tif", table * 257), ("dark.tif", table)):
        tifffile.imwrite(tmp_path / name, np.asarray(image), photometric="palette", colormap=colours, tile=tile)
    np.testing.assert_array_equal(whole(tmp_path / "s.tif"), np.asarray(image.convert("RGB")))
    with pytest.raises(InputError, match="its colours are a palette"):
        read_header(tmp_path / "dark.tif")


def png(bits, colour, rows, width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_pngs_and_jpegs_of_other_kinds_are_refused(tmp_path):
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in PIXELS)
    (tmp_path / "deep.png").write_bytes(png(16, 2, rows, 400, 300))
    image = PIL.Image.fromarray(PIXELS)
    image.save(tmp_path / "moving.png", save_all=True, append_images=[image.rotate(180)])
    image.save(tmp_path / "gif.png", "GIF")
    for mode, name in (("L", "l.png"), ("LA", "la.png"), ("1", "one.png"), ("L", "l.jpg"), ("CMYK", "cmyk.jpg")):
        image.convert(mode).save(tmp_path / name)
    (tmp_path / "empty.png").write_bytes(b"")
    said = {
        "deep.png": "has 16 bits",
        "moving.png": "holds 2 pages",
        "gif.png": "neither a PNG",
        "l.png": "are grey",
        "la.png": "are grey with transparency",
        "one.png": "has 1 bits",
        "l.jpg": "are grey",
        "cmyk.jpg": "are CMYK",
        "empty.png": "the file is empty",
    }
    for name, words in said.items():
        with pytest.raises(InputError, match=rf"{name}: .*{words}"):
            read_header(tmp_path / name)


def test_one_transparent_colour_of_a_png_is_white(tmp_path):
    PIL.Image.fromarray(PIXELS).save(tmp_path / "s.png", transparency=tuple(PIXELS[0, 0].tolist()))
    expected = PIXELS.copy()
    expected[(PIXELS[0, 0] == PIXELS).all(axis=-1)] = 255
    np.testing.assert_array_equal(whole(tmp_path / "s.png"), expected)


def test_a_cameras_jpeg_with_a_second_picture_is_read_as_its_first(tmp_path):
    image = PIL.Image.fromarray(PIXELS)
    image.save(tmp_path / "s.jpg", format="MPO", save_all=True, append_images=[image.resize((120, 120))], quality=90)
    image.save(tmp_path / "alone.jpg", quality=90)
    np.testing.assert_array_equal(whole(tmp_path / "s.jpg"), whole(tmp_path / "alone.jpg"))


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(
    ("per_unit", "unit", "expected"),
    [(40_000, 3, 0.25), (101_600, 2, 0.25), (72, 2, None), (300, 2, None), (4, 1, None)],
)
def test_only_a_microscopes_resolution_is_one(tmp_path, tile, per_unit, unit, expected):
    options = {"resolution": (per_unit, per_unit), "resolutionunit": unit}
    tifffile.imwrite(tmp_path / "s.tif", PIXELS, photometric="rgb", tile=tile, **options)
    assert read_header(tmp_path / "s.tif").mpp == (None if expected is None else pytest.approx(expected))


@given(st.one_of(st.floats(), st.floats().map(str), st.sampled_from(["", "0,499", "0.25 um", None])))
def test_a_resolution_is_plausible_or_none(stated):
    mpp = plausible_mpp(stated)
    assert mpp is None or 0.02 <= mpp <= 10


def test_what_no_slide_can_be_is_refused_before_it_is_decoded(tmp_path):
    (tmp_path / "s.png").write_bytes(png(8, 2, b"", 80_000, 80_000))
    with pytest.raises(InputError, match=r"claims 80000x80000 pixels in 65 bytes"):
        read_header(tmp_path / "s.png")
    # The pages of a TIFF written by hand: one page of 10 pixels whose next page is itself.
    entries = struct.pack("<HHHIHHHHIHH", 2, 256, 3, 1, 10, 0, 257, 3, 1, 10, 0)
    (tmp_path / "ring.tif").write_bytes(b"II*\0" + struct.pack("<I", 8) + entries + struct.pack("<I", 8))
    with pytest.raises(InputError, match=r"ring\.tif: .*its pages form a ring"):
        read_header(tmp_path / "ring.tif")
    # More than a plain image may have, in a file that is long enough.
    with (tmp_path / "large.png").open("wb") as file:
        file.write(png(8, 2, b"", 20_001, 20_001))
        file.truncate(500_000)
    with pytest.raises(InputError, match="too many for a plain image"):
        read_header(tmp_path / "large.png")


def test_pillows_limit_of_pixels_is_neither_met_nor_moved(tmp_path, monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 30_000)
    image = PIL.Image.fromarray(PIXELS)
    for suffix in ("png", "tif", "jpg"):
        image.save(tmp_path / f"s.{suffix}")
        with open_slide(tmp_path / f"s.{suffix}") as slide:
            assert slide.read(0, 0, 150, 150).shape == (150, 150, 3)
            assert PIL.Image.MAX_IMAGE_PIXELS == 30_000


@given(st.data())
def test_a_damaged_file_is_read_or_refused_in_one_sentence(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    kind = data.draw(st.sampled_from(["s.png", "s.jpg", "s.tif", "tiled.tif", "pages.tif"]))
    small = PIXELS[:100, :100]
    if kind == "pages.tif":
        tifffile.imwrite(folder / kind, np.stack([small, small]), photometric="rgb")
    elif kind == "tiled.tif":
        tifffile.imwrite(folder / kind, small, photometric="rgb", tile=(64, 64))
    else:
        PIL.Image.fromarray(small).save(folder / kind)
    content = bytearray((folder / kind).read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 5))):
            content[data.draw(st.integers(0, min(len(content), 400) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / kind).write_bytes(content)
    said = ""
    try:
        assert whole(folder / kind).shape[2] == 3
    except InputError as error:
        said = str(error)
    assert said == "" or (said.startswith(f"{folder / kind}: ") and "\n" not in said)
