"""Standardisation: one mean and one deviation per channel over a whole split (paper III.F)."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from nbjax.errors import InputError

MODES = ("imagenet", "per_split", "train", "none")
# Of pixels as fractions of 255.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class PixelSums(NamedTuple):
    """Exact sums over 8-bit pixels; add two with `add_sums`.

    Attributes:
        pixels: number of pixels.
        sums: int64 `[3]`, sum of values.
        squares: int64 `[3]`, sum of squared values; exact up to 1.4e14 pixels.
    """

    pixels: int
    sums: np.ndarray
    squares: np.ndarray


NO_PIXELS = PixelSums(0, np.zeros(3, np.int64), np.zeros(3, np.int64))


def pixel_sums(images: np.ndarray) -> PixelSums:
    """Sums over uint8 `[..., 3]`."""
    flat = images.reshape(-1, 3)
    counts = np.stack([np.bincount(flat[:, channel], minlength=256) for channel in range(3)]).astype(np.int64)
    values = np.arange(256, dtype=np.int64)
    return PixelSums(len(flat), counts @ values, counts @ values**2)


def repeat_sums(sums: PixelSums, times: int) -> PixelSums:
    """Sums in which each pixel counts so many times; a transform of a patch changes no sum."""
    return PixelSums(sums.pixels * times, sums.sums * times, sums.squares * times)


def add_sums(first: PixelSums, second: PixelSums) -> PixelSums:
    """Sums over both sets of pixels."""
    return PixelSums(first.pixels + second.pixels, first.sums + second.sums, first.squares + second.squares)


class Standardisation(NamedTuple):
    """What is subtracted from and divides the pixels (as fractions of 255) of one split.

    Attributes:
        mean: per channel, in [0, 1].
        std: per channel, above 0.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def moments(sums: PixelSums) -> Standardisation:
    """Mean and (population) standard deviation per channel of pixels scaled to [0, 1].

    Raises:
        InputError: no pixels, or a channel without any variation.
    """
    if not sums.pixels:
        raise InputError("a split without samples cannot be standardised; give every split at least one patch.")
    mean, std = [], []
    for total, squares in zip(sums.sums.tolist(), sums.squares.tolist(), strict=True):
        # In integers, so that no cancellation happens before the one division.
        variance = sums.pixels * squares - total * total
        if variance <= 0:
            raise InputError("a colour channel has the same value in every pixel of a split; expected H&E images.")
        mean.append(total / sums.pixels / 255)
        std.append(variance**0.5 / sums.pixels / 255)
    return Standardisation(_triple(mean), _triple(std))


def _triple(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue


def standardisations(mode: str, sums: Mapping[str, PixelSums]) -> dict[str, Standardisation]:
    """What each split is standardised with.

    Args:
        mode: `imagenet` (published constants: what a pretrained backbone knows, and the same whatever the partition),
            `per_split` (the paper's text: each split by its own moments), `train` (the authors' program: all by the
            training split's) or `none` (fractions of 255 as they are).
        sums: of each split's samples.

    Raises:
        InputError: an unknown mode, or a split that has no moments.
    """
    if mode == "per_split":
        return {split: moments(split_sums) for split, split_sums in sums.items()}
    if mode == "train":
        return dict.fromkeys(sums, moments(sums["train"]))
    if mode == "imagenet":
        return dict.fromkeys(sums, Standardisation(IMAGENET_MEAN, IMAGENET_STD))
    if mode == "none":
        return dict.fromkeys(sums, Standardisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    raise InputError(f"standardisation: found {mode!r}; expected one of {', '.join(MODES)}.")


def standardise(images: np.ndarray, standardisation: Standardisation) -> np.ndarray:
    """uint8 `[..., 3]` to float32 `[..., 3]`, less the mean, over the deviation."""
    mean = np.asarray(standardisation.mean, np.float32) * np.float32(255)
    scale = np.float32(1 / 255) / np.asarray(standardisation.std, np.float32)
    return (images.astype(np.float32) - mean) * scale
