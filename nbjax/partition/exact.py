"""The least discrepancy of any assignment, as a mixed-integer program."""

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from nbjax.errors import InputError
from nbjax.partition.inputs import Targets
from nbjax.partition.quality import quality


class Solution(NamedTuple):
    """What the solver reached.

    Attributes:
        assignment: the split of each family, int `[families]`; None if it found none in time.
        lower_bound: no assignment has a smaller mean discrepancy over classes.
    """

    assignment: np.ndarray | None
    lower_bound: float


def solve(counts: np.ndarray, targets: Targets, seconds: float) -> Solution:
    """Assigns families to splits with the least mean of the classes' discrepancies (paper, equation 1).

    Families with the same counts in all classes are interchangeable: the program decides how many of each kind go to
    each split. The sum of patches and the number of families of each class and split are whole-number variables too, so
    that the solver can branch on them.

    Args:
        counts: int `[families, classes]`.
        targets: of every class.
        seconds: time limit.

    Raises:
        InputError: the time limit is not positive.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"seconds: found {seconds}, expected a time limit above 0.")
    kinds, kind_of = np.unique(counts, axis=0, return_inverse=True)
    copies = np.bincount(kind_of)
    program = _Program(kinds, copies, targets)
    result = milp(
        program.cost,
        integrality=program.integrality,
        bounds=Bounds(np.zeros(len(program.cost)), program.upper),
        constraints=LinearConstraint(program.matrix, program.low, program.high),
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    bound = result.mip_dual_bound if result.mip_dual_bound is not None else 0.0
    lower_bound = max(0.0, float(bound) / program.scale) if math.isfinite(bound) else 0.0
    if result.x is None:
        return Solution(None, lower_bound)
    numbers = np.rint(result.x[: 3 * len(kinds)]).astype(np.int64).reshape(len(kinds), 3)
    assignment = np.empty(len(counts), dtype=np.int64)
    for kind, per_split in enumerate(numbers):
        assignment[kind_of == kind] = np.repeat(np.arange(3), per_split)
    return Solution(assignment, lower_bound)
