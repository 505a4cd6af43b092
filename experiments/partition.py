"""Compares ways to split a cohort's families: filing, exact, the authors' baseline and scikit-learn's.

    python -m experiments.partition --manifest=manifest.parquet --out=results/partition
    python -m experiments.partition --families="PD:171,68,68,50,41,9 D:190,187,70,70,38" --out=results/partition

Writes a table (Markdown on the screen, with what each method took, and `partition.csv`) and, for each class, the heat
map of the discrepancy over mu and epsilon (the paper's Figure 4) and a picture of the methods beside each other.
`--manifest` takes a manifest of experiments.tile, or any CSV or Parquet table of patches with the columns family and
label. A family with patches of two labels is one family: such labels are partitioned together, which exact and
StratifiedGroupKFold do.
"""

from pathlib import Path

from absl import flags

from experiments.cli import run
from nbjax.config import DatasetConfig
from nbjax.errors import InputError
from nbjax.files import check_folder
from nbjax.partition.inputs import MOST_PATCHES

MANIFEST = flags.DEFINE_string("manifest", None, "patch manifest of experiments.tile, or a table with family and label")
FAMILIES = flags.DEFINE_string("families", None, "instead: patches of each family, by class, as in the example above")
OUT = flags.DEFINE_string("out", "results/partition", "where the table and the figures go")
PROPORTIONS = flags.DEFINE_list("proportions", ["0.7", "0.15", "0.15"], "wanted shares of patches")
SECONDS = flags.DEFINE_float("seconds", 60.0, "time limit of exact, for each class, or for classes that share families")


def main() -> None:
    """Compares the methods on the cohort that the flags name."""
    from nbjax.report.partition_methods import FIELDS, cohort_of, compare, read_cohort

    config = DatasetConfig(proportions=_proportions(PROPORTIONS.value))
    out = Path(OUT.value)
    check_folder(out)
    if (MANIFEST.value is None) == (FAMILIES.value is None):
        raise InputError("give the cohort: either --manifest=FILE or --families='PD:30,20,9 D:12,7,5'.")
    cohort = cohort_of(_families(FAMILIES.value)) if MANIFEST.value is None else read_cohort(MANIFEST.value)
    compared = compare(cohort, config, out, SECONDS.value)
    shared = f", {cohort.mixed} of them with patches of several labels" if cohort.mixed else ""
    print(f"{len(cohort.counts)} families{shared}, {cohort.counts.sum()} patches\n")
    header = [*FIELDS, "milliseconds"]
    print(f"| {' | '.join(header)} |\n| {' | '.join(['---'] * len(header))} |")
    for row, seconds in zip(compared.rows, compared.seconds, strict=True):
        print(f"| {' | '.join(row)} | {1000 * seconds:.1f} |")
    print(f"\ntable and figures: {out}")


def _families(text: str) -> dict[str, list[int]]:
    """Patches of each family, by class."""
    try:
        pairs = [part.rsplit(":", 1) for part in text.split()]
        families = {label: [int(size) for size in sizes.split(",")] for label, sizes in pairs}
    except ValueError:
        families = {}
    labels = [part.rsplit(":", 1)[0] for part in text.split()]
    if not families or len(families) < len(labels) or not all(min(sizes) > 0 for sizes in families.values()):
        raise InputError(
            f"--families={text}: expected classes, each once, and whole numbers above 0 as in PD:30,20,9 D:12,7,5."
        )
    for label, sizes in families.items():
        if sum(sizes) > MOST_PATCHES:
            raise InputError(
                f"--families={text}: {label} has {sum(sizes):.3g} patches, expected at most {MOST_PATCHES:.0e}."
            )
    return families


def _proportions(words: list[str]) -> tuple[float, float, float]:
    try:
        train, validation, test = (float(word) for word in words)
    except ValueError:
        raise InputError(f"--proportions={','.join(words)}: expected three numbers.") from None
    return train, validation, test


if __name__ == "__main__":
    run(main)
