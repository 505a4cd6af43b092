"""Every figure and table of the paper that some studies have data for, and why not the others."""

import functools
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from nbjax import locks
from nbjax.analysis.distribution import dip_test, loss_accuracy_pairs
from nbjax.errors import InputError
from nbjax.files import sync, sync_folder
from nbjax.report.drawing import Drawn, draw
from nbjax.report.figures.paper import (
    axes_range,
    backbone_scores,
    best_curve,
    depth_losses,
    loss_accuracy_density,
    start_histogram,
    within,
)
from nbjax.report.html import save
from nbjax.report.paper import numbers, published, tables
from nbjax.report.studies import Pooled
from nbjax.report.table import Table, csv_text, latex, markdown

# Below so many starts a test of peaks says nothing.
FEWEST_TESTED = 20


class Made(NamedTuple):
    """What some studies show.

    Attributes:
        figures: by name, as `figure_11`.
        tables: by name, as `table_4`.
        missing: by name, why there is none.
        failed: of those, the ones that the studies have data for: what went wrong is a defect of nbjax.
    """

    figures: dict[str, Drawn]
    tables: dict[str, Table]
    missing: dict[str, str]
    failed: dict[str, Exception]


def make(pooled: Pooled, own: Mapping[str, Pooled] | None = None) -> Made:
    """Draws the dataset's overview, Figures 11, 13 and 15 to 20, and fills Tables 1 to 4.

    Args:
        pooled: studies, finished or not.
        own: of figures that are drawn from other studies, by name.
    """
    made = Made({}, {}, {}, {})
    for name in TABLES:
        _add(made, (name,), functools.partial(_table, name, pooled))
    for name in FIGURES:
        _add(made, (name,), functools.partial(_figure, name, (own or {}).get(name, pooled)))
    _add(made, tuple(OVERVIEW), lambda: _overview(pooled))
    return made


def _table(name: str, pooled: Pooled) -> dict[str, Table | str]:
    return {name: TABLES[name](pooled)}


def _figure(name: str, pooled: Pooled) -> dict[str, Drawn | str]:
    return {name: FIGURES[name].draw(pooled)}


def _add(made: Made, names: tuple[str, ...], make: Callable[[], Mapping[str, Drawn | Table | str]]) -> None:
    """Adds what `make` gives under each name, or why there is nothing: one that fails takes no other with it."""
    try:
        results = make()
    except InputError as error:
        results = dict.fromkeys(names, str(error).removesuffix("."))
    except Exception as error:  # noqa: BLE001 what went wrong is said at the end, after the others
        results = {}
        for name in names:
            _fail(made, name, error)
    for name, result in results.items():
        if isinstance(result, str):
            made.missing[name] = result
        elif isinstance(result, Drawn):
            made.figures[name] = result
        else:
            made.tables[name] = result


def _fail(made: Made, name: str, error: Exception) -> None:
    made.figures.pop(name, None)
    made.failed[name] = error
    made.missing[name] = f"a defect of nbjax ({type(error).__name__}: {error})"


def _overview(pooled: Pooled) -> dict[str, Drawn | str]:
    first = pooled.studies[0]
    drawn = draw(first.folder, {**first.record, "chosen": None}, first.history, None, None)
    absent = "the dataset is not in the study's folder any more"
    return {name: drawn.get(name.removeprefix("dataset_"), absent) for name in OVERVIEW}


def _by_strategy(pooled: Pooled) -> Table | str:
    strategies = numbers.by_strategy(pooled.history, pooled.criterion)
    if not len(strategies):
        return "no cell of the strategies straightforward, extension or unfreezing has finite losses"
    return tables.best_by_strategy(strategies, pooled.criterion)


def _backbones(pooled: Pooled) -> Drawn | str:
    table = numbers.by_backbone(pooled.history, pooled.criterion)
    if not len(table):
        return "no study has the strategy straightforward with finite losses"
    return Drawn(backbone_scores(table), table, sum(table["sessions"].to_pylist()))


def _depth(pooled: Pooled, strategy: str) -> Drawn | str:
    table = numbers.by_depth(pooled.history, pooled.criterion, strategy)
    if not len(table):
        return f"no study has the strategy {strategy}-K with finite losses"
    before = numbers.losses_before_training(pooled.history)
    return Drawn(depth_losses(table, strategy, before), table, sum(table["sessions"].to_pylist()))


def _best_session(pooled: Pooled, metric: str) -> Drawn | str:
    curves = numbers.best_curves(pooled.history, pooled.criterion)
    if curves is None:
        return "the best session has no whole curve"
    cell = curves.best.cell
    published_lines = published.best_lines(metric, cell.backbone, cell.nonlinearities, cell.unfrozen)
    figure = best_curve(curves.table, metric, curves.sessions, published_lines)
    return Drawn(figure, curves.table, curves.sessions, curves.left_out)


def _starts(pooled: Pooled, metric: str) -> Drawn | str:
    table = numbers.starts(pooled.history)
    if not len(table):
        return "no session has finite losses before training"
    splits = {split: table[f"{split}_{metric}"].to_numpy() for split in ("train", "validation")}
    tested = len(table) >= FEWEST_TESTED
    counts = pooled.studies[0].record["dataset"]["counts"]
    samples = {split: sum(row["samples"] for row in counts[split].values()) for split in splits}
    # An accuracy is a share of so many samples.
    steps = {split: 1 / samples[split] if metric == "accuracy" else None for split in splits}
    one_peak = {split: dip_test(values, step=steps[split])[1] if tested else None for split, values in splits.items()}
    return Drawn(start_histogram(table, metric, one_peak), table, len(table))


def _density(pooled: Pooled) -> Drawn | str:
    pairs = loss_accuracy_pairs(pooled.history, "validation")
    if not len(pairs.loss):
        return "no session has a finite loss"
    classes = len(pooled.studies[0].record["dataset"]["classes"])
    if not within(pairs, classes).any():
        (_, loss), (accuracy, _) = axes_range(classes)
        return f"no epoch has a loss up to {loss:.2f} and an accuracy from {accuracy:.0f} % on, where its axes end"
    return Drawn(*loss_accuracy_density(pairs, classes), pairs.sessions)


class Figure(NamedTuple):
    """A figure of the paper.

    Attributes:
        study: whose part of the page shows it.
        caption: under it there.
        draw: from studies, or why not.
    """

    study: str
    caption: str
    draw: Callable[[Pooled], Drawn | str]


FIGURES = {
    "figure_11": Figure("straightforward", "Figure 11: frozen backbones with a new last layer.", _backbones),
    "figure_13": Figure(
        "extension",
        "Figure 13: loss against the number of non-linearities.",
        lambda pooled: _depth(pooled, "extension"),
    ),
    "figure_15": Figure(
        "unfreezing",
        "Figure 15: loss against the number of unfrozen layers.",
        lambda pooled: _depth(pooled, "unfreezing"),
    ),
    "figure_16": Figure(
        "best",
        "Figure 16: loss of the best session of the paper's choice, and of its cell.",
        lambda pooled: _best_session(pooled, "loss"),
    ),
    "figure_17": Figure(
        "best",
        "Figure 17: accuracy of the best session of the paper's choice, and of its cell.",
        lambda pooled: _best_session(pooled, "accuracy"),
    ),
    "figure_18": Figure("distribution", "Figure 18: losses before training.", lambda pooled: _starts(pooled, "loss")),
    "figure_19": Figure(
        "distribution", "Figure 19: accuracies before training.", lambda pooled: _starts(pooled, "accuracy")
    ),
    "figure_20": Figure(
        "distribution",
        "Figure 20: loss and accuracy of every epoch of every session, counted on a logarithmic scale.",
        _density,
    ),
}
TABLES: Mapping[str, Callable[[Pooled], Table | str]] = {
    "table_1": lambda _: tables.other_methods(),
    "table_2": lambda pooled: tables.samples_by_split(pooled.studies[0].record["dataset"]),
    "table_3": lambda _: tables.backbones(),
    "table_4": _by_strategy,
}
# What a page says under each.
OVERVIEW = {
    "dataset_samples": "Patches of each label and split, of as many families as fit.",
    "dataset_families": "Patches of each family, by label and split.",
}
ENDINGS = (".png", ".csv", ".md", ".tex")


def write(made: Made, out: Path) -> list[Path]:
    """Writes figures as PNG and their numbers as CSV, tables as .md, .csv and .tex, and returns what was written.

    All of it is written beside its place first, so that a full disk or a power cut leaves what was there; then what an
    earlier call made and this one did not is removed. A figure that cannot be drawn after all goes over to
    `made.failed`.

    Raises:
        InputError: another process writes figures there.
    """
    with locks.locked(out, "this folder of figures"):
        return _write(made, out)


def _write(made: Made, out: Path) -> list[Path]:
    fresh = out / ".figures.tmp"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        for name, drawn in list(made.figures.items()):
            try:
                save(drawn, fresh / name)
            except OSError:
                raise
            except Exception as error:  # noqa: BLE001 Matplotlib lays out and draws only here
                _fail(made, name, error)
        for name, table in made.tables.items():
            for ending, text in ((".md", markdown(table)), (".csv", csv_text(table)), (".tex", latex(table))):
                (fresh / f"{name}{ending}").write_text(text, encoding="utf-8")
        sync(fresh)
        names = sorted(path.name for path in fresh.iterdir())
        for name in names:
            (fresh / name).replace(out / name)
        for name in (*FIGURES, *TABLES, *OVERVIEW):
            for ending in ENDINGS:
                if f"{name}{ending}" not in names:
                    (out / f"{name}{ending}").unlink(missing_ok=True)
        sync_folder(out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return [out / name for name in names]
