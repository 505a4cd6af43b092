"""Figures of a partition: the discrepancy over its two parameters, and the methods beside each other."""

from collections.abc import Mapping

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from nbjax.partition import DiscrepancyMap, Partition
from nbjax.report.figures.style import BLACK, BLUE, GREEN, ORANGE, new_figure, plain


def discrepancy_heat_map(regions: DiscrepancyMap, best: Partition, title: str) -> Figure:
    """The discrepancy over mu and epsilon (the paper's Figure 4), as the regions on which it is constant.

    Regions are drawn as they are, not sampled on a grid. Epsilon's axis ends a little after its last change.

    Args:
        regions: from `nbjax.partition.discrepancy_map`.
        best: filing's partition of the same families.
        title: above the picture.
    """
    figure, (axis,) = new_figure(7.2, 3.9)
    corners, values = [], []
    for left, right, edges, column in zip(
        regions.mu_edges[:-1], regions.mu_edges[1:], regions.epsilon_edges, regions.discrepancy, strict=True
    ):
        for low, high, value in zip(edges[:-1], edges[1:], column, strict=True):
            corners.append([(left, low), (right, low), (right, high), (left, high)])
            values.append(value)
    last = max((float(edges[-2]) for edges in regions.epsilon_edges if len(edges) > 2), default=0.5)
    # Dark means good; readable in grey too.
    norm = Normalize(min(values), max(values))
    collection = PolyCollection(corners, array=np.asarray(values), cmap="viridis", norm=norm, linewidths=0)
    collection.set_edgecolor("face")
    axis.add_collection(collection)
    axis.set(xlim=(0, 1), ylim=(0, min(1.0, 1.1 * last)), xlabel="mu", ylabel="epsilon")
    axis.grid(visible=False)
    for region in best.optima:
        (left, right), (low, high) = region.mu, region.epsilon
        outline = [(left, low), (right, low), (right, high), (left, high)]
        axis.add_collection(PolyCollection([outline], facecolors="none", edgecolors="white", linewidths=1.5))
    (left, right), (low, high) = best.optima[0].mu, best.optima[0].epsilon
    middle = ((left + right) / 2, (low + min(high, axis.get_ylim()[1])) / 2)
    axis.plot(*middle, "*", color="white", markeredgecolor=BLACK, markersize=13)
    figure.colorbar(collection, ax=axis, label="discrepancy (less is better)")
    axis.set_title(f"least discrepancy {best.discrepancy:.4f} (star, white outlines)", loc="right", fontsize=9)
    axis.set_title(plain(title), loc="left")
    return figure


def method_comparison(
    partitions: Mapping[str, Partition], wanted: Mapping[str, tuple[float, ...]], title: str
) -> Figure:
    """Shares of patches and of families that each method reaches, beside those wanted, and its discrepancy.

    Args:
        partitions: by method.
        wanted: `proportions` and `diversities`, three shares each.
        title: above the picture.
    """
    figure, axes = new_figure(8.4, 1.3 + 0.42 * len(partitions), 2)
    places = np.arange(len(partitions))
    for axis, term, noun in zip(axes, ("proportions", "diversities"), ("patches", "families"), strict=True):
        left = np.zeros(len(partitions))
        for index, (split, colour) in enumerate(
            zip(("train", "validation", "test"), (ORANGE, BLUE, GREEN), strict=True)
        ):
            shares = np.array([getattr(partition, term)[index] for partition in partitions.values()])
            axis.barh(places, shares, left=left, color=colour, edgecolor="white", label=split)
            for place, start, share in zip(places.tolist(), left.tolist(), shares.tolist(), strict=True):
                axis.text(
                    start + share / 2,
                    place,
                    f"{share:.1%}" if share > 0.12 else f"{share:.0%}",
                    ha="center",
                    va="center",
                    color="white",
                    fontsize=8,
                )
            left += shares
        for edge in np.cumsum(wanted[term])[:-1]:
            axis.axvline(edge, color=BLACK, linestyle="--", linewidth=1)
        axis.set(xlim=(0, 1), xlabel=f"share of {noun} (dashed: wanted)")
        axis.invert_yaxis()
        axis.grid(visible=False)
        axis.xaxis.set_major_formatter("{x:.0%}")
    names = [f"{plain(name)}\ndiscrepancy {partition.discrepancy:.4f}" for name, partition in partitions.items()]
    axes[0].set_yticks(places, names, fontsize=8)
    axes[1].set_yticks(places, [""] * len(names))
    axes[0].set_title(plain(title), loc="left")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure
