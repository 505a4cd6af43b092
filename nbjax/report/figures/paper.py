"""The paper's Figures 11, 13 and 15 to 20: tables of `nbjax.report.paper.numbers` in, Matplotlib figures out.

Ours is in colour, the paper's beside it in grey. Every best value comes with the mean and the standard deviation of a
cell's sessions, and their number.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nbjax.analysis.distribution import Pairs
from nbjax.report.figures.style import BLACK, BLUE, GREY, ORANGE, new_figure, plain
from nbjax.report.paper import published
from nbjax.report.paper.numbers import family_of_backbones

# Okabe and Ito's reddish purple.
PURPLE = "#CC79A7"
BINS = 50
GRID = 100
# Of Figure 20, for two classes: losses, and accuracies in per cent.
RANGE = ((0.0, 0.8), (40.0, 100.0))
COLOUR_OF = {"train": ORANGE, "validation": BLUE}
WORD_OF = {"train": "training", "validation": "validation"}


def backbone_scores(table: pa.Table) -> Figure:
    """Loss and accuracy of each backbone with a new last layer (the paper's Figure 11).

    Args:
        table: from `by_backbone`.
    """
    rows = table.to_pylist()
    figure, axes = new_figure(8.4, 2.1 + 0.34 * len(rows), 2)
    places = np.arange(len(rows))
    for axis, metric in zip(axes, ("loss", "accuracy"), strict=True):
        means = [row[f"mean_{metric}"] for row in rows]
        # One session has no spread, and then no bar.
        spreads = [np.nan if row[f"std_{metric}"] is None else row[f"std_{metric}"] for row in rows]
        papers = [np.nan if row[f"paper_{metric}"] is None else row[f"paper_{metric}"] for row in rows]
        axis.errorbar(
            means,
            places,
            xerr=spreads,
            fmt="o",
            color=BLUE,
            capsize=3,
            label="best cell: mean ± standard deviation",
        )
        axis.plot([row[f"best_{metric}"] for row in rows], places, "D", color=ORANGE, label="best session")
        if np.isfinite(papers).any():
            axis.plot(papers, places, "s", color=GREY, markerfacecolor="none", markersize=8, label="the paper's best")
        families = [family_of_backbones(row["backbone"]) for row in rows]
        for place in places[1:]:
            if families[place] != families[place - 1]:
                axis.axhline(place - 0.5, color=GREY, linestyle=":", linewidth=1)
        axis.set(ylim=(len(rows) - 0.4, -0.6), xlabel={"loss": "loss, nats", "accuracy": "accuracy there"}[metric])
        axis.set_yticks(places, [plain(row["backbone"]) for row in rows] if metric == "loss" else [""] * len(rows))
        axis.xaxis.set_major_locator(MaxNLocator(5))
    axes[1].xaxis.set_major_formatter(PercentFormatter(1))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(f"A new last layer: {_counted(rows)}", fontsize=11)
    return figure


def _counted(rows: Sequence[dict[str, int]]) -> str:
    """How many sessions and cells were searched, and of how many a mean is."""
    sessions, cells = (sum(row[name] for row in rows) for name in ("sessions", "cells"))
    sizes = sorted({row["sessions_of_cell"] for row in rows})
    of_cell = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    return f"{sessions:,} sessions in {cells} cells, {of_cell} of them in a best cell"


def depth_losses(table: pa.Table, strategy: str, before: tuple[float, float, int]) -> Figure:
    """Loss against the number of non-linearities, or of unfrozen layers (the paper's Figures 13 and 15).

    Args:
        table: from `by_depth`.
        strategy: `extension` or `unfreezing`.
        before: mean and standard deviation of the losses before training, and of how many starts; no band for none.
    """
    rows = table.to_pylist()
    backbones = list(dict.fromkeys(row["backbone"] for row in rows))
    columns = min(2, len(backbones))
    lines = -(-len(backbones) // columns)
    figure, axes = new_figure(4.6 * columns if columns > 1 else 6.4, 1.0 + 2.7 * lines, columns, lines)
    for axis, backbone in zip(axes, backbones, strict=False):
        _depth_panel(axis, [row for row in rows if row["backbone"] == backbone], strategy, before)
        axis.set_title(plain(backbone), fontsize=10)
        axis.sharey(axes[0])
    for axis in axes[len(backbones) :]:
        axis.set_axis_off()
    entries = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    subject = {"extension": "Non-linearities", "unfreezing": "Unfrozen layers"}[strategy]
    figure.suptitle(f"{subject}: {_counted(rows)}", fontsize=11)
    return figure


def _depth_panel(axis: Axes, rows: Sequence[dict[str, float]], strategy: str, before: tuple[float, float, int]) -> None:
    ks = [row["k"] for row in rows]
    mean, std, starts = before
    if starts:
        label = f"before training: mean ± deviation of {starts:,} starts"
        axis.axhspan(mean - std, mean + std, color=PURPLE, alpha=0.3, linewidth=0, label=label)
    spreads = [np.nan if row["std_loss"] is None else row["std_loss"] for row in rows]
    axis.errorbar(
        ks,
        [row["mean_loss"] for row in rows],
        yerr=spreads,
        fmt="o-",
        color=BLUE,
        capsize=3,
        label="best cell: mean ± standard deviation",
    )
    axis.plot(ks, [row["best_loss"] for row in rows], "D:", color=ORANGE, markersize=5, label="best session")
    papers = [(row["k"], row["paper_loss"]) for row in rows if row["paper_loss"] is not None]
    if papers:
        axis.plot(*zip(*papers, strict=True), "s--", color=GREY, markerfacecolor="none", label="the paper's best")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    words = {"extension": "non-linearities", "unfreezing": "unfrozen layers"}
    axis.set(xlabel=f"k, {words[strategy]}", ylabel="loss, nats")


def best_curve(table: pa.Table, metric: str, sessions: int, paper: Sequence[tuple[float, str]] = ()) -> Figure:
    """The best session's curve beside the mean of its cell (the paper's Figures 16 and 17).

    Args:
        table: of `best_curves`.
        metric: `loss` or `accuracy`.
        sessions: that the means are of.
        paper: its values and what each is, in words; drawn as lines.
    """
    figure, (axis,) = new_figure(7.2, 4.0)
    epochs = table["epoch"].to_numpy()
    for split, dash in (("train", ":"), ("validation", "-")):
        name, colour = f"{split}_{metric}", COLOUR_OF[split]
        mean, best = (table[f"{name}_{kind}"].to_numpy() for kind in ("mean", "best"))
        std = np.nan_to_num(table[f"{name}_std"].to_numpy(zero_copy_only=False).astype(float))
        label = f"{WORD_OF[split]}: mean ± standard deviation"
        axis.fill_between(epochs, mean - std, mean + std, color=colour, alpha=0.25, linewidth=0, label=label)
        axis.plot(epochs, best, dash, color=colour, linewidth=2, label=f"{WORD_OF[split]}: best session")
    for (value, said), dash in zip(paper, ("--", "-."), strict=False):
        axis.axhline(value, color=GREY, linestyle=dash, linewidth=1.2, label=plain(said))
    axis.set(xlabel="epoch (0: before training)", ylabel={"loss": "loss, nats", "accuracy": "accuracy"}[metric])
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if metric == "accuracy":
        axis.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    axis.set_title(
        f"{metric.capitalize()}: the best session, and mean of the {sessions:,} sessions of its cell", fontsize=11
    )
    return figure


def start_histogram(table: pa.Table, metric: str, one_peak: Mapping[str, float | None]) -> Figure:
    """Loss or accuracy before training, over distinct starts (the paper's Figures 18 and 19).

    Args:
        table: from `starts`.
        metric: `loss` or `accuracy`.
        one_peak: by split, the p-value that its distribution has one mode; None where it was not tested.
    """
    figure, (axis,) = new_figure(7.2, 4.0)
    values = {split: table[f"{split}_{metric}"].to_numpy().astype(np.float64) for split in ("train", "validation")}
    edges = histogram_edges(table, metric)
    text = "{:.1%} ± {:.2%}" if metric == "accuracy" else "{:.3f} ± {:.3f}"
    for split, hatch in (("train", "////"), ("validation", None)):
        starts = values[split]
        several = len(starts) > 1
        said = text.format(starts.mean(), starts.std(ddof=1)) if several else text.split(" ±")[0].format(starts[0])
        label = f"{WORD_OF[split]}: {said}"
        if (p_value := one_peak[split]) is not None:
            label += f"; test of one peak: p {'< 0.001' if p_value < 0.001 else f'= {p_value:.3f}'}"
        axis.hist(
            starts,
            bins=edges.tolist(),
            histtype="stepfilled",
            facecolor="none" if hatch else to_rgba(COLOUR_OF[split], 0.35),
            edgecolor=COLOUR_OF[split],
            linewidth=1.2,
            hatch=hatch,
            label=label,
        )
    mean, std = published.EPOCH0[metric]
    label = f"the paper, {published.SESSIONS:,} sessions: {text.format(mean, std)} (grey band)"
    axis.axvspan(mean - std, mean + std, color=GREY, alpha=0.18, linewidth=0)
    axis.axvline(mean, color=GREY, linestyle="--", linewidth=1.5, label=label)
    axis.set(xlabel={"loss": "loss, nats", "accuracy": "accuracy"}[metric], ylabel="starts")
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    if metric == "accuracy":
        axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.set_title(f"{metric.capitalize()} before training, {len(table):,} random starts", fontsize=11)
    figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=9)
    return figure


def histogram_edges(table: pa.Table, metric: str) -> np.ndarray:
    """Edges of the 50 bins over both splits, float `[51]`."""
    both = np.concatenate([table[f"{split}_{metric}"].to_numpy().astype(np.float64) for split in COLOUR_OF])
    return np.histogram_bin_edges(both, BINS)


def axes_range(classes: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Losses and accuracies (in per cent) that Figure 20 shows: the paper's for two classes, as far from chance for
    more.
    """
    (low, high), (least, most) = RANGE
    return (low, high * float(np.log(classes) / np.log(2))), (least * 2 / classes, most)


def within(pairs: Pairs, classes: int) -> np.ndarray:
    """Which epochs lie within the axes, bool `[rows]`."""
    (low, high), (least, most) = axes_range(classes)
    percent = 100 * pairs.accuracy
    return (pairs.loss >= low) & (pairs.loss <= high) & (percent >= least) & (percent <= most)


def loss_accuracy_density(pairs: Pairs, classes: int = 2) -> tuple[Figure, pa.Table]:
    """Validation loss against validation accuracy of every session and epoch (the paper's Figure 20).

    Args:
        pairs: of the validation split, at least one within the axes.
        classes: how many there are.

    Returns:
        The figure, and the hexagons in it that hold anything: columns loss, accuracy_percent (of their middles),
        epochs.
    """
    (low, high), (least, most) = axes_range(classes)
    inside = within(pairs, classes)
    figure, (axis,) = new_figure(7.2, 4.4)
    bins = axis.hexbin(
        pairs.loss[inside],
        100 * pairs.accuracy[inside],
        gridsize=GRID,
        extent=(low, high, least, most),
        norm=LogNorm(),
        mincnt=1,
        # Few is pale, many is dark, on white paper too.
        cmap="cividis_r",
        linewidths=0.1,
    )
    figure.colorbar(bins, ax=axis, label="epochs in a hexagon")
    chance = float(np.log(classes))
    answer = "0.5" if classes == 2 else f"1/{classes}"
    axis.axvline(chance, color=GREY, linestyle="--", linewidth=1)
    note = f"ln {classes}: always answering {answer} "
    axis.annotate(note, (chance, most), fontsize=8, ha="right", va="top", color=BLACK)
    axis.set(xlim=(low, high), ylim=(least, most), xlabel="validation loss, nats", ylabel="validation accuracy")
    axis.yaxis.set_major_formatter(PercentFormatter(100))
    outside = len(pairs.loss) - int(inside.sum())
    note = f"; {outside:,} outside the axes" if outside else ""
    axis.set_title(f"{len(pairs.loss):,} epochs of {pairs.sessions:,} sessions{note}", fontsize=11)
    middles = np.asarray(bins.get_offsets())
    counts = np.asarray(bins.get_array()).astype(np.int64)
    return figure, pa.table({"loss": middles[:, 0], "accuracy_percent": middles[:, 1], "epochs": counts})
