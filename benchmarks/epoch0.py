r"""Losses before training: how far apart seeds alone put the sessions of a study.

    python -m experiments.study --out=results/epoch0 --set=seeds=1000 --set=epochs=1 --set=learning_rates=1e-3 \
        --set=folds=0
    python -m benchmarks.epoch0 --study=results/epoch0

prints a table of epoch 0 and writes it to benchmarks/epoch0.md. The paper reports 0.705 ± 0.042 for its sessions.
"""

import datetime
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import scipy.stats
from absl import app, flags

STUDY = flags.DEFINE_string("study", "results/epoch0", "folder of a study of many seeds")
PAPER = (0.705, 0.042)


def main(_: list[str]) -> None:
    """Writes the table."""
    folder = Path(STUDY.value)
    record = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    table = pyarrow.parquet.read_table(folder / "sessions.parquet", filters=[("epoch", "==", 0)])
    cells = table.group_by(["learning_rate", "batch_size", "strategy"]).aggregate([])
    if len(cells) != 1:
        raise SystemExit(
            f"error: {folder} has {len(cells)} cells; expected a study of one, since seeds start alike in all."
        )
    lines = [
        "# Epoch 0",
        "",
        f"{len(table)} sessions, {record['strategy']}, of {record['backbone']['name']} "
        f"({'pretrained' if record['backbone']['pretrained'] else 'random weights'}) on "
        f"{Path(record['dataset']['source']).name}; {datetime.datetime.now(datetime.UTC).date()}. Before any update; "
        "mean ± standard deviation over sessions. Written by `python -m benchmarks.epoch0`.",
        "",
        "| | mean ± deviation | least | median | most |",
        "| --- | --- | --- | --- | --- |",
        f"| the paper's loss | {PAPER[0]:.3f} ± {PAPER[1]:.3f} | | | |",
    ]
    for name in ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy"):
        values = table[name].to_numpy()
        low, middle, high = np.quantile(values, [0, 0.5, 1])
        spread = f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"
        lines.append(f"| {name.replace('_', ' ')} | {spread} | {low:.3f} | {middle:.3f} | {high:.3f} |")
    skew = scipy.stats.skew(table["validation_loss"].to_numpy())
    lines += [
        "",
        f"ln 2, the loss of a head that answers 0, is {np.log(2):.3f}; skewness of the validation loss {skew:.2f}.",
    ]
    print("\n".join(lines))
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
