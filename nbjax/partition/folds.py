"""Families to folds for cross-validation, from a seed."""

from collections.abc import Sequence

import numpy as np

from nbjax.errors import InputError
from nbjax.partition.descent import descend, members_of
from nbjax.partition.inputs import check_families

# Folds with a smaller discrepancy are not improved further.
GOOD = 1e-3


def joint_folds(counts: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Families of several labels to folds for cross-validation: a family is in one fold, whatever its labels.

    There are as many folds as asked for, or as the label of fewest families has. Without any one fold there are two
    families or more of every label to train on (one of a label that has two in all). Where families of three labels or
    more leave no way to that, there are more folds.

    Args:
        counts: patches, int `[families, labels]`; 0 where a family has none of a label.
        folds: wanted.
        seed: as for `grouped_folds`.

    Returns:
        The fold of each family, int `[families]`, in 0…k-1; no fold is empty.

    Raises:
        InputError: a label with fewer than two families.
    """
    families = (counts > 0).sum(axis=0)
    if families.min() < 2:
        raise InputError(
            f"label {families.argmin()} has {families.min()} family; expected at least 2, one to hold out and one to "
            "train on."
        )
    kept = np.minimum(families - 1, 2)
    number = max(2, min(folds, int(families.min())))
    while True:
        fold = grouped_folds(counts, number, seed)
        # At the latest with one family a fold.
        if (families - members_of(counts, fold, number) >= kept).all():
            return fold
        number += 1


def grouped_folds(
    patches_per_family: Sequence[int] | Sequence[Sequence[int]] | np.ndarray, folds: int, seed: int
) -> np.ndarray:
    """Families to k folds alike in patches and in families of every class, for cross-validation without leaks.

    The folds' discrepancy (equation 1 with k splits and targets of 1/k, mean over the classes) is lowered by random
    moves and swaps from a random start: other seeds give other folds. A class is in every fold that it can be in.

    Args:
        patches_per_family: int `[families]`, each at least 1; or of several classes `[families, classes]`, 0 where a
            family has no patches of a class.
        folds: k, at least 2.
        seed: of the start and the moves.

    Returns:
        The fold of each family, int `[families]`, in 0…k-1; no fold is empty.

    Raises:
        InputError: see `check_families`; fewer than 2 folds; fewer families than folds.
    """
    if folds < 2:
        raise InputError(f"folds: found {folds}, expected at least 2.")
    counts = np.asarray(patches_per_family)
    if counts.ndim == 1:
        counts = counts[:, None]
    check_families(counts.sum(axis=1), least=folds)
    rng = np.random.default_rng(seed)
    shares = (1 / folds,) * folds
    return descend(counts, _dealt(counts, folds, rng), shares, shares, GOOD, rng)


def _dealt(counts: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """A random start: families dealt like cards, so that no fold is empty and every class in as many as can be.

    Families of most classes come first, each to a fold that lacks most of its classes: of two classes, both then are in
    every fold as soon as each has that many families.

    Returns:
        The fold of each family, int `[families]`.
    """
    present = counts > 0
    order = rng.permutation(len(counts))
    order = order[np.argsort(-present[order].sum(axis=1), kind="stable")]
    fold = np.empty(len(counts), np.int64)
    held = np.zeros((folds, counts.shape[1]), np.int64)
    for family in order:
        mine = present[family]
        lacking, crowd = (held[:, mine] == 0).sum(axis=1), held[:, mine].sum(axis=1)
        fold[family] = np.lexsort((rng.permutation(folds), held.sum(axis=1), crowd, -lacking))[0]
        held[fold[family]] += mine
    return fold
