"""The discrepancy over the whole (mu, epsilon) plane, the paper's Figure 4."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nbjax.partition.filing import all_leaves, initial_intervals
from nbjax.partition.inputs import check_families, check_targets
from nbjax.partition.rounds import make_cohort


class DiscrepancyMap(NamedTuple):
    """The regions on which iterative filing's discrepancy is constant: columns of mu, each cut into epsilon intervals.

    Attributes:
        mu_edges: ascending, from 0 to 1 `[columns + 1]`.
        epsilon_edges: for each column, ascending, from 0 to 1 `[intervals + 1]`.
        discrepancy: for each column, the discrepancy between neighbouring edges `[intervals]`.
        initial_families: N1 of each column `[columns]`.
    """

    mu_edges: np.ndarray
    epsilon_edges: tuple[np.ndarray, ...]
    discrepancy: tuple[np.ndarray, ...]
    initial_families: np.ndarray


def discrepancy_map(
    patches_per_family: Sequence[int] | np.ndarray,
    proportions: Sequence[float] = (0.7, 0.15, 0.15),
    diversities: Sequence[float] = (1 / 3, 1 / 3, 1 / 3),
    weights: Sequence[float] = (1.0, 1.0),
) -> DiscrepancyMap:
    """All regions of the (mu, epsilon) plane and their discrepancies, exactly.

    Regions hold their lower edges. A value of N1 that mu = 1 alone gives has no width and is left out; it counts in
    `partition_families`.

    Args:
        patches_per_family: int `[families]` of one class.
        proportions: as for `partition_families`.
        diversities: as for `partition_families`.
        weights: as for `partition_families`.

    Raises:
        InputError: as `partition_families`.
    """
    targets = check_targets(proportions, diversities, weights)
    cohort = make_cohort(check_families(patches_per_family), targets)
    columns = [initial for initial in reversed(initial_intervals(cohort)) if initial.low < initial.high]
    edges, values = [], []
    for initial in columns:
        leaves = all_leaves(cohort, initial)
        starts = np.array([leaf.low for leaf in leaves], dtype=np.float64) / cohort.total
        edges.append(np.append(starts, 1.0))
        values.append(np.array([leaf.value for leaf in leaves], dtype=np.float64) / cohort.denominator)
    return DiscrepancyMap(
        mu_edges=np.array([0.0, *(initial.high for initial in columns)]),
        epsilon_edges=tuple(edges),
        discrepancy=tuple(values),
        initial_families=np.array([initial.families for initial in columns]),
    )
