"""Patches to splits: families by a partition, then a leak where an experiment asks for one."""

from typing import NamedTuple

import numpy as np

from nbjax.english import listing
from nbjax.errors import InputError
from nbjax.partition import (
    SPLITS,
    Partition,
    exchange,
    measure_quality,
    partition_classes,
    partition_families,
    random,
    resample_partitions,
    stratified_group_folds,
)
from nbjax.samples.config import DatasetConfig


class Assignment(NamedTuple):
    """Where each patch goes.

    Attributes:
        split: index of `SPLITS`, int `[patches]`.
        partitions: by label, of its families in alphabetical order.
    """

    split: np.ndarray
    partitions: dict[str, Partition]


def assign_patches(family: np.ndarray, label: np.ndarray, config: DatasetConfig) -> Assignment:
    """Assigns whole families to splits, class by class, then lets patches leak if the config says so.

    Args:
        family: names `[patches]`.
        label: names `[patches]`.
        config: method, targets, leak and seed.

    Raises:
        InputError: a label with fewer families than splits, a family with two labels where the method takes one class
            at a time, or targets that `partition_families` refuses.
    """
    families, member = np.unique(family, return_inverse=True)
    labels, of_class = np.unique(label, return_inverse=True)
    counts = np.zeros((len(families), len(labels)), np.int64)
    np.add.at(counts, (member, of_class), 1)
    _check(counts, families, labels, config.method)
    assignment, partitions = _assign_families(counts, config)
    split = assignment[member]
    if config.leak == "exchange":
        split = exchange(member, split, of_class, config.seed)
    elif config.leak == "random":
        split = random(member, split, of_class, config.seed)
    return Assignment(split, dict(zip(labels.tolist(), partitions, strict=True)))


def _check(counts: np.ndarray, families: np.ndarray, labels: np.ndarray, method: str) -> None:
    for label, found in zip(labels, (counts > 0).sum(axis=0), strict=True):
        if found < len(SPLITS):
            raise InputError(
                f"label {label} has {found} families; expected at least {len(SPLITS)} with a kept patch, one for each "
                f"of {', '.join(SPLITS)}; add slides of other patients."
            )
    mixed = np.flatnonzero((counts > 0).sum(axis=1) > 1)
    if mixed.size and method not in ("exact", "stratified_group_folds"):
        found = listing(labels[counts[mixed[0]] > 0])
        raise InputError(
            f"family {families[mixed[0]]} has patches of the labels {found}, as {len(mixed)} of {len(families)} "
            f"families have several, but method {method} takes one label at a time; --set=dataset.method=exact assigns "
            "all labels together; where these are different patients, give their folders different names."
        )


def _assign_families(counts: np.ndarray, config: DatasetConfig) -> tuple[np.ndarray, list[Partition]]:
    """The split of each family, int `[families]`, and the partition of each class."""
    targets = (config.proportions, config.diversities)
    if config.method == "stratified_group_folds":
        joint = stratified_group_folds(counts, *targets, seed=config.seed)
        return joint.assignment, list(joint.classes)
    if ((counts > 0).sum(axis=1) > 1).any():
        joint = partition_classes(
            counts, *targets, method=config.method, weights=config.discrepancy_weights, every_split=True
        )
        return joint.assignment, list(joint.classes)
    # Classes without a common family: one at a time, which is also how their joint optimum is found fastest.
    assignment = np.empty(len(counts), np.int64)
    partitions = []
    for column in counts.T:
        sizes = column[column > 0]
        if config.method == "resampled":
            partition = _resampled(sizes, config)
        else:
            # Sequential filling is the authors' baseline, shown as it is; a split that it leaves empty is refused
            # later.
            partition = partition_families(
                sizes,
                *targets,
                config.method,
                config.discrepancy_weights,
                every_split=config.method != "sequential",
            )
        assignment[column > 0] = partition.assignment
        partitions.append(partition)
    return assignment, partitions


def _resampled(sizes: np.ndarray, config: DatasetConfig) -> Partition:
    targets = (config.proportions, config.diversities)
    (assignment,) = resample_partitions(
        sizes, 1, config.seed, proportions=config.proportions, diversities=config.diversities
    )
    reached = measure_quality(sizes, assignment, *targets)
    return Partition(assignment, *reached, method="resampled", found_by="resampled")
