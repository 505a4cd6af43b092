"""Older kinds of methods beside a study: tables, figure and their part of the page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from nbjax.analysis import Tested, differences, score_predictions
from nbjax.analysis.differences import Difference
from nbjax.analysis.scores import Score
from nbjax.analysis.uncertainty import FamilyEstimate, Interval
from nbjax.baselines.run import Baseline, run_baselines
from nbjax.files import replacing
from nbjax.report.figures.style import BLACK, BLUE, ORANGE, new_figure, plain
from nbjax.report.held_out import chance
from nbjax.report.paper.tables import other_methods
from nbjax.report.reading import read_predictions, read_record
from nbjax.report.score_tables import LEVELS, family_counts
from nbjax.report.sections import BASELINES_SECTION, Picture, Section, of_study, store_section
from nbjax.report.table import Entry, Head, Table, markdown, number, percent, span, three, whole, word
from nbjax.spreadsheet import write_csv
from nbjax.training.folder import StudyFolder

CAUTION = (
    "An interval of a method alone says little of the difference of two: that has a column of its own, of the same "
    "families, each difference with its interval by itself."
)


class Row(NamedTuple):
    """A method's line.

    Attributes:
        name: in tables.
        text: for people.
        test: its scores on the test split.
        folds: likewise with every family held out once; None where that was not done.
        chosen: what validation data chose, in words.
        seconds: by step; none for the study's own line.
    """

    name: str
    text: str
    test: Tested
    folds: Tested | None
    chosen: str
    seconds: Mapping[str, float]


def write_baselines(folder: Path, banks: Path) -> None:
    """Fits every baseline on a study's dataset, and writes predictions, tables, figure and their part of a page into
    its folder.

    Writes what `run_baselines` does, and `baselines.csv`, `baselines.md`, `figures/baselines.png`.

    Args:
        folder: of the study; its dataset must be built, its sessions may be unfinished.
        banks: folder of feature banks; the backbone's is made where it is missing.

    Raises:
        InputError: no study lies there, or what `run_baselines` raises.
    """
    study = read_record(StudyFolder(folder).record)
    classes = len(study["dataset"]["classes"])
    # Before the fits: a damaged file of the study costs no minutes.
    own = _own_row(folder, study)
    rows = [*(_row(baseline, classes) for baseline in run_baselines(folder, study, banks)), *own]
    first = rows[0].test
    accuracy = first.score("accuracy")
    leads = _leads(rows)
    write_csv([_numbers(row, lead) for row, lead in zip(rows, leads, strict=True)], folder / "baselines.csv")
    note = (
        f"{accuracy.units} test {LEVELS[first.units.level]} of {family_counts(accuracy)} families, each counted once; "
        f"always answering the label that most families have: {percent(chance(first))}. {CAUTION}"
    )
    table = _table(rows, leads, note)
    with replacing(folder / "baselines.md") as temporary:
        temporary.write_text(markdown(table), encoding="utf-8")
    every = "" if rows[0].folds is None else f", {family_counts(rows[0].folds.score('accuracy'))} in all"
    title = f"{study['name']}: {family_counts(accuracy)} families in the test split{every}"
    path = folder / "figures" / "baselines.png"
    with replacing(path) as temporary:
        figure = baseline_accuracies([_scored(row) for row in rows], chance(first), title)
        figure.savefig(temporary, format="png", facecolor="white", metadata={"Software": None})
    level = first.units.level
    caption = (
        f"Accuracy by {level}, every family counted once, on the test split and with every family held out once; 95 % "
        "intervals for other families."
    )
    tables = [table._replace(title="On this dataset"), other_methods()]
    section = Section("Older kinds of methods", [], [Picture(path, caption)], tables, about=of_study(study))
    store_section(section, folder / BASELINES_SECTION)


def _row(baseline: Baseline, classes: int) -> Row:
    least, *_, most = baseline.method.penalties
    end = ", the end of what was tried" if baseline.penalty in (least, most) else ""
    chosen = f"C = {baseline.penalty:g} (of {least:g} to {most:g}{end})"
    test, folds = (
        None if table is None else score_predictions(table, classes) for table in (baseline.test, baseline.folds)
    )
    assert test is not None
    return Row(baseline.method.name, baseline.method.text, test, folds, chosen, baseline.seconds)


def _own_row(folder: Path, study: Mapping[str, Any]) -> list[Row]:
    """The study's own line, from its predictions; none while it is unfinished, or where it learned nothing."""
    classes = len(study["dataset"]["classes"])
    tables = [read_predictions(StudyFolder(folder).predictions(name), classes) for name in ("test", "fold")]
    test, folds = (None if table is None else score_predictions(table, classes) for table in tables)
    if test is None or study["chosen"] is None or study["chosen"].get("epochs") == 0:
        return []
    text = f"this study: {study['backbone']['name']}, {study['strategy']}"
    rate = f"learning rate {study['chosen']['learning_rate']:g}, batch size {study['chosen']['batch_size']}"
    return [Row("study", text, test, folds, rate, {})]


def _leads(rows: Sequence[Row]) -> list[Difference | None]:
    """The study's accuracy less each method's, of families held out once where both did that, else of the test split;
    None of the study itself, and where it is not among them.
    """
    if rows[-1].name != "study":
        return [None] * len(rows)
    own, leads = rows[-1], list[Difference | None]()
    for row in rows[:-1]:
        both = (own.test, row.test) if own.folds is None or row.folds is None else (own.folds, row.folds)
        leads.append(differences(*both)["accuracy"])
    return [*leads, None]


def _numbers(row: Row, lead: Difference | None) -> dict[str, Any]:
    """A line of the CSV file."""
    level = row.test.units.level
    line: dict[str, Any] = {"method": row.name, "text": row.text, "sessions": row.test.sessions, "level": level}
    for name, result in (("test", row.test), ("folds", row.folds)):
        accuracy = result and result.score("accuracy")
        interval = accuracy and accuracy.interval
        line |= {
            f"{name}_accuracy": accuracy and accuracy.estimate,
            f"{name}_low": interval and interval.low,
            f"{name}_high": interval and interval.high,
            f"{name}_accuracy_std": accuracy and accuracy.std,
            f"{name}_roc_auc": result and result.score("roc_auc").estimate,
            f"{name}_loss": result and result.score("loss").estimate,
            f"{name}_units": accuracy and accuracy.units,
            f"{name}_families": accuracy and "+".join(map(str, accuracy.families)),
            f"{name}_distinct_families": accuracy and accuracy.distinct_families,
        }
    line |= {"study_less": lead and lead.estimate}
    line |= {f"study_less_{end}": lead and lead.interval and getattr(lead.interval, end) for end in Interval._fields}
    steps = ("descriptors", "fit", "folds")
    return {**line, "chosen": row.chosen, **{f"seconds_{step}": row.seconds.get(step) for step in steps}}


def _table(rows: Sequence[Row], leads: Sequence[Difference | None], note: str) -> Table:
    """The table for people."""
    level = rows[0].test.units.level
    heads = [Head("method", words=True), Head("sessions")]
    for where in ("test split", "every family held out once"):
        heads += [Head(f"accuracy by {level}, {where}"), Head("95 % interval, by family"), Head("ROC-AUC")]
    heads += [Head("this study less the method, points")] if any(leads) else []
    heads += [Head("chosen by validation data, for the test split", words=True), Head("seconds")]
    lines = [
        [
            word(row.text),
            whole(row.test.sessions),
            *_scores(row.test),
            *_scores(row.folds),
            *([_lead(lead)] if any(leads) else []),
            word(row.chosen),
            number(sum(row.seconds.values()) if row.seconds else None, "{:.1f}".format),
        ]
        for row, lead in zip(rows, leads, strict=True)
    ]
    return Table("baselines", heads, lines, sortable=True, notes=[note])


def _lead(lead: Difference | None) -> Entry:
    if lead is None or lead.estimate is None:
        return word(None)
    text = "{:+.1f}".format
    ends = None if lead.interval is None else Interval(*(100 * end for end in lead.interval))
    return number(100 * lead.estimate, text, span(ends, text) or "no interval")


def _scores(result: Tested | None) -> list[Entry]:
    if result is None:
        return [word(None)] * 3
    accuracy = result.score("accuracy")
    return [
        number(accuracy.estimate, percent),
        word(span(accuracy.interval, percent) or "none"),
        number(result.score("roc_auc").estimate, three),
    ]


class Scored(NamedTuple):
    """A method's accuracies.

    Attributes:
        text: the method, for people.
        test: on the test split.
        folds: with every family held out once; None where that was not done.
        is_study: it is the study's own cell, no baseline.
    """

    text: str
    test: FamilyEstimate | Score
    folds: FamilyEstimate | Score | None
    is_study: bool = False


def baseline_accuracies(rows: Sequence[Scored], chance: float, title: str) -> Figure:
    """A line a method: its accuracy on the test split and with every family held out once, with intervals by family.

    Args:
        rows: from the top downwards.
        chance: accuracy of always answering the label that most families have, drawn as a line.
        title: above the picture.
    """
    figure, (axis,) = new_figure(8.4, 1.5 + 0.55 * len(rows))
    for field, label, colour, marker, shift in (
        ("test", "test split", BLUE, "o", -0.13),
        ("folds", "every family held out once", ORANGE, "s", 0.13),
    ):
        placed = [(place, getattr(row, field)) for place, row in enumerate(rows) if getattr(row, field) is not None]
        for place, score in placed:
            if score.interval is not None:
                axis.plot(score.interval, [place + shift] * 2, color=colour, linewidth=2)
        centres, heights = [score.estimate for _, score in placed], [place + shift for place, _ in placed]
        # A hollow mark has no interval.
        faces = [colour if score.interval is not None else "white" for _, score in placed]
        axis.scatter(centres, heights, 45, color=faces, edgecolors=colour, marker=marker, zorder=3)
        if placed:
            axis.plot([], [], color=colour, marker=marker, linewidth=2, label=f"{label}, 95 % interval by family")
    axis.axvline(chance, color=BLACK, linestyle="--", linewidth=1)
    axis.annotate(
        "one answer for all", (chance, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=9
    )
    for place in np.flatnonzero(np.diff([row.is_study for row in rows])).tolist():
        axis.axhline(place + 0.5, color="#999999", linewidth=1)
    axis.set_yticks(range(len(rows)), [plain(row.text) for row in rows])
    axis.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="classified rightly, every family counted once")
    axis.grid(axis="y", visible=False)
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_title(plain(title), loc="left", fontsize=10, pad=18)
    if rows:
        handles, labels = axis.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _scored(row: Row) -> Scored:
    sessions = row.test.sessions
    text = row.text if sessions == 1 else f"{row.text}\n({sessions} sessions together)"
    return Scored(text, row.test.score("accuracy"), row.folds and row.folds.score("accuracy"), row.name == "study")
