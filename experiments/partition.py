"""Compares ways to split a cohort's families: filing, exact, the authors' baseline and scikit-learn's.

    python -m experiments.partition --manifest=manifest.parquet --out=results/partition
    python -m experiments.partition --families="PD:171,68,68,50,41,9 D:190,187,70,70,38" --out=results/partition

Writes a table (Markdown on the screen and `partition.csv`) and, for each class, the heat map of the discrepancy over mu
and epsilon (the paper's Figure 4) and a picture of the methods beside each other.
"""

from pathlib import Path

from absl import flags

from experiments.cli import run
from nbjax.config import DatasetConfig
from nbjax.errors import InputError
from nbjax.files import check_folder

MANIFEST = flags.DEFINE_string("manifest", None, "the patch manifest, from experiments.tile")
FAMILIES = flags.DEFINE_string("families", None, "instead: patches of each family, by class, as in the example above")
OUT = flags.DEFINE_string("out", "results/partition", "where the table and the figures go")
PROPORTIONS = flags.DEFINE_list("proportions", ["0.7", "0.15", "0.15"], "wanted shares of patches")
SECONDS = flags.DEFINE_float("seconds", 60.0, "time limit of exact, for each class")


def main() -> None:
    """Compares the methods on the cohort that the flags name."""
    from nbjax.report.partition_methods import FIELDS, compare

    config = DatasetConfig(proportions=_proportions(PROPORTIONS.value))
    out = Path(OUT.value)
    check_folder(out)
    rows = compare(_cohort(), config, out, SECONDS.value)
    print(f"| {' | '.join(FIELDS)} |\n| {' | '.join(['---'] * len(FIELDS))} |")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(f"\ntable and figures: {out}")


def _cohort() -> dict[str, list[int]]:
    """Patches of each family, by class."""
    if (MANIFEST.value is None) == (FAMILIES.value is None):
        raise InputError("give the cohort: either --manifest or --families.")
    if MANIFEST.value is not None:
        from nbjax.report.partition_methods import families_of

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


if __name__ == "__main__":
    run(main)
