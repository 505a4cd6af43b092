"""What a slide's file says of its picture, read before any pixel is decoded.

Decoders reduce silently what they do not hold: 16 bits to 8, several pages to the first, planes to one channel. So the
file's own header decides whether it holds one picture of 8-bit colour.
"""

import contextlib
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import openslide
import PIL.JpegImagePlugin
import PIL.PngImagePlugin

from nbjax.errors import InputError
from nbjax.files import printable
from nbjax.slides import tiff
from nbjax.slides.folder import OPENSLIDE_SUFFIXES

# A photograph of a field is far below this; more pixels belong in a pyramidal file that OpenSlide reads by region.
MAX_IMAGE_PIXELS = 400_000_000
# Deflate compresses most of what the formats use, and makes at best 344 pixels of 3 bytes from one byte of a file.
MAX_PIXELS_PER_BYTE = 1000
# Micrometres per pixel that a microscope can give: from a 100x objective and a camera's pixel of 2 micrometres to 1x of
# a scanner whose 40x gives 0.25. A screen's, a printer's or a flatbed scanner's (72 to 2,400 per inch) lie above.
PLAUSIBLE_MPP = (0.02, 10.0)
# Pillow keeps a pixel of colour in four bytes; OpenSlide keeps some tiles that it has decoded.
BYTES_PER_PIXEL = 4
OPENSLIDE_BYTES = 64 * 2**20

PNG_COLOURS = {0: "grey", 2: "RGB", 3: "a palette", 4: "grey with transparency", 6: "RGB with transparency"}
# These are TIFFs whose levels OpenSlide finds by the scanner's own rules; the largest page is the picture's level 0.
SCANNERS_TIFFS = ("aperio", "leica", "philips-tiff", "trestle", "ventana")
# The file that is named holds no pixels, others beside it do.
INDEX_SUFFIXES = (".mrxs", ".vms")


class Header(NamedTuple):
    """A slide before its pixels are read.

    Attributes:
        width: pixels at level 0.
        height: pixels at level 0.
        mpp: micrometres per pixel at level 0; None where the file states none that a microscope can have.
        decoder: `openslide`, `png`, `jpeg` or `tiff`.
        memory: bytes that an open slide takes, about.
    """

    width: int
    height: int
    mpp: float | None
    decoder: str
    memory: int


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes whatever a decoder raises an `InputError` of one sentence that begins with the file."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{printable(path)}: {error}") from error
    except Exception as error:
        # A damaged file makes decoders fail anywhere and with anything, MemoryError and TypeError among it.
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = " ".join(printable(said).split()) or type(error).__name__
        raise InputError(
            f"{printable(path)}: not a readable image ({reason}); replace it or remove it from the folder."
        ) from error


def read_header(path: str | Path) -> Header:
    """Reads a slide's header; nothing is decoded.

    Raises:
        InputError: the file is missing or damaged, its picture is not one of 8-bit colour, or larger than can be read.
    """
    path = Path(path)
    with naming(path):
        file_bytes = _regular_file(path).st_size
        kind, pages = _look_inside(path)
        if kind in ("png", "jpeg"):
            header = _image_header(path, kind)
        elif kind == "tiff":
            header = _tiff_header(pages)
        else:
            header = _openslide_header(path, kind, pages)
        _check_size(header, file_bytes, path.suffix.lower())
        return header


def _regular_file(path: Path) -> os.stat_result:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError("there is no such file.") from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError("not a regular file; expected a slide.")
    return status


def _look_inside(path: Path) -> tuple[str, list[tiff.Page]]:
    """What a file is by its content, `png`, `jpeg`, `tiff` or OpenSlide's word, and the pages of a TIFF."""
    scan = path.suffix.lower() in OPENSLIDE_SUFFIXES
    with path.open("rb") as file:
        start = file.read(8)
        if start.startswith(tiff.MAGIC):
            kind = openslide.OpenSlide.detect_format(path) or "tiff"
            # Hamamatsu's files are TIFFs in name only: beyond 4 GiB their offsets follow no specification.
            pages = [] if kind == "hamamatsu" else tiff.read_pages(file)
            # OpenSlide turns each tile where the picture is to be shown turned.
            turned = kind == "generic-tiff" and pages[0].tags[tiff.ORIENTATION][0] != 1
            return "tiff" if turned else kind, pages
    if scan:
        return "scan", []
    if start == b"\x89PNG\r\n\x1a\n":
        return "png", []
    if start.startswith(b"\xff\xd8\xff"):
        return "jpeg", []
    if not start:
        raise InputError("the file is empty; copy it again or remove it from the folder.")
    raise InputError("neither a PNG, a JPEG nor a TIFF file by its content; convert it.")


def _openslide_header(path: Path, kind: str, pages: list[tiff.Page]) -> Header:
    if kind in SCANNERS_TIFFS:
        largest = max(pages, key=lambda page: page.width * page.height)
        tiff.check_colour(largest)
        tiff.check_whole(largest)
    elif pages:
        tiff.check_one_picture(pages)
        tiff.check_colour(pages[0])
        tiff.check_whole(pages[0])
    with openslide.OpenSlide(path) as scan:
        width, height = scan.dimensions
        mpp = plausible_mpp(scan.properties.get(openslide.PROPERTY_NAME_MPP_X))
    return Header(width, height, mpp, "openslide", OPENSLIDE_BYTES)


def _tiff_header(pages: list[tiff.Page]) -> Header:
    tiff.check_one_picture(pages)
    tiff.check_colour(pages[0])
    tiff.check_whole(pages[0])
    width, height = pages[0].width, pages[0].height
    return Header(width, height, plausible_mpp(tiff.resolution(pages[0])), "tiff", BYTES_PER_PIXEL * width * height)


def _image_header(path: Path, decoder: str) -> Header:
    """Of a PNG or a JPEG; Pillow's constructors read no pixels and, unlike `PIL.Image.open`, know no limit of size."""
    plugin = PIL.PngImagePlugin.PngImageFile if decoder == "png" else PIL.JpegImagePlugin.JpegImageFile
    with plugin(path) as image:
        if decoder == "png":
            _check_png(path, getattr(image, "n_frames", 1))
        elif image.mode != "RGB":
            words = {"L": "grey", "CMYK": "CMYK"}.get(image.mode, image.mode)
            raise InputError(f"its colours are {words}; expected 8-bit RGB; convert it.")
        (width, height), per_inch = image.size, image.info.get("dpi", (0,))[0]
    mpp = plausible_mpp(25_400 / per_inch) if per_inch else None
    return Header(width, height, mpp, decoder, BYTES_PER_PIXEL * width * height)


def _check_png(path: Path, frames: int) -> None:
    # Pillow gives RGB of 16 bits as RGB of 8: look at the bytes that follow the size in the first chunk (PNG, 11.2.2).
    with path.open("rb") as file:
        bits, colour = file.read(26)[24:]
    if colour != 3 and bits != 8:
        raise InputError(f"has {bits} bits a sample; expected 8-bit colour; convert it to 8-bit RGB.")
    if colour not in (2, 3, 6):
        raise InputError(f"its colours are {PNG_COLOURS.get(colour, colour)}; expected 8-bit RGB; convert it.")
    if frames > 1:
        raise InputError(f"holds {frames} pages; expected one picture; save the picture alone.")


def _check_size(header: Header, file_bytes: int, suffix: str) -> None:
    pixels = header.width * header.height
    claim = f"{header.width}x{header.height} pixels"
    if pixels > MAX_PIXELS_PER_BYTE * file_bytes and suffix not in INDEX_SUFFIXES:
        raise InputError(f"claims {claim} in {file_bytes:,} bytes, which no slide fits in; replace it or remove it.")
    if header.decoder != "openslide" and pixels > MAX_IMAGE_PIXELS:
        raise InputError(
            f"{claim} are too many for a plain image (at most {MAX_IMAGE_PIXELS:,}); save it as a tiled pyramidal TIFF."
        )


def plausible_mpp(stated: float | str | None) -> float | None:
    """Micrometres per pixel, where a file states a number that a microscope can have; see `PLAUSIBLE_MPP`."""
    try:
        mpp = float(stated or math.nan)
    except ValueError:
        return None
    return mpp if PLAUSIBLE_MPP[0] <= mpp <= PLAUSIBLE_MPP[1] else None
