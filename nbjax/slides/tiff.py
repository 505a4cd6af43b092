"""Pages of a TIFF or BigTIFF file: the few tags that say what its samples are (TIFF 6.0, Adobe 1992).

Pillow's own reading of these goes on with a warning where a file is cut; here that is an error.
"""

import struct
from typing import BinaryIO, NamedTuple

from nbjax.errors import InputError

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_PAGES = 1000
# More values than this has no tag that is read here: a colour table of 8 bits has 768.
MOST_VALUES = 1024
# Types of values that are read: bytes, and struct's letter.
TYPES = {1: (1, "B"), 3: (2, "H"), 4: (4, "L"), 5: (8, "LL"), 13: (4, "L"), 16: (8, "Q")}
REDUCED, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
SAMPLES, X_RESOLUTION, PLANES, RESOLUTION_UNIT, COLOUR_TABLE, EXTRA_SAMPLES, SAMPLE_FORMAT = (
    277,
    282,
    284,
    296,
    320,
    338,
    339,
)
ORIENTATION, ROWS_PER_STRIP, TILE_WIDTH, TILE_LENGTH = 274, 278, 322, 323
# Where the strips, or the tiles, lie: how many there are is all that is read.
PIECES = (273, 324)
DEFAULTS = {
    REDUCED: (0,),
    BITS: (1,),
    COMPRESSION: (1,),
    SAMPLES: (1,),
    PLANES: (1,),
    EXTRA_SAMPLES: (),
    SAMPLE_FORMAT: (1,),
}
DEFAULTS |= {X_RESOLUTION: (), RESOLUTION_UNIT: (2,), COLOUR_TABLE: (), ORIENTATION: (1,)}
DEFAULTS |= {ROWS_PER_STRIP: (2**32 - 1,), TILE_WIDTH: (), TILE_LENGTH: (), PIECES[0]: (0,), PIECES[1]: (0,)}
TAGS = frozenset({*DEFAULTS, WIDTH, HEIGHT, PHOTOMETRIC})

RGB, PALETTE, YCBCR = 2, 3, 6
PHOTOMETRICS = {
    0: "grey", 1: "grey", PALETTE: "a palette", 4: "a mask", 5: "CMYK", YCBCR: "YCbCr", 8: "CIELab", 9: "ICCLab",
    10: "ITULab", 32803: "a camera's raw mosaic", 32844: "LogL", 32845: "LogLuv", 34892: "linear raw",
}  # fmt: skip
# JPEG, and the two kinds of JPEG 2000 of Aperio's scanners: their decoders turn YCbCr into RGB.
YCBCR_COMPRESSIONS = (7, 33003, 33005)
PER_MICROMETRES = {2: 25_400.0, 3: 10_000.0}


class Page(NamedTuple):
    """What one page (image file directory) says.

    Attributes:
        width: pixels.
        height: pixels.
        tags: values of the tags in `TAGS` by number, defaults filled in; of those in `PIECES` how many they have.
    """

    width: int
    height: int
    tags: dict[int, tuple[int, ...]]


def read_pages(file: BinaryIO) -> list[Page]:
    """The pages of the main chain, in order; sub-pages (a pyramid in SubIFDs) are not among them.

    Raises:
        InputError: the file ends within a page's header, its pages form a ring, or they are more than a slide has.
    """
    file.seek(0)
    start = _take(file, 4)
    order = "<" if start[:2] == b"II" else ">"
    big = start[2:] in (b"+\0", b"\0+")
    if big:
        _take(file, 4)
    (offset,) = struct.unpack(order + ("Q" if big else "L"), _take(file, 8 if big else 4))
    pages: list[Page] = []
    visited = set()
    while offset:
        if offset in visited or len(pages) == MOST_PAGES:
            what = "its pages form a ring" if offset in visited else f"it holds more than {MOST_PAGES} pages"
            raise InputError(f"not a readable slide ({what}); save its picture alone.")
        visited.add(offset)
        file.seek(offset)
        tags, offset = _read_page(file, order, big)
        if not all(tags.get(side, (0,))[0] for side in (WIDTH, HEIGHT)):
            raise InputError("not a readable slide (a page does not say its size); export it again.")
        pages.append(Page(tags[WIDTH][0], tags[HEIGHT][0], DEFAULTS | tags))
    if not pages:
        raise InputError("not a readable slide (it holds no page); export it again.")
    return pages


def _take(file: BinaryIO, count: int) -> bytes:
    taken = file.read(count)
    if len(taken) < count:
        raise InputError("not a readable slide (the file ends within its header); copy or export it again.")
    return taken


def _read_page(file: BinaryIO, order: str, big: bool) -> tuple[dict[int, tuple[int, ...]], int]:
    """The tags of the page at the file's position, and where the next page lies."""
    (entries,) = struct.unpack(order + ("Q" if big else "H"), _take(file, 8 if big else 2))
    length = 20 if big else 12
    if entries * length > 2**20:
        raise InputError(f"not a readable slide (a page claims {entries} tags); export it again.")
    table = _take(file, entries * length)
    (following,) = struct.unpack(order + ("Q" if big else "L"), _take(file, 8 if big else 4))
    tags: dict[int, tuple[int, ...]] = {}
    for at in range(0, len(table), length):
        tag, kind, count = struct.unpack_from(order + ("HHQ" if big else "HHL"), table, at)
        if tag in PIECES:
            tags[tag] = (count,)
            continue
        if tag not in TAGS or kind not in TYPES or count > MOST_VALUES:
            continue
        size, letter = TYPES[kind]
        value = table[at + (12 if big else 8) : at + length]
        if size * count > len(value):
            file.seek(struct.unpack(order + ("Q" if big else "L"), value)[0])
            value = _take(file, size * count)
        tags[tag] = struct.unpack(order + letter * count, value[: size * count])
    return tags, following


def check_colour(page: Page) -> None:
    """Checks that a page holds 8-bit colour that both decoders read alike.

    Raises:
        InputError: it does not.
    """
    tags = page.tags
    if set(tags[BITS]) != {8}:
        raise InputError(f"has {_listed(tags[BITS])} bits a sample; expected 8-bit colour; convert it to 8-bit RGB.")
    if set(tags[SAMPLE_FORMAT]) != {1}:
        raise InputError(
            "its samples are signed or floating-point numbers; expected 8-bit colour; convert it to 8-bit RGB."
        )
    photometric, samples, extra = tags.get(PHOTOMETRIC, (-1,))[0], tags[SAMPLES][0], tags[EXTRA_SAMPLES]
    if photometric == PALETTE:
        # Colour tables have 16 bits; some programs write 8 into them, which would be read as black.
        fits = samples == 1 and max(tags[COLOUR_TABLE], default=0) > 255
    else:
        fits = photometric == RGB or (photometric == YCBCR and tags[COMPRESSION][0] in YCBCR_COMPRESSIONS)
    if not fits:
        words = PHOTOMETRICS.get(photometric, f"of kind {photometric}")
        raise InputError(f"its colours are {words}; expected 8-bit RGB; convert it.")
    if photometric != PALETTE and (samples != 3 + len(extra) or extra not in ((), (1,), (2,))):
        raise InputError(
            f"has {samples} samples a pixel; expected red, green and blue, and at most transparency; convert it."
        )


def check_whole(page: Page) -> None:
    """Checks that a page has as many strips or tiles as its size asks for: decoders fill in what is missing.

    Raises:
        InputError: it has fewer.
    """
    tags = page.tags
    width, length = tags[TILE_WIDTH], tags[TILE_LENGTH]
    tiled = len(width) == len(length) == 1 and 0 not in (*width, *length)
    rows, columns = (length[0], width[0]) if tiled else (tags[ROWS_PER_STRIP][0] or 1, page.width)
    planes = tags[SAMPLES][0] if tags[PLANES][0] == 2 else 1
    expected = -(-page.height // rows) * -(-page.width // columns) * planes
    found = tags[PIECES[1 if tiled else 0]][0]
    if found < expected:
        pieces, pixels = "tiles" if tiled else "strips", f"{page.width}x{page.height} pixels"
        raise InputError(
            f"not a readable slide (it has {found} of the {expected} {pieces} that {pixels} take); copy or export it "
            "again."
        )


def check_one_picture(pages: list[Page]) -> None:
    """Checks that whatever follows the first page is a reduced copy of it (a pyramid's level, a thumbnail).

    Raises:
        InputError: there are several pictures, or the first is itself a copy or a mask.
    """
    others = [page for page in pages[1:] if not page.tags[REDUCED][0] & 1 or page.tags[REDUCED][0] & 4]
    if others or pages[0].tags[REDUCED][0] & 5:
        raise InputError(
            f"holds {len(pages)} pages that are not all copies of the first in a smaller size; expected one picture, "
            "or a pyramid of it; save the picture alone."
        )


def resolution(page: Page) -> float | None:
    """Micrometres per pixel as a page states them."""
    per_unit, unit = page.tags[X_RESOLUTION], page.tags[RESOLUTION_UNIT][0]
    if len(per_unit) != 2 or 0 in per_unit or unit not in PER_MICROMETRES:
        return None
    return PER_MICROMETRES[unit] * per_unit[1] / per_unit[0]


def _listed(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, sorted(set(values))))
