"""Figures of one cell's predictions: ROC and precision-recall curves, confusion, reliability; data in, figure out."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from nbjax.analysis.calibration import Reliability
from nbjax.analysis.curves import Curves
from nbjax.report.figures.style import BLACK, BLUE, COLOURS, GREY, ORANGE, new_figure, plain

DASHES = ("-", "--", "-.", ":")


def ranking_curves(
    roc: Mapping[str, Curves],
    precision_recall: Mapping[str, Curves],
    units: str,
    intervals: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
) -> Figure:
    """ROC and precision-recall curves: every session thin, their mean thick.

    Args:
        roc: by class that counts as positive, a class against the rest.
        precision_recall: likewise.
        units: what is ranked, in the plural.
        intervals: of either panel, by class, the area's interval over families in words.
    """
    figure, axes = new_figure(8.4, 4.2, 2)
    for axis, panel, said in zip(axes, (roc, precision_recall), intervals, strict=True):
        for place, (label, curves) in enumerate(panel.items()):
            style = (COLOURS[place % 4], DASHES[place // 4 % 4], len(panel) == 1)
            _ranking(axis, label, curves, *style, said.get(label, ""))
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axis.legend(loc="lower right" if panel is roc else "lower left", fontsize=9)
    first = next(iter(roc.values()))
    counted = f"{first.units:,} {units}, {_sessions(len(first.up))}"
    axes[0].set(xlabel="false positive rate", ylabel="true positive rate", title=f"ROC: {counted}")
    axes[1].set(xlabel="recall", ylabel="precision", title=f"Precision and recall: {counted}")
    for axis in axes:
        axis.title.set_fontsize(10)
    return figure


def _ranking(axis: Axes, label: str, curves: Curves, colour: str, dash: str, alone: bool, interval: str) -> None:
    across, up = curves.across, curves.up
    if curves.name == "roc":
        # Every ROC curve starts where nothing is called positive.
        across, up = np.append(0.0, across), np.concatenate([np.zeros((len(up), 1)), up], axis=1)
    # More thin lines would only blacken each other.
    for line in up[:50]:
        axis.plot(across, line, color=colour, linewidth=0.5, alpha=0.35)
    spread = f" ± {curves.areas.std(ddof=1):.3f} over sessions" if len(curves.areas) > 1 else ""
    text = "\n".join([f"{plain(label)}: area {curves.areas.mean():.3f}{spread}", *([interval] if interval else [])])
    axis.plot(across, up.mean(axis=0), dash, color=colour, linewidth=2.2, label=text)
    if curves.name == "roc":
        if colour == COLOURS[0] and dash == "-":
            axis.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1, label="guessing: area 0.500")
    elif alone:
        axis.axhline(curves.chance, linestyle="--", color=GREY, linewidth=1, label=f"guessing: {curves.chance:.3f}")


def _sessions(count: int) -> str:
    return "1 session" if count == 1 else f"{count:,} sessions"


def confusion_matrix(matrix: np.ndarray, classes: Sequence[str], units: str, sessions: int) -> Figure:
    """How many units of each label are taken for which class: shares of the label, and how many units that is.

    Args:
        matrix: `[classes, classes]`, rows the label.
        classes: their names.
        units: what is counted, in the plural.
        sessions: that predict together.
    """
    count = len(classes)
    figure, (axis,) = new_figure(1.9 + 1.25 * count, 1.5 + 0.95 * count)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row in range(count):
        for column in range(count):
            text = f"{100 * shares[row, column]:.1f} %\n{matrix[row, column]:,.0f}" if totals[row] else "–"
            colour = "white" if shares[row, column] > 0.55 else BLACK
            axis.text(column, row, text, ha="center", va="center", color=colour)
    axis.set_xticks(range(count), [plain(name) for name in classes])
    axis.set_yticks(range(count), [plain(name) for name in classes])
    axis.set(xlabel="predicted", ylabel="label")
    axis.set_title(f"{units.capitalize()}, {_sessions(sessions)}{' together' if sessions > 1 else ''}", fontsize=10)
    axis.grid(visible=False)
    for side in axis.spines.values():
        side.set_visible(False)
    return figure


def reliability_diagram(
    curves: Mapping[str, Reliability], errors: Mapping[str, str], units: str, sessions: int
) -> Figure:
    """How often predictions of some confidence are right, and how many there are; on the diagonal they are calibrated.

    Args:
        curves: by name, all sessions pooled.
        errors: what the legend says of each besides its name.
        units: what was predicted, in the plural.
        sessions: that are pooled.
    """
    figure, axes = new_figure(8.4, 4.0, 2)
    for place, (name, curve) in enumerate(curves.items()):
        colour, marker, dash = (BLUE, "o", "-") if place == 0 else (ORANGE, "s", "--")
        label = f"{name}: {errors[name]}"
        axes[0].plot(curve.confidence, curve.right, dash, color=colour, linewidth=1)
        areas = 8 + 110 * curve.counts / curve.counts.max()
        axes[0].scatter(curve.confidence, curve.right, areas, color=colour, marker=marker, label=label)
        edges, shares = _histogram(curve)
        axes[1].stairs(shares, edges, color=colour, linestyle=dash, linewidth=1.8, label=name)
    least = min(float(curve.low[0]) for curve in curves.values())
    axes[0].plot([least, 1], [least, 1], color=GREY, linewidth=1, linestyle=":", label="calibrated")
    axes[0].set(
        xlabel="confidence: probability of the predicted class", ylabel="share classified rightly", ylim=(-0.02, 1.02)
    )
    axes[1].set(xlabel="confidence: probability of the predicted class", ylabel=f"share of {units}")
    for axis in axes:
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.set_xlim(least - 0.02, 1.02)
        axis.legend(fontsize=9)
    axes[0].set_title(f"Reliability, {units} of {_sessions(sessions)} pooled (area: their number)", fontsize=10)
    axes[1].set_title("How certain the predictions are", fontsize=10)
    return figure


def _histogram(curve: Reliability) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the bins from the first that holds anything to 1, and the share of predictions in each."""
    width = curve.high[0] - curve.low[0]
    places = np.round((curve.low - curve.low[0]) / width).astype(int)
    shares = np.zeros(round((1 - curve.low[0]) / width))
    shares[places] = curve.counts / curve.counts.sum()
    return curve.low[0] + width * np.arange(len(shares) + 1), shares
