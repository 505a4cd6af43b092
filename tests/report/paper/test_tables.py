"""Tables in Markdown, CSV and LaTeX say what their rows say."""

import csv
import io
import re

import pytest

from nbjax.models import NETWORKS
from nbjax.report.paper import numbers, published, tables
from nbjax.report.table import csv_text, escape, latex, markdown, numbers_of, spreads_of, table_of, words_of


def markdown_cells(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


TABLE = table_of(
    "small",
    "50 % & more",
    (words_of("a_b", "name"), numbers_of("x", "x", "{:.1f}".format), spreads_of("m", "x", "s", "{:.1f}".format)),
    [{"name": "a|b", "x": 1 / 3, "s": 0.25}, {"name": None, "x": 2.0, "s": None}],
    ("A note.",),
)


def test_markdown():
    text = markdown(TABLE)
    assert markdown_cells(text) == [
        ["a_b", "x", "m"],
        ["---", "---:", "---:"],
        [r"a\|b", "0.3", "0.3 ± 0.2"],
        ["–", "2.0", "2.0"],
    ]
    assert text.endswith("A note.\n")


def test_csv_is_exact():
    rows = list(csv.DictReader(io.StringIO(csv_text(TABLE))))
    assert [float(row["x"]) for row in rows] == [1 / 3, 2.0]
    assert [row["name"] for row in rows] == ["a|b", ""]
    assert rows[1]["s"] == ""


def test_latex_escapes():
    text = latex(TABLE)
    assert r"\caption{50 \% \& more. A note.}" in text
    assert r"a\_b & x & m \\" in text
    assert r"a|b & 0.3 & 0.3 $\pm$ 0.2 \\" in text
    assert r"\begin{tabular}{lrr}" in text
    assert escape("\\ & % $ # _ { } ~ ^ ±") == (
        r"\textbackslash{} \& \% \$ \# \_ \{ \} \textasciitilde{} \textasciicircum{} $\pm$"
    )


def test_table_1_is_the_papers():
    rows = tables.other_methods().values
    assert [row["accuracy"] for row in rows] == [0.88, 0.76, 0.84, 0.90, 0.8843]


def test_table_2_has_the_papers_counts_beside_ours():
    counts = {"families": 3, "patches": 10, "balanced": 20, "samples": 80, "transforms": 7}
    dataset = {"counts": {"train": {"PD": counts, "other": counts}}, "phantom": True}
    table = tables.samples_by_split(dataset)
    assert [row["patches"] for row in table.values] == [10, 10]
    assert [row["paper_samples"] for row in table.values] == [2936, None]
    assert "phantom" in markdown(table)


def test_table_3_agrees_with_the_papers_rounded_counts():
    names = ["resnet18", "vgg11", "inception_v3", "efficientnet_lite0"]
    rows = {row["backbone"]: row for row in tables.backbones(names).values}
    assert set(published.TABLE3) <= set(NETWORKS)
    for name in names[:3]:
        row = rows[name]
        assert row["parameters"] / 1e6 == pytest.approx(row["paper_parameters_millions"], rel=0.01)
        assert row["multiply_accumulates"] / 1e9 == pytest.approx(row["paper_operations_billions"], rel=0.1)
    assert rows["efficientnet_lite0"]["paper_top1_percent"] is None


def test_table_4_has_a_spread_and_counts(paper_history):
    strategies = numbers.by_strategy(paper_history, "validation_loss")
    table = tables.best_by_strategy(strategies, "validation_loss")
    cells = markdown_cells(markdown(table))
    rows = [dict(zip(cells[0], line, strict=True)) for line in cells[2:]]
    assert len(rows) == 3
    for row, exact in zip(rows, strategies.to_pylist(), strict=True):
        assert row["Best loss"] == f"{exact['best_loss']:.3f}"
        assert row["Best cell's loss"] == f"{exact['mean_loss']:.3f} ± {exact['std_loss']:.3f}"
        assert (row["Its sessions"], row["Of all"]) == ("3", str(exact["sessions"]))
    assert rows[1]["The paper's best"] == "inception_v3, 4 non-linearities"
