"""Open a slide: find the files of a labelled folder, read regions of level-0 pixels."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openslide
import PIL.Image
import PIL.ImageSequence

from nbjax.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
OPENSLIDE_SUFFIXES = (".svs", ".ndpi", ".scn", ".mrxs", ".vms", ".bif")
SUFFIXES = IMAGE_SUFFIXES + OPENSLIDE_SUFFIXES
# A photograph of a field is far below this; more pixels belong in a pyramidal file that OpenSlide reads by region.
MAX_IMAGE_PIXELS = 400_000_000


class SlideFile(NamedTuple):
    """Where a slide lies and what is known of it.

    Attributes:
        name: path relative to the folder, with `/`, the slide's identifier everywhere.
        label: name of the class, the first folder.
        family: what must stay together: `<label>/<slide>` without a family folder, else the family folder's name. A
            family folder of the same name under two labels is one family with two labels.
    """

    name: str
    label: str
    family: str


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


def find_slides(folder: str | Path) -> tuple[list[SlideFile], list[str]]:
    """Finds `<label>/<slide>.<ext>` and `<label>/<family>/<slide>.<ext>` below `folder`.

    Returns:
        The slides sorted by name, and the names of files in it that are not slides (hidden files apart).

    Raises:
        InputError: the folder is missing, holds no slide, or a slide lies where no label can be read from its place.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"{folder}: there is no such folder; give the folder that holds one folder of slides per label."
        )
    slides, ignored = [], []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if not path.is_file() or any(part.startswith(".") for part in parts):
            continue
        name = "/".join(parts)
        if path.suffix.lower() not in SUFFIXES:
            ignored.append(name)
        elif len(parts) == 2:
            slides.append(SlideFile(name, parts[0], f"{parts[0]}/{path.stem}"))
        elif len(parts) == 3:
            slides.append(SlideFile(name, parts[0], parts[1]))
        else:
            raise InputError(
                f"{path}: a slide's place must be <label>/<slide> or <label>/<family>/<slide> below {folder}; move it there."
            )
    if not slides:
        raise InputError(
            f"{folder}: found no slide; expected <label>/<slide> or <label>/<family>/<slide> with one of {', '.join(SUFFIXES)}."
        )
    return slides, ignored


@contextlib.contextmanager
def open_slide(path: str | Path) -> Iterator[Slide]:
    """Opens a PNG, JPEG or TIFF image, or a scanner's file through OpenSlide.

    Tiled TIFF files that OpenSlide knows are read by region; other images are decoded whole.

    Raises:
        InputError: the file is missing, damaged, not an 8-bit colour image, or holds several pages.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")
    if path.suffix.lower() in OPENSLIDE_SUFFIXES or _is_tiled_tiff(path):
        yield from _open_with_openslide(path)
    else:
        yield _open_image(path)


def _is_tiled_tiff(path: Path) -> bool:
    return path.suffix.lower() in (".tif", ".tiff") and openslide.OpenSlide.detect_format(path) is not None


def _open_with_openslide(path: Path) -> Iterator[Slide]:
    try:
        scan = openslide.OpenSlide(path)
    except (openslide.OpenSlideError, OSError) as error:
        raise InputError(f"{path}: OpenSlide cannot open this slide ({error}); export it again.") from error
    with scan:
        background = "#" + scan.properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR, "ffffff")

        def read(x: int, y: int, width: int, height: int) -> np.ndarray:
            try:
                region = scan.read_region((x, y), 0, (width, height))
            except openslide.OpenSlideError as error:
                raise InputError(
                    f"{path}: cannot read the pixels at x={x}, y={y} ({error}); export it again."
                ) from error
            return _composite(region, background)

        mpp = scan.properties.get(openslide.PROPERTY_NAME_MPP_X)
        width, height = scan.dimensions
        yield Slide(width, height, float(mpp) if mpp else None, read)


def _open_image(path: Path) -> Slide:
    try:
        image = _decode(path)
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: not a readable image ({error}); replace it or remove it from the folder.") from error
    pixels = _composite(image, "#ffffff")

    def read(x: int, y: int, width: int, height: int) -> np.ndarray:
        return pixels[y : y + height, x : x + width]

    return Slide(pixels.shape[1], pixels.shape[0], None, read)


def _decode(path: Path) -> PIL.Image.Image:
    # Pillow's own limit is meant for web uploads; ours is checked below, before anything is decoded.
    limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
    try:
        with PIL.Image.open(path) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise InputError(
                    f"{path}: {image.width}x{image.height} pixels are too many for a plain image (at most {MAX_IMAGE_PIXELS:,}); "
                    "save it as a tiled pyramidal TIFF."
                )
            if (pages := _pages(image)) > 1:
                raise InputError(f"{path}: holds {pages} pages; expected one image, or a tiled pyramidal TIFF.")
            if image.mode not in ("RGB", "RGBA", "P"):
                raise InputError(f"{path}: pixel format is {image.mode}; expected 8-bit RGB colour; convert it.")
            image.load()
            return image.copy()
    finally:
        PIL.Image.MAX_IMAGE_PIXELS = limit


def _pages(image: PIL.Image.Image) -> int:
    pages = 0
    for _ in PIL.ImageSequence.Iterator(image):
        pages += 1
    image.seek(0)
    return pages


def _composite(image: PIL.Image.Image, background: str) -> np.ndarray:
    """Lays a picture with transparency on its background: uint8 `[height, width, 3]`."""
    if image.mode == "RGB":
        return np.asarray(image)
    rgba = image.convert("RGBA")
    return np.asarray(PIL.Image.alpha_composite(PIL.Image.new("RGBA", rgba.size, background), rgba).convert("RGB"))
