"""Checks of what the user gives, and the targets as exact fractions."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from nbjax.errors import InputError

SPLITS = ("train", "validation", "test")
# A share below it is none as a fraction (`exact_shares`).
LEAST_SHARE = 1e-6
# Of a class: more than all slides of the world have, and sums of them are exact.
MOST_PATCHES = 10**12


class Targets(NamedTuple):
    """What a partition aims at.

    Attributes:
        proportions: target shares of patches: train, validation, test.
        diversities: target shares of families.
        weights: factors of the two terms of the discrepancy.
    """

    proportions: tuple[float, ...]
    diversities: tuple[float, ...]
    weights: tuple[float, float]


def check_targets(
    proportions: Sequence[float], diversities: Sequence[float], weights: Sequence[float] = (1.0, 1.0)
) -> Targets:
    """Checks the targets of a partition (paper, III.D.1: p1 > p2 >= p3, p1 > 0.5, both kinds summing to 1).

    Raises:
        InputError: wrong number of values, not finite, not summing to 1, p1 <= 0.5, p3 <= 0, p2 < p3, a negative
            diversity or weight, or both weights 0.
    """
    _check_shares("proportions", proportions)
    _check_shares("diversities", diversities)
    first, second, third = (float(value) for value in proportions)
    if first <= 0.5:
        raise InputError(f"proportions: train is {first:g}, expected more than 0.5, as in 0.7,0.15,0.15.")
    if third <= 0:
        raise InputError(f"proportions: test is {third:g}, expected more than 0, as in 0.7,0.15,0.15.")
    if second < third:
        raise InputError(
            f"proportions: validation {second:g} is less than test {third:g}, expected validation >= test; write "
            f"{first:g},{third:g},{second:g}."
        )
    if len(weights) != 2 or not all(math.isfinite(value) and value >= 0 for value in weights) or sum(weights) == 0:
        raise InputError(
            f"weights: found {tuple(weights)}, expected two finite numbers >= 0, not both 0 (proportions, diversities)."
        )
    return Targets(
        tuple(float(value) for value in proportions),
        tuple(float(value) for value in diversities),
        (float(weights[0]), float(weights[1])),
    )


def _check_shares(name: str, shares: Sequence[float]) -> None:
    if len(shares) != len(SPLITS):
        raise InputError(f"{name}: found {len(shares)} values, expected 3: train, validation, test.")
    if not all(math.isfinite(share) and share >= 0 for share in shares):
        raise InputError(f"{name}: found {tuple(shares)}, expected three finite numbers >= 0.")
    if any(0 < share < LEAST_SHARE for share in shares):
        raise InputError(f"{name}: found {tuple(shares)}, expected no share between 0 and {LEAST_SHARE:g}.")
    if abs(sum(shares) - 1) > 1e-9:
        raise InputError(f"{name}: {tuple(shares)} sum to {sum(shares):.6g}, expected 1; change one of them.")


def check_families(patches_per_family: Sequence[int] | np.ndarray, least: int = len(SPLITS)) -> np.ndarray:
    """Checks one class's family sizes.

    Args:
        patches_per_family: int `[families]`, each at least 1.
        least: how many families are needed, one for each split.

    Returns:
        The sizes as int64 `[families]`.

    Raises:
        InputError: not a list of whole numbers, no patches, a family without patches, a negative count, or fewer
            families than `least`.
    """
    counts = _whole_numbers("patches_per_family", patches_per_family)
    if counts.ndim != 1:
        raise InputError(f"patches_per_family: found an array of shape {counts.shape}, expected one number a family.")
    if counts.sum() == 0:
        raise InputError("patches_per_family: the class has no patches; leave the class out or review its patches.")
    empty = np.flatnonzero(counts == 0)
    if empty.size:
        raise InputError(
            f"patches_per_family: family {empty[0]} has no patches, expected at least 1; leave such families out."
        )
    if len(counts) < least:
        raise InputError(f"patches_per_family: {len(counts)} families cannot fill {least} splits; add families.")
    return counts


def check_classes(counts: Sequence[Sequence[int]] | np.ndarray) -> np.ndarray:
    """Checks family sizes over several classes.

    Args:
        counts: int `[families, classes]`; 0 where a family has no patch of a class.

    Returns:
        The counts as int64 `[families, classes]`.

    Raises:
        InputError: not a table of whole numbers, a class without patches, a family without patches, a negative
            count, or fewer families in a class than splits.
    """
    name = "patches_per_family_and_class"
    table = _whole_numbers(name, counts)
    if table.ndim != 2 or 0 in table.shape:
        raise InputError(
            f"{name}: found an array of shape {table.shape}, expected one row a family, one column a class."
        )
    for number, column in enumerate(table.T):
        families = np.count_nonzero(column)
        if families == 0:
            raise InputError(f"{name}: class {number} has no patches; leave the class out or review its patches.")
        if families < len(SPLITS):
            raise InputError(f"{name}: {families} families of class {number} cannot fill 3 splits; add families.")
    empty = np.flatnonzero(table.sum(axis=1) == 0)
    if empty.size:
        raise InputError(f"{name}: family {empty[0]} has no patches, expected at least 1; leave such families out.")
    return table


def _whole_numbers(name: str, values: Sequence[int] | Sequence[Sequence[int]] | np.ndarray) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name}: rows of different lengths, expected one row a family.") from error
    if array.size == 0:
        raise InputError(f"{name}: found no families, expected at least 3; add families.")
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.floor(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise InputError(f"{name}: found values of type {array.dtype}, expected whole numbers of patches.")
    if (array < 0).any():
        raise InputError(f"{name}: found {array.min()}, expected numbers of patches, which are never negative.")
    if array.sum(dtype=np.float64) > MOST_PATCHES:
        raise InputError(
            f"{name}: found {array.sum(dtype=np.float64):.3g} patches, expected at most {MOST_PATCHES:.0e}."
        )
    return array.astype(np.int64)


def exact_shares(shares: Sequence[float]) -> tuple[Fraction, ...]:
    """Shares as fractions that sum to exactly 1.

    Each is read as the nearest fraction with a denominator up to one million (0.15 is 3/20, 1/3 is 1/3), the last is
    what is left, so that no comparison depends on how a decimal number is stored.
    """
    exact = [Fraction(share).limit_denominator(10**6) for share in shares[:-1]]
    return (*exact, 1 - sum(exact, Fraction(0)))
