"""A table ready to print: on a page, as Markdown, CSV and LaTeX."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from nbjax import spreadsheet
from nbjax.analysis.uncertainty import Interval

NONE = "–"
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


class Entry(NamedTuple):
    """What stands in one place of a table.

    Attributes:
        text: as printed.
        under: printed below it, smaller; empty for nothing.
        value: that a reader's sorting goes by; None sorts by the text.
    """

    text: str
    under: str = ""
    value: float | None = None


class Head(NamedTuple):
    """A column's heading.

    Attributes:
        text: as printed.
        words: the column holds words, which stand on the left.
    """

    text: str
    words: bool = False


class Table(NamedTuple):
    """A table.

    Attributes:
        name: its id on a page.
        heads: one a column.
        rows: each as many entries as there are heads.
        marked: number of the row that stands out; None for none.
        sortable: by a click on a heading.
        title: above it; on a study's page read aloud where the table is not seen.
        notes: what a reader must know, a sentence each.
        values: numbers as they are, not rounded, by name, all rows with the same names; None where there is none. The
            CSV has them.
    """

    name: str
    heads: Sequence[Head]
    rows: Sequence[Sequence[Entry]]
    marked: int | None = None
    sortable: bool = False
    title: str = ""
    notes: Sequence[str] = ()
    values: Sequence[Mapping[str, Any]] = ()


def word(text: str | None) -> Entry:
    """An entry of words; a dash where there are none."""
    return Entry(NONE if text is None else text)


def whole(number: int) -> Entry:
    """An entry of a count."""
    return Entry(f"{number:,}", value=number)


def number(value: float | None, text: Callable[[float], str], under: str = "") -> Entry:
    """An entry of a number; a dash where there is none."""
    if value is None:
        return Entry(NONE, under)
    if not math.isfinite(value):
        return Entry("not finite", under)
    return Entry(text(value), under, value)


def spread(mean: float | None, std: float | None, text: Callable[[float], str], under: str = "") -> Entry:
    """A mean with its standard deviation; with one session there is none."""
    if mean is None or std is None:
        return number(mean, text, under)
    return Entry(f"{text(mean)} ± {text(std)}", under, mean)


def percent(value: float | None) -> str:
    """A fraction as per cent with one decimal."""
    return NONE if value is None else f"{100 * value:.1f} %"


def p_text(p: float) -> str:
    """A p-value with three decimals."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def three(value: float | None) -> str:
    """Three decimals: a loss in nats, an area under a curve."""
    return NONE if value is None else f"{value:.3f}"


def span(interval: Interval | None, text: Callable[[float], str]) -> str:
    """An interval's ends; empty where there is none."""
    return "" if interval is None else f"{text(interval.low)} to {text(interval.high)}"


class Column(NamedTuple):
    """A column of a table that is made of rows of values.

    Attributes:
        head: above it.
        entry: of a row.
    """

    head: Head
    entry: Callable[[Mapping[str, Any]], Entry]


def words_of(head: str, key: str) -> Column:
    """A column of text."""
    return Column(Head(head, words=True), lambda row: word(row[key]))


def numbers_of(head: str, key: str, text: Callable[[Any], str]) -> Column:
    """A column of numbers."""
    return Column(Head(head), lambda row: number(row[key], text))


def spreads_of(head: str, mean: str, std: str, text: Callable[[Any], str]) -> Column:
    """A column of means with their standard deviations."""
    return Column(Head(head), lambda row: spread(row[mean], row[std], text))


def table_of(
    name: str, title: str, columns: Iterable[Column], values: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()
) -> Table:
    """A table of rows of values, from left to right; its CSV has all of each row."""
    columns = tuple(columns)
    rows = [[column.entry(row) for column in columns] for row in values]
    return Table(
        name, [column.head for column in columns], rows, sortable=True, title=title, notes=notes, values=values
    )


def markdown(table: Table) -> str:
    """The table for Markdown, with its title before and its notes after it."""
    lines = [[head.text for head in table.heads], *_texts(table)]
    lines = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    rule = ["---" if head.words else "---:" for head in table.heads]
    rows = [f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])]
    title = [f"**{table.title}**", ""] if table.title else []
    return "\n".join([*title, *rows, *(f"\n{note}" for note in table.notes)]) + "\n"


def _texts(table: Table) -> list[list[str]]:
    return [[f"{entry.text} ({entry.under})" if entry.under else entry.text for entry in row] for row in table.rows]


def csv_text(table: Table) -> str:
    """The table's values, not rounded, a header line first."""
    return spreadsheet.csv_text(pa.Table.from_pylist([dict(row) for row in table.values]))


def latex(table: Table) -> str:
    """The table as a LaTeX float that needs no package."""
    body = [f"{' & '.join(map(escape, cells))} \\\\" for cells in _texts(table)]
    alignment = "".join("l" if head.words else "r" for head in table.heads)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(' '.join([table.title + '.', *table.notes]))}}}",
            r"\small",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\hline",
            f"{' & '.join(escape(head.text) for head in table.heads)} \\\\",
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
