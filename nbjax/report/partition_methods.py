"""Ways to partition a cohort beside each other: a table, and the figures of each class."""

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nbjax.errors import InputError
from nbjax.files import replacing
from nbjax.partition import (
    METHODS,
    SPLITS,
    DiscrepancyMap,
    Partition,
    discrepancy_map,
    partition_classes,
    stratified_group_folds,
)
from nbjax.report.figures.partition import discrepancy_heat_map, method_comparison
from nbjax.report.sections import SECTION, Picture, Section, store_section
from nbjax.report.table import NONE, Entry, Head, Table, word
from nbjax.samples.config import DatasetConfig
from nbjax.spreadsheet import write_csv
from nbjax.table import read_table, texts

REGIONS = ("mu_low", "mu_high", "epsilon_low", "epsilon_high", "discrepancy")
FIELDS = ("label", "method", "discrepancy", "lower bound", "patches", "families")
STRATIFIED = "StratifiedGroupKFold"


class Cohort(NamedTuple):
    """Families to be partitioned.

    Attributes:
        labels: class names.
        counts: patches, int `[families, classes]`.
    """

    labels: tuple[str, ...]
    counts: np.ndarray

    @property
    def mixed(self) -> int:
        """Families with patches of several classes."""
        return int(((self.counts > 0).sum(axis=1) > 1).sum())


class Comparison(NamedTuple):
    """What the methods reached.

    Attributes:
        rows: one a class and method, with the columns of `FIELDS`.
        seconds: that each row's partition took.
    """

    rows: list[tuple[str, ...]]
    seconds: list[float]


def cohort_of(families: Mapping[str, list[int]]) -> Cohort:
    """The cohort of classes that share no family, from the patches of each family."""
    counts = np.zeros((sum(map(len, families.values())), len(families)), np.int64)
    begin = 0
    for column, sizes in enumerate(families.values()):
        counts[begin : begin + len(sizes), column] = sizes
        begin += len(sizes)
    return Cohort(tuple(families), counts)


def read_cohort(path: str | Path) -> Cohort:
    """The cohort of a manifest or of any table of patches with the columns `family` and `label`.

    Rows whose column `kept` says false are left out. A family that stands under two labels is one family.

    Raises:
        InputError: what `nbjax.table` refuses; something else than true or false in `kept`.
    """
    table = read_table(path, ("family", "label"), optional=("kept",))
    names, labels = (np.asarray(texts(table, name), dtype=object) for name in ("family", "label"))
    kept = np.ones(len(names), bool)
    for index, value in enumerate(table.columns.get("kept", ())):
        text = str(value).lower()
        if text not in ("true", "false"):
            raise InputError(f"{path}: {table.row(index)} has {value!r} in the column kept; expected true or false.")
        kept[index] = text == "true"
    if not kept.any():
        raise InputError(f"{path}: no patch is kept; expected rows with true in the column kept.")
    families, member = np.unique(names[kept], return_inverse=True)
    classes, of_class = np.unique(labels[kept], return_inverse=True)
    counts = np.zeros((len(families), len(classes)), np.int64)
    np.add.at(counts, (member, of_class), 1)
    return Cohort(tuple(classes.tolist()), counts)


def compare(cohort: Cohort, config: DatasetConfig, out: Path, seconds: float) -> Comparison:
    """Runs every method on the cohort's families and writes table and figures into `out`.

    Classes that share no family are partitioned one by one; where some do, all together, which filing and sequential
    filling do not do.

    Args:
        cohort: the families.
        config: the targets.
        out: gets `partition.csv` the part of a page that shows them, and, for each class, `methods_<class>.png` and,
            where filing takes part, `heat_map_<class>.png` (the paper's Figure 4) with its numbers as `.csv`.
        seconds: that the exact method may take, for each class, or for all together.
    """
    for label, families in zip(cohort.labels, (cohort.counts > 0).sum(axis=0), strict=True):
        if families < len(SPLITS):
            raise InputError(
                f"label {label} has {families} families; expected at least {len(SPLITS)}, one for each of "
                f"{', '.join(SPLITS)}."
            )
    rows, times = [], []
    parts = [np.arange(len(cohort.labels))] if cohort.mixed else np.arange(len(cohort.labels))[:, None]
    for classes in parts:
        counts = cohort.counts[:, classes]
        counts = counts[counts.any(axis=1)]
        found, refused = _partitions(counts, config, seconds)
        for place, column in enumerate(classes.tolist()):
            label, sizes = cohort.labels[column], counts[:, place][counts[:, place] > 0]
            for method, (partitions, took) in found.items():
                rows.append(_row(label, method, partitions[place]))
                times.append(took)
            for method, why in refused.items():
                rows.append((label, method, NONE, "", f"not possible: {why}", ""))
                times.append(0.0)
            _draw(label, sizes, {method: partitions[place] for method, (partitions, _) in found.items()}, config, out)
    write_csv([dict(zip(FIELDS, row, strict=True)) for row in rows], out / "partition.csv")
    store_section(_section(cohort, rows, out), out / SECTION)
    return Comparison(rows, times)


def _section(cohort: Cohort, rows: list[tuple[str, ...]], out: Path) -> Section:
    """Figure 4 of each label for which filing takes part, and what every method reached."""
    maps = {label: out / f"heat_map_{file_name(label)}.png" for label in cohort.labels}
    pictures = [
        Picture(path, f"Figure 4, label {label}: the discrepancy over filing's two parameters; the star is its least.")
        for label, path in maps.items()
        if any(row[:2] == (label, "filing") and row[2] != NONE for row in rows)
    ]
    heads = [Head(name, words=name not in ("discrepancy", "lower bound")) for name in FIELDS]
    entries = [
        [word(cell) if head.words else Entry(cell, value=_value(cell)) for head, cell in zip(heads, row, strict=True)]
        for row in rows
    ]
    return Section(
        "The partition", [], pictures, [Table("methods", heads, entries, sortable=True, title="Ways to partition")]
    )


def _value(cell: str) -> float | None:
    return float(cell) if cell not in ("", NONE) else None


def _partitions(
    counts: np.ndarray, config: DatasetConfig, limit: float
) -> tuple[dict[str, tuple[tuple[Partition, ...], float]], dict[str, str]]:
    """By method the partition of each class and the seconds that all took; and why the others are not possible."""
    partitions, refused = {}, {}
    mixed = int(((counts > 0).sum(axis=1) > 1).sum())
    for method in (*METHODS, STRATIFIED):
        if mixed and method in ("filing", "sequential"):
            refused[method] = (
                f"takes one label at a time, and {mixed} of {len(counts)} families have several; exact takes all "
                "labels together"
            )
            continue
        start = time.perf_counter()
        targets = (config.proportions, config.diversities)
        try:
            if method == STRATIFIED:
                joint = stratified_group_folds(counts, *targets)
            else:
                joint = partition_classes(counts, *targets, method, seconds=limit)
        except InputError as error:
            if method != STRATIFIED:
                raise
            refused[method] = str(error)
            continue
        partitions[method] = joint.classes, time.perf_counter() - start
    return partitions, refused


def _row(label: str, method: str, partition: Partition) -> tuple[str, ...]:
    shares = (" / ".join(f"{share:.1%}" for share in term) for term in (partition.proportions, partition.diversities))
    bound = "" if partition.lower_bound is None else f"{partition.lower_bound:.6f}"
    return label, method, f"{partition.discrepancy:.6f}", bound, *shares


def _regions(regions: DiscrepancyMap) -> Iterator[tuple[float, ...]]:
    """What the heat map draws, a row a region."""
    columns = zip(regions.mu_edges[:-1], regions.mu_edges[1:], regions.epsilon_edges, regions.discrepancy, strict=True)
    for left, right, edges, values in columns:
        for low, high, value in zip(edges[:-1], edges[1:], values, strict=True):
            yield tuple(float(number) for number in (left, right, low, high, value))


def _draw(label: str, sizes: np.ndarray, partitions: dict[str, Partition], config: DatasetConfig, out: Path) -> None:
    title = f"{label}: {len(sizes)} families, {sizes.sum()} patches"
    wanted = {"proportions": config.proportions, "diversities": config.diversities}
    figures = {"methods": method_comparison(partitions, wanted, title)}
    if "filing" in partitions:
        regions = discrepancy_map(sizes, config.proportions, config.diversities)
        rows = [dict(zip(REGIONS, row, strict=True)) for row in _regions(regions)]
        write_csv(rows, out / f"heat_map_{file_name(label)}.csv")
        figures["heat_map"] = discrepancy_heat_map(regions, partitions["filing"], title)
    for name, figure in figures.items():
        with replacing(out / f"{name}_{file_name(label)}.png") as temporary:
            figure.savefig(temporary, format="png")


def file_name(label: str) -> str:
    """A label as a part of a file's name: what no file system takes is written as in addresses, with per cent signs."""
    return re.sub(r'[\x00-\x1f/\\:*?"<>|%]', lambda match: f"%{ord(match[0]):02X}", label)
