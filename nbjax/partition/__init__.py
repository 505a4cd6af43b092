"""Families to splits: iterative filing, exact, sequential, exchange and random, resampling; quality; leakage audit."""

from nbjax.partition.audit import Violation, audit_patches
from nbjax.partition.experiments import exchange, random, spread_families
from nbjax.partition.fingerprints import Fingerprints, fingerprint_patches
from nbjax.partition.folds import grouped_folds, joint_folds
from nbjax.partition.heatmap import DiscrepancyMap, discrepancy_map
from nbjax.partition.inputs import SPLITS
from nbjax.partition.partition import (
    METHODS,
    JointPartition,
    Partition,
    Region,
    partition_classes,
    partition_families,
    stratified_group_folds,
)
from nbjax.partition.quality import Quality, measure_quality
from nbjax.partition.resample import (
    resample_classes,
    resample_jointly,
    resample_partitions,
)

__all__ = [
    "METHODS",
    "SPLITS",
    "DiscrepancyMap",
    "Fingerprints",
    "JointPartition",
    "Partition",
    "Quality",
    "Region",
    "Violation",
    "audit_patches",
    "discrepancy_map",
    "exchange",
    "fingerprint_patches",
    "grouped_folds",
    "joint_folds",
    "measure_quality",
    "partition_classes",
    "partition_families",
    "random",
    "resample_classes",
    "resample_jointly",
    "resample_partitions",
    "spread_families",
    "stratified_group_folds",
]
