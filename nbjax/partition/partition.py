"""Families to splits: one class, or several at once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nbjax.errors import InputError
from nbjax.partition.exact import solve
from nbjax.partition.filing import Leaf, best_leaves, file_families
from nbjax.partition.inputs import SPLITS, Targets, check_classes, check_families, check_targets
from nbjax.partition.quality import measure_quality
from nbjax.partition.rounds import Cohort, make_cohort
from nbjax.partition.sequential import sequential_assignment

METHODS = ("filing", "exact", "sequential")
PROPORTIONS = (0.7, 0.15, 0.15)
DIVERSITIES = (1 / 3, 1 / 3, 1 / 3)
WEIGHTS = (1.0, 1.0)
SECONDS = 60.0


@dataclass(frozen=True)
class Region:
    """A rectangle of the (mu, epsilon) plane on which filing gives one partition.

    Attributes:
        mu: lower end (included) and upper end (included only where it is 1), in [0, 1].
        epsilon: the same, in [0, 1].
    """

    mu: tuple[float, float]
    epsilon: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Partition:
    """One class's families, each in one split.

    Attributes:
        assignment: int `[families]`: 0 train, 1 validation, 2 test.
        discrepancy: D of the paper's equation (1), with the weights.
        proportions: share of the patches in each split.
        diversities: share of the families in each split.
        method: as asked for.
        found_by: the method the assignment is from: "filing" where "exact" ran out of time with nothing better.
        mu: with epsilon, a point inside the first of `optima`; None for other methods than filing.
        epsilon: see mu.
        optima: every region of the (mu, epsilon) plane where filing reaches this discrepancy, by increasing epsilon,
            then mu; `assignment` is the first's. Empty for other methods.
        lower_bound: no assignment has a smaller discrepancy; None unless the method is exact.
        gap: discrepancy less lower bound: 0 (up to the solver's 1e-8) when proven optimal; None unless exact.
        reason: why `method` took the place of the one asked for, a sentence; empty where it did not.
    """

    assignment: np.ndarray
    discrepancy: float
    proportions: tuple[float, ...]
    diversities: tuple[float, ...]
    method: str
    found_by: str
    mu: float | None = None
    epsilon: float | None = None
    optima: tuple[Region, ...] = ()
    lower_bound: float | None = None
    gap: float | None = None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class JointPartition:
    """The families of several classes, each in one split.

    Attributes:
        assignment: int `[families]`: 0 train, 1 validation, 2 test.
        discrepancy: mean of the classes' discrepancies.
        classes: one partition a class, over the families with patches of that class, in their order.
        method: as asked for.
        found_by: as in `Partition`.
        lower_bound: of the mean discrepancy; None unless the method is exact.
        gap: discrepancy less lower bound; None unless exact.
    """

    assignment: np.ndarray
    discrepancy: float
    classes: tuple[Partition, ...]
    method: str
    found_by: str
    lower_bound: float | None = None
    gap: float | None = None


def partition_families(
    patches_per_family: Sequence[int] | np.ndarray,
    proportions: Sequence[float] = PROPORTIONS,
    diversities: Sequence[float] = DIVERSITIES,
    method: str = "filing",
    weights: Sequence[float] = WEIGHTS,
    seconds: float = SECONDS,
    every_split: bool = False,
) -> Partition:
    """Assigns the families of one class to train, validation and test (paper, III.D).

    The order of the families changes nothing but which of several equal ones goes where: the first in order go where
    the method decides first.

    Args:
        patches_per_family: int `[families]`, each at least 1 (patches, or pixels).
        proportions: target shares of patches, p1 > 0.5, p2 >= p3 > 0, summing to 1.
        diversities: target shares of families, summing to 1.
        method: "filing": the paper's algorithm with the best mu and epsilon in [0, 1], found exactly; "exact": the
            least discrepancy of any assignment, with a proven bound; "sequential": the authors' baseline.
        weights: factors of the two sums in equation (1), proportions first.
        seconds: time limit of "exact".
        every_split: no split is left without a family. Filing may leave one so where there are three or four families,
            and the least discrepancy may too; then the least one that fills every split takes its place, and `reason`
            says so.

    Raises:
        InputError: see `check_targets` and `check_families`; an unknown method; a time limit that is not above 0; with
            `every_split`, "sequential" left a split empty.
    """
    counts = check_families(patches_per_family)
    joint = partition_classes(counts[:, None], proportions, diversities, method, weights, seconds, every_split)
    return replace(joint.classes[0], lower_bound=joint.lower_bound, gap=joint.gap)


def partition_classes(
    patches_per_family_and_class: Sequence[Sequence[int]] | np.ndarray,
    proportions: Sequence[float] = PROPORTIONS,
    diversities: Sequence[float] = DIVERSITIES,
    method: str = "filing",
    weights: Sequence[float] = WEIGHTS,
    seconds: float = SECONDS,
    every_split: bool = False,
) -> JointPartition:
    """Assigns the families of several classes, every class to the same targets.

    "filing" and "sequential" take one class at a time, as the paper does, so no family may have patches of two classes.
    "exact" assigns all classes jointly, with the least mean of their discrepancies.

    Args:
        patches_per_family_and_class: int `[families, classes]`; 0 where a family has no patches of a class.
        proportions: as for `partition_families`.
        diversities: as for `partition_families`; a class's families are those with patches of it.
        method: "filing", "exact" or "sequential".
        weights: as for `partition_families`.
        seconds: time limit of "exact", for all classes together.
        every_split: as for `partition_families`; every split then has a family of every class.

    Raises:
        InputError: see `check_targets` and `check_classes`; an unknown method; a family with two classes where the
            method is not "exact"; with `every_split`, "sequential" left a split empty, or no assignment fills them all.
    """
    targets = check_targets(proportions, diversities, weights)
    counts = check_classes(patches_per_family_and_class)
    _check_method(method)
    joint = _assign(counts, targets, method, seconds)
    if not every_split or fills_every_split(counts, joint.assignment):
        return joint
    if method == "sequential":
        raise InputError(f'method: "{method}" leaves a split without a family of a class; "exact" fills every split.')
    filled = _exact(counts, targets, seconds, every_split=True)
    what = "iterative filing" if method == "filing" else "the least discrepancy of any assignment"
    reason = (
        f"{what} leaves a split without a family, so this is the partition of least discrepancy that fills every split"
    )
    return replace(filled, classes=tuple(replace(of_class, reason=reason) for of_class in filled.classes))


def fills_every_split(patches_per_family_and_class: np.ndarray, assignment: np.ndarray) -> bool:
    """Whether every split has a family of every class.

    Args:
        patches_per_family_and_class: int `[families, classes]`.
        assignment: the split of each family, int `[families]`.
    """
    present = patches_per_family_and_class > 0
    return all(len(set(assignment[of_class].tolist())) == len(SPLITS) for of_class in present.T)


def _assign(counts: np.ndarray, targets: Targets, method: str, seconds: float) -> JointPartition:
    if method == "exact":
        return _exact(counts, targets, seconds)
    mixed = np.flatnonzero((counts > 0).sum(axis=1) > 1)
    if mixed.size:
        raise InputError(
            f"patches_per_family_and_class: family {mixed[0]} has patches of classes "
            f'{np.flatnonzero(counts[mixed[0]]).tolist()}, and the method "{method}" takes one; the method "exact" '
            "takes several."
        )
    return _separately(counts, targets, method)


def stratified_group_folds(
    patches_per_family_and_class: Sequence[Sequence[int]] | np.ndarray,
    proportions: Sequence[float] = PROPORTIONS,
    diversities: Sequence[float] = DIVERSITIES,
    seed: int = 0,
) -> JointPartition:
    """An outside baseline: scikit-learn's `StratifiedGroupKFold`, which aims at equal class shares in every fold.

    The patches are cut into round(1 / p3) folds: one is test, round(p2 / p3) are validation, the others train.

    Args:
        patches_per_family_and_class: int `[families, classes]`.
        proportions: target shares of patches.
        diversities: target shares of families; they enter the discrepancy only.
        seed: of the shuffling of families.

    Raises:
        InputError: as `partition_classes`; fewer families than folds, or fewer patches of a class.
    """
    targets = check_targets(proportions, diversities)
    counts = check_classes(patches_per_family_and_class)
    folds = round(1 / targets.proportions[2])
    for_validation = round(targets.proportions[1] / targets.proportions[2])
    if len(counts) < folds:
        advice = _fewer_folds(len(counts))
        raise InputError(f"patches_per_family_and_class: {len(counts)} families cannot fill {folds} folds; {advice}")
    fewest = counts.sum(axis=0)
    if fewest.min() < folds:
        raise InputError(
            f"patches_per_family_and_class: class {fewest.argmin()} has {fewest.min()} patches, expected at least "
            f"{folds}, one a fold; {_fewer_folds(int(fewest.min()))}"
        )
    # scikit-learn takes seconds to import; only who asks for it pays.
    from sklearn.model_selection import StratifiedGroupKFold

    families, classes = np.nonzero(counts)
    repeats = counts[families, classes]
    groups, labels = np.repeat(families, repeats), np.repeat(classes, repeats)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    assignment = np.zeros(len(counts), dtype=np.int64)
    for fold, (_, held_out) in enumerate(splitter.split(labels, labels, groups)):
        if fold <= for_validation:
            assignment[np.unique(groups[held_out])] = 2 if fold == 0 else 1
    return _together(counts, assignment, targets, "stratified_group_folds")


def _fewer_folds(available: int) -> str:
    """Advice on shares with which there are no more folds than this."""
    for shares, folds in (("0.6,0.2,0.2", 5), ("0.52,0.24,0.24", 4)):
        if folds <= available:
            return (
                f"--set=dataset.proportions={shares} asks for {folds} (python -m experiments.partition "
                f"--proportions={shares})."
            )
    return "gather more families, or leave this method."


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise InputError(f'method: found "{method}", expected one of {", ".join(METHODS)}.')


def _partition(counts: np.ndarray, assignment: np.ndarray, targets: Targets, method: str) -> Partition:
    reached = measure_quality(counts, assignment, *targets)
    return Partition(assignment, *reached, method=method, found_by=method)


def _filing(counts: np.ndarray, targets: Targets) -> Partition:
    cohort = make_cohort(counts, targets)
    leaves = best_leaves(cohort)
    assignment = np.empty(len(counts), dtype=np.int64)
    by_size = np.argsort(-counts, kind="stable")
    assignment[by_size] = file_families(cohort, leaves[0].initial.families, leaves[0].low)
    optima = tuple(_region(cohort, leaf) for leaf in leaves)
    return replace(
        _partition(counts, assignment, targets, "filing"),
        mu=sum(optima[0].mu) / 2,
        epsilon=sum(optima[0].epsilon) / 2,
        optima=optima,
    )


def _region(cohort: Cohort, leaf: Leaf) -> Region:
    ends = (leaf.low / cohort.total, min(1.0, leaf.high / cohort.total))
    return Region((leaf.initial.low, leaf.initial.high), ends)


def _exact(counts: np.ndarray, targets: Targets, seconds: float, every_split: bool = False) -> JointPartition:
    """The solver's assignment, or filing's where filing applies and did better in the time given."""
    solution = solve(counts, targets, seconds, every_split)
    candidates = []
    if solution.assignment is not None:
        candidates.append(_together(counts, solution.assignment, targets, "exact"))
    if ((counts > 0).sum(axis=1) == 1).all():
        candidates.append(_separately(counts, targets, "filing"))
    if every_split:
        candidates = [candidate for candidate in candidates if fills_every_split(counts, candidate.assignment)]
    if not candidates:
        raise InputError(
            f"seconds: no assignment was found in {seconds:g} s; python -m experiments.partition --seconds=600 allows "
            "more."
        )
    # Rounded, so that of two equally good ones the solver's is kept.
    best = min(candidates, key=lambda partition: round(partition.discrepancy, 12))
    bound = min(solution.lower_bound, best.discrepancy)
    return JointPartition(
        assignment=best.assignment,
        discrepancy=best.discrepancy,
        classes=tuple(
            replace(candidate, method="exact", mu=None, epsilon=None, optima=()) for candidate in best.classes
        ),
        method="exact",
        found_by=best.found_by,
        lower_bound=bound,
        gap=best.discrepancy - bound,
    )


def _separately(counts: np.ndarray, targets: Targets, method: str) -> JointPartition:
    """One class at a time; every family has one class."""
    partitions = []
    assignment = np.empty(len(counts), dtype=np.int64)
    for column in counts.T:
        sizes = column[column > 0]
        if method == "filing":
            partition = _filing(sizes, targets)
        else:
            partition = _partition(sizes, sequential_assignment(sizes, targets.proportions), targets, method)
        assignment[column > 0] = partition.assignment
        partitions.append(partition)
    return _joint(assignment, partitions)


def _together(counts: np.ndarray, assignment: np.ndarray, targets: Targets, method: str) -> JointPartition:
    """Describes an assignment of all classes."""
    return _joint(
        assignment,
        [_partition(column[column > 0], assignment[column > 0], targets, method) for column in counts.T],
    )


def _joint(assignment: np.ndarray, partitions: Sequence[Partition]) -> JointPartition:
    discrepancy = float(np.mean([partition.discrepancy for partition in partitions]))
    return JointPartition(assignment, discrepancy, tuple(partitions), partitions[0].method, partitions[0].found_by)
