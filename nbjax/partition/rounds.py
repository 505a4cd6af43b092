"""The state of an iterative filing in progress, and its moves: one family, or many whole rounds at once.

All quantities are integers: sizes are multiplied by the common denominator of the targets, so that no comparison
depends on rounding. Families are known by size alone: those of equal size form a group.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate, pairwise
from math import lcm
from typing import NamedTuple

import numpy as np

from nbjax.partition.inputs import Targets, exact_shares


class Cohort(NamedTuple):
    """The families of one class and the targets, as integers.

    Attributes:
        sizes: scaled family sizes, largest first `[families]`.
        groups: the distinct sizes, largest first `[groups]`.
        negated: the same, negated: ascending, for bisection.
        first: index in `sizes` of each group's first family, and at the end the number of families `[groups + 1]`.
        strided: for a stride w in 1, 2, 3, `strided[w][i + w] = sizes[i] + sizes[i - w] + sizes[i - 2 w] + …`.
        smallest: sums of the 0, 1, 2, … smallest sizes `[families + 1]`.
        total: sum of the sizes.
        capacities: target sum of each split `[3]`.
        targets: target number of families of each split, times `unit` `[3]`.
        unit: what one family counts for in `targets`.
        proportion_factor: what a size unit too many adds to a scaled discrepancy.
        diversity_factor: what a unit of `targets` too many adds to it.
        denominator: what divides a scaled discrepancy to give D of equation (1).
    """

    sizes: list[int]
    groups: list[int]
    negated: list[int]
    first: list[int]
    strided: list[list[int]]
    smallest: list[int]
    total: int
    capacities: tuple[int, ...]
    targets: tuple[int, ...]
    unit: int
    proportion_factor: int
    diversity_factor: int
    denominator: int


def make_cohort(patches_per_family: np.ndarray, targets: Targets) -> Cohort:
    """Sorts and scales one class's family sizes `[families]`, each at least 1."""
    proportions, diversities = exact_shares(targets.proportions), exact_shares(targets.diversities)
    weights = [Fraction(weight).limit_denominator(10**6) for weight in targets.weights]
    scale, unit, clear = (
        lcm(*(number.denominator for number in numbers)) for numbers in (proportions, diversities, weights)
    )
    sizes = sorted((size * scale for size in patches_per_family.tolist()), reverse=True)
    total, families = sum(sizes), len(sizes)
    first = [0, *(i for i, (left, right) in enumerate(pairwise(sizes), 1) if left != right), families]
    groups = [sizes[i] for i in first[:-1]]
    return Cohort(
        sizes=sizes,
        groups=groups,
        negated=[-size for size in groups],
        first=first,
        strided=[[], *(_strided_sums(sizes, stride) for stride in (1, 2, 3))],
        smallest=[0, *accumulate(reversed(sizes))],
        total=total,
        capacities=tuple(int(share * total) for share in proportions),
        targets=tuple(int(share * families * unit) for share in diversities),
        unit=unit,
        proportion_factor=int(weights[0] * clear) * families * unit,
        diversity_factor=int(weights[1] * clear) * total,
        denominator=6 * clear * families * unit * total,
    )


def _strided_sums(sizes: list[int], stride: int) -> list[int]:
    sums = [0] * stride
    for i, size in enumerate(sizes):
        sums.append(size + sums[i])
    return sums


@dataclass(slots=True)
class State:
    """Who has what, part of the way through.

    Attributes:
        sums: scaled sizes in each split `[3]`.
        counts: families in each split `[3]`.
        start: families before this index of `Cohort.sizes` are all taken.
        group: the group of the largest family left; the number of groups when none is left.
        holes: families taken out of smaller groups, by group.
        turn: whose turn it is.
        open: which splits may still receive a family `[3]`.
    """

    sums: list[int]
    counts: list[int]
    start: int
    group: int
    holes: dict[int, int] = field(default_factory=dict)
    turn: int = 0
    open: list[bool] = field(default_factory=lambda: [True, True, True])

    def copy(self) -> "State":
        """An independent copy."""
        return State(self.sums[:], self.counts[:], self.start, self.group, self.holes.copy(), self.turn, self.open[:])


def available(cohort: Cohort, state: State, group: int) -> int:
    """How many families of a group, at or after the state's, are left."""
    return cohort.first[group + 1] - max(state.start, cohort.first[group]) - state.holes.get(group, 0)


def largest_fitting(cohort: Cohort, state: State, room: int) -> int:
    """The group of the largest family left that fits in `room`; the number of groups when none fits."""
    group = bisect_left(cohort.negated, -room, state.group)
    while group < len(cohort.groups) and available(cohort, state, group) == 0:
        group += 1
    return group


def next_larger(cohort: Cohort, state: State, group: int) -> int:
    """The group of the smallest family left that is larger than `group`; there must be one."""
    group -= 1
    while available(cohort, state, group) == 0:
        group -= 1
    return group


def take(cohort: Cohort, state: State, split: int, group: int) -> None:
    """Gives a family of a group to a split."""
    state.sums[split] += cohort.groups[group]
    state.counts[split] += 1
    if group == state.group:
        state.start += 1
        _settle(cohort, state)
    else:
        state.holes[group] = state.holes.get(group, 0) + 1


def _settle(cohort: Cohort, state: State) -> None:
    """Moves on to the group of the largest family left."""
    while state.group < len(cohort.groups) and available(cohort, state, state.group) <= 0:
        state.holes.pop(state.group, None)
        state.group += 1
        state.start = cohort.first[state.group]


def rounds_that_fit(cohort: Cohort, start: int, stride: int, room: int) -> int:
    """The most families start, start + stride, start + 2 stride, … whose sizes together fit in `room`."""
    families = len(cohort.sizes)
    if start >= families:
        return 0
    sums = cohort.strided[stride]
    most = room + sums[start]
    low, high = 0, (families - start + stride - 1) // stride
    while low < high:
        middle = (low + high + 1) // 2
        if sums[start + stride * middle] <= most:
            low = middle
        else:
            high = middle - 1
    return low


def take_rounds(
    cohort: Cohort, state: State, splits: Sequence[int], rooms: Sequence[int], limit: int | None = None
) -> bool:
    """Plays as many whole rounds as possible in which each of `splits` in turn receives the largest family left.

    Args:
        cohort: the families.
        state: is changed.
        splits: who takes part, in order.
        rooms: the room of each.
        limit: the most rounds; None for no limit.

    Returns:
        Whether at least one round was played. A round that would cross families taken earlier is left to single moves.
    """
    stride, start = len(splits), state.start
    sums = cohort.strided[stride]
    if state.group in state.holes:
        rounds = available(cohort, state, state.group) // stride
    else:
        contiguous = min((cohort.first[group] for group in state.holes), default=len(cohort.sizes))
        rounds = (contiguous - start) // stride
    if limit is not None:
        rounds = min(rounds, limit)
    for place, room in enumerate(rooms):
        if rounds <= 0:
            return False
        at = start + place
        if sums[at + stride * rounds] - sums[at] > room:
            rounds = min(rounds, rounds_that_fit(cohort, at, stride, room))
    if rounds == 0:
        return False
    for place, split in enumerate(splits):
        at = start + place
        state.sums[split] += sums[at + stride * rounds] - sums[at]
        state.counts[split] += rounds
    state.start += stride * rounds
    state.group = bisect_right(cohort.first, state.start) - 1
    _settle(cohort, state)
    return True
