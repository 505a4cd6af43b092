"""Families moved between splits until these are near what is wanted: what resampled partitions and folds are found
by.
"""

from collections.abc import Sequence

import numpy as np

# A start is given up after this many changes tried a family without a lower discrepancy.
PATIENCE = 40

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
    coming = {of: (share, unit, count) for of, share, unit, count in other}
    going = []
    for of, share, unit, count in parts:
        less = coming.pop(of, (0.0, 0.0, 0))
        going.append((of, share - less[0], unit - less[1], count - less[2]))
    return going + [(of, -share, -unit, -count) for of, (share, unit, count) in coming.items()]


def _lacking(
    parts: list[_Parts], place: list[int], proportions: Sequence[float], diversities: Sequence[float], classes: int
) -> tuple[list[list[float]], list[list[float]]]:
    """What each class lacks of its patches and of its families in each split, in shares: a discrepancy is the plain
    sum.
    """
    lacking = [[*proportions] for _ in range(classes)]
    wanted = [[*diversities] for _ in range(classes)]
    for family, split in enumerate(place):
        for of, share, unit, _ in parts[family]:
            lacking[of][split] -= share
            wanted[of][split] -= unit
    return lacking, wanted


def descend(
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
    members = members_of(counts, assignment, splits).T.tolist()
    current, stale = sum(sum(map(abs, values)) for values in (*lacking, *wanted)), 0
    enough = 2 * splits * counts.shape[1] * near
    while current > enough and stale < PATIENCE * families:
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
    """How much more all classes lack and have too much in both splits once `moved` has gone from the one to the
    other.
    """
    change = 0.0
    for of, share, unit, _ in moved:
        change += _growth(lacking[of][old], share) + _growth(lacking[of][new], -share)
        change += _growth(wanted[of][old], unit) + _growth(wanted[of][new], -unit)
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
    for of, share, unit, count in moved:
        lacking[of][old] += share
        lacking[of][new] -= share
        wanted[of][old] += unit
        wanted[of][new] -= unit
        members[of][old] -= count
        members[of][new] += count


def _growth(value: float, by: float) -> float:
    """How much further from 0 a value gets."""
    return abs(value + by) - abs(value)


def members_of(counts: np.ndarray, assignment: np.ndarray, splits: int) -> np.ndarray:
    """How many families of each class each split has, int `[splits, classes]`."""
    members = np.zeros((splits, counts.shape[1]), np.int64)
    np.add.at(members, assignment, counts > 0)
    return members
