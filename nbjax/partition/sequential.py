"""The authors' baseline: fill one split after another."""

from collections.abc import Sequence

import numpy as np


def sequential_assignment(patches_per_family: np.ndarray, proportions: Sequence[float]) -> np.ndarray:
    """Fills train by decreasing family size until no room is left, then validation; test receives the rest.

    A split's room is its proportion less the shares that it holds, subtracted one by one in double precision as in the
    authors' program: where a split is filled exactly, the rounding of that difference decides whether it gets one
    family more. Families of equal size are taken in the order given.

    Args:
        patches_per_family: int `[families]`, each at least 1.
        proportions: target shares of patches: train, validation, test.

    Returns:
        The split of each family, int `[families]`.
    """
    shares = patches_per_family / patches_per_family.sum()
    assignment = np.full(len(shares), 2, dtype=np.int64)
    split, room = 0, proportions[0]
    for family in np.argsort(-patches_per_family, kind="stable"):
        while split < 2 and room <= 0:
            split += 1
            room = proportions[split]
        assignment[family] = split
        room -= float(shares[family])
    return assignment
