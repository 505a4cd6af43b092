"""The leakage experiments' tables, and their numbers read back from the files that `experiments.leakage` writes."""

from collections.abc import Mapping
from pathlib import Path

from nbjax.analysis.leakage import Mean
from nbjax.report.grid import Entry, Grid, Head, word
from nbjax.report.leakage_figures import STYLES
from nbjax.spreadsheet import read_csv

ROWS = {
    "train": "training loss",
    "validation": "validation loss",
    "gap": "gap: validation less training",
    "rise": "validation loss since its least",
    "test": "test loss",
    "hidden": "test less validation",
    "learned": "test less untrained",
}
# Of these the question is whether they differ from 0.
TESTED = ("gap", "rise", "hidden", "learned")
Summary = dict[str, dict[str, Mean]]
Gaps = dict[tuple[str, str], Mean]


def read_experiments(folder: Path) -> tuple[Summary, Gaps]:
    """`summary.csv` and `comparisons.csv` of a leakage folder: by experiment and measure, and the gaps of pairs.

    Raises:
        OSError, KeyError, ValueError: a file is missing or damaged.
    """
    summary: Summary = {}
    for row in read_csv(folder / "summary.csv"):
        summary.setdefault(row["leak"], {})[row["measure"]] = _mean(row)
    return summary, {(row["leak"], row["less"]): _mean(row) for row in read_csv(folder / "comparisons.csv")}


def _mean(row: Mapping[str, str]) -> Mean:
    return Mean(int(row["sessions"]), *(float(row[name]) for name in Mean._fields[1:]))


def experiment_grid(summary: Mapping[str, Mapping[str, Mean]], name: str) -> Grid:
    """A column an experiment: mean ± standard deviation over sessions, the interval below, and a p where 0 means no effect.

    Args:
        summary: as `nbjax.analysis.leakage.summarise` gives it.
        name: the table's id.
    """
    heads = [Head("", words=True), *(Head(STYLES[leak][1]) for leak in summary)]
    rows = [
        [word(text), *(_entry(measures[one], one in TESTED) for measures in summary.values())]
        for one, text in ROWS.items()
    ]
    return Grid(name, heads, rows, title="The experiments")


def comparison_grid(gaps: Mapping[tuple[str, str], Mean], name: str) -> Grid:
    """A row a pair of experiments: the paired difference of their gaps.

    Args:
        gaps: as `nbjax.analysis.leakage.compare` gives it.
        name: the table's id.
    """
    heads = [
        Head("gap of", words=True),
        Head("less that of", words=True),
        *map(Head, ("difference", "p", "p of ranks")),
    ]
    rows = [
        [
            word(STYLES[one][1]),
            word(STYLES[other][1]),
            _entry(mean, False),
            Entry(p_text(mean.p)),
            Entry(p_text(mean.p_ranks)),
        ]
        for (one, other), mean in gaps.items()
    ]
    return Grid(name, heads, rows, title="The gaps compared")


def _entry(value: Mean, tested: bool) -> Entry:
    under = f"{value.low:.3f} to {value.high:.3f}{f'; p {p_text(value.p)}' if tested else ''}"
    return Entry(f"{value.mean:.3f} ± {value.std:.3f}", under, value.mean)


def p_text(p: float) -> str:
    """A p-value with three decimals."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
