"""Tables of the report on the dataset, its audit and the study's cells."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from nbjax.analysis.cells import Estimate
from nbjax.analysis.selection import CellKey
from nbjax.english import counted
from nbjax.partition.audit import KINDS
from nbjax.report.findings import Findings, Winner
from nbjax.report.table import Entry, Head, Table, number, p_text, percent, span, spread, three, whole, word
from nbjax.training.strategy import Strategy

ASKED = {
    "family": "families with patches in two splits",
    "label": "families with patches of two labels",
    "overlap": "slides whose patches share pixels across splits",
    "identical": "patches equal to one of another split or family, under any rotation or flip",
    "similar": "pairs of patches of two splits that look alike, under any rotation or flip",
}
# Patches that the page lists; the table beside it has all.
MOST_MISTAKES = 200
# Sizes of a search at which its expected best is printed.
SEARCHES = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


def dataset_table(counts: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Table:
    """The paper's Table 2, with families and transforms: one row a label and split."""
    names = ("families", "patches", "balanced", "samples", "transforms")
    heads = ("families", "starting patches", "after balancing", "samples", "transforms")
    rows = [
        [word(split), word(label), *(whole(row[name]) for name in names)]
        for split, labels in counts.items()
        for label, row in labels.items()
    ]
    return Table("dataset", [Head("split", True), Head("label", True), *map(Head, heads)], rows)


def partition_table(partition: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, Sequence[float]]) -> Table:
    """One row a label: method, discrepancy, proportions and diversities reached, each against what was wanted."""
    names = ("proportions", "diversities")
    rows = [
        [
            word(label),
            word(row["method"]),
            number(row["discrepancy"], "{:.4f}".format),
            *(Entry(_shares(row[name]), f"({_shares(wanted[name])})") for name in names),
        ]
        for label, row in partition.items()
    ]
    heads = [Head("label", True), Head("method", True), Head("discrepancy")]
    return Table("partition", [*heads, Head("patches, % (wanted)"), Head("families, % (wanted)")], rows)


def _shares(values: Sequence[float]) -> str:
    return " / ".join(f"{100 * value:.1f}" for value in values)


def audit_table(audit: Mapping[str, Mapping[str, Any]]) -> Table:
    """What the audit looked for and how often it found it."""
    rows = [[word(ASKED[kind]), whole(audit[kind]["findings"] if kind in audit else 0)] for kind in KINDS]
    return Table("audit", [Head("looked for", True), Head("found")], rows)


def strategy_text(cell: CellKey) -> str:
    """A cell's strategy as configs write it."""
    stages = cell.strategy.endswith("stages")
    return Strategy(cell.nonlinearities, cell.unfrozen, stages, cell.strategy == "scratch").text


def names_of_cells(cells: Sequence[CellKey]) -> tuple[list[Head], list[list[Entry]]]:
    """What tells cells apart: backbone and strategy where these differ, learning rate and batch size always."""
    columns = {
        "backbone": [word(cell.backbone) for cell in cells],
        "strategy": [word(strategy_text(cell)) for cell in cells],
    }
    differing = [name for name, entries in columns.items() if len(set(entries)) > 1]
    rows = [
        [
            *(columns[name][place] for name in differing),
            number(cell.learning_rate, "{:g}".format),
            whole(cell.batch_size),
        ]
        for place, cell in enumerate(cells)
    ]
    return [*(Head(name, True) for name in differing), Head("learning rate"), Head("batch size")], rows


def cells_table(findings: Findings) -> Table:
    """One row a cell of the grid, the chosen one marked; no mean without its spread and interval."""
    heads, names = names_of_cells([cell.key for cell in findings.losses])
    heads += [Head("sessions"), Head("diverged"), Head("selected loss, mean ± s.d.")]
    heads += [Head("validation accuracy, mean ± s.d.")]
    heads += [Head("the chosen cell is better")] if findings.beats else []
    rows = [
        [
            *name,
            whole(loss.sessions),
            whole(loss.diverged),
            spread(loss.mean.value, loss.std, three, _ends(loss.mean, three)),
            spread(accuracy.mean.value, accuracy.std, percent, _ends(accuracy.mean, percent)),
            *([_beaten(findings, loss.key)] if findings.beats else []),
        ]
        for name, loss, accuracy in zip(names, findings.losses, findings.accuracies, strict=True)
    ]
    return Table("cells", heads, rows, findings.chosen, sortable=True, title="Cells of the grid")


def _ends(estimate: Estimate, text: Any) -> str:
    return span(estimate.interval, text)


def _beaten(findings: Findings, cell: CellKey) -> Entry:
    against = findings.beats.get(cell)
    if against is None:
        return Entry("chosen")
    under = "" if against.p_value is None else f"p {p_text(against.p_value)}"
    return Entry(f"at {against.won:g} of {counted(against.seeds, 'seed')}", under, against.won / max(against.seeds, 1))


def statistics_table(findings: Findings) -> Table:
    """Median, interquartile mean and best of each cell's selected losses, each with its interval."""
    heads, names = names_of_cells([cell.key for cell in findings.losses])
    heads += [Head("sessions"), Head("median"), Head("interquartile mean"), Head("best"), Head("s.d.")]
    rows = [
        [
            *name,
            whole(cell.sessions),
            *(
                number(estimate.value, three, _ends(estimate, three))
                for estimate in (cell.median, cell.interquartile_mean, cell.best)
            ),
            number(cell.std, three),
        ]
        for name, cell in zip(names, findings.losses, strict=True)
    ]
    return Table("statistics", heads, rows, findings.chosen, sortable=True, title="Selected losses of each cell")


def _signed(value: float) -> str:
    """Three decimals and a sign, which zero has not."""
    return f"{value:+.3f}" if round(value, 3) else "0.000"


def winner_table(winner: Winner) -> Table | None:
    """The luckiest session, the winner on the seeds that chose it, and on those that did not."""
    nested = winner.nested
    if nested is None:
        return None
    rows = [
        [word("the luckiest of all sessions, which chose itself"), number(nested.luckiest, three)],
        [word("the winner, mean on the seeds that chose it"), number(nested.apparent, three)],
        [word("the winner, mean on the seeds that did not"), spread(nested.honest, nested.honest_std, three)],
        [word("how much of its lead was luck"), number(nested.optimism, _signed)],
        [word("how often that winner was the chosen cell"), number(_steady(winner), percent)],
    ]
    return Table("winner", [Head("", True), Head("selected loss")], rows)


def _steady(winner: Winner) -> float | None:
    return None if winner.nested is None or winner.place is None else float(winner.nested.chosen[winner.place])


def expected_table(winner: Winner) -> Table | None:
    """The least loss to expect of n sessions of the chosen cell."""
    count = len(winner.expected)
    sizes = sorted({*(size for size in SEARCHES if size < count), count})
    if count < 2:
        return None
    heads = [Head("best of", True), *(Head(str(size)) for size in sizes)]
    rows = [[word("expected loss"), *(number(float(winner.expected[size - 1]), three) for size in sizes)]]
    return Table("expected", heads, rows)


def families_table(families: pa.Table) -> Table:
    """How each family is classified, the least accurate first."""
    heads = [
        Head("family", True),
        Head("label", True),
        Head("slides"),
        Head("patches"),
        Head("misclassified"),
        Head("classified rightly"),
    ]
    rows = [
        [
            word(row["family"]),
            word(row["labels"]),
            *(whole(row[name]) for name in ("slides", "patches", "misclassified")),
            number(row["accuracy"], percent),
        ]
        for row in families.to_pylist()
    ]
    return Table("families", heads, rows, sortable=True, title="Families, the least accurate first")


def misclassified_table(patches: pa.Table) -> Table:
    """Patches classified wrongly, worst families first and in each the surest mistake; at most `MOST_MISTAKES`."""
    heads = [
        Head("family", True),
        Head("slide", True),
        Head("x"),
        Head("y"),
        Head("label", True),
        Head("taken for", True),
    ]
    heads += [Head("confidence"), Head("sessions that err")]
    rows = [
        [
            word(row["family"]),
            word(row["slide"]),
            whole(row["x"]),
            whole(row["y"]),
            word(row["label"]),
            word(row["answered"]),
            number(row["confidence"], percent),
            number(row["sessions_wrong"], percent),
        ]
        for row in patches.slice(0, MOST_MISTAKES).to_pylist()
    ]
    return Table("misclassified", heads, rows, sortable=True, title="Misclassified patches")
