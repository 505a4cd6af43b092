"""Every figure and table of the paper that some studies have data for, and why not the others."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from nbjax.analysis.distribution import dip_test, loss_accuracy_pairs
from nbjax.files import replacing
from nbjax.report import paper_figures, paper_numbers, paper_tables, published
from nbjax.report.drawing import Drawn, draw
from nbjax.report.html import save
from nbjax.report.studies import Pooled
from nbjax.report.table_text import Table, csv_text, latex, markdown

# Below so many starts a test of peaks says nothing.
FEWEST_TESTED = 20


class Made(NamedTuple):
    """What some studies show.

    Attributes:
        figures: by name, as `figure_11`.
        tables: by name, as `table_4`.
        missing: by name, why there is none.
    """

    figures: dict[str, Drawn]
    tables: dict[str, Table]
    missing: dict[str, str]


def make(pooled: Pooled) -> Made:
    """Draws the dataset's overview, Figures 11, 13 and 15 to 20, and fills Tables 1 to 4.

    Args:
        pooled: studies, finished or not.
    """
    made = Made({}, *tables(pooled))
    for name in FIGURES:
        add_figure(made, name, pooled)
    first = pooled.studies[0]
    overview = draw(first.folder, {**first.record, "chosen": None}, first.history, None, None)
    made.figures.update({f"dataset_{name}": drawn for name, drawn in overview.items()})
    if not overview:
        made.missing["dataset_families"] = made.missing["dataset_samples"] = (
            "the dataset is not in the study's folder any more"
        )
    return made


def add_figure(made: Made, name: str, pooled: Pooled) -> None:
    """Draws one of `FIGURES` from other studies than the rest, in place of what there was."""
    made.figures.pop(name, None)
    made.missing.pop(name, None)
    found = FIGURES[name](pooled)
    if isinstance(found, str):
        made.missing[name] = found
    else:
        made.figures[name] = found


def tables(pooled: Pooled) -> tuple[dict[str, Table], dict[str, str]]:
    """Tables 1 to 4 by name, and why one of them is missing."""
    first = pooled.studies[0]
    filled = {
        "table_1": paper_tables.other_methods(),
        "table_2": paper_tables.samples_by_split(first.record["dataset"]),
        "table_3": paper_tables.backbones(),
    }
    strategies = paper_numbers.by_strategy(pooled.history, pooled.criterion)
    if not len(strategies):
        reason = "no cell of the strategies straightforward, extension or unfreezing has finite losses"
        return filled, {"table_4": reason}
    return {**filled, "table_4": paper_tables.best_by_strategy(strategies, pooled.criterion)}, {}


def _backbones(pooled: Pooled) -> Drawn | str:
    table = paper_numbers.by_backbone(pooled.history, pooled.criterion)
    if not len(table):
        return "no study has the strategy straightforward"
    return Drawn(paper_figures.backbone_scores(table), table, sum(table["sessions"].to_pylist()))


def _depth(pooled: Pooled, strategy: str) -> Drawn | str:
    table = paper_numbers.by_depth(pooled.history, pooled.criterion, strategy)
    if not len(table):
        return f"no study has the strategy {strategy}-K"
    before = paper_numbers.losses_before_training(pooled.history)
    return Drawn(paper_figures.depth_losses(table, strategy, before), table, sum(table["sessions"].to_pylist()))


def _best_session(pooled: Pooled, metric: str) -> Drawn | str:
    curves = paper_numbers.best_curves(pooled.history, pooled.criterion)
    if curves is None:
        return "the best session has no whole curve"
    backbone, _, nonlinearities, unfrozen, *_ = curves.best.cell
    figure = paper_figures.best_curve(
        curves.table, metric, curves.sessions, published.best_lines(metric, backbone, nonlinearities, unfrozen)
    )
    return Drawn(figure, curves.table, curves.sessions, curves.left_out)


def _starts(pooled: Pooled, metric: str) -> Drawn | str:
    table = paper_numbers.starts(pooled.history)
    if not len(table):
        return "no session has finite losses before training"
    splits = {split: table[f"{split}_{metric}"].to_numpy() for split in ("train", "validation")}
    tested = len(table) >= FEWEST_TESTED
    counts = pooled.studies[0].record["dataset"]["counts"]
    samples = {split: sum(row["samples"] for row in counts[split].values()) for split in splits}
    # An accuracy is a share of so many samples.
    steps = {split: 1 / samples[split] if metric == "accuracy" else None for split in splits}
    one_peak = {split: dip_test(values, step=steps[split])[1] if tested else None for split, values in splits.items()}
    return Drawn(paper_figures.start_histogram(table, metric, one_peak), table, len(table))


def _density(pooled: Pooled) -> Drawn | str:
    pairs = loss_accuracy_pairs(pooled.history, "validation")
    if not len(pairs.loss):
        return "no session has a finite loss"
    return Drawn(*paper_figures.loss_accuracy_density(pairs), pairs.sessions)


FIGURES: Mapping[str, Callable[[Pooled], Drawn | str]] = {
    "figure_11": _backbones,
    "figure_13": lambda some: _depth(some, "extension"),
    "figure_15": lambda some: _depth(some, "unfreezing"),
    "figure_16": lambda some: _best_session(some, "loss"),
    "figure_17": lambda some: _best_session(some, "accuracy"),
    "figure_18": lambda some: _starts(some, "loss"),
    "figure_19": lambda some: _starts(some, "accuracy"),
    "figure_20": _density,
}


def write(made: Made, out: Path) -> list[Path]:
    """Writes figures as PNG and their numbers as CSV, tables as .md, .csv and .tex, and returns what was written."""
    written = []
    for name, drawn in made.figures.items():
        save(drawn, out / name)
        endings = (".png",) if drawn.numbers is None else (".png", ".csv")
        written += [out / f"{name}{ending}" for ending in endings]
    for name, table in made.tables.items():
        for ending, text in ((".md", markdown(table)), (".csv", csv_text(table)), (".tex", latex(table))):
            path = out / f"{name}{ending}"
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
            written.append(path)
    return written
