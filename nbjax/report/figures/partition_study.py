"""Figures of a study over partitions: where the variance comes from, how scores spread, what a leak does."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nbjax.analysis.leak_curve import Point
from nbjax.analysis.variance import Components
from nbjax.report.figures.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, new_figure, plain

PARTS = (
    ("partition", "which families are where", ORANGE),
    ("seed", "the head's start, the order", BLUE),
    ("interaction", "what is left", GREEN),
)


def variance_figure(components: Mapping[str, Components], title: str) -> Figure:
    """Each part's share of the variance, and its size as a standard deviation, with 95 % bootstrap intervals.

    Args:
        components: of accuracies in [0, 1], by the name of their level.
        title: above the picture.
    """
    figure, axes = new_figure(8.4, 1.6 + 0.85 * len(components), 2)
    height = 0.24
    for index, (part, words, colour) in enumerate(PARTS):
        places = np.arange(len(components)) + (index - 1) * height
        of_part = [getattr(component, part) for component in components.values()]
        shares = np.array([[component.share, *component.share_interval] for component in of_part])
        # Percentage points.
        sizes = 100 * np.sqrt([[component.variance, *component.interval] for component in of_part])
        for axis, values in zip(axes, (shares, sizes), strict=True):
            middle, low, high = values.T
            reach = [np.maximum(middle - low, 0), np.maximum(high - middle, 0)]
            label = f"{part}: {words}"
            axis.barh(places, middle, height, color=colour, label=label, xerr=reach, ecolor=BLACK, capsize=2.5)
    for axis in axes:
        axis.set_yticks(range(len(components)), [plain(name) for name in components])
        axis.invert_yaxis()
        axis.grid(axis="y", visible=False)
        axis.set_xlim(left=0)
    axes[0].set(xlabel="share of the variance", xlim=(0, 1.03))
    axes[0].xaxis.set_major_formatter(PercentFormatter(1))
    axes[1].set(xlabel="standard deviation, points of accuracy", yticklabels=[])
    first = next(iter(components.values()))
    axes[0].set_title(plain(title), loc="left")
    axes[1].set_title(f"{first.partitions} partitions x {first.seeds} seeds", loc="right", fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False, ncols=3)
    return figure


def score_distribution(
    scores: np.ndarray,
    filing: np.ndarray,
    paper: float | None,
    title: str,
    noun: str = "test accuracy",
    method: str = "iterative filing",
) -> Figure:
    """How a score spreads over partitions, and over seeds under one of them.

    Args:
        scores: `[partitions, seeds]` of the resampled partitions, in [0, 1].
        filing: `[seeds]` of iterative filing's partition, or of that of `method`.
        paper: the paper's number, of another dataset; drawn as context.
        title: above the picture.
        noun: what the score is.
        method: in words, what made that partition.
    """
    figure, (axis,) = new_figure(8.4, 3.7)
    means = scores.mean(axis=1)
    span = [*means, *filing, *([] if paper is None else [paper])]
    edges = np.linspace(min(span) - 0.005, max(span) + 0.005, 31)
    axis.hist(
        means,
        edges.tolist(),
        color=BLUE,
        alpha=0.75,
        label=f"resampled partitions, mean of {scores.shape[1]} seeds each",
    )
    top = axis.get_ylim()[1]
    axis.axvline(filing.mean(), color=ORANGE, linewidth=2, label=f"{method}'s partition, mean of its seeds")
    axis.plot(
        filing,
        np.full(len(filing), 1.06 * top),
        "|",
        color=ORANGE,
        markersize=12,
        label=f"{method}'s partition, each seed",
    )
    if paper is not None:
        label = "the paper's one partition (neuroblastoma, another dataset)"
        axis.axvline(paper, color=BLACK, linestyle="--", linewidth=1.2, label=label)
    low, middle, high = np.quantile(means, [0.025, 0.5, 0.975])
    axis.set(xlabel=noun, ylabel="partitions", ylim=(0, 1.15 * top))
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    spread = f"{len(means)} partitions: median {middle:.1%}, 95 % of them in {low:.1%} to {high:.1%}"
    axis.set_title(f"{plain(title)}\n{spread}", loc="left", fontsize=10)
    figure.legend(loc="outside lower center", frameon=False, ncols=2, fontsize=8.5)
    return figure


def leak_figure(curves: Mapping[str, Mapping[float, Point]], title: str) -> Figure:
    """Scores against the share of leaking families, with 95 % intervals over draws.

    Args:
        curves: by what they are, in words: a point a share. At most four.
        title: above the picture.
    """
    figure, (axis,) = new_figure(8.4, 4.1)
    looks = zip((ORANGE, BLUE, GREEN, PURPLE), "osD^", ("-", "--", ":", "-."), strict=True)
    for (name, points), (colour, marker, dash) in zip(curves.items(), looks, strict=False):
        fractions = np.array(list(points))
        mean, low, high = np.array([[point.mean, *point.interval] for point in points.values()]).T
        draws = max(point.draws for point in points.values())
        label = f"{plain(name)} ({draws} draws a point)"
        axis.fill_between(fractions, low, high, color=colour, alpha=0.18, linewidth=0)
        axis.plot(fractions, mean, dash, marker=marker, color=colour, linewidth=1.8, markersize=5, label=label)
    axis.set(xlabel="share of the families whose patches lie on both sides", ylabel="accuracy")
    for formatted in (axis.xaxis, axis.yaxis):
        formatted.set_major_formatter(PercentFormatter(1))
    axis.set_title(plain(title), loc="left")
    figure.legend(loc="outside lower center", frameon=False, ncols=1, fontsize=9)
    return figure
