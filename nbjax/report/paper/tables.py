"""The paper's Tables 1 to 4, ours beside the paper's."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from nbjax.english import counted
from nbjax.models import NETWORKS, build_network
from nbjax.models.count import count_operations, count_parameters
from nbjax.report import words
from nbjax.report.paper import published
from nbjax.report.table import Table, numbers_of, spreads_of, table_of, words_of


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _loss(value: float) -> str:
    return f"{value:.3f}"


def _count(value: int) -> str:
    return f"{value:,}"


def other_methods() -> Table:
    """Table 1: what others report for their methods, on their own slides and splits; context, no comparison."""
    rows = [other._asdict() for other in published.TABLE1]
    best = f"Inception v3, 4 non-linearities, of {published.SESSIONS:,} sessions"
    rows.append({"reference": "the paper", "date": None, "framework": best, "accuracy": published.BEST_TEST.accuracy})
    columns = (
        words_of("Paper", "reference"),
        words_of("Date", "date"),
        words_of("Framework", "framework"),
        numbers_of("Accuracy", "accuracy", _percent),
    )
    note = "As published: slides, splits and what a sample is differ from line to line, and none gives an interval."
    return table_of(
        "table-1", "Methods that classify the grade of differentiation (the paper's Table 1)", columns, rows, (note,)
    )


def samples_by_split(dataset: Mapping[str, Any]) -> Table:
    """Table 2: patches, balanced patches and samples of each label and split, with the families that hold them.

    Args:
        dataset: a study record's `dataset`, or a dataset's card.
    """
    rows = []
    for split, labels in dataset["counts"].items():
        for label, counts in labels.items():
            paper = published.TABLE2.get((label, split), (None, None, None))
            papers = dict(zip(("paper_patches", "paper_balanced", "paper_samples"), paper, strict=True))
            rows.append({"label": label, "split": split, **counts, **papers})
    columns = (
        words_of("Label", "label"),
        words_of("Split", "split"),
        numbers_of("Families", "families", _count),
        numbers_of("Patches", "patches", _count),
        numbers_of("Balanced", "balanced", _count),
        numbers_of("Samples", "samples", _count),
        numbers_of("Paper: patches", "paper_patches", _count),
        numbers_of("Paper: balanced", "paper_balanced", _count),
        numbers_of("Paper: samples", "paper_samples", _count),
    )
    kind = ("The slides are a phantom.",) if dataset["phantom"] else ()
    return table_of("table-2", "Samples through balancing and augmentation (the paper's Table 2)", columns, rows, kind)


@functools.cache
def _size(name: str) -> tuple[int, int]:
    """Parameters and multiply-accumulates of a backbone; counting those of all takes seconds."""
    network = build_network(name)
    return count_parameters(network), count_operations(network).multiply_accumulates


def backbones(names: Iterable[str] = tuple(NETWORKS)) -> Table:
    """Table 3: what a backbone's size and cost are, counted here, beside what the paper prints.

    Args:
        names: of backbones.
    """
    rows = []
    for name in names:
        parameters, multiply_accumulates = _size(name)
        paper = published.TABLE3.get(name)
        rows.append(
            {
                "backbone": name,
                "parameters": parameters,
                "multiply_accumulates": multiply_accumulates,
                "paper_parameters_millions": paper.parameters if paper else None,
                "paper_operations_billions": paper.operations if paper else None,
                "paper_top1_percent": paper.top1 if paper else None,
                "paper_top5_percent": paper.top5 if paper else None,
            }
        )
    columns = (
        words_of("Backbone", "backbone"),
        numbers_of("Parameters", "parameters", lambda value: f"{value / 1e6:.1f} M"),
        numbers_of("Multiply-accumulates", "multiply_accumulates", lambda value: f"{value / 1e9:.2f} B"),
        numbers_of("Paper: parameters", "paper_parameters_millions", lambda value: f"{value:g} M"),
        numbers_of("Paper: FLOPS", "paper_operations_billions", lambda value: f"{value:g} B"),
        numbers_of("Paper: Acc @1", "paper_top1_percent", lambda value: f"{value:.2f} %"),
        numbers_of("Paper: Acc @5", "paper_top5_percent", lambda value: f"{value:.2f} %"),
    )
    notes = (
        "Parameters and multiply-accumulates are counted on the networks, auxiliary heads among the parameters.",
        "Accuracies are ImageNet's, of torchvision's IMAGENET1K_V1 weights, as the paper prints them; not measured "
        "here.",
    )
    return table_of("table-3", "Backbones (the paper's Table 3)", columns, rows, notes)


def _modification(strategy: str, k: int) -> str:
    if strategy == "straightforward":
        return "/"
    return counted(
        k, *{"extension": ("non-linearity", "non-linearities"), "unfreezing": ("unfrozen layer", "")}[strategy]
    )


def best_by_strategy(table: pa.Table, criterion: str) -> Table:
    """Table 4: the best session of each strategy on training and validation data, and its setting's best cell.

    Args:
        table: from `nbjax.report.paper.numbers.by_strategy`.
        criterion: that selected epochs.
    """
    rows = table.to_pylist()
    for row in rows:
        row["modification"] = _modification(row["strategy"], row["k"])
        row["paper"] = f"{row['paper_backbone']}, {_modification(row['strategy'], row['paper_k'])}"
    columns = (
        words_of("Strategy", "strategy"),
        words_of("Backbone", "backbone"),
        words_of("Modification", "modification"),
        numbers_of("Best loss", "best_loss", _loss),
        numbers_of("Accuracy there", "best_accuracy", _percent),
        spreads_of("Best cell's loss", "mean_loss", "std_loss", _loss),
        spreads_of("Accuracy there", "mean_accuracy", "std_accuracy", _percent),
        numbers_of("Its sessions", "sessions_of_cell", _count),
        numbers_of("Of all", "sessions", _count),
        words_of("The paper's best", "paper"),
        numbers_of("Loss", "paper_loss", _loss),
        numbers_of("Accuracy", "paper_accuracy", _percent),
    )
    notes = (
        f"Each session counts at the epoch with the least of {words.CRITERIA[criterion]}, which is the loss here; the "
        "accuracy is the validation split's at that epoch.",
        "The best of many sessions is better than what one session may be expected to reach: read the cell's mean.",
    )
    return table_of("table-4", "Best results on the validation split (the paper's Table 4)", columns, rows, notes)
