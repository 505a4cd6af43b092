"""The least discrepancy of any assignment, as a mixed-integer program."""

import math
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp

from nbjax.errors import InputError
from nbjax.partition.inputs import Targets


class Solution(NamedTuple):
    """What the solver reached.

    Attributes:
        assignment: the split of each family, int `[families]`; None if none was found in time.
        lower_bound: no assignment has a smaller mean discrepancy over the classes.
    """

    assignment: np.ndarray | None
    lower_bound: float


class _Program(NamedTuple):
    cost: np.ndarray
    constraints: list[LinearConstraint]
    upper: np.ndarray
    scale: float


def solve(counts: np.ndarray, targets: Targets, seconds: float, every_split: bool = False) -> Solution:
    """Assigns families to splits with the least mean of the classes' discrepancies (paper, equation 1).

    Families with the same counts in all classes are one kind: the program decides how many of each kind go to each
    split, so that it never tells apart what makes no difference.

    Args:
        counts: int `[families, classes]`.
        targets: of every class.
        seconds: time limit.
        every_split: of each class, every split receives a family or more.

    Raises:
        InputError: the time limit is not above 0; `every_split` where no assignment does that.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"seconds: found {seconds}, expected a time limit above 0.")
    kinds, kind_of = np.unique(counts, axis=0, return_inverse=True)
    kind_of = kind_of.reshape(-1)
    copies = np.bincount(kind_of)
    program = _program(kinds, copies, targets, every_split)
    whole = 3 * len(kinds)
    result = _run(program, whole, seconds, presolve=True)
    # HiGHS's presolve fails on a program in thousands, such as that of 2, 3 and 12 patches; without it they are solved.
    if result.status == 4:
        result = _run(program, whole, seconds, presolve=False)
    # milp's "infeasible".
    if every_split and result.status == 2:
        raise InputError(
            "patches_per_family_and_class: no assignment gives every split a family of every class; add families."
        )
    bound = result.mip_dual_bound
    lower_bound = max(0.0, float(bound) / program.scale) if bound is not None and math.isfinite(bound) else 0.0
    if result.x is None:
        return Solution(None, lower_bound)
    numbers = np.rint(result.x[:whole]).astype(np.int64).reshape(len(kinds), 3)
    assignment = np.empty(len(counts), dtype=np.int64)
    for kind, per_split in enumerate(numbers):
        assignment[kind_of == kind] = np.repeat(np.arange(3), per_split)
    return Solution(assignment, lower_bound)


def _run(program: _Program, whole: int, seconds: float, presolve: bool) -> OptimizeResult:
    """The solver's result; the first `whole` variables are whole numbers."""
    return milp(
        program.cost,
        integrality=np.arange(len(program.cost)) < whole,
        bounds=Bounds(np.zeros(len(program.cost)), program.upper),
        constraints=program.constraints,
        options={"time_limit": seconds, "mip_rel_gap": 0.0, "presolve": presolve},
    )


def _program(kinds: np.ndarray, copies: np.ndarray, targets: Targets, every_split: bool) -> _Program:
    """The program's numbers.

    Variables: for each kind and split the number of families (whole), then for each class six differences from the
    targets: of patches and of families, each by split. A difference d = |reached - target| is what is left of d when it
    is made small under d >= reached - target and d >= target - reached. The cost is scaled so that a patch counts for
    about 1: the solver's tolerances are absolute.

    Args:
        kinds: int `[kinds, classes]`.
        copies: families of each kind `[kinds]`.
        targets: of every class.
        every_split: see `solve`.
    """
    classes = kinds.shape[1]
    totals = (kinds * copies[:, None]).sum(axis=0)
    families = ((kinds > 0) * copies[:, None]).sum(axis=0)
    scale = 6.0 * classes * totals.max()
    reached, wanted, cost = [], [], [np.zeros(3 * len(kinds))]
    for number in range(classes):
        column = kinds[:, number]
        terms = (
            (column, totals[number], targets.proportions, targets.weights[0]),
            ((column > 0).astype(np.int64), families[number], targets.diversities, targets.weights[1]),
        )
        for sizes, whole, shares, weight in terms:
            reached.append(sparse.kron(sizes[None, :], sparse.eye_array(3)))
            wanted.append(whole * np.asarray(shares))
            cost.append(np.full(3, weight * totals.max() / whole))
    reach, want = sparse.vstack(reached), np.concatenate(wanted)
    differences = sparse.eye_array(len(want))
    every_family = sparse.hstack(
        [sparse.kron(sparse.eye_array(len(kinds)), np.ones((1, 3))), sparse.coo_array((len(kinds), len(want)))]
    )
    constraints = [
        LinearConstraint(every_family.tocsc(), copies, copies),
        LinearConstraint(sparse.hstack([-reach, differences]).tocsc(), -want, np.inf),
        LinearConstraint(sparse.hstack([reach, differences]).tocsc(), want, np.inf),
    ]
    if every_split:
        present = sparse.kron((kinds > 0).T.astype(float), sparse.eye_array(3))
        families_there = sparse.hstack([present, sparse.coo_array((3 * classes, len(want)))])
        constraints.append(LinearConstraint(families_there.tocsc(), 1, np.inf))
    if targets.proportions[1] == targets.proportions[2] and targets.diversities[1] == targets.diversities[2]:
        # Validation and test are then interchangeable: leave out the half where test has more patches of the first
        # class. Proofs that take a minute without this take a second with it.
        order = np.concatenate([np.kron(kinds[:, 0], [0, 1, -1]), np.zeros(len(want))])
        constraints.append(LinearConstraint(order[None, :], 0, np.inf))
    return _Program(
        cost=np.concatenate(cost),
        constraints=constraints,
        upper=np.concatenate([np.repeat(copies, 3).astype(float), np.full(len(want), np.inf)]),
        scale=scale,
    )
