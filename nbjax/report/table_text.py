"""A table as Markdown, CSV and LaTeX."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from nbjax import spreadsheet

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
}


class Column(NamedTuple):
    """A column as it is printed.

    Attributes:
        header: above it.
        text: of a row.
        right: numbers stand on the right.
    """

    header: str
    text: Callable[[Mapping[str, Any]], str]
    right: bool = False


class Table(NamedTuple):
    """Numbers ready to print.

    Attributes:
        title: one line.
        columns: of Markdown and LaTeX, from left to right.
        rows: values as they are, not rounded, by name, all with the same names; None where there is none. The CSV has them.
        notes: what a reader must know, a sentence each.
    """

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Any]]
    notes: tuple[str, ...] = ()


def word(header: str, key: str) -> Column:
    """A column of text."""
    return Column(header, lambda row: "–" if row[key] is None else str(row[key]))


def number(header: str, key: str, text: Callable[[Any], str]) -> Column:
    """A column of numbers."""
    return Column(header, lambda row: "–" if row[key] is None else text(row[key]), right=True)


def spread(header: str, mean: str, std: str, text: Callable[[Any], str]) -> Column:
    """A column of means with their standard deviations; with one session there is none."""

    def both(row: Mapping[str, Any]) -> str:
        return text(row[mean]) if row[std] is None else f"{text(row[mean])} ± {text(row[std])}"

    return Column(header, both, right=True)


def markdown(table: Table) -> str:
    """The table for Markdown, with its title before and its notes after it."""
    lines = [[column.header for column in table.columns], *_cells(table)]
    lines = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    rule = ["---:" if column.right else "---" for column in table.columns]
    rows = [f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])]
    return "\n".join([f"**{table.title}**", "", *rows, *(f"\n{note}" for note in table.notes)]) + "\n"


def _cells(table: Table) -> list[list[str]]:
    return [[column.text(row) for column in table.columns] for row in table.rows]


def csv_text(table: Table) -> str:
    """The table's values, not rounded, a header line first."""
    return spreadsheet.csv_text(pa.Table.from_pylist([dict(row) for row in table.rows]))


def latex(table: Table) -> str:
    """The table as a LaTeX float that needs no package."""
    body = [f"{' & '.join(map(escape, cells))} \\\\" for cells in _cells(table)]
    alignment = "".join("r" if column.right else "l" for column in table.columns)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(' '.join([table.title + '.', *table.notes]))}}}",
            r"\small",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\hline",
            f"{' & '.join(escape(column.header) for column in table.columns)} \\\\",
            r"\hline",
            *body,
            r"\hline",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Text as LaTeX prints it letter by letter."""
    return "".join(LATEX.get(letter, letter) for letter in text)
