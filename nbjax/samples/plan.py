"""Patches to samples: which patch goes to which split, under which transforms."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nbjax.config import DatasetConfig
from nbjax.errors import InputError
from nbjax.partition import Partition, partition_families
from nbjax.samples.balance import balanced_count, transforms_per_class
from nbjax.slides.manifest import Manifest, check_labels

SPLITS = ("train", "validation", "test")


class SamplePlan(NamedTuple):
    """Everything about a dataset but its pixels.

    Attributes:
        patches: the kept rows of the manifest.
        split: int `[patches]`, index of `SPLITS`.
        labels: class names in alphabetical order; a label's index is its class.
        partitions: by label.
        transforms: by split, then label: how many transforms besides identity its patches receive.
    """

    patches: pa.Table
    split: np.ndarray
    labels: tuple[str, ...]
    partitions: dict[str, Partition]
    transforms: dict[str, dict[str, int]]


def plan_samples(manifest: Manifest, config: DatasetConfig) -> SamplePlan:
    """Assigns each family to a split, class by class, then balances and augments each split (paper III.D and III.E).

    Raises:
        InputError: fewer than two labels, a label without kept patches or with too few families, a family with
            patches of two labels, or a split left without patches of a label.
    """
    check_labels(manifest)
    patches = manifest.kept()
    names = np.asarray(patches["label"].to_pylist(), dtype=object)
    families = np.asarray(patches["family"].to_pylist(), dtype=object)
    labels = tuple(sorted(set(names)))
    _check_one_label(families, names)
    split = np.full(len(names), -1)
    partitions = {}
    for label in labels:
        rows = np.flatnonzero(names == label)
        members, member, counts = np.unique(families[rows].astype(str), return_inverse=True, return_counts=True)
        if len(members) < len(SPLITS):
            raise InputError(
                f"label {label} has {len(members)} families; expected at least {len(SPLITS)}, one for each of "
                f"{', '.join(SPLITS)}; add slides of other patients."
            )
        partitions[label] = partition_families(counts, config.proportions, config.diversities, config.method)
        split[rows] = partitions[label].assignment[member]
    transforms = {}
    for index, name in enumerate(SPLITS):
        counts_by_label = {label: int(np.sum((names == label) & (split == index))) for label in labels}
        for label, count in counts_by_label.items():
            if not count:
                raise InputError(
                    f"label {label} has no patch in the {name} split; add slides or change the proportions."
                )
        transforms[name] = transforms_per_class(counts_by_label, config.transforms)
    return SamplePlan(patches, split, labels, partitions, transforms)


def _check_one_label(families: np.ndarray, labels: np.ndarray) -> None:
    first: dict[str, str] = {}
    for family, label in zip(families, labels, strict=True):
        if first.setdefault(family, label) != label:
            raise InputError(
                f"family {family} has patches of two labels ({first[family]} and {label}); classes are partitioned one at "
                "a time, so give its slides one label or leave them out."
            )


def samples_of(plan: SamplePlan, split: str) -> Iterator[tuple[int, range]]:
    """The rows of `plan.patches` in a split, each with its transforms (identity first)."""
    labels = plan.patches["label"].to_pylist()
    for row in np.flatnonzero(plan.split == SPLITS.index(split)):
        yield int(row), range(1 + plan.transforms[split][labels[row]])


def count_samples(plan: SamplePlan) -> dict[str, dict[str, dict[str, int]]]:
    """The paper's Table 2: by split, then label: families, patches, balanced, samples, transforms."""
    names = np.asarray(plan.patches["label"].to_pylist(), dtype=object)
    families = np.asarray(plan.patches["family"].to_pylist(), dtype=object)
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for index, split in enumerate(SPLITS):
        rows = {label: np.flatnonzero((names == label) & (plan.split == index)) for label in plan.labels}
        patches = {label: len(of_label) for label, of_label in rows.items()}
        counts[split] = {
            label: {
                "families": len(set(families[rows[label]])),
                "patches": patches[label],
                "balanced": balanced_count(patches, label),
                "samples": patches[label] * (1 + plan.transforms[split][label]),
                "transforms": plan.transforms[split][label],
            }
            for label in plan.labels
        }
    return counts
