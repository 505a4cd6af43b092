"""What the preset `plain` changes against `paper`: the same seeds trained both ways, on real slides with real weights.

    python -m benchmarks.fidelity --slides=FOLDER --backbone=efficientnet_lite0=imagenet --backbone=vgg16_gap=FILE

runs two studies a backbone, straightforward adaptation without augmentation, prints the difference of the best
validation losses (`plain` less `paper`, seed by seed) and writes it to benchmarks/fidelity.md. `plain` is `fast` with
the authors' head.
"""

import datetime
import os
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import scipy.stats
from absl import app, flags

from benchmarks.partition import processor
from experiments.study import OUT, SLIDES, study
from nbjax.analysis.selection import select_epochs
from nbjax.config import DatasetConfig, StudyConfig
from nbjax.memory import keep_freed_memory
from nbjax.training.strategy import PRESETS

BACKBONE = flags.DEFINE_multi_string("backbone", ["efficientnet_lite0=imagenet"], "name=weights")
SEEDS = flags.DEFINE_integer("seeds", 6, "sessions a preset")
EPOCHS = flags.DEFINE_integer("epochs", 6, "of each session")
LEARNING_RATE, BATCH_SIZE = 3e-3, 16


def best_losses(name: str, weights: str, preset: str) -> tuple[np.ndarray, float]:
    """Least validation loss of each seed `[seeds]`, and the seconds that the study took."""
    config = StudyConfig(
        name=f"{name}, {preset}",
        backbones=(name,),
        weights=weights,
        dataset=DatasetConfig(standardisation="per_split", transforms=0),
        fidelity=PRESETS[preset],
        learning_rates=(LEARNING_RATE,),
        batch_sizes=(BATCH_SIZE,),
        epochs=EPOCHS.value,
        seeds=SEEDS.value,
        criterion="validation_loss",
        folds=0,
    )
    out = Path(OUT.value or "results/fidelity") / name / preset
    begin = time.perf_counter()
    study(config, SLIDES.value, out)
    spent = time.perf_counter() - begin
    sessions = select_epochs(pyarrow.parquet.read_table(out / "sessions.parquet"), config.criterion)
    return np.asarray([one.validation_loss for one in sorted(sessions, key=lambda one: one.seed)]), spent


def main(_: list[str]) -> None:
    """Runs the studies and writes the table."""
    if SLIDES.value is None:
        raise SystemExit("error: --slides is missing; give a folder of real slides.")
    keep_freed_memory()
    text = [
        "# Plain against paper",
        "",
        f"{processor()}, {os.cpu_count()} cores; {datetime.datetime.now(datetime.UTC).date()}. Learning rate "
        f"{LEARNING_RATE}, batch size {BATCH_SIZE}, straightforward, no augmentation, on {Path(SLIDES.value).name}. "
        "Best validation loss: mean ± standard deviation over seeds; the difference seed by seed with its 95 % t "
        "interval. Written by `python -m benchmarks.fidelity`, which keeps the rows of backbones that it does not "
        "measure.",
        "",
        "| backbone | seeds | epochs | plain | paper | plain less paper | plain, s | paper, s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    path = Path(__file__).with_suffix(".md")
    rows = {
        line.split("|")[1].strip(): line
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    }
    kept = {name: row for name, row in rows.items() if name not in ("backbone", "---")}
    for word in BACKBONE.value:
        name, _, weights = word.partition("=")
        kept[name] = measure(name, weights)
        print(kept[name], flush=True)
    path.write_text("\n".join([*text, *kept.values()]) + "\n", encoding="utf-8")


def measure(name: str, weights: str) -> str:
    """One row of the table."""
    (plain, plain_seconds), (paper, paper_seconds) = (
        best_losses(name, weights, preset) for preset in ("plain", "paper")
    )
    low, high = scipy.stats.ttest_1samp(plain - paper, 0).confidence_interval()
    means = [f"{values.mean():.4f} ± {values.std(ddof=1):.4f}" for values in (plain, paper)]
    difference = f"{(plain - paper).mean():+.4f} [{low:+.4f}, {high:+.4f}]"
    cells = (name, SEEDS.value, EPOCHS.value, *means, difference, f"{plain_seconds:.0f}", f"{paper_seconds:.0f}")
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    app.run(main)
