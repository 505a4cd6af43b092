"""Tables of the report: names and text ready to print, made from a study's record and results."""

from collections.abc import Mapping, Sequence
from typing import Any

from nbjax.analysis.selection import Cell
from nbjax.analysis.uncertainty import Interval
from nbjax.training.strategy import Strategy


def percent(value: float | None) -> str:
    """A fraction as per cent with one decimal."""
    return "–" if value is None else f"{100 * value:.1f} %"


def loss(value: float | None) -> str:
    """A loss in nats with three decimals."""
    return "–" if value is None else f"{value:.3f}"


def interval(result: Interval, text: Any) -> str:
    """An interval's ends, or that there is none."""
    return "none" if result.low is None else f"{text(result.low)} to {text(result.high)}"


def dataset_rows(counts: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[dict[str, Any]]:
    """The paper's Table 2, with families and transforms: one row a label and split."""
    return [
        {"label": label, "split": split, **row} for split, labels in counts.items() for label, row in labels.items()
    ]


def partition_rows(
    partition: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, Sequence[float]]
) -> list[dict[str, Any]]:
    """One row a label: method, discrepancy, proportions and diversities reached, each against what was wanted."""
    return [
        {
            "label": label,
            "method": row["method"],
            "discrepancy": f"{row['discrepancy']:.4f}",
            **{name: _shares(row[name]) for name in ("proportions", "diversities")},
            **{f"wanted_{name}": _shares(wanted[name]) for name in ("proportions", "diversities")},
        }
        for label, row in partition.items()
    ]


def _shares(values: Sequence[float]) -> str:
    return " / ".join(f"{100 * value:.1f}" for value in values)


def cell_rows(cells: Sequence[Cell], chosen: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """One row a cell of the grid, the chosen one marked; never a best value without its spread."""
    return [
        {
            "backbone": cell.values["backbone"],
            "strategy": _strategy(cell.values),
            "learning_rate": f"{cell.values['learning_rate']:g}",
            "batch_size": cell.values["batch_size"],
            "sessions": cell.sessions,
            "diverged": cell.diverged,
            "loss": f"{loss(cell.mean)} ± {loss(cell.std)}",
            "median": loss(cell.median),
            "best": loss(cell.best),
            "accuracy": f"{percent(cell.accuracy_mean)} ± {percent(cell.accuracy_std)}",
            "chosen": chosen is not None and all(cell.values[key] == chosen[key] for key in cell.values),
        }
        for cell in cells
    ]


def _strategy(cell: Mapping[str, Any]) -> str:
    """As configs write it."""
    name = cell["strategy"]
    stages = name.endswith("stages")
    return Strategy(cell["nonlinearities"], cell["unfrozen"], stages, name == "scratch").text


def varying(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Those of the columns in which some rows differ."""
    return [name for name in names if len({row[name] for row in rows}) > 1]
