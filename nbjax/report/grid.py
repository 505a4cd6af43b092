"""A table as the page prints it: headings, and entries that know what they are sorted by."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

NONE = "–"


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


class Grid(NamedTuple):
    """A table.

    Attributes:
        name: its id on the page.
        heads: one a column.
        rows: each as many entries as there are heads.
        marked: number of the row that stands out; None for none.
        sortable: by a click on a heading.
        title: read aloud where the table is not seen.
    """

    name: str
    heads: Sequence[Head]
    rows: Sequence[Sequence[Entry]]
    marked: int | None = None
    sortable: bool = False
    title: str = ""


def word(text: str) -> Entry:
    """An entry of words."""
    return Entry(text)


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


def percent(value: float | None) -> str:
    """A fraction as per cent with one decimal."""
    return NONE if value is None else f"{100 * value:.1f} %"


def three(value: float | None) -> str:
    """Three decimals: a loss in nats, an area under a curve."""
    return NONE if value is None else f"{value:.3f}"


def span(low: float | None, high: float | None, text: Callable[[float], str]) -> str:
    """An interval's ends; empty where there is none."""
    return "" if low is None or high is None else f"{text(low)} to {text(high)}"


def spread(mean: float | None, std: float | None, text: Callable[[float], str], under: str = "") -> Entry:
    """A mean with its standard deviation; with one session there is none."""
    if mean is None or std is None:
        return number(mean, text, under)
    return Entry(f"{text(mean)} ± {text(std)}", under, mean)
