"""What is known of a built dataset: counts, partition quality, audit, standardisation, where it came from."""

import hashlib
import importlib.metadata
import json
import platform
from collections import Counter
from typing import Any

from nbjax import __version__
from nbjax.fields import to_dict
from nbjax.partition import Partition, Violation
from nbjax.samples.assign import SPLITS
from nbjax.samples.config import DatasetConfig
from nbjax.samples.measure import violations_by_kind
from nbjax.samples.plan import SamplePlan, count_families, count_samples
from nbjax.samples.standardise import Standardisation
from nbjax.slides.manifest import Manifest
from nbjax.slides.names import one_patients_names

# What decides the bytes of a dataset.
TOOLS = ("numpy", "scipy", "pillow", "scikit-learn", "tensorflow-datasets", "array_record")
# Violations of one kind that the card spells out; all are counted.
MOST_MESSAGES = 20


def manifest_hash(manifest: Manifest) -> str:
    """sha256 over every patch's row and every slide's own hash, the same wherever the folder lies."""
    content = {
        "rows": manifest.table.to_pylist(),
        "slides": sorted((record.name, record.sha256) for record in manifest.slides.values()),
        "patch_size": manifest.patch_size,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def dataset_card(
    manifest: Manifest,
    plan: SamplePlan,
    standardisations: dict[str, Standardisation],
    violations: list[Violation],
    config: DatasetConfig,
    magnifications: str | None = None,
) -> dict[str, Any]:
    """The dataset's metadata as plain JSON values, keyed as the report reads them.

    `magnifications` is what `nbjax.slides.nuclei.compare_magnifications` said of the slides.
    """
    labels = manifest.table["label"].to_pylist()
    slides = set(zip(manifest.table["slide"].to_pylist(), labels, strict=True))
    families = set(zip(manifest.table["family"].to_pylist(), labels, strict=True))
    rejected = Counter(reason for reason in manifest.table["reason"].to_pylist() if reason)
    return {
        "classes": list(plan.labels),
        "patch_size": manifest.patch_size,
        "slides": dict(sorted(Counter(label for _, label in slides).items())),
        "families": dict(sorted(Counter(label for _, label in families).items())),
        # A family of two labels counts in both above, and once here.
        "distinct_families": count_families(plan),
        "counts": count_samples(plan),
        "rejected": dict(rejected),
        "without_patches": sorted(set(manifest.slides) - set(manifest.kept()["slide"].to_pylist())),
        "resolution": {
            "known": sum(record.mpp is not None for record in manifest.slides.values()),
            "unknown": sum(record.mpp is None for record in manifest.slides.values()),
        },
        "magnifications": magnifications,
        "one_patients_names": one_patients_names(manifest.table["family"].to_pylist()),
        "border_pixels_lost": border_loss(manifest),
        "partition": {label: describe_partition(partition) for label, partition in plan.partitions.items()},
        "leak": config.leak,
        "audit": {
            kind: {"findings": len(of_kind), "messages": [violation.message for violation in of_kind[:MOST_MESSAGES]]}
            for kind, of_kind in violations_by_kind(violations)
        },
        "standardisation": {
            "mode": config.standardisation,
            "mean": {split: list(standardisations[split].mean) for split in SPLITS},
            "std": {split: list(standardisations[split].std) for split in SPLITS},
        },
        "config": to_dict(config),
        "sha256": manifest_hash(manifest),
        "nbjax": __version__,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in TOOLS},
        },
    }


def describe_partition(partition: Partition) -> dict[str, Any]:
    """One class's partition as plain JSON values."""
    return {
        "method": partition.method,
        "found_by": partition.found_by,
        "reason": partition.reason,
        "discrepancy": partition.discrepancy,
        "proportions": list(partition.proportions),
        "diversities": list(partition.diversities),
        "mu": partition.mu,
        "epsilon": partition.epsilon,
        "optima": [{"mu": list(optimum.mu), "epsilon": list(optimum.epsilon)} for optimum in partition.optima],
        "lower_bound": partition.lower_bound,
        "gap": partition.gap,
    }


def border_loss(manifest: Manifest) -> float:
    """Fraction of all level-0 pixels that lie in no whole patch."""
    total = sum(record.width * record.height for record in manifest.slides.values())
    return 1 - manifest.table.num_rows * manifest.patch_size**2 / total
