"""What is known of a built dataset: counts, partition quality, standardisation, where it came from."""

import hashlib
import json
from collections import Counter
from typing import Any

from nbjax import __version__
from nbjax.config import DatasetConfig, to_dict
from nbjax.samples.plan import SPLITS, SamplePlan, count_samples
from nbjax.samples.standardise import Standardisation
from nbjax.slides.manifest import Manifest


def manifest_hash(manifest: Manifest) -> str:
    """sha256 over every patch's row and every slide's own hash, the same wherever the folder lies."""
    content = {
        "rows": manifest.table.to_pylist(),
        "slides": sorted((record.name, record.sha256) for record in manifest.slides.values()),
        "patch_size": manifest.patch_size,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def dataset_card(
    manifest: Manifest, plan: SamplePlan, standardisations: dict[str, Standardisation], config: DatasetConfig
) -> dict[str, Any]:
    """The dataset's metadata as plain JSON values, keyed as the report reads them."""
    labels = manifest.table["label"].to_pylist()
    slides = dict(zip(manifest.table["slide"].to_pylist(), labels, strict=True))
    families = dict(zip(manifest.table["family"].to_pylist(), labels, strict=True))
    rejected = Counter(reason for reason in manifest.table["reason"].to_pylist() if reason)
    return {
        "classes": list(plan.labels),
        "patch_size": manifest.patch_size,
        "slides": dict(sorted(Counter(slides.values()).items())),
        "families": dict(sorted(Counter(families.values()).items())),
        "counts": count_samples(plan),
        "rejected": dict(rejected),
        "border_pixels_lost": border_loss(manifest),
        "partition": {
            label: {
                "method": config.method,
                "discrepancy": float(partition.discrepancy),
                "proportions": [float(value) for value in partition.proportions],
                "diversities": [float(value) for value in partition.diversities],
                "mu": None if partition.mu is None else float(partition.mu),
                "epsilon": None if partition.epsilon is None else float(partition.epsilon),
            }
            for label, partition in plan.partitions.items()
        },
        "standardisation": {
            "mode": config.standardisation,
            "mean": {split: list(standardisations[split].mean) for split in SPLITS},
            "std": {split: list(standardisations[split].std) for split in SPLITS},
        },
        "config": to_dict(config),
        "sha256": manifest_hash(manifest),
        "nbjax": __version__,
    }


def border_loss(manifest: Manifest) -> float:
    """Fraction of all level-0 pixels that lie in no whole patch."""
    total = sum(record.width * record.height for record in manifest.slides.values())
    return 1 - manifest.table.num_rows * manifest.patch_size**2 / total
