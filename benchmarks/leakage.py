"""What the leakage experiments gave, from their folders.

    python -m experiments.leakage --out=results/leakage ...
    python -m benchmarks.leakage --studies=results/leakage,results/leakage_frozen

Prints tables and writes them to benchmarks/leakage.md.
"""

import json
import math
from pathlib import Path

import pyarrow.compute as pc
from absl import app, flags

from nbjax.analysis.leakage import Mean, compare, measure, read_curves, summarise
from nbjax.report.figures.leakage import STYLES
from nbjax.report.leakage import NOTE, ROWS, TESTED, p_text
from nbjax.training.store import read_table

STUDIES = flags.DEFINE_list("studies", ["results/leakage", "results/leakage_frozen"], "folders of leakage experiments")
# Standard normal quantiles of a two-sided test at 5 % and of a power of 80 %.
QUANTILES = 1.960 + 0.842


def said(one: Mean, tested: bool) -> str:
    """Mean, deviation and interval, and p where 0 would be no effect."""
    text = f"{one.mean:.3f} ± {one.std:.3f} [{one.interval.low:.3f}, {one.interval.high:.3f}]"
    return f"{text}, p {p_text(one.p)}" if tested else text


def section(folder: Path) -> list[str]:
    """One run's tables."""
    table = read_table(folder / "leakage.parquet")
    leaks = list(dict.fromkeys(table["leak"].to_pylist()))
    measures = {leak: measure(read_curves(table.filter(pc.field("leak") == leak))) for leak in leaks}
    summary, gaps = summarise(measures), compare(measures)
    record = json.loads((folder / leaks[0] / "study.json").read_text(encoding="utf-8"))
    config, dataset = record["config"], record["dataset"]
    hardware, versions = record["hardware"], record["versions"]
    seconds = sum(
        sum(json.loads((folder / leak / "study.json").read_text(encoding="utf-8"))["seconds"].values())
        for leak in leaks
    )
    lines = [
        f"## {config['backbones'][0]}, {config['strategies'][0]}",
        "",
        f"    {record['command']}",
        "",
        f"{dataset['source']}, {sum(dataset['slides'].values())} slides, overlap {config['phantom']['overlap']}; "
        f"{summary[leaks[0]]['gap'].sessions} sessions each; {seconds / 60:.0f} minutes on {hardware['cores']} cores "
        f"of {hardware['cpu']}, jax {versions['jax']}.",
        "",
        "| | " + " | ".join(STYLES[leak][1] for leak in leaks) + " |",
        "| --- |" + " --- |" * len(leaks),
    ]
    for name, title in ROWS.items():
        lines.append(f"| {title} | " + " | ".join(said(summary[leak][name], name in TESTED) for leak in leaks) + " |")
    lines += ["", "| gap of | less that of | difference | p | p of ranks | sessions that would show it |"]
    lines += ["| --- | --- | --- | ---: | ---: | ---: |"]
    for (first, second), one in gaps.items():
        enough = max(2, math.ceil((QUANTILES / one.effect) ** 2)) if one.effect else math.inf
        names = f"{STYLES[first][1][0]} | {STYLES[second][1][0]}"
        lines.append(f"| {names} | {said(one, False)} | {p_text(one.p)} | {p_text(one.p_ranks)} | {enough:,} |")
    return lines


def main(_: list[str]) -> None:
    """Writes the tables."""
    lines = [
        "# The leakage experiments",
        "",
        f"Mean ± standard deviation over sessions, [95 % interval of the mean]; losses in nats. {NOTE} Sessions that "
        "would show it: how many a paired t-test at 5 % needs for a power of 80 %, were the difference and its spread "
        "as measured. Written by `python -m benchmarks.leakage` from the folders of the commands below.",
    ]
    for folder in STUDIES.value:
        lines += ["", *section(Path(folder))]
    print("\n".join(lines))
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
