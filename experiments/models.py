"""The backbones in a table like the paper's Table 3: accuracy, parameters, layers, input size, cost.

    python -m experiments.models
    python -m experiments.models --csv=models.csv

Everything but the accuracy is counted on the networks themselves. The accuracy is the one that the paper's Table 3
gives for torchvision's IMAGENET1K_V1 weights; nothing here measures it.
"""

from pathlib import Path

from absl import flags

from experiments.cli import run
from nbjax.errors import InputError
from nbjax.report.paper import published
from nbjax.spreadsheet import write_csv

# A line of the table by column; None where the paper gives no accuracy.
Row = dict[str, str | int | float | None]

CSV = flags.DEFINE_string("csv", None, "write the table as CSV, with exact counts, to this file too")

COLUMNS = (
    "backbone",
    "accuracy_top1_percent",
    "accuracy_top5_percent",
    "parameters",
    "of_which_auxiliary",
    "features",
    "layers",
    "input_size",
    "multiply_accumulates",
)
HEADER = ("Backbone", "Acc @1", "Acc @5", "No. Params", "of which auxiliary", "Features", "Layers", "Input", "FLOPS")
NOTES = """\
Acc: ImageNet, from the paper's Table 3 (torchvision's IMAGENET1K_V1); not measured here, – where the paper has none.
Params: trainable values, auxiliary heads (used while training only) included. Features: inputs of a new head.
Layers: convolutions and dense layers from image to logits, projections on shortcuts included. Input: pixels a side.
FLOPS: multiply-accumulates of convolutions and dense layers in one forward pass of one image, a multiplication with its
addition counted once, biases, norms, activations, poolings and auxiliary heads not counted (as torchvision does)."""


def main() -> None:
    """Prints the table and writes it where the flag says."""
    path = None if CSV.value is None else Path(CSV.value)
    if path is not None and path.suffix != ".csv":
        raise InputError(f"--csv={path}: the table is written as CSV; give a name that ends in .csv.")
    # Flax is imported after the flags are checked.
    from nbjax.models import NETWORKS

    table = [row(name) for name in NETWORKS]
    print(markdown(table))
    print(f"\n{NOTES}")
    if path is not None:
        write_csv(table, path)
        print(f"\ntable: {path}")


def row(name: str) -> Row:
    """What the table says of a backbone, by `COLUMNS`."""
    from nbjax.models import build_network
    from nbjax.models.count import count_operations, count_parameters

    network = build_network(name)
    parameters, operations = count_parameters(network), count_operations(network)
    auxiliary = parameters - count_parameters(network, auxiliary=False)
    paper = published.TABLE3.get(name)
    accuracy = (paper.top1, paper.top5) if paper else (None, None)
    sizes = (network.feature_size, operations.layers, network.input_size, operations.multiply_accumulates)
    return dict(zip(COLUMNS, (name, *accuracy, parameters, auxiliary, *sizes), strict=True))


def markdown(table: list[Row]) -> str:
    """The table in Markdown, aligned for reading as it stands."""
    lines = [HEADER, *([_cell(column, entry[column]) for column in COLUMNS] for entry in table)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    first, *rest = [
        "| " + " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + " |" for line in lines
    ]
    rule = f"| {'-' * widths[0]} | " + " | ".join("-" * (width - 1) + ":" for width in widths[1:]) + " |"
    return "\n".join([first, rule, *rest])


def _cell(column: str, value: str | int | float | None) -> str:
    if value is None:
        return "–"
    if column == "multiply_accumulates":
        return f"{float(value) / 1e9:.3f}B"
    if column.startswith("accuracy"):
        return f"{value:.2f}%"
    return str(value) if isinstance(value, str) else f"{value:,}"


if __name__ == "__main__":
    run(main)
