"""Iterative filing (paper, III.D): the rule, and the least discrepancy over all mu and epsilon, found exactly.

The rule, for given mu and epsilon, with p1, p2, p3 the target proportions:

1. By decreasing size, a family goes to train while the room left in train and the family's share both exceed
   mu * min(p2, p3). These are the N1 initial families.
2. Validation and test in turn each receive the largest family that fits, until each has N1.
3. With epsilon added to the room of validation and test, train, validation and test in turn each receive the largest
   family that fits, until none fits in validation or test. What is left goes to train.

A family fits when its share is at most the room. Families of equal size are taken in the order given.

mu acts through N1 alone, and a decision in step 3 changes at finitely many values of epsilon, so the discrepancy is
constant on finitely many rectangles of the (mu, epsilon) plane. For each N1 the search follows step 3 for all epsilon
in [0, 1] together; where a decision depends on epsilon it divides the interval and follows both parts. Parts that
cannot reach the least discrepancy known are dropped.
"""

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nbjax.partition.rounds import (
    Cohort,
    State,
    largest_fitting,
    next_larger,
    rounds_that_fit,
    take,
    take_rounds,
)


class Initial(NamedTuple):
    """Values of mu that give train the same initial families: mu in [low, high), or [low, 1] where high is 1.

    Attributes:
        families: N1.
        low: mu.
        high: mu.
    """

    families: int
    low: float
    high: float


class Leaf(NamedTuple):
    """Values of epsilon for which all decisions are the same, for one N1.

    Attributes:
        value: scaled discrepancy.
        initial: N1 and its mu.
        low: scaled epsilon, in [low, high).
        high: scaled epsilon.
    """

    value: int
    initial: Initial
    low: int
    high: int


@dataclass(slots=True)
class Search:
    """What has been found.

    Attributes:
        cohort: the families.
        best: the least scaled discrepancy known; nothing is dropped while it is infinite.
        leaves: those that reach it, or all of them.
        keep_all: keep all leaves, drop nothing.
    """

    cohort: Cohort
    best: float = math.inf
    leaves: list[Leaf] = field(default_factory=list)
    keep_all: bool = False

    def add(self, leaf: Leaf) -> None:
        """Keeps a leaf if none found before is better."""
        if self.keep_all:
            self.leaves.append(leaf)
            return
        if leaf.value < self.best:
            self.best = leaf.value
            self.leaves.clear()
        if leaf.value == self.best:
            self.leaves.append(leaf)


def best_leaves(cohort: Cohort) -> list[Leaf]:
    """All intervals of mu and epsilon with the least discrepancy, by increasing epsilon, then mu."""
    starts = []
    for initial in initial_intervals(cohort):
        state = initialise(cohort, initial.families)
        first = Search(cohort)
        _descend(first, initial, state.copy(), 0, cohort.total + 1, [])
        starts.append((first.best, initial, state))
    starts.sort(key=lambda start: start[0])
    search = Search(cohort, best=starts[0][0])
    for _, initial, state in starts:
        _explore(search, initial, state)
    return sorted(search.leaves, key=lambda leaf: (leaf.low, leaf.initial.low))


def all_leaves(cohort: Cohort, initial: Initial) -> list[Leaf]:
    """Every interval of epsilon for one N1, by increasing epsilon."""
    search = Search(cohort, keep_all=True)
    _explore(search, initial, initialise(cohort, initial.families))
    return search.leaves


def initial_intervals(cohort: Cohort) -> list[Initial]:
    """The values that N1 can take, least first, with the mu in [0, 1] of each."""
    threshold = min(cohort.capacities[1:])
    limits, before = [], 0
    for size in cohort.sizes:
        limits.append(min(size, cohort.capacities[0] - before))
        before += size
    # `limits` falls: N1 is the number of them above mu * threshold.
    limits = [*(limit for limit in limits if limit > 0), 0]
    families = next(number for number, limit in enumerate(limits) if limit <= threshold)
    intervals, high = [], 1.0
    while True:
        low = limits[families] / threshold
        intervals.append(Initial(families, low, high))
        if families == len(limits) - 1:
            return intervals
        high = low
        level = limits[families]
        while limits[families] == level:
            families += 1


def initialise(cohort: Cohort, initial: int) -> State:
    """The state after steps 1 and 2 for a given N1."""
    state = State([cohort.strided[1][initial], 0, 0], [initial, 0, 0], initial, 0)
    state.group = bisect_right(cohort.first, initial) - 1
    lacking = [1, 2] if initial else []
    while lacking:
        rooms = [cohort.capacities[split] - state.sums[split] for split in lacking]
        if take_rounds(cohort, state, lacking, rooms, initial - max(state.counts[split] for split in lacking)):
            lacking = [split for split in lacking if state.counts[split] < initial]
            continue
        for split in lacking.copy():
            group = largest_fitting(cohort, state, cohort.capacities[split] - state.sums[split])
            if group < len(cohort.groups):
                take(cohort, state, split, group)
            if group == len(cohort.groups) or state.counts[split] == initial:
                lacking.remove(split)
    return state


def _explore(search: Search, initial: Initial, state: State) -> None:
    """Adds the leaves below a state after step 2."""
    waiting = [(state, 0, search.cohort.total + 1)]
    while waiting:
        state, low, high = waiting.pop()
        if _surplus(search.cohort, state) <= search.best:
            _descend(search, initial, state, low, high, waiting)


def _descend(
    search: Search, initial: Initial, state: State, low: int, high: int, waiting: list[tuple[State, int, int]]
) -> None:
    """Follows step 3 for the least scaled epsilon in [low, high) to its leaf, and puts what parts from it in
    `waiting`.
    """
    cohort = search.cohort
    while state.group < len(cohort.groups) and (state.open[1] or state.open[2]):
        split = state.turn
        if not state.open[split]:
            state.turn = (split + 1) % 3
            continue
        room = cohort.capacities[split] - state.sums[split]
        if cohort.groups[state.group] <= room + (low if split else 0):
            if split == state.open.index(True) and _take_open_rounds(cohort, state, low):
                continue
            take(cohort, state, split, state.group)
        else:
            group = largest_fitting(cohort, state, room + (low if split else 0))
            if split:
                change = cohort.groups[next_larger(cohort, state, group)] - room
                hopeless = _hopeless_below(search, state, min(change, high), high)
                if hopeless > low:
                    low = hopeless
                    if low == high or _surplus(cohort, state) > search.best:
                        return
                    continue
                if change < high:
                    waiting.append((state.copy(), change, high))
                    high = change
            if group == len(cohort.groups):
                state.open[split] = False
            else:
                take(cohort, state, split, group)
            if split and search.best < math.inf and _least_value(cohort, state, high) > search.best:
                return
        state.turn = (split + 1) % 3
    search.add(Leaf(_value(cohort, state), initial, low, high))


def _take_open_rounds(cohort: Cohort, state: State, low: int) -> bool:
    splits = [split for split in range(3) if state.open[split]]
    rooms = [cohort.capacities[split] - state.sums[split] + (low if split else 0) for split in splits]
    return take_rounds(cohort, state, splits, rooms)


def _value(cohort: Cohort, state: State) -> int:
    """Scaled discrepancy when all that is left goes to train."""
    sums = (cohort.total - state.sums[1] - state.sums[2], state.sums[1], state.sums[2])
    counts = (len(cohort.sizes) - state.counts[1] - state.counts[2], state.counts[1], state.counts[2])
    return cohort.proportion_factor * sum(
        abs(reached - target) for reached, target in zip(sums, cohort.capacities, strict=True)
    ) + cohort.diversity_factor * sum(
        abs(cohort.unit * reached - target) for reached, target in zip(counts, cohort.targets, strict=True)
    )


def _surplus(cohort: Cohort, state: State) -> int:
    """A lower bound of the scaled discrepancy of all that can follow: splits never lose what they have.

    Differences from targets sum to 0, so their absolute values sum to twice the positive ones.
    """
    sums, counts = _surplus_terms(cohort, state)
    return 2 * (cohort.proportion_factor * sums + cohort.diversity_factor * counts)


def _surplus_terms(cohort: Cohort, state: State) -> tuple[int, int]:
    sums = counts = 0
    for split in range(3):
        over = state.sums[split] - cohort.capacities[split]
        if over > 0:
            sums += over
        over = cohort.unit * state.counts[split] - cohort.targets[split]
        if over > 0:
            counts += over
    return sums, counts


def _least_value(cohort: Cohort, state: State, excess: int) -> int:
    """A lower bound of the scaled discrepancy of all that can follow for scaled epsilon below `excess`.

    As `_surplus`, and also by what validation and test can still receive at most.
    """
    sums, counts, capacities, targets, unit = state.sums, state.counts, cohort.capacities, cohort.targets, cohort.unit
    over_sums, over_counts = _surplus_terms(cohort, state)
    sum_left = cohort.total - sums[0] - sums[1] - sums[2]
    families_left = len(cohort.sizes) - counts[0] - counts[1] - counts[2]
    under_sums = max(0, capacities[0] - sums[0] - sum_left)
    under_counts = max(0, targets[0] - unit * (counts[0] + families_left))
    for split in (1, 2):
        lacking_sum = capacities[split] - sums[split]
        lacking_count = targets[split] - unit * counts[split]
        if state.open[split] and families_left:
            room = lacking_sum + excess - 1
            if room >= sum_left:
                room, families = sum_left, families_left
            else:
                families = _most_families(cohort, state, room, families_left)
            lacking_sum -= room
            lacking_count -= unit * families
        if lacking_sum > 0:
            under_sums += lacking_sum
        if lacking_count > 0:
            under_counts += lacking_count
    return 2 * (
        cohort.proportion_factor * max(over_sums, under_sums) + cohort.diversity_factor * max(over_counts, under_counts)
    )


def _most_families(cohort: Cohort, state: State, room: int, left: int) -> int:
    """An upper bound of the number of families that a split with `room` can still receive in step 3.

    While the largest family left fits, the split takes it; at most one family a turn and open split has gone before,
    so its j-th family is at least the (w j + w - 1)-th largest left, w being the number of open splits. From the first
    time that the largest does not fit, less than the largest's size is left, which the smallest families fill best.
    """
    largest = cohort.groups[state.group]
    if room < largest:
        return min(left, bisect_right(cohort.smallest, room) - 1)
    open_splits = sum(state.open)
    holes = len(cohort.sizes) - state.start - left
    start = state.start + holes + open_splits - 1
    taken = rounds_that_fit(cohort, start, open_splits, room)
    if start + taken * open_splits >= len(cohort.sizes):
        return left
    return min(left, taken + bisect_right(cohort.smallest, largest - 1) - 1)


def _hopeless_below(search: Search, state: State, change: int, high: int) -> int:
    """A scaled epsilon in [change, high] below which nothing from this state is of interest; 0 if there is none."""
    cohort, best = search.cohort, search.best
    if best == math.inf or _least_value(cohort, state, change) <= best:
        return 0
    known, step = change, cohort.groups[state.group]
    while known < high and _least_value(cohort, state, min(high, known + step)) > best:
        known = min(high, known + step)
        step *= 2
    unknown = min(high, known + step)
    # Nearer than this is not worth its time: what is left is dropped later.
    near = max(1, cohort.groups[state.group] // 16)
    while unknown - known > near:
        middle = (known + unknown) // 2
        if _least_value(cohort, state, middle) > best:
            known = middle
        else:
            unknown = middle
    return known


def file_families(cohort: Cohort, initial: int, excess: int) -> np.ndarray:
    """The rule itself, one family at a time.

    Args:
        cohort: the families.
        initial: N1.
        excess: scaled epsilon.

    Returns:
        The split of each family, largest first: int `[families]`.
    """
    assignment = np.zeros(len(cohort.sizes), dtype=np.int64)
    left = [-size for size in cohort.sizes[initial:]]
    places = list(range(initial, len(cohort.sizes)))
    rooms = list(cohort.capacities)
    rooms[0] -= cohort.strided[1][initial]
    counts = [initial, 0, 0]

    def receives(split: int) -> bool:
        at = bisect_left(left, -rooms[split])
        if at == len(left):
            return False
        rooms[split] += left.pop(at)
        assignment[places.pop(at)] = split
        counts[split] += 1
        return True

    lacking = [1, 2]
    while lacking:
        lacking = [split for split in lacking if counts[split] < initial and receives(split)]
    rooms[1] += excess
    rooms[2] += excess
    receiving = [0, 1, 2]
    while receiving:
        receiving = [split for split in receiving if receives(split)]
    return assignment
