"""Many near-optimal partitions of one cohort, and grouped folds, from seeds."""

import math
from collections.abc import Sequence

import numpy as np

from nbjax.errors import InputError
from nbjax.partition.inputs import SPLITS, Targets, check_classes, check_families, check_targets
from nbjax.partition.partition import DIVERSITIES, PROPORTIONS, partition_classes, partition_families
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
        int `[count, families]`: 0 train, 1 validation, 2 test; no two rows are equal, and no split is empty.

    Raises:
        InputError: as `partition_families`; a count below 1; a negative tolerance; so few near partitions that `count`
            different ones were not found.
    """
    targets = check_targets(proportions, diversities)
    found = _near_filing(patches_per_family, count, seed, tolerance, targets)
    if len(found) < count:
        raise _too_few(str(len(found)), len(found), count, tolerance, "iterative filing's")
    return found


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
    found = _near(counts, best, count, seed, tolerance, targets)
    if len(found) < count:
        raise _too_few(str(len(found)), len(found), count, tolerance, "the exact method's")
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
    targets = check_targets(proportions, diversities)
    found = [
        _near_filing(sizes, count, [seed, number], tolerance, targets)
        for number, sizes in enumerate(patches_per_family)
    ]
    lengths = [len(one) for one in found]
    together = math.prod(lengths)
    if together < count:
        words = " x ".join(map(str, lengths))
        raise _too_few(words, together, count, tolerance, "iterative filing's")
    rng = np.random.default_rng([seed, len(found)])
    if max(lengths) == count:
        chosen = [np.resize(rng.permutation(length), count) for length in lengths]
    else:
        chosen = list(np.unravel_index(rng.choice(together, count, replace=False), lengths))
    return [one[rows] for one, rows in zip(found, chosen, strict=True)]


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
    found: dict[bytes, np.ndarray] = {}
    failures = 0
    while len(found) < count and failures < _STARTS:
        assignment = rng.choice(3, size=len(counts), p=shares)
        assignment = _descend(counts, assignment, targets.proportions, targets.diversities, near, rng)
        reached = np.mean(
            [
                measure_quality(of_class, assignment, targets.proportions, targets.diversities).discrepancy
                for of_class in counts.T
            ]
        )
        whole = _members(counts, assignment, len(SPLITS)).min() > 0
        if reached <= near + 1e-12 and whole and assignment.tobytes() not in found:
            found[assignment.tobytes()] = assignment
            failures = 0
        else:
            failures += 1
    return np.array(list(found.values()), np.int64).reshape(len(found), len(counts))


def _members(counts: np.ndarray, assignment: np.ndarray, splits: int) -> np.ndarray:
    """How many families of each class each split has, int `[splits, classes]`."""
    members = np.zeros((splits, counts.shape[1]), np.int64)
    np.add.at(members, assignment, counts > 0)
    return members


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
            f"label {families.argmin()} has {families.min()} family; expected at least 2, one to hold out and one to train on."
        )
    kept = np.minimum(families - 1, 2)
    number = max(2, min(folds, int(families.min())))
    while True:
        fold = grouped_folds(counts, number, seed)
        # At the latest with one family a fold.
        if (families - _members(counts, fold, number) >= kept).all():
            return fold
        number += 1


def grouped_folds(
    patches_per_family: Sequence[int] | Sequence[Sequence[int]] | np.ndarray, folds: int, seed: int
) -> np.ndarray:
    """Families to k folds alike in patches and in families of every class, for cross-validation without leaks.

    The folds' discrepancy (equation 1 with k splits and targets of 1/k, mean over the classes) is lowered by random moves
    and swaps from a random start: other seeds give other folds. A class is in every fold that it can be in.

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
    return _descend(counts, _dealt(counts, folds, rng), shares, shares, _GOOD_FOLDS, rng)


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


# Of a family, or of what a swap moves: class, its share of the class's patches, of its families, and how many families.
_Parts = list[tuple[int, float, float, int]]


def _parts(counts: np.ndarray) -> list[_Parts]:
    """What each family has of each of its classes."""
    shares = (counts / counts.sum(axis=0)).tolist()
    families = (counts > 0).sum(axis=0).tolist()
    return [
        [(of, shares[number][of], 1 / families[of], 1) for of in np.flatnonzero(row).tolist()]
        for number, row in enumerate(counts)
    ]


def _difference(parts: _Parts, other: _Parts) -> _Parts:
    """What leaves a split where the one family leaves and the other comes."""
    coming = {of: (share, one, count) for of, share, one, count in other}
    found = []
    for of, share, one, count in parts:
        less = coming.pop(of, (0.0, 0.0, 0))
        found.append((of, share - less[0], one - less[1], count - less[2]))
    return found + [(of, -share, -one, -count) for of, (share, one, count) in coming.items()]


def _lacking(
    parts: list[_Parts], place: list[int], proportions: Sequence[float], diversities: Sequence[float], classes: int
) -> tuple[list[list[float]], list[list[float]]]:
    """What each class lacks of its patches and of its families in each split, in shares: a discrepancy is the plain sum."""
    lacking = [[*proportions] for _ in range(classes)]
    wanted = [[*diversities] for _ in range(classes)]
    for family, split in enumerate(place):
        for of, share, one, _ in parts[family]:
            lacking[of][split] -= share
            wanted[of][split] -= one
    return lacking, wanted


def _descend(
    counts: np.ndarray,
    assignment: np.ndarray,
    proportions: Sequence[float],
    diversities: Sequence[float],
    near: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Lowers the mean discrepancy by random moves and swaps until it is at most `near` or stays as it is.

    A change that takes the last family of a class from a split is refused.

    Args:
        counts: int `[families, classes]`.
        assignment: the start, int `[families]`.
        proportions: target shares of every class's patches, one a split.
        diversities: likewise of its families.
        near: mean discrepancy over the classes.
        rng: of the moves.

    Returns:
        A new assignment, int `[families]`.
    """
    splits, families = len(proportions), len(counts)
    parts, place = _parts(counts), assignment.tolist()
    lacking, wanted = _lacking(parts, place, proportions, diversities, counts.shape[1])
    members = _members(counts, assignment, splits).T.tolist()
    current, stale = sum(sum(map(abs, values)) for values in (*lacking, *wanted)), 0
    enough = 2 * splits * counts.shape[1] * near
    while current > enough and stale < _PATIENCE * families:
        firsts, seconds = rng.integers(0, families, size=(2, 512)).tolist()
        to_splits, swaps = rng.integers(0, splits, size=512).tolist(), (rng.random(512) < 0.5).tolist()
        for first, second, to, swap in zip(firsts, seconds, to_splits, swaps, strict=True):
            stale += 1
            old, new = place[first], place[second] if swap else to
            if old == new:
                continue
            moved = _difference(parts[first], parts[second]) if swap else parts[first]
            if any(count and members[of][old if count > 0 else new] == 1 for of, _, _, count in moved):
                continue
            change = _change(moved, old, new, lacking, wanted)
            if change > 0:
                continue
            _move(moved, old, new, lacking, wanted, members)
            place[first] = new
            if swap:
                place[second] = old
            current += change
            if change < -1e-12:
                stale = 0
            if current <= enough:
                break
    return np.array(place, dtype=np.int64)


def _change(moved: _Parts, old: int, new: int, lacking: list[list[float]], wanted: list[list[float]]) -> float:
    """How much more all classes lack and have too much in both splits once `moved` has gone from the one to the other."""
    change = 0.0
    for of, share, one, _ in moved:
        change += _growth(lacking[of][old], share) + _growth(lacking[of][new], -share)
        change += _growth(wanted[of][old], one) + _growth(wanted[of][new], -one)
    return change


def _move(
    moved: _Parts,
    old: int,
    new: int,
    lacking: list[list[float]],
    wanted: list[list[float]],
    members: list[list[int]],
) -> None:
    """Notes that `moved` has gone from one split to another."""
    for of, share, one, count in moved:
        lacking[of][old] += share
        lacking[of][new] -= share
        wanted[of][old] += one
        wanted[of][new] -= one
        members[of][old] -= count
        members[of][new] += count


def _growth(value: float, by: float) -> float:
    """How much further from 0 a value gets."""
    return abs(value + by) - abs(value)
