"""Why accuracy before training has one peak or two (the paper's Figure 19 has two).

    python -m experiments.study --config=configs/distribution.py --out=results/distribution
    python -m benchmarks.epoch0_modes --study=results/distribution --banks=results/distribution/banks

Runs the heads that the study's seeds start from on its feature bank, as they are and with one thing changed at a time,
prints a table and writes it to benchmarks/epoch0_modes.md.
"""

import datetime
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from nbjax.analysis.distribution import dip_test
from nbjax.models import load_headless
from nbjax.samples.reading import open_dataset
from nbjax.training.bank import Bank, feature_bank
from nbjax.training.inputs import view_of
from nbjax.training.program import NOTHING, Program, initial
from nbjax.training.strategy import FAST

STUDY = flags.DEFINE_string("study", "results/distribution", "folder of a study of one backbone, straightforward")
BANKS = flags.DEFINE_string("banks", "results/distribution/banks", "its feature banks")
STARTS = flags.DEFINE_integer("starts", 1000, "seeds from 0")
# What a start answers one label to, at least: it is one-sided.
ONE_SIDED = 0.95
MEANING = (
    "A head that answers one label to nearly everything is right as often as that label is frequent. Starts that do so "
    "pile up at the two labels' shares: two peaks where the shares differ and many starts are one-sided, which they "
    "are where a backbone's features have much in common for all samples. A head that happens to tell the labels "
    "apart, or to confuse them, lies outside. All rows but the first change the shares or the logits: they say what "
    "makes two peaks, not that another backbone has them."
)


class Answers(NamedTuple):
    """What random heads say of one split.

    Attributes:
        logits: float64 `[starts, samples]`.
        labels: `[samples]`, 0 or 1.
    """

    logits: np.ndarray
    labels: np.ndarray


def answers(bank: Bank, split: str, starts: int) -> Answers:
    """Logits of the heads that seeds 0, 1, … start from."""
    features = np.asarray(bank.inputs[split])
    program = Program(features=features.shape[1])

    def head(seed: jax.Array) -> tuple[jax.Array, jax.Array]:
        layer = initial(program, jax.random.fold_in(jax.random.key(seed), 0), NOTHING)[0]["head"][0]
        return layer["kernel"][:, 0], layer["bias"][0]

    kernels, biases = jax.vmap(head)(jnp.arange(starts, dtype=jnp.uint32))
    logits = np.asarray(kernels) @ features.T + np.asarray(biases)[:, None]
    return Answers(logits.astype(np.float64), np.asarray(bank.columns[split]["label"]))


def changed(found: Answers, offset: float = 1.0, difference: float = 1.0) -> Answers:
    """The same with each start's common offset, and the difference between its labels' means, multiplied."""
    means = [found.logits[:, found.labels == label].mean(axis=1, keepdims=True) for label in (0, 1)]
    middle, half = (means[0] + means[1]) / 2, (means[1] - means[0]) / 2
    side = np.where(found.labels == 1, 1.0, -1.0)
    return found._replace(logits=found.logits + (offset - 1) * middle + (difference - 1) * half * side)


def accuracies(found: Answers, share: float) -> np.ndarray:
    """Of each start, were that share of the samples of label 1."""
    hits = (found.logits > 0) == (found.labels == 1)
    recalls = [hits[:, found.labels == label].mean(axis=1) for label in (0, 1)]
    return (1 - share) * recalls[0] + share * recalls[1]


def row(name: str, split: str, found: Answers, share: float) -> str:
    """A line of the table."""
    values = accuracies(found, share)
    error = 1.96 * values.std(ddof=1) / len(values) ** 0.5
    one = (found.logits > 0).mean(axis=1)
    sided = np.mean((one >= ONE_SIDED) | (one <= 1 - ONE_SIDED))
    dip, p_value = dip_test(values)
    cells = [
        f"{share:.1%} / {1 - share:.1%}",
        f"{values.mean():.1%} ± {error:.1%}",
        f"{values.std(ddof=1):.1%}",
        f"{sided:.0%}",
        f"{dip:.4f}",
        f"{p_value:.4f}",
    ]
    return f"| {name} | {split} | {' | '.join(cells)} |"


def rows(bank: Bank, starts: int) -> list[str]:
    """The table's lines, split by split."""
    lines = []
    for split in ("train", "validation"):
        found = answers(bank, split, starts)
        share = float(found.labels.mean())
        lines += [
            row("as it is", split, found, share),
            row("one label more frequent", split, found, 0.4),
            row("one label much more frequent", split, found, 0.3),
            row("labels alike in the mean", split, changed(found, difference=0), share),
            row("heads' common offset doubled", split, changed(found, offset=2), share),
            row("both", split, changed(found, offset=2, difference=0), share),
        ]
    return lines


def main(_: list[str]) -> None:
    """Writes the table."""
    folder = Path(STUDY.value)
    record = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    dataset = open_dataset(folder / record["dataset"]["folder"])
    name = record["backbone"]["name"]
    backbone = load_headless(name, record["config"]["weights"])
    view = view_of(dataset.card["patch_size"], backbone.network.input_size, FAST)
    bank = feature_bank(dataset, backbone, backbone.network.stages[-1].name, view, Path(BANKS.value))
    classes = dataset.card["classes"]
    lines = [
        "# Modes of accuracy before training",
        "",
        f"{STARTS.value} random heads on {name}'s features of {Path(record['dataset']['source']).name}, "
        f"{sum(map(len, dataset.samples.values()))} samples; {datetime.datetime.now(datetime.UTC).date()}. Written by "
        "`python -m benchmarks.epoch0_modes`.",
        "",
        f"Mean: over starts, ± its 95 % half width. One-sided: starts that give {ONE_SIDED:.0%} of the samples one "
        "answer. p: of Hartigan's dip test; small where there is more than one peak.",
        "",
        MEANING,
        "",
        f"| what | split | {classes[1]} / {classes[0]} | mean | deviation | one-sided | dip | p |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *rows(bank, STARTS.value),
    ]
    print("\n".join(lines))
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
