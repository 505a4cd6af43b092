"""The phantom: procedurally drawn slides of two labels, made of no patient and no tissue.

Label PD looks like poorly differentiated neuroblastoma (dense small dark nuclei, Homer Wright rosettes), label D like
a differentiated tumour (ganglion-like cells, neuropil, Schwannian stroma). Slides differ in stain, light, sharpness,
cell size and density whatever their label, so that patches of one slide look alike. A phantom tests programs and
statistics; it says nothing of any tumour.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image

from nbjax.errors import InputError
from nbjax.files import replacing
from nbjax.slides.phantom_tissue import draw_look, draw_tissue

# How differentiated the tissue of each label is in the textbook.
DIFFERENTIATION = {"PD": 0.0, "D": 1.0}
NOTE = "PHANTOM.txt"
# Counts up whenever the same config gives other pixels: folders drawn by an older version are then refused.
VERSION = 1
# Most slides of the paper's cohort are cut to multiples of the patch size (paper III.A).
MULTIPLE = 250
REMAINDER_CHANCE = 0.3


@dataclasses.dataclass(frozen=True)
class PhantomConfig:
    """What a phantom is drawn from.

    Attributes:
        slides: number of slides by label; the labels are PD and D.
        shares: by label, the shares of its pixels that its first slides hold, falling, each in (0, 1]; the first slide
            has the largest size, the slides that are not named share the rest.
        smallest: height and width in pixels of the last slide of the first label; no slide has a smaller side.
        largest: height and width in pixels of the first slide of each label; no slide has a larger side.
        overlap: in [0, 1]; 0 draws textbook examples of each label, 1 draws both labels from the same distribution. A
            slide of overlap o has a share of differentiated tissue uniform in [0, o] for PD, in [1 - o, 1] for D.
        seed: at least 0.
    """

    slides: dict[str, int]
    shares: dict[str, tuple[float, ...]]
    smallest: tuple[int, int]
    largest: tuple[int, int]
    overlap: float = 0.35
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InputError where a field is out of its range."""
        if not self.slides or set(self.slides) - set(DIFFERENTIATION) or set(self.slides) != set(self.shares):
            raise InputError(
                f"slides names the labels {list(self.slides)} and shares {list(self.shares)}; "
                f"expected the same ones in both, out of {list(DIFFERENTIATION)}."
            )
        for label, count in self.slides.items():
            _check_shares(label, count, self.shares[label])
        sides = (*self.smallest, *self.largest)
        if len(sides) != 4 or not all(32 <= side <= 16_000 for side in sides):
            raise InputError(
                f"smallest is {self.smallest} and largest {self.largest}; expected two sides each, 32 to 16000 pixels."
            )
        if self.smallest[0] > self.largest[0] or self.smallest[1] > self.largest[1]:
            raise InputError(f"smallest is {self.smallest}, beyond largest, {self.largest}; swap them.")
        if not 0 <= self.overlap <= 1:
            raise InputError(f"overlap is {self.overlap}; expected a number in [0, 1].")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; expected 0 or more.")


def _check_shares(label: str, count: int, shares: tuple[float, ...]) -> None:
    if count < 1:
        raise InputError(f"slides[{label!r}] is {count}; expected at least 1.")
    if not 1 <= len(shares) <= count:
        raise InputError(f"shares[{label!r}] has {len(shares)} numbers for {count} slides; expected 1 to {count}.")
    falling = all(a >= b for a, b in zip(shares, shares[1:], strict=False))
    if not falling or shares[-1] <= 0 or math.fsum(shares) > 1 + 1e-9:
        raise InputError(f"shares[{label!r}] is {shares}; expected falling positive numbers whose sum is at most 1.")


class PhantomSlide(NamedTuple):
    """One slide of a phantom: its label, its name (the file's without `.png`), its size in pixels."""

    label: str
    name: str
    height: int
    width: int


# Two labels alike in number, a few large slides: about 300 patches, for a first try on two cores.
SMALL = PhantomConfig(
    slides={"PD": 12, "D": 12},
    shares={"PD": (0.18, 0.15, 0.11), "D": (0.2, 0.16, 0.12)},
    smallest=(500, 500),
    largest=(1250, 1500),
)

# As many slides, pixels and, after the tissue rule, patches as the paper's cohort (paper III.C; sizes and shares of
# the largest families from the authors' report: 44 families of PD, 16 of D, slides of 321x241 to 4000x3000 pixels).
# The cohort has 61 slides but 60 families: the 61st here is the one of 321x241 pixels, which holds no whole patch.
PAPER = PhantomConfig(
    slides={"PD": 45, "D": 16},
    shares={"PD": (0.172, 0.172, 0.069, 0.069), "D": (0.265, 0.265, 0.115, 0.115, 0.065)},
    smallest=(241, 321),
    largest=(3000, 4000),
)


def phantom_sizes(config: PhantomConfig) -> list[PhantomSlide]:
    """The slides of a phantom, label by label, the largest first.

    Most sides are multiples of the patch size, as in the paper's cohort; the others lose pixels at the border.
    """
    slides = []
    for label, count in config.slides.items():
        rng = _generator(config, label)
        for index, area in enumerate(_areas(config, label)):
            height, width = _sides(rng, area, config)
            if index == 0:
                height, width = config.largest
            elif index == count - 1 and label == next(iter(config.slides)):
                height, width = config.smallest
            slides.append(PhantomSlide(label, f"{label}-{index + 1:03d}", height, width))
    return slides


def _areas(config: PhantomConfig, label: str) -> np.ndarray:
    """Pixels of each slide of a label, before rounding: float `[slides]`."""
    shares = config.shares[label]
    rest = config.slides[label] - len(shares)
    tail = np.linspace(1.6, 0.4, rest) * (1 - math.fsum(shares)) / max(rest, 1)
    return np.concatenate([shares, tail]) * math.prod(config.largest) / shares[0]


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
    which other slides are drawn.

    Args:
        config: the phantom.
        label: one of `config.slides`.
        index: from 0, in the order of `phantom_sizes`.

    Raises:
        InputError: there is no such slide.
    """
    if not 0 <= index < config.slides.get(label, 0):
        raise InputError(f"slide {index} of label {label!r} is not in the phantom; expected one of {config.slides}.")
    slide = [slide for slide in phantom_sizes(config) if slide.label == label][index]
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
    counts = {label: iter(range(count)) for label, count in config.slides.items()}
    for slide, path in zip(progress(slides), paths, strict=True):
        index = next(counts[slide.label])
        if not path.exists():
            image = PIL.Image.fromarray(phantom_slide(config, slide.label, index))
            with replacing(path) as temporary:
                image.save(temporary, format="PNG", compress_level=3)
    return paths


def _check_folder(config: PhantomConfig, folder: Path, paths: list[Path]) -> None:
    """Checks that whatever the folder holds belongs to this phantom."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give the folder that the phantom goes to.")
    found = {path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")}
    note = folder / NOTE
    if note in found and _fingerprint(config) not in note.read_text(encoding="utf-8", errors="replace"):
        raise InputError(f"{folder}: holds a phantom of another config (see {NOTE}); give another folder or remove it.")
    if found and note not in found:
        raise InputError(f"{folder}: holds files but no {NOTE}, so it is no phantom; give an empty or a new folder.")
    foreign = sorted(str(path.relative_to(folder)) for path in found - {note, *paths})
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
