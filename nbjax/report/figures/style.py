"""The house style of figures: readable in print and without colour vision (Okabe and Ito's palette)."""

from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE, BLACK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
GREY = "#757575"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def new_figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of that many inches and its axes, row by row, in the house style."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=150)
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def plain(name: str) -> str:
    """A name as Matplotlib prints it letter by letter, not as a formula."""
    return name.replace("$", r"\$")
