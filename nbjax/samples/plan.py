"""Patches to samples: which patch goes to which split, under which transforms."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nbjax.errors import InputError
from nbjax.partition import Partition
from nbjax.samples.assign import SPLITS, assign_patches
from nbjax.samples.balance import balanced_count, transforms_per_class
from nbjax.samples.config import DatasetConfig
from nbjax.slides.manifest import Manifest, check_labels


class SamplePlan(NamedTuple):
    """Everything about a dataset but its pixels.

    Attributes:
        patches: the kept rows of the manifest, by slide, then y, then x.
        labels: class names in alphabetical order; a label's index is its class.
        partitions: by label.
        transforms: by split, then label: how many transforms besides identity its patches receive.
        patch: row of `patches` of each sample, ascending, int `[samples]`.
        transform: of each sample, 0 to 7, int `[samples]`; ascending within a patch.
        split: of each sample, index of `SPLITS`, int `[samples]`.
    """

    patches: pa.Table
    labels: tuple[str, ...]
    partitions: dict[str, Partition]
    transforms: dict[str, dict[str, int]]
    patch: np.ndarray
    transform: np.ndarray
    split: np.ndarray


def plan_samples(manifest: Manifest, config: DatasetConfig) -> SamplePlan:
    """Assigns each patch to a split, then balances and augments each split (paper III.D and III.E).

    Raises:
        InputError: fewer than two labels, a label without kept patches, a split left without patches of a label, or
            what `assign_patches` refuses.
    """
    check_labels(manifest)
    patches = manifest.kept().sort_by([(name, "ascending") for name in ("slide", "y", "x")])
    names = np.asarray(patches["label"].to_pylist())
    labels = tuple(sorted(set(names.tolist())))
    of_patch, partitions = assign_patches(np.asarray(patches["family"].to_pylist()), names, config)
    transforms = split_transforms(names, of_patch, labels, config)
    samples_each = np.array([1 + transforms[SPLITS[one]][name] for one, name in zip(of_patch, names, strict=True)])
    patch = np.repeat(np.arange(len(names)), samples_each)
    transform = np.concatenate([np.arange(count) for count in samples_each])
    split = of_patch[patch]
    if config.leak == "random_samples":
        split = _random_samples(split, names[patch], config.seed)
    return SamplePlan(patches, labels, partitions, transforms, patch, transform, split)


def split_transforms(
    names: np.ndarray, of_patch: np.ndarray, labels: tuple[str, ...], config: DatasetConfig
) -> dict[str, dict[str, int]]:
    """By split, then label: how many transforms besides identity balance and augment its patches.

    Args:
        names: label of each patch.
        of_patch: its split, index of `SPLITS`.
        labels: all of them.
        config: of the dataset.

    Raises:
        InputError: a split without patches of a label.
    """
    transforms = {}
    for index, name in enumerate(SPLITS):
        counts = {label: int(np.sum((names == label) & (of_patch == index))) for label in labels}
        for label, count in counts.items():
            if not count:
                raise InputError(
                    f"label {label} has no patch in the {name} split with method {config.method}; "
                    "--set=dataset.method=exact gives every split some, or add slides of other patients."
                )
        transforms[name] = transforms_per_class(counts, config.transforms)
    return transforms


def replaced_methods(plan: SamplePlan) -> list[str]:
    """Where another method took the place of the one asked for: a sentence a label, as the card has it."""
    return [
        f"label {label}, method {partition.method}: {partition.reason}."
        for label, partition in plan.partitions.items()
        if partition.reason
    ]


def _random_samples(split: np.ndarray, names: np.ndarray, seed: int) -> np.ndarray:
    """Experiment 3 on samples: those of train and validation drawn at random, class by class, counts unchanged."""
    rng = np.random.default_rng(seed)
    drawn = split.copy()
    for name in np.unique(names):
        rows = np.flatnonzero((names == name) & (split != SPLITS.index("test")))
        drawn[rows] = rng.permutation(split[rows])
    return drawn


def count_samples(plan: SamplePlan) -> dict[str, dict[str, dict[str, int]]]:
    """The paper's Table 2: by split, then label: families, patches, balanced, samples, transforms."""
    names = np.asarray(plan.patches["label"].to_pylist())[plan.patch]
    families = np.asarray(plan.patches["family"].to_pylist())[plan.patch]
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for index, split in enumerate(SPLITS):
        rows = {label: np.flatnonzero((names == label) & (plan.split == index)) for label in plan.labels}
        transforms = plan.transforms[split]
        # Not the number of different patches: with leaking samples a patch lies in two splits.
        patches = {label: len(of_label) // (1 + transforms[label]) for label, of_label in rows.items()}
        counts[split] = {
            label: {
                "families": len(set(families[rows[label]])),
                "patches": patches[label],
                "balanced": balanced_count(patches, label),
                "samples": len(rows[label]),
                "transforms": transforms[label],
            }
            for label in plan.labels
        }
    return counts


def count_families(plan: SamplePlan) -> dict[str, int]:
    """How many families each split has, and `all` of them: one with two labels is counted once."""
    families = np.asarray(plan.patches["family"].to_pylist())[plan.patch]
    counts = {name: len(set(families[plan.split == index])) for index, name in enumerate(SPLITS)}
    return {**counts, "all": len(set(families))}
