"""Ways to partition a cohort beside each other: a table, and the figures of each class."""

import csv
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from nbjax.config import DatasetConfig
from nbjax.errors import InputError
from nbjax.files import replacing
from nbjax.partition import (
    METHODS,
    DiscrepancyMap,
    Partition,
    discrepancy_map,
    partition_families,
    stratified_group_folds,
)
from nbjax.report.partition_figures import discrepancy_heat_map, method_comparison
from nbjax.slides.manifest import read_manifest

REGIONS = ("mu_low", "mu_high", "epsilon_low", "epsilon_high", "discrepancy")
FIELDS = ("label", "method", "discrepancy", "lower bound", "patches", "families", "milliseconds")


def families_of(manifest: str | Path) -> dict[str, list[int]]:
    """Kept patches of each family of a manifest, by class."""
    kept = read_manifest(manifest).kept()
    counts = Counter(zip(kept["label"].to_pylist(), kept["family"].to_pylist(), strict=True))
    labels = sorted({label for label, _ in counts})
    return {label: [count for (of, _), count in sorted(counts.items()) if of == label] for label in labels}


def compare(cohort: dict[str, list[int]], config: DatasetConfig, out: Path, seconds: float) -> list[tuple[str, ...]]:
    """Runs every method on each class's families, writes table and figures into `out`, and returns the table's rows.

    Args:
        cohort: patches of each family, by class.
        config: the targets.
        out: gets `partition.csv` and, for each class, `heat_map_<class>.png` (the paper's Figure 4) with its numbers as
            `.csv`, and `methods_<class>.png`.
        seconds: that the exact method may take, for each class.

    Returns:
        A row a class and method, with the columns of `FIELDS`.
    """
    rows = []
    for label, sizes in cohort.items():
        partitions = _partitions(sizes, config, seconds)
        try:
            partitions["StratifiedGroupKFold"] = _stratified(sizes, config)
            refused = []
        except InputError as error:
            refused = [(label, "StratifiedGroupKFold", "–", "", f"not possible: {error}", "", "")]
        rows += [*(_row(label, name, *found) for name, found in partitions.items()), *refused]
        _draw(label, sizes, {name: partition for name, (partition, _) in partitions.items()}, config, out)
    with replacing(out / "partition.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([FIELDS, *rows])
    return rows


def _partitions(sizes: list[int], config: DatasetConfig, limit: float) -> dict[str, tuple[Partition, float]]:
    """The partition of each method and the seconds that it took; exact takes no more than `limit` seconds."""
    found = {}
    for method in METHODS:
        start = time.perf_counter()
        partition = partition_families(sizes, config.proportions, config.diversities, method, seconds=limit)
        found[method] = partition, time.perf_counter() - start
    return found


def _stratified(sizes: list[int], config: DatasetConfig) -> tuple[Partition, float]:
    """Scikit-learn's partition, which needs as many families as folds, and the seconds that it took."""
    start = time.perf_counter()
    folds = stratified_group_folds([[size] for size in sizes], config.proportions, config.diversities)
    return folds.classes[0], time.perf_counter() - start


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


def _draw(label: str, sizes: list[int], partitions: dict[str, Partition], config: DatasetConfig, out: Path) -> None:
    title = f"{label}: {len(sizes)} families, {sum(sizes)} patches"
    regions = discrepancy_map(sizes, config.proportions, config.diversities)
    wanted = {"proportions": config.proportions, "diversities": config.diversities}
    with (
        replacing(out / f"heat_map_{label}.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows([REGIONS, *_regions(regions)])
    figures = {
        "heat_map": discrepancy_heat_map(regions, partitions["filing"], title),
        "methods": method_comparison(partitions, wanted, title),
    }
    for name, figure in figures.items():
        with replacing(out / f"{name}_{label}.png") as temporary:
            figure.savefig(temporary, format="png")
