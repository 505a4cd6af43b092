"""Many near-optimal partitions of one cohort, from seeds."""

import math
from collections.abc import Sequence

import numpy as np

from nbjax.errors import InputError
from nbjax.partition.descent import descend, members_of
from nbjax.partition.inputs import SPLITS, Targets, check_classes, check_families, check_targets
from nbjax.partition.partition import DIVERSITIES, PROPORTIONS, partition_classes, partition_families
from nbjax.partition.quality import measure_quality

# A resampling is given up after this many starts in a row that gave nothing new.
_STARTS = 100


def resample_partitions(
    patches_per_family: Sequence[int] | np.ndarray,
    count: int,
    seed: int,
    tolerance: float = 0.01,
    proportions: Sequence[float] = PROPORTIONS,
    diversities: Sequence[float] = DIVERSITIES,
) -> np.ndarray:
    """Different partitions of one class that are all near the optimum.

    Near means a discrepancy of at most that of iterative filing plus `tolerance`, with a family in every split. Where
    filing leaves a split empty, the least discrepancy that fills all takes the place of filing's. Each partition starts
    from a random assignment; random moves of a family to another split and random swaps of two families are accepted
    while they do not raise the discrepancy, until it is near. Partitions found before are dropped.

    Args:
        patches_per_family: int `[families]`, each at least 1.
        count: how many partitions.
        seed: the same seed gives the same partitions; a smaller count gives the first of them.
        tolerance: added to filing's discrepancy.
        proportions: as for `partition_families`.
        diversities: as for `partition_families`.

    Returns:
        int `[count, families]`: 0 train, 1 validation, 2 test; no two rows are equal, and no split is empty.

    Raises:
        InputError: as `partition_families`; a count below 1; a negative tolerance; so few near partitions that `count`
            different ones were not found.
    """
    targets = check_targets(proportions, diversities)
    assignments = _near_filing(patches_per_family, count, seed, tolerance, targets)
    if len(assignments) < count:
        raise _too_few(str(len(assignments)), len(assignments), count, tolerance, "iterative filing's")
    return assignments


def resample_jointly(
    patches_per_family_and_class: Sequence[Sequence[int]] | np.ndarray,
    count: int,
    seed: int,
    tolerance: float = 0.01,
    proportions: Sequence[float] = PROPORTIONS,
    diversities: Sequence[float] = DIVERSITIES,
) -> np.ndarray:
    """Different partitions of several classes that share families, all near the optimum.

    Near means a mean discrepancy over the classes of at most that of the exact method plus `tolerance`. Found as in
    `resample_partitions`.

    Args:
        patches_per_family_and_class: int `[families, classes]`; 0 where a family has no patches of a class.
        count: how many partitions.
        seed: of the search.
        tolerance: added to the exact method's discrepancy.
        proportions: as for `partition_families`.
        diversities: as for `partition_families`.

    Returns:
        int `[count, families]`; no two rows are equal, and every split has families of every class.

    Raises:
        InputError: as `partition_classes`; a count below 1; a negative tolerance; too few near partitions.
    """
    targets = check_targets(proportions, diversities)
    counts = check_classes(patches_per_family_and_class)
    best = partition_classes(counts, proportions, diversities, method="exact", every_split=True).discrepancy
    assignments = _near(counts, best, count, seed, tolerance, targets)
    if len(assignments) < count:
        raise _too_few(str(len(assignments)), len(assignments), count, tolerance, "the exact method's")
    return assignments


def resample_classes(
    patches_per_family: Sequence[Sequence[int] | np.ndarray],
    count: int,
    seed: int,
    tolerance: float = 0.01,
    proportions: Sequence[float] = PROPORTIONS,
    diversities: Sequence[float] = DIVERSITIES,
) -> list[np.ndarray]:
    """Different partitions of several classes together, each class near its optimum as in `resample_partitions`.

    A class of few families may have fewer near partitions than are asked for; those found of it then stand several
    times, each time with another partition of the other classes.

    Args:
        patches_per_family: of each class.
        count: how many partitions.
        seed: of the search and of what is put together.
        tolerance: added to filing's discrepancy, for each class.
        proportions: as for `partition_families`.
        diversities: as for `partition_families`.

    Returns:
        Of each class int `[count, families]`; no two partitions are equal in all classes.

    Raises:
        InputError: as `resample_partitions`; here the near partitions of the classes together must be enough.
    """
    targets = check_targets(proportions, diversities)
    of_classes = [
        _near_filing(sizes, count, [seed, number], tolerance, targets)
        for number, sizes in enumerate(patches_per_family)
    ]
    lengths = [len(of_class) for of_class in of_classes]
    together = math.prod(lengths)
    if together < count:
        words = " x ".join(map(str, lengths))
        raise _too_few(words, together, count, tolerance, "iterative filing's")
    rng = np.random.default_rng([seed, len(of_classes)])
    if max(lengths) == count:
        chosen = [np.resize(rng.permutation(length), count) for length in lengths]
    else:
        chosen = list(np.unravel_index(rng.choice(together, count, replace=False), lengths))
    return [of_class[rows] for of_class, rows in zip(of_classes, chosen, strict=True)]


def _too_few(words: str, found: int, count: int, tolerance: float, whose: str) -> InputError:
    """What is said where there are not enough near partitions; the flags are those of experiments.partitions."""
    fewer = f" or --set=partitions={found} --set=leak_draws={min(found, 20)} for fewer" if found >= 2 else ""
    return InputError(
        f"count: found {words} different partitions within {tolerance:g} of {whose} discrepancy, expected {count}; "
        f"ask for --set=tolerance={max(2 * tolerance, 0.01):g}{fewer}."
    )


def _near_filing(
    patches_per_family: Sequence[int] | np.ndarray,
    count: int,
    seed: int | list[int],
    tolerance: float,
    targets: Targets,
) -> np.ndarray:
    """At most `count` different partitions of one class near iterative filing's, int `[found, families]`."""
    sizes = check_families(patches_per_family)
    best = partition_families(sizes, targets.proportions, targets.diversities, every_split=True).discrepancy
    return _near(sizes[:, None], best, count, seed, tolerance, targets)


def _near(
    counts: np.ndarray, best: float, count: int, seed: int | list[int], tolerance: float, targets: Targets
) -> np.ndarray:
    """At most `count` different partitions with a mean discrepancy near `best`, int `[found, families]`."""
    if count < 1:
        raise InputError(f"count: found {count}, expected at least 1 partition.")
    if not tolerance >= 0:
        raise InputError(f"tolerance: found {tolerance}, expected a number >= 0.")
    near, shares = best + tolerance, np.asarray(targets.diversities) / sum(targets.diversities)
    rng = np.random.default_rng(seed)
    near_optimal: dict[bytes, np.ndarray] = {}
    failures = 0
    while len(near_optimal) < count and failures < _STARTS:
        assignment = rng.choice(3, size=len(counts), p=shares)
        assignment = descend(counts, assignment, targets.proportions, targets.diversities, near, rng)
        reached = np.mean(
            [
                measure_quality(of_class, assignment, targets.proportions, targets.diversities).discrepancy
                for of_class in counts.T
            ]
        )
        whole = members_of(counts, assignment, len(SPLITS)).min() > 0
        if reached <= near + 1e-12 and whole and assignment.tobytes() not in near_optimal:
            near_optimal[assignment.tobytes()] = assignment
            failures = 0
        else:
            failures += 1
    return np.array(list(near_optimal.values()), np.int64).reshape(len(near_optimal), len(counts))
