"""The phantom: procedurally drawn slides of two labels, made of no patient and no tissue.

Label PD looks like poorly differentiated neuroblastoma (dense small dark nuclei, Homer Wright rosettes), label D like
a differentiated tumour (ganglion-like cells, neuropil, Schwannian stroma). Slides differ in stain, light, sharpness,
cell size and density whatever their label, so that patches of one slide look alike. A phantom tests programs and
statistics; it says nothing of any tumour.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image

from nbjax.errors import InputError
from nbjax.fields import check, check_types
from nbjax.files import replacing
from nbjax.slides.phantom_tissue import draw_look, draw_tissue
from nbjax.threads import map_ahead

# How differentiated the tissue of each label is in the textbook.
DIFFERENTIATION = {"PD": 0.0, "D": 1.0}
NOTE = "PHANTOM.txt"
# Counts up whenever the same config gives other pixels: folders drawn by an older version are then refused.
VERSION = 1
# A higher level packs such pictures hardly better and takes several times as long.
PNG_LEVEL = 1
# Most slides of the paper's cohort are cut to multiples of the patch size (paper III.A).
MULTIPLE = 250
REMAINDER_CHANCE = 0.3


@dataclasses.dataclass(frozen=True)
class PhantomConfig:
    """What a phantom is drawn from.

    Attributes:
        slides: number of slides of each label, (label, slides) pairs; the labels are PD and D.
        shares: for each of these labels, the shares of its pixels that its first slides hold, falling; the first slide
            has the largest size, the slides that are not named share the rest.
        smallest: height and width in pixels of the last slide of the first label; no slide has a smaller side.
        largest: height and width in pixels of the first slide of each label; no slide has a larger side.
        overlap: in [0, 1]; 0 draws textbook examples of each label, 1 draws both labels from the same distribution. The
            share of differentiated tissue of a slide is uniform in [0, overlap] for PD, in [1 - overlap, 1] for D.
        seed: at least 0.
    """

    slides: tuple[tuple[str, int], ...]
    shares: tuple[tuple[float, ...], ...]
    smallest: tuple[int, int]
    largest: tuple[int, int]
    overlap: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InputError where a field is out of its range."""
        check_types(self)
        labels = [label for label, _ in self.slides]
        once = len(set(labels)) == len(labels) > 0 and set(labels) <= set(DIFFERENTIATION)
        check(once, "slides", self.slides, f"each label once, out of {', '.join(DIFFERENTIATION)}")
        check(all(count >= 1 for _, count in self.slides), "slides", self.slides, "at least 1 slide of each label")
        check(len(self.shares) == len(labels), "shares", self.shares, f"one tuple of shares for each of {labels}")
        for (label, count), shares in zip(self.slides, self.shares, strict=True):
            falling = len(shares) > 0 and all(a >= b > 0 for a, b in itertools.pairwise((*shares, shares[-1])))
            check(falling, "shares", shares, f"falling positive numbers for label {label}")
            check(len(shares) <= count, "shares", shares, f"at most {count} numbers for label {label}, one a slide")
            check(math.fsum(shares) <= 1 + 1e-9, "shares", shares, f"a sum of at most 1 for label {label}")
        for field in ("smallest", "largest"):
            sides = getattr(self, field)
            check(min(sides) >= 32 and max(sides) <= 16_000, field, sides, "two sides of 32 to 16000 pixels")
        ordered = self.smallest[0] <= self.largest[0] and self.smallest[1] <= self.largest[1]
        check(ordered, "smallest", self.smallest, f"no side longer than that of largest, {self.largest}")
        check(0 <= self.overlap <= 1, "overlap", self.overlap, "a number in [0, 1]")
        check(self.seed >= 0, "seed", self.seed, "0 or more")


class PhantomSlide(NamedTuple):
    """One slide of a phantom: its label, its name (the file's without `.png`), its size in pixels."""

    label: str
    name: str
    height: int
    width: int


# Two labels alike in number, a few large slides: about 300 patches, for a first try on two cores.
SMALL = PhantomConfig(
    slides=(("PD", 12), ("D", 12)),
    shares=((0.18, 0.15, 0.11), (0.2, 0.16, 0.12)),
    smallest=(500, 500),
    largest=(1250, 1500),
)

# As many slides, pixels and, after the tissue rule, patches as the paper's cohort (paper III.C; sizes and shares of
# the largest families from the authors' report: 44 families of PD, 16 of D, slides of 321x241 to 4000x3000 pixels).
# The cohort has 61 slides but 60 families: the 61st here is the one of 321x241 pixels, which holds no whole patch.
PAPER = PhantomConfig(
    slides=(("PD", 45), ("D", 16)),
    shares=((0.172, 0.172, 0.069, 0.069, 0.02), (0.265, 0.265, 0.115, 0.115, 0.065, 0.02)),
    smallest=(241, 321),
    largest=(3000, 4000),
)


def phantom_sizes(config: PhantomConfig) -> list[PhantomSlide]:
    """The slides of a phantom, label by label, the largest first.

    Most sides are multiples of the patch size, as in the paper's cohort; the others lose pixels at the border.
    """
    slides = []
    for (label, count), shares in zip(config.slides, config.shares, strict=True):
        rng = _generator(config, label)
        for index, area in enumerate(_portions(count, shares) * math.prod(config.largest) / shares[0]):
            height, width = _sides(rng, area, config)
            if index == 0:
                height, width = config.largest
            elif index == count - 1 and label == config.slides[0][0]:
                height, width = config.smallest
            slides.append(PhantomSlide(label, f"{label}-{index + 1:03d}", height, width))
    return slides


def _portions(count: int, shares: tuple[float, ...]) -> np.ndarray:
    """Share of a label's pixels that each of its slides holds, before rounding: float `[count]`."""
    rest = count - len(shares)
    tail = np.linspace(1.6, 0.4, rest) * (1 - math.fsum(shares)) / max(rest, 1)
    return np.concatenate([shares, tail])


def _sides(rng: np.random.Generator, area: float, config: PhantomConfig) -> tuple[int, int]:
    """Height and width of a landscape or portrait picture of about `area` pixels."""
    aspect = rng.choice([4 / 3, 1.0, 3 / 4], p=[0.7, 0.15, 0.15])
    remainders = rng.integers(8, 120, 2) * (rng.random(2) < REMAINDER_CHANCE)
    width = max(round(math.sqrt(area * aspect) / MULTIPLE), 1) * MULTIPLE
    height = max(round(area / width / MULTIPLE), 1) * MULTIPLE
    sides = np.clip([height + remainders[0], width + remainders[1]], config.smallest, config.largest)
    return int(sides[0]), int(sides[1])


def phantom_slide(config: PhantomConfig, label: str, index: int) -> np.ndarray:
    """Draws a slide: uint8 `[height, width, 3]`, RGB.

    The pixels follow from the seed, the label, the index, the slide's size and the overlap alone: they do not depend on
    which other slides are drawn. Another processor or release of NumPy may round a few of them differently.

    Args:
        config: the phantom.
        label: one of those in `config.slides`.
        index: from 0, in the order of `phantom_sizes`.

    Raises:
        InputError: there is no such slide.
    """
    slides = [slide for slide in phantom_sizes(config) if slide.label == label]
    if not 0 <= index < len(slides):
        raise InputError(f"slide {index} of label {label!r} is not in the phantom; it has the slides {config.slides}.")
    slide = slides[index]
    rng = _generator(config, label, index)
    mixed = (1 - config.overlap) * DIFFERENTIATION[label] + config.overlap * rng.random()
    return draw_tissue(rng, draw_look(rng, mixed), slide.height, slide.width)


def _generator(config: PhantomConfig, label: str, *more: int) -> np.random.Generator:
    return np.random.default_rng((config.seed, list(DIFFERENTIATION).index(label), *more))


def write_phantom(
    config: PhantomConfig,
    folder: str | Path,
    progress: Callable[[Sequence[PhantomSlide]], Iterable[PhantomSlide]] = iter,
) -> list[Path]:
    """Writes a phantom: `<folder>/<label>/<slide>.png`, and `PHANTOM.txt`, which says what it is.

    Slides that an earlier, interrupted call with the same config left are kept; the missing ones are drawn.

    Args:
        config: the phantom.
        folder: made where it is missing.
        progress: wraps the list of slides, for a progress bar.

    Returns:
        The slides' paths, in the order of `phantom_sizes`.

    Raises:
        InputError: the folder holds something else than this phantom.
    """
    folder = Path(folder)
    slides = phantom_sizes(config)
    paths = [folder / slide.label / f"{slide.name}.png" for slide in slides]
    _check_folder(config, folder, paths)
    if not (folder / NOTE).exists():
        with replacing(folder / NOTE) as temporary:
            temporary.write_text(_note(config), encoding="utf-8")
    indices = [index for _, count in config.slides for index in range(count)]

    def write(path: Path, slide: PhantomSlide, index: int) -> None:
        if not path.exists():
            image = PIL.Image.fromarray(phantom_slide(config, slide.label, index))
            with replacing(path) as temporary:
                image.save(temporary, format="PNG", compress_level=PNG_LEVEL)

    # Two at once and no more: the largest slides take several hundred megabytes while they are drawn.
    jobs = zip(paths, slides, indices, strict=True)
    with contextlib.closing(map_ahead(lambda job: write(*job), jobs, workers=2)) as written:
        for _ in zip(progress(slides), written, strict=True):
            pass
    return paths


def _check_folder(config: PhantomConfig, folder: Path, paths: list[Path]) -> None:
    """Checks that whatever the folder holds belongs to this phantom."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give the folder that the phantom goes to.")
    files = {path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")}
    note = folder / NOTE
    if note in files and _fingerprint(config) not in note.read_text(encoding="utf-8", errors="replace"):
        raise InputError(f"{folder}: holds a phantom of another config (see {NOTE}); give another folder or remove it.")
    if files and note not in files:
        raise InputError(f"{folder}: holds files but no {NOTE}, so it is no phantom; give an empty or a new folder.")
    foreign = sorted(str(path.relative_to(folder)) for path in files - {note, *paths})
    if foreign:
        raise InputError(f"{folder}: holds {foreign[0]}, which is not of this phantom; move it or give another folder.")


def _settings(config: PhantomConfig) -> str:
    return json.dumps({"version": VERSION, **dataclasses.asdict(config)}, indent=2)


def _fingerprint(config: PhantomConfig) -> str:
    return hashlib.sha256(_settings(config).encode()).hexdigest()


def _note(config: PhantomConfig) -> str:
    return (
        "The slides in this folder are phantoms: procedurally generated pictures in the manner of stained tissue.\n"
        "They show no patient and no tissue, and no medical conclusion can be drawn from them.\n\n"
        f"config: {_settings(config)}\n\nfingerprint: {_fingerprint(config)}\n"
    )
