"""Compares ways to split a cohort's families: filing, exact, the authors' baseline and scikit-learn's.

    python -m experiments.partition --manifest=manifest.parquet --out=results/partition
    python -m experiments.partition --families="PD:171,68,68,50,41,9 D:190,187,70,70,38" --out=results/partition

Writes a table (Markdown on the screen and `partition.csv`) and, for each class, the heat map of the discrepancy over mu
and epsilon (the paper's Figure 4) and a picture of the methods beside each other.
"""

import csv
import time
from collections import Counter
from pathlib import Path

from absl import flags

from experiments.cli import run
from nbjax.config import DatasetConfig
from nbjax.errors import InputError
from nbjax.files import replacing
from nbjax.partition import METHODS, Partition, discrepancy_map, partition_families, stratified_group_folds
from nbjax.slides.manifest import read_manifest

MANIFEST = flags.DEFINE_string("manifest", None, "the patch manifest, from experiments.tile")
FAMILIES = flags.DEFINE_string("families", None, "instead: patches of each family, by class, as in the example above")
OUT = flags.DEFINE_string("out", "results/partition", "where the table and the figures go")
PROPORTIONS = flags.DEFINE_list("proportions", ["0.7", "0.15", "0.15"], "wanted shares of patches")
SECONDS = flags.DEFINE_float("seconds", 60.0, "time limit of exact, for each class")

FIELDS = ("class", "method", "D", "lower bound", "patches", "families", "milliseconds")


def main() -> None:
    """Compares the methods on the cohort that the flags name."""
    config = DatasetConfig(proportions=_proportions(PROPORTIONS.value))
    out = Path(OUT.value)
    rows = compare(_cohort(), config, out, SECONDS.value)
    print(f"| {' | '.join(FIELDS)} |\n| {' | '.join(['---'] * len(FIELDS))} |")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(f"\ntable and figures: {out}")


def compare(cohort: dict[str, list[int]], config: DatasetConfig, out: Path, seconds: float) -> list[tuple[str, ...]]:
    """Runs every method on each class's families, writes table and figures into `out`, and returns the table's rows."""
    rows = []
    for label, sizes in cohort.items():
        partitions = _partitions(sizes, config, seconds)
        rows += [_row(label, name, *found) for name, found in partitions.items()]
        _draw(label, sizes, {name: partition for name, (partition, _) in partitions.items()}, config, out)
    with replacing(out / "partition.csv") as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *rows])
    return rows


def families_of(manifest: str | Path) -> dict[str, list[int]]:
    """Kept patches of each family of a manifest, by class."""
    kept = read_manifest(manifest).kept()
    counts = Counter(zip(kept["label"].to_pylist(), kept["family"].to_pylist(), strict=True))
    labels = sorted({label for label, _ in counts})
    return {label: [count for (of, _), count in sorted(counts.items()) if of == label] for label in labels}


def _cohort() -> dict[str, list[int]]:
    """Patches of each family, by class."""
    if (MANIFEST.value is None) == (FAMILIES.value is None):
        raise InputError("give the cohort: either --manifest or --families.")
    if MANIFEST.value is not None:
        return families_of(MANIFEST.value)
    try:
        pairs = [part.rsplit(":", 1) for part in FAMILIES.value.split()]
        return {label: [int(size) for size in sizes.split(",")] for label, sizes in pairs}
    except ValueError:
        raise InputError(
            f"--families={FAMILIES.value}: expected classes and whole numbers as in PD:30,20,9 D:12,7,5."
        ) from None


def _proportions(words: list[str]) -> tuple[float, float, float]:
    try:
        train, validation, test = (float(word) for word in words)
    except ValueError:
        raise InputError(f"--proportions={','.join(words)}: expected three numbers.") from None
    return train, validation, test


def _partitions(sizes: list[int], config: DatasetConfig, limit: float) -> dict[str, tuple[Partition, float]]:
    """The partition of each method and the seconds that it took; exact takes no more than `limit` seconds."""
    found = {}
    for method in METHODS:
        start = time.perf_counter()
        partition = partition_families(sizes, config.proportions, config.diversities, method, seconds=limit)
        found[method] = partition, time.perf_counter() - start
    start = time.perf_counter()
    folds = stratified_group_folds([[size] for size in sizes], config.proportions, config.diversities)
    found["StratifiedGroupKFold"] = folds.classes[0], time.perf_counter() - start
    return found


def _row(label: str, method: str, partition: Partition, seconds: float) -> tuple[str, ...]:
    shares = (" / ".join(f"{share:.1%}" for share in term) for term in (partition.proportions, partition.diversities))
    bound = "" if partition.lower_bound is None else f"{partition.lower_bound:.6f}"
    return label, method, f"{partition.discrepancy:.6f}", bound, *shares, f"{1000 * seconds:.1f}"


def _draw(label: str, sizes: list[int], partitions: dict[str, Partition], config: DatasetConfig, out: Path) -> None:
    from nbjax.report.partition_figures import discrepancy_heat_map, method_comparison

    title = f"{label}: {len(sizes)} families, {sum(sizes)} patches"
    regions = discrepancy_map(sizes, config.proportions, config.diversities)
    wanted = {"proportions": config.proportions, "diversities": config.diversities}
    figures = {
        "heat_map": discrepancy_heat_map(regions, partitions["filing"], title),
        "methods": method_comparison(partitions, wanted, title),
    }
    for name, figure in figures.items():
        with replacing(out / f"{name}_{label}.png") as temporary:
            figure.savefig(temporary, format="png")


if __name__ == "__main__":
    run(main)
