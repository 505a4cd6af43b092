"""Open a slide and read regions of its level-0 pixels.

Pixels are read as they are stored: where a file says that its picture is to be shown turned or mirrored (EXIF
orientation), it is not turned, so that x and y mean the same here, in OpenSlide and in other programs' tables.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openslide
import PIL.Image
import PIL.JpegImagePlugin
import PIL.PngImagePlugin
import PIL.TiffImagePlugin

from nbjax.slides import tiff
from nbjax.slides.header import Header, naming, read_header

# A region is taken out of a decoded picture in bands of about this many pixels, so that no second picture is made.
BAND_PIXELS = 2**24


class Slide(NamedTuple):
    """An open slide.

    Attributes:
        width: pixels at level 0.
        height: pixels at level 0.
        mpp: micrometres per pixel at level 0, None where the file does not say.
        read: `read(x, y, width, height)` gives uint8 `[height, width, 3]`, RGB; x, y the top-left level-0 pixel.
    """

    width: int
    height: int
    mpp: float | None
    read: Callable[[int, int, int, int], np.ndarray]


class _StoredTiff(PIL.TiffImagePlugin.TiffImageFile):
    """Pillow's TIFF without two habits of its own, of which both are for other uses."""

    def load_prepare(self) -> None:
        """Makes room for the pixels, not measured against Pillow's limit of size, which is one for all threads."""
        if self._im is None:
            self.im = PIL.Image.core.new(self.mode, (self.tag_v2[tiff.WIDTH], self.tag_v2[tiff.HEIGHT]))
        super().load_prepare()

    def load_end(self) -> None:
        """Leaves the picture as it is stored; Pillow would turn it by its orientation."""


DECODERS = {
    "png": PIL.PngImagePlugin.PngImageFile,
    "jpeg": PIL.JpegImagePlugin.JpegImageFile,
    "tiff": _StoredTiff,
}


@contextlib.contextmanager
def open_slide(path: str | Path) -> Iterator[Slide]:
    """Opens a PNG, JPEG or TIFF image, or a scanner's file through OpenSlide.

    Tiled TIFF files that OpenSlide knows are read by region; other images are decoded whole, here.

    Raises:
        InputError: the file is missing, damaged, not one picture of 8-bit colour, or larger than can be read.
    """
    path = Path(path)
    header = read_header(path)
    with contextlib.ExitStack() as stack:
        with naming(path):
            read = _openslide_regions(path, stack) if header.decoder == "openslide" else _regions(path, header, stack)
        yield Slide(header.width, header.height, header.mpp, read)


def _openslide_regions(path: Path, stack: contextlib.ExitStack) -> Callable[[int, int, int, int], np.ndarray]:
    scan = stack.enter_context(openslide.OpenSlide(path))
    background = "#" + scan.properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR, "ffffff")

    def read(x: int, y: int, width: int, height: int) -> np.ndarray:
        with naming(path):
            return _composite(scan.read_region((x, y), 0, (width, height)), background)

    return read


def _regions(path: Path, header: Header, stack: contextlib.ExitStack) -> Callable[[int, int, int, int], np.ndarray]:
    image = stack.enter_context(DECODERS[header.decoder](path))
    image.load()

    def read(x: int, y: int, width: int, height: int) -> np.ndarray:
        with naming(path):
            rows = max(1, BAND_PIXELS // width)
            tops = range(y, y + height, rows)
            bands = [image.crop((x, top, x + width, min(top + rows, y + height))) for top in tops]
            pixels = [_composite(band, "#ffffff") for band in bands]
            return pixels[0] if len(pixels) == 1 else np.concatenate(pixels)

    return read


def _composite(image: PIL.Image.Image, background: str) -> np.ndarray:
    """Lays a picture with transparency on its background: uint8 `[height, width, 3]`."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image)
    rgba = image.convert("RGBA")
    return np.asarray(PIL.Image.alpha_composite(PIL.Image.new("RGBA", rgba.size, background), rgba).convert("RGB"))
