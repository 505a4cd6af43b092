"""The figure of the baselines: every method's accuracy with its interval, beside the study's own."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from nbjax.analysis.scores import Score
from nbjax.analysis.uncertainty import Interval
from nbjax.report.figures import BLACK, BLUE, ORANGE, new_figure, plain


class Scored(NamedTuple):
    """A method's accuracies.

    Attributes:
        text: the method, for people.
        test: on the test split.
        folds: with every family held out once; None where that was not done.
        is_study: it is the study's own cell, no baseline.
    """

    text: str
    test: Interval | Score
    folds: Interval | Score | None
    is_study: bool = False


def baseline_accuracies(rows: Sequence[Scored], chance: float, title: str) -> Figure:
    """A line a method: its accuracy on the test split and with every family held out once, with intervals by family.

    Args:
        rows: from the top downwards.
        chance: accuracy of always answering the most frequent label, drawn as a line.
        title: above the picture.
    """
    figure, (axis,) = new_figure(8.4, 1.5 + 0.55 * len(rows))
    for field, label, colour, marker, shift in (
        ("test", "test split", BLUE, "o", -0.13),
        ("folds", "every family held out once", ORANGE, "s", 0.13),
    ):
        found = [(place, getattr(row, field)) for place, row in enumerate(rows) if getattr(row, field) is not None]
        for place, one in found:
            if one.low is not None:
                axis.plot([one.low, one.high], [place + shift] * 2, color=colour, linewidth=2)
        centres, heights = [one.estimate for _, one in found], [place + shift for place, _ in found]
        # A hollow mark has no interval.
        faces = [colour if one.low is not None else "white" for _, one in found]
        axis.scatter(centres, heights, 45, color=faces, edgecolors=colour, marker=marker, zorder=3)
        if found:
            axis.plot([], [], color=colour, marker=marker, linewidth=2, label=f"{label}, 95 % interval by family")
    axis.axvline(chance, color=BLACK, linestyle="--", linewidth=1)
    axis.annotate(
        "most frequent label", (chance, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=9
    )
    for place in np.flatnonzero(np.diff([row.is_study for row in rows])).tolist():
        axis.axhline(place + 0.5, color="#999999", linewidth=1)
    axis.set_yticks(range(len(rows)), [plain(row.text) for row in rows])
    axis.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="samples classified rightly")
    axis.grid(axis="y", visible=False)
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_title(plain(title), loc="left", fontsize=10, pad=18)
    if rows:
        handles, labels = axis.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure
