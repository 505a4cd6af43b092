"""Ways to partition a cohort beside each other: a table, and the figures of each class."""

import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nbjax.config import DatasetConfig
from nbjax.errors import InputError
from nbjax.files import replacing
from nbjax.partition import (
    METHODS,
    DiscrepancyMap,
    Partition,
    discrepancy_map,
    partition_classes,
    partition_families,
    stratified_group_folds,
)
from nbjax.partition.inputs import check_families
from nbjax.report.partition_figures import discrepancy_heat_map, method_comparison
from nbjax.slides.manifest import read_manifest

FOLDS = "StratifiedGroupKFold"
REGIONS = ("mu_low", "mu_high", "epsilon_low", "epsilon_high", "discrepancy")
FIELDS = ("label", "method", "discrepancy", "lower bound", "patches", "families", "milliseconds")


class Cohort(NamedTuple):
    """Families and their kept patches.

    Attributes:
        labels: names, in their order.
        families: names.
        counts: patches, int `[families, labels]`; 0 where a family has none of a label.
    """

    labels: tuple[str, ...]
    families: tuple[str, ...]
    counts: np.ndarray

    @property
    def shared(self) -> np.ndarray:
        """Numbers of the families with patches of several labels."""
        return np.flatnonzero((self.counts > 0).sum(axis=1) > 1)


def families_of(manifest: str | Path) -> Cohort:
    """The families of a manifest; one with patches of several labels is one family."""
    kept = read_manifest(manifest).kept()
    (labels, label), (families, family) = (
        np.unique(np.asarray(kept[name].to_pylist(), str), return_inverse=True) for name in ("label", "family")
    )
    counts = np.zeros((len(families), len(labels)), np.int64)
    np.add.at(counts, (family, label), 1)
    return Cohort(tuple(labels.tolist()), tuple(families.tolist()), counts)


def separate(sizes: Mapping[str, Sequence[int]]) -> Cohort:
    """A cohort of families that have one label each.

    Args:
        sizes: patches of each family, by label.

    Raises:
        InputError: see `check_families`.
    """
    label = np.repeat(np.arange(len(sizes)), [len(of_label) for of_label in sizes.values()])
    patches = np.concatenate([check_families(of_label) for of_label in sizes.values()])
    counts = np.zeros((len(label), len(sizes)), np.int64)
    counts[np.arange(len(label)), label] = patches
    return Cohort(tuple(sizes), tuple(map(str, range(len(label)))), counts)


def compare(cohort: Cohort, config: DatasetConfig, out: Path, seconds: float) -> list[tuple[str, ...]]:
    """Runs every method on a cohort's families, writes table and figures into `out`, and returns the table's rows.

    Filing and sequential take one label at a time: where a family has several, their rows say that they cannot be used, and
    exact takes all labels jointly. scikit-learn's folds always do.

    Args:
        cohort: the families.
        config: the targets.
        out: gets `partition.csv` and, for each label, `methods_<label>.png` and, where filing can be used,
            `heat_map_<label>.png` (the paper's Figure 4) with its numbers as `.csv`.
        seconds: that the exact method may take, for each label; for all where it takes them jointly.

    Returns:
        A row a label and method, with the columns of `FIELDS`.
    """
    found = {method: _partitions(cohort, method, config, seconds) for method in (*METHODS, FOLDS)}
    rows: list[tuple[str, ...]] = []
    for number, label in enumerate(cohort.labels):
        partitions = {}
        for method, result in found.items():
            if isinstance(result, str):
                rows.append((label, method, "–", "", f"not possible: {result}", "", ""))
            else:
                partitions[method], spent = result[0][number], result[1][number]
                rows.append(_row(label, method, partitions[method], spent))
        _draw(label, cohort.counts[:, number], partitions, config, out)
    with replacing(out / "partition.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([FIELDS, *rows])
    return rows


def _partitions(
    cohort: Cohort, method: str, config: DatasetConfig, limit: float
) -> tuple[list[Partition], list[float]] | str:
    """A method's partition of each label and the seconds that it took, or why there is none."""
    targets = (config.proportions, config.diversities)
    start = time.perf_counter()
    if method == FOLDS:
        try:
            joint = list(stratified_group_folds(cohort.counts, *targets).classes)
        except InputError as error:
            return str(error)
        return joint, [time.perf_counter() - start] * len(joint)
    if cohort.shared.size and method == "exact":
        joint = list(partition_classes(cohort.counts, *targets, method, seconds=limit).classes)
        return joint, [time.perf_counter() - start] * len(joint)
    if cohort.shared.size:
        family = cohort.families[cohort.shared[0]]
        return f"{method} takes one label at a time, and family {family} has several; exact takes all labels jointly"
    found, spent = [], []
    for column in cohort.counts.T:
        start = time.perf_counter()
        found.append(partition_families(column[column > 0], *targets, method, seconds=limit))
        spent.append(time.perf_counter() - start)
    return found, spent


def _row(label: str, method: str, partition: Partition, seconds: float) -> tuple[str, ...]:
    shares = (" / ".join(f"{share:.1%}" for share in term) for term in (partition.proportions, partition.diversities))
    bound = "" if partition.lower_bound is None else f"{partition.lower_bound:.6f}"
    return label, method, f"{partition.discrepancy:.6f}", bound, *shares, f"{1000 * seconds:.1f}"


def _regions(regions: DiscrepancyMap) -> Iterator[tuple[float, ...]]:
    """What the heat map draws, a row a region."""
    columns = zip(regions.mu_edges[:-1], regions.mu_edges[1:], regions.epsilon_edges, regions.discrepancy, strict=True)
    for left, right, edges, values in columns:
        for low, high, value in zip(edges[:-1], edges[1:], values, strict=True):
            yield tuple(float(one) for one in (left, right, low, high, value))


def _draw(label: str, column: np.ndarray, partitions: dict[str, Partition], config: DatasetConfig, out: Path) -> None:
    sizes = column[column > 0]
    title = f"{label}: {len(sizes)} families, {sizes.sum()} patches"
    wanted = {"proportions": config.proportions, "diversities": config.diversities}
    figures = {"methods": method_comparison(partitions, wanted, title)}
    if "filing" in partitions:
        regions = discrepancy_map(sizes, config.proportions, config.diversities)
        figures["heat_map"] = discrepancy_heat_map(regions, partitions["filing"], title)
        path = out / f"heat_map_{label}.csv"
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([REGIONS, *_regions(regions)])
    for name, figure in figures.items():
        with replacing(out / f"{name}_{label}.png") as temporary:
            figure.savefig(temporary, format="png")
