"""Figures of the leakage experiments."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nbjax.analysis.leakage import Curves
from nbjax.report.figures.style import BLACK, new_figure

# The paper's green, orange and red as Okabe and Ito have them; blue for a fourth.
STYLES = {
    "none": ("#009E73", "1 (independent)"),
    "exchange": ("#E69F00", "2 (one patch a family exchanged)"),
    "random": ("#0072B2", "3 (patches assigned at random)"),
    "random_samples": ("#D55E00", "3 (samples assigned at random)"),
}


def loss_curves(curves: Mapping[str, Curves], title: str = "") -> Figure:
    """Loss by epoch of each experiment (the paper's Figure 8), and beside it that of the test split.

    Bands are one standard deviation of the sessions on either side of their mean.

    Args:
        curves: by leak, in the order of the experiments.
        title: above the picture.
    """
    figure, (left, right) = new_figure(8.4, 4.2, 2)
    right.sharey(left)
    for place, (leak, of_one) in enumerate(curves.items()):
        colour, name = STYLES[leak]
        _band(left, of_one.train, colour, ":")
        _band(left, of_one.validation, colour, "-")
        _band(right, of_one.test, colour, "--")
        for axis, values in ((left, of_one.validation), (right, of_one.test)):
            # The number tells the lines apart without colour; each has a place of its own, for lines that end together.
            end, shift = (values.shape[1] - 1, values[:, -1].mean()), (4 + 9 * place, 0)
            axis.annotate(name[0], end, shift, textcoords="offset points", color=colour, va="center", weight="bold")
    sessions = len(next(iter(curves.values())).test)
    right.axhline(np.log(2), color=BLACK, linewidth=1)
    left.set(ylabel="cross-entropy, nats", title="training (dotted), validation (solid)")
    right.set(title="test, never shared (line: ln 2, always answering 0.5)")
    right.tick_params(labelleft=False)
    for axis in (left, right):
        axis.set_xlabel("epoch (0: before training)")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.title.set_fontsize(10)
    left.set_ylim(bottom=0)
    handles = [left.lines[2 * place + 1] for place in range(len(curves))]
    figure.legend(handles, [STYLES[leak][1] for leak in curves], loc="outside lower center", ncols=len(curves))
    figure.suptitle(f"{title + ': ' if title else ''}mean ± standard deviation of {sessions} sessions", fontsize=10)
    return figure


def _band(axis: Axes, values: np.ndarray, colour: str, dash: str) -> None:
    mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1) if len(values) > 1 else 0 * values[0]
    epochs = np.arange(len(mean))
    axis.plot(epochs, mean, dash, color=colour, linewidth=2)
    axis.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)


def loss_numbers(curves: Mapping[str, Curves]) -> pa.Table:
    """What `loss_curves` draws: a row an experiment, split and epoch."""
    rows: list[dict[str, Any]] = []
    for leak, of_one in curves.items():
        for split, values in of_one._asdict().items():
            for epoch, losses in enumerate(values.T):
                spread = float(losses.std(ddof=1)) if len(losses) > 1 else None
                row = {"leak": leak, "split": split, "epoch": epoch, "sessions": len(losses)}
                rows.append({**row, "mean": float(losses.mean()), "std": spread})
    return pa.Table.from_pylist(rows)
