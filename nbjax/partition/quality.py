"""How far a partition is from its targets: the paper's discrepancy, equation (1)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Quality(NamedTuple):
    """What a partition of one class reaches.

    Attributes:
        discrepancy: D of equation (1), times the weights; with weights of 1 between 0 and 2/3.
        proportions: share of the patches in each split, train, validation, test; each in [0, 1].
        diversities: share of the families in each split; each in [0, 1].
    """

    discrepancy: float
    proportions: tuple[float, ...]
    diversities: tuple[float, ...]


def measure_quality(
    patches_per_family: np.ndarray,
    assignment: np.ndarray,
    proportions: Sequence[float] = (0.7, 0.15, 0.15),
    diversities: Sequence[float] = (1 / 3, 1 / 3, 1 / 3),
    weights: tuple[float, float] = (1.0, 1.0),
) -> Quality:
    """Discrepancy, proportions and diversities that an assignment reaches for one class (paper, III.D.4, equation 1).

    D is the mean of the absolute differences between targets and reached values, over proportions and diversities
    alike. With K splits it is their sum divided by 2 K; the paper has K = 3.

    Args:
        patches_per_family: int `[families]`; families with no patch do not count.
        assignment: int `[families]`, the split of each family, in 0…K-1.
        proportions: K target shares of patches.
        diversities: K target shares of families.
        weights: factors of the proportions' term and of the diversities' term (paper, III.D.5).
    """
    counts = np.asarray(patches_per_family)
    splits = len(proportions)
    present = counts > 0
    patches = np.bincount(assignment[present], weights=counts[present], minlength=splits)
    families = np.bincount(assignment[present], minlength=splits)
    reached_proportions = patches / patches.sum()
    reached_diversities = families / families.sum()
    off_proportions = np.abs(np.asarray(proportions) - reached_proportions).sum()
    off_diversities = np.abs(np.asarray(diversities) - reached_diversities).sum()
    return Quality(
        discrepancy=float((weights[0] * off_proportions + weights[1] * off_diversities) / (2 * splits)),
        proportions=tuple(reached_proportions.tolist()),
        diversities=tuple(reached_diversities.tolist()),
    )
