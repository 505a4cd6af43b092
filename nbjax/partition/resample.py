"""Many near-optimal partitions of one cohort, and grouped folds, from seeds."""

import math
from collections.abc import Sequence

import numpy as np

from nbjax.errors import InputError
from nbjax.partition.inputs import SPLITS, check_families, check_targets
from nbjax.partition.partition import DIVERSITIES, PROPORTIONS, partition_families
from nbjax.partition.quality import measure_quality

# A start is given up after this many changes tried a family without a lower discrepancy, a resampling after this many
# starts in a row that gave nothing new.
_PATIENCE = 40
_STARTS = 100
# Folds with a smaller discrepancy are not improved further.
_GOOD_FOLDS = 1e-3


def resample_partitions(
    patches_per_family: Sequence[int] | np.ndarray,
    count: int,
    seed: int,
    tolerance: float = 0.01,
    proportions: Sequence[float] = PROPORTIONS,
    diversities: Sequence[float] = DIVERSITIES,
) -> np.ndarray:
    """Different partitions of one class that are all near the optimum.

    Near means a discrepancy of at most that of iterative filing plus `tolerance`, with a family in every split. Where filing
    leaves a split empty, the least discrepancy that fills all takes the place of filing's. Each partition starts from a random
    assignment; random moves of a family to another split and random swaps of two families are accepted while they do not
    raise the discrepancy, until it is near. Partitions found before are dropped.

    Args:
        patches_per_family: int `[families]`, each at least 1.
        count: how many partitions.
        seed: the same seed gives the same partitions; a smaller count gives the first of them.
        tolerance: added to filing's discrepancy.
        proportions: as for `partition_families`.
        diversities: as for `partition_families`.

    Returns:
        int `[count, families]`: 0 train, 1 validation, 2 test; no two rows are equal.

    Raises:
        InputError: as `partition_families`; a count below 1; a negative tolerance; so few near partitions that `count`
            different ones were not found.
    """
    found = _near(patches_per_family, count, [seed], tolerance, proportions, diversities)
    if len(found) < count:
        raise InputError(
            f"count: found {len(found)} different partitions within {tolerance:g} of iterative filing's discrepancy, expected "
            f"{count}; raise the tolerance or ask for fewer."
        )
    return found


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
    found = [
        _near(sizes, count, [seed, number], tolerance, proportions, diversities)
        for number, sizes in enumerate(patches_per_family)
    ]
    lengths = [len(one) for one in found]
    together = math.prod(lengths)
    if together < count:
        raise InputError(
            f"count: found {' x '.join(map(str, lengths))} different partitions of the classes within {tolerance:g} of "
            f"iterative filing's discrepancy, expected {count}; raise the tolerance or ask for fewer."
        )
    rng = np.random.default_rng([seed, len(found)])
    if max(lengths) == count:
        chosen = [np.resize(rng.permutation(length), count) for length in lengths]
    else:
        chosen = list(np.unravel_index(rng.choice(together, count, replace=False), lengths))
    return [one[rows] for one, rows in zip(found, chosen, strict=True)]


def _near(
    patches_per_family: Sequence[int] | np.ndarray,
    count: int,
    seed: list[int],
    tolerance: float,
    proportions: Sequence[float],
    diversities: Sequence[float],
) -> np.ndarray:
    """At most `count` different near partitions of one class, int `[found, families]`."""
    targets = check_targets(proportions, diversities)
    sizes = check_families(patches_per_family)
    if count < 1:
        raise InputError(f"count: found {count}, expected at least 1 partition.")
    if not tolerance >= 0:
        raise InputError(f"tolerance: found {tolerance}, expected a number >= 0.")
    near = partition_families(sizes, proportions, diversities, every_split=True).discrepancy + tolerance
    rng = np.random.default_rng(seed[0] if len(seed) == 1 else seed)
    found: dict[bytes, np.ndarray] = {}
    failures = 0
    while len(found) < count and failures < _STARTS:
        assignment = rng.choice(3, size=len(sizes), p=np.asarray(targets.diversities) / sum(targets.diversities))
        assignment = _descend(sizes, assignment, targets.proportions, targets.diversities, near, rng)
        reached = measure_quality(sizes, assignment, targets.proportions, targets.diversities).discrepancy
        is_near = reached <= near + 1e-12 and len(set(assignment.tolist())) == len(SPLITS)
        if is_near and assignment.tobytes() not in found:
            found[assignment.tobytes()] = assignment
            failures = 0
        else:
            failures += 1
    return np.array(list(found.values()), np.int64).reshape(len(found), len(sizes))


def grouped_folds(patches_per_family: Sequence[int] | np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Families of one class to k folds alike in patches and in families, for cross-validation without leaks.

    The folds' discrepancy (equation 1 with k splits and targets of 1/k) is lowered by random moves and swaps from a
    random start: other seeds give other folds.

    Args:
        patches_per_family: int `[families]`, each at least 1.
        folds: k, at least 2.
        seed: of the start and the moves.

    Returns:
        The fold of each family, int `[families]`, in 0…k-1; no fold is empty.

    Raises:
        InputError: see `check_families`; fewer than 2 folds; fewer families than folds.
    """
    if folds < 2:
        raise InputError(f"folds: found {folds}, expected at least 2.")
    sizes = check_families(patches_per_family, least=folds)
    rng = np.random.default_rng(seed)
    shares = (1 / folds,) * folds
    # Dealt like cards, so that no fold is empty even where few families make the descent stop at once.
    start = rng.permutation(np.arange(len(sizes)) % folds)
    return _descend(sizes, start, shares, shares, _GOOD_FOLDS, rng)


def _descend(
    sizes: np.ndarray,
    assignment: np.ndarray,
    proportions: Sequence[float],
    diversities: Sequence[float],
    near: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Lowers the discrepancy by random moves and swaps until it is at most `near` or stays as it is.

    A change that leaves a split empty is refused.

    Returns:
        A new assignment, int `[families]`.
    """
    splits, families = len(proportions), len(sizes)
    # In units of one share each, so that a discrepancy is a plain sum over splits.
    shares = (sizes / sizes.sum()).tolist()
    place = assignment.tolist()
    lacking = [*proportions]
    wanted = [*diversities]
    members = [0] * splits
    for family, split in enumerate(place):
        lacking[split] -= shares[family]
        wanted[split] -= 1 / families
        members[split] += 1
    current = sum(map(abs, lacking)) + sum(map(abs, wanted))
    stale = 0
    while current > 2 * splits * near and stale < _PATIENCE * families:
        firsts, seconds = rng.integers(0, families, size=(2, 512)).tolist()
        to_splits, swaps = rng.integers(0, splits, size=512).tolist(), (rng.random(512) < 0.5).tolist()
        for first, second, to, swap in zip(firsts, seconds, to_splits, swaps, strict=True):
            stale += 1
            old, new = place[first], place[second] if swap else to
            if old == new or not (swap or members[old] > 1):
                continue
            moved = shares[first] - (shares[second] if swap else 0.0)
            one = 0.0 if swap else 1 / families
            change = _growth(lacking[old], moved) + _growth(lacking[new], -moved)
            change += _growth(wanted[old], one) + _growth(wanted[new], -one)
            if change > 0:
                continue
            lacking[old] += moved
            lacking[new] -= moved
            wanted[old] += one
            wanted[new] -= one
            place[first] = new
            if swap:
                place[second] = old
            else:
                members[old] -= 1
                members[new] += 1
            current += change
            if change < -1e-12:
                stale = 0
            if current <= 2 * splits * near:
                break
    return np.array(place, dtype=np.int64)


def _growth(value: float, by: float) -> float:
    """How much further from 0 a value gets."""
    return abs(value + by) - abs(value)
