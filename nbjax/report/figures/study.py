"""Figures of a study and its dataset: data in, Matplotlib figure out."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from nbjax.english import counted
from nbjax.report.figures.style import BLACK, BLUE, COLOURS, ORANGE, new_figure, plain


def learning_curves(curves: Mapping[str, np.ndarray], sessions: int) -> Figure:
    """Loss and accuracy by epoch: mean and standard deviation over sessions (the paper's Figures 16 and 17).

    Args:
        curves: `train_loss`, `train_accuracy`, `validation_loss`, `validation_accuracy`, each `[sessions, epochs + 1]`.
        sessions: how many there are, for the title.
    """
    figure, axes = new_figure(8.4, 3.2, 2)
    for axis, metric, unit in zip(axes, ("loss", "accuracy"), ("cross-entropy, nats", ""), strict=True):
        for split, colour, dash in (("train", ORANGE, ":"), ("validation", BLUE, "-")):
            values = curves[f"{split}_{metric}"]
            mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1) if sessions > 1 else 0 * values[0]
            epochs = np.arange(len(mean))
            axis.plot(epochs, mean, dash, color=colour, linewidth=2, label={"train": "training"}.get(split, split))
            axis.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
        axis.set(
            xlabel="epoch (0: before training)", ylabel=unit, title=f"{metric.capitalize()}, {sessions:,} sessions"
        )
        axis.legend()
    axes[1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def family_accuracies(
    accuracies: Sequence[tuple[str, str, int, float]], chance: float, units: str = "samples", sessions: int = 1
) -> Figure:
    """One dot a family: the share of its patches (or samples) that were classified rightly, its area their number.

    Args:
        accuracies: label, family, units, accuracy in [0, 1].
        chance: accuracy of always answering the most frequent label, drawn as a line.
        units: what is counted, in the plural.
        sessions: that answer together.
    """
    rows = sorted(accuracies, key=lambda row: (row[0], row[3]))
    figure, (axis,) = new_figure(8.4, 0.9 + 0.22 * max(len(rows), 4))
    labels = sorted({row[0] for row in rows})
    largest = max(row[2] for row in rows)
    for index, label in enumerate(labels):
        places = [place for place, row in enumerate(rows) if row[0] == label]
        marker = "osD^v"[index % 5]
        sizes = [20 + 100 * rows[place][2] / largest for place in places]
        values = [rows[place][3] for place in places]
        axis.scatter(values, places, sizes, color=COLOURS[index % 4], marker=marker, label=plain(label), zorder=3)
    axis.axvline(chance, color=BLACK, linestyle="--", linewidth=1)
    axis.annotate(
        "one answer for all", (chance, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=9
    )
    axis.set_yticks(range(len(rows)), [plain(row[1].split("/")[-1]) for row in rows], fontsize=8)
    mean = f", {sessions:,} sessions together" if sessions > 1 else ""
    axis.set(
        xlabel=f"{units} classified rightly{mean} (area: number of {units})",
        xlim=(-0.03, 1.03),
        ylim=(-0.7, len(rows) - 0.3),
    )
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def family_splits(families: Mapping[str, Mapping[str, Sequence[int]]]) -> Figure:
    """Families as the pieces of a bar a label and split: who holds how many patches.

    Args:
        families: by label, then split: patches of each family.
    """
    figure, (axis,) = new_figure(8.4, 0.8 + 0.32 * sum(len(splits) for splits in families.values()))
    names: list[str] = []
    for colour, (label, splits) in zip(COLOURS * len(families), families.items(), strict=False):
        for split, counts in splits.items():
            start = 0
            for count in sorted(counts, reverse=True):
                axis.barh(len(names), count, left=start, color=colour, edgecolor="white", linewidth=1.2)
                start += count
            axis.annotate(
                f"{counted(len(counts), 'family', 'families')}, {counted(start, 'patch', 'patches')}",
                (start, len(names)),
                (5, 0),
                fontsize=8,
                textcoords="offset points",
                va="center",
            )
            names.append(plain(f"{label}, {split}"))
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.margins(x=0.2)
    axis.set_xlabel("patches (each piece is one family)")
    axis.grid(axis="y", visible=False)
    return figure


def sample_sheet(rows: Mapping[str, np.ndarray]) -> Figure:
    """Patches as the network sees them before standardisation, a row a label.

    Args:
        rows: by label, uint8 `[n, H, W, 3]`.
    """
    columns = max(len(images) for images in rows.values())
    figure = Figure(figsize=(8.4, 8.4 / columns * len(rows) + 0.3 * len(rows)), layout="constrained", dpi=110)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (label, images) in zip(axes, rows.items(), strict=True):
        for axis in line:
            axis.set_axis_off()
        for axis, image in zip(line, images, strict=False):
            axis.imshow(image)
        line[0].set_title(plain(label), loc="left", fontsize=10)
    return figure
