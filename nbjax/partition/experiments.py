"""The paper's experiments 2 and 3 (III.G): splits that correlate train and validation on purpose.

Both work on patches, keep the number of patches of each class in each split, and never touch the test split.
"""

import numpy as np

from nbjax.errors import InputError
from nbjax.partition.inputs import SPLITS

TRAIN, VALIDATION = 0, 1


def exchange(family: np.ndarray, split: np.ndarray, label: np.ndarray, seed: int, patches: int = 1) -> np.ndarray:
    """Experiment 2, low correlation: one patch a family changes place between train and validation, one of each of its
    classes.

    For each class, as many families of train as of validation take part (all of the side that has fewer; of the other,
    that many at random). Each gives one patch, drawn at random. With more patches a family, a side's families may not
    have as many as the other's: both then give what the poorer side has, so that the numbers of patches stay.

    Args:
        family: index of each patch's family, int `[patches]`.
        split: 0 train, 1 validation, 2 test, int `[patches]`.
        label: class of each patch, int `[patches]`.
        seed: of the draws.
        patches: that a family gives, or all it has where that is less; at least 1, the paper's number.

    Returns:
        The new split of each patch, int `[patches]`.

    Raises:
        InputError: lengths or types that do not fit, an unknown split, patches below 1, a class with no family in train
            or in validation.
    """
    family, split, label = _check(family, split, label)
    if patches < 1:
        raise InputError(f"patches: found {patches}, expected the number that each family gives, at least 1.")
    rng = np.random.default_rng(seed)
    result = split.copy()
    for number in np.unique(label):
        sides = [np.unique(family[(label == number) & (split == side)]) for side in (TRAIN, VALIDATION)]
        taking_part = min(len(side) for side in sides)
        if taking_part == 0:
            raise InputError(f"split: class {number} has no family in train or none in validation to exchange with.")
        given = []
        for side, families in zip((TRAIN, VALIDATION), sides, strict=True):
            drawn: list[np.ndarray] = []
            for chosen in rng.choice(families, size=taking_part, replace=False):
                of_family = np.flatnonzero((family == chosen) & (label == number) & (split == side))
                drawn.append(rng.choice(of_family, size=min(patches, len(of_family)), replace=False))
            given.append(np.concatenate(drawn))
        count = min(map(len, given))
        for side, some_patches in zip((VALIDATION, TRAIN), given, strict=True):
            result[some_patches if len(some_patches) == count else rng.permutation(some_patches)[:count]] = side
    return result


def random(family: np.ndarray, split: np.ndarray, label: np.ndarray, seed: int) -> np.ndarray:
    """Experiment 3, high correlation: the patches of train and validation are drawn at random among themselves.

    Args:
        family: index of each patch's family, int `[patches]`; checked only, families are ignored on purpose.
        split: 0 train, 1 validation, 2 test, int `[patches]`.
        label: class of each patch, int `[patches]`.
        seed: of the draws.

    Returns:
        The new split of each patch, int `[patches]`.

    Raises:
        InputError: lengths or types that do not fit, or an unknown split.
    """
    _, split, label = _check(family, split, label)
    rng = np.random.default_rng(seed)
    result = split.copy()
    for number in np.unique(label):
        patches = np.flatnonzero((label == number) & (split <= VALIDATION))
        result[patches] = rng.permutation(split[patches])
    return result


def spread_families(family: np.ndarray, split: np.ndarray, label: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Experiment 3 for a share of the families: their patches are dealt at random to train and validation.

    So many of the families in train or validation are drawn, a family of several classes with its first; of each class,
    their patches go to the two splits in the class's own proportions, so that with fraction 1 the numbers of patches
    stay. One seed draws the families in one order: a larger fraction spreads the same ones and more.

    Args:
        family: index of each patch's family, int `[patches]`.
        split: 0 train, 1 validation, 2 test, int `[patches]`.
        label: class of each patch, int `[patches]`.
        fraction: share of the families, in [0, 1]; their number is rounded.
        seed: of the draws.

    Returns:
        The new split of each patch, int `[patches]`.

    Raises:
        InputError: lengths or types that do not fit, an unknown split, a fraction outside [0, 1].
    """
    family, split, label = _check(family, split, label)
    if not 0 <= fraction <= 1:
        raise InputError(f"fraction: found {fraction}, expected a share of the families in [0, 1].")
    rng = np.random.default_rng(seed)
    result = split.copy()
    leaking: list[int] = []
    seen: list[int] = []
    for number in np.unique(label):
        here = (label == number) & (split <= VALIDATION)
        # A family with patches of an earlier class was drawn, or not, with that class.
        order = rng.permutation(np.setdiff1d(family[here], seen))
        leaking += order[: round(fraction * len(order))].tolist()
        seen += order.tolist()
        share = np.mean(split[here] == VALIDATION)
        shuffled = rng.permutation(np.flatnonzero(here))
        patches = shuffled[np.isin(family[shuffled], leaking)]
        # Either split receives some.
        to_validation = min(max(round(share * len(patches)), 1), max(len(patches) - 1, 0))
        result[patches] = TRAIN
        result[patches[:to_validation]] = VALIDATION
    return result


def _check(family: np.ndarray, split: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    arrays = {"family": np.asarray(family), "split": np.asarray(split), "label": np.asarray(label)}
    for name, array in arrays.items():
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise InputError(f"{name}: found {array.dtype} of shape {array.shape}, expected one whole number a patch.")
        if len(array) != len(arrays["family"]):
            raise InputError(f"{name}: found {len(array)} values for {len(arrays['family'])} patches of `family`.")
    unknown = np.setdiff1d(arrays["split"], np.arange(len(SPLITS)))
    if unknown.size:
        raise InputError(f"split: found {unknown[0]}, expected 0 train, 1 validation or 2 test.")
    return arrays["family"], arrays["split"].astype(np.int64), arrays["label"]
