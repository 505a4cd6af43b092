"""What a linear head's weight decay is worth, on sets that benchmarks/defaults.md does not report.

    python -m benchmarks.decay --slides=FOLDER --out=results/decay

Phantoms of other draws than those of `benchmarks.defaults`, crc7k, and of breakhis100x every second family. For each
decay the learning rate and the number of epochs are chosen as a study does, on a validation split of whole families;
what the choice is worth is then read off sessions with other families held out. No test split takes part. Writes
benchmarks/decay.md.
"""

import datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from benchmarks.defaults import CONFIG, NAMES, REAL, Phantom, draw, open_bank
from experiments.study import OUT, SLIDES, study
from nbjax.config import StudyConfig, load_config
from nbjax.memory import keep_freed_memory
from nbjax.training.crossvalidation import SPLITS, held_out_folds, pooled_columns
from nbjax.training.program import Program, Samples
from nbjax.training.record import hardware
from nbjax.training.sessions import grid, on_rows, rows_of_splits, run_sessions

PHANTOMS = {
    "scanners": Phantom((12, 12), 0.25, 111, 3),
    "scanner a slide": Phantom((12, 12), 0.6, 112, 0),
    "few families": Phantom((6, 6), 0.6, 113, 0),
    "hard": Phantom((12, 12), 0.75, 131, 0),
    "harder": Phantom((12, 12), 0.8, 133, 0),
}
DECAYS = (1.0, 3.0, 10.0)
PENALTIES = (1e-3, 1e-2, 1e-1)
# Cuts into folds: of what is held out, and of validation.
HELD_OUT, VALIDATION = ((0, 5), (1, 5)), ((7, 6), (8, 6))
SEEDS = 3


class Cohort(NamedTuple):
    """Features of a set, with columns by sample."""

    program: Program
    samples: Samples
    columns: dict[str, np.ndarray]
    rates: tuple[float, ...]
    epochs: int


def load(name: str) -> Cohort:
    """A set's features, all splits together."""
    out = Path(OUT.value or "results/decay") / name.replace(",", "").replace(" ", "-")
    folder = Path(SLIDES.value or "../shared/slides") / name if name in REAL else draw(PHANTOMS[name], out)
    default = load_config(CONFIG, kind=StudyConfig)
    quick = ["epochs=1", "seeds=1", "learning_rates=1e-3", "folds=0"]
    config = load_config(CONFIG, [*REAL.get(name, ()), *quick], kind=StudyConfig)
    study(config, str(folder), out / "study")
    task, bank = open_bank(config, out / "study")
    columns, inputs = pooled_columns(bank.columns), np.concatenate([bank.inputs[split] for split in SPLITS])
    kept = np.ones(len(inputs), bool)
    if name == "breakhis100x":
        kept = np.isin(columns["family"], np.unique(columns["family"])[::2])
    columns = {key: values[kept] for key, values in columns.items()}
    samples = Samples(jnp.asarray(inputs[kept]), jnp.asarray(columns["label"], jnp.int32))
    return Cohort(task.program, samples, columns, default.learning_rates, default.epochs)


def curves(cohort: Cohort, program: Program, train: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, ...]:
    """Training loss, and loss and accuracy on what is shown, each `[rates, seeds, epochs + 1]`."""
    hypers = grid(cohort.rates, range(SEEDS))
    # Of one size, so that one compiled program serves them all.
    rows = (rows_of_splits([np.flatnonzero(which)], len(train)) for which in (train, shown))
    hypers = on_rows(hypers, *rows, np.asarray([0]))
    found = run_sessions(program, cohort.epochs, hypers, cohort.samples, cohort.samples).metrics
    wanted = (found.train_loss, found.validation_loss, found.validation_accuracy)
    return tuple(values.reshape(len(cohort.rates), SEEDS, -1) for values in wanted)


def worth(cohort: Cohort, decay: float) -> tuple[float, float, float]:
    """Accuracy and loss of what validation chooses, means over its splits, and the share of splits that chose epoch
    0.
    """
    program = cohort.program._replace(weight_decay=decay)
    held_out: Any = 0
    for seed, folds in HELD_OUT:
        fold = held_out_folds(cohort.columns, folds, seed)
        for number in np.unique(fold):
            _, *scores = curves(cohort, program, fold != number, fold == number)
            held_out += np.mean(fold == number) / len(HELD_OUT) * np.stack(scores).mean(axis=2)
    chosen = []
    for seed, folds in VALIDATION:
        fold = held_out_folds(cohort.columns, folds, seed)
        count = fold.max() + 1
        for number in range(count):
            # One more fold is left out, as a test split would be.
            train = (fold != number) & (fold != (number + 1) % count)
            losses = np.maximum(*curves(cohort, program, train, fold == number)[:2])
            rate = losses.min(axis=2).mean(axis=1).argmin()
            chosen.append((rate, int(np.median(losses[rate].argmin(axis=1)))))
    rates, epochs = np.asarray(chosen).T
    loss, accuracy = held_out[:, rates, epochs].mean(axis=1)
    return float(accuracy), float(loss), float(np.mean(epochs == 0))


def reference(cohort: Cohort, penalty: float) -> tuple[float, float]:
    """Accuracy and loss of logistic regression on one row a patch, on the same held-out folds, by sample."""
    features, columns = np.asarray(cohort.samples.inputs, np.float64), cohort.columns
    label = columns["label"]
    scores = []
    for seed, folds in HELD_OUT:
        fold = held_out_folds(columns, folds, seed)
        for number in np.unique(fold):
            train, held_out = (fold != number) & (columns["transform"] == 0), fold == number
            scaler = StandardScaler().fit(features[train])
            model = LogisticRegression(C=penalty, max_iter=5000).fit(scaler.transform(features[train]), label[train])
            found = model.predict_proba(scaler.transform(features[held_out]))
            hit = float(np.mean(model.classes_[found.argmax(axis=1)] == label[held_out]))
            share = float(np.mean(held_out)) / len(HELD_OUT)
            scores.append((share * hit, share * log_loss(label[held_out], found, labels=model.classes_)))
    accuracy, loss = np.sum(scores, axis=0)
    return float(accuracy), float(loss)


def main(_: list[str]) -> None:
    """Measures the sets and writes the table."""
    keep_freed_memory()
    heads = [f"C = {penalty:g}" for penalty in PENALTIES] + [f"decay {decay:g}" for decay in DECAYS]
    lines = [f"| set | families | {' | '.join(heads)} |", f"|{' --- |' * (2 + len(heads))}"]
    means = []
    for name in NAMES.value or ("breakhis100x", "crc7k", *PHANTOMS):
        cohort = load(name)
        scores: list[tuple[float, ...]] = [reference(cohort, penalty) for penalty in PENALTIES]
        scores += [worth(cohort, decay) for decay in DECAYS]
        means.append([score[:2] for score in scores])
        shown = [
            f"{100 * accuracy:.1f}, {loss:.2f}" + (f" ({100 * none[0]:.0f} %)" if none and none[0] else "")
            for accuracy, loss, *none in scores
        ]
        lines.append(f"| {name} | {len(np.unique(cohort.columns['family']))} | {' | '.join(shown)} |")
        print(lines[-1], flush=True)
    mean = [f"{100 * accuracy:.1f}, {loss:.2f}" for accuracy, loss in np.mean(means, axis=0)]
    lines.append(f"| mean | | {' | '.join(mean)} |")
    about = [
        "# Weight decay of a linear head",
        "",
        f"{hardware()['cpu']}; jax {jax.__version__}; {datetime.datetime.now(datetime.UTC).date()}. Written by `python "
        "-m benchmarks.decay`.",
        "",
        "Families held out, on sets that `benchmarks/defaults.md` does not report (of breakhis100x every second "
        "family). By decay: accuracy by sample in per cent and cross-entropy in nats of the learning rate and epoch "
        f"that a validation split of whole families chooses, means over {sum(folds for _, folds in VALIDATION)} such "
        f"splits (fewer where a label has fewer families) and {SEEDS} seeds; in brackets the share of splits that "
        "chose epoch 0, which then counts as the untrained head. By C: logistic regression on one row a patch, which "
        "nothing chose.",
        "",
    ]
    path = Path(__file__).with_suffix(".md")
    # Words below the table are written by hand and stay.
    _, heading, words = (path.read_text(encoding="utf-8") if path.is_file() else "").partition("\n## ")
    path.write_text("\n".join([*about, *lines]) + "\n" + heading + words, encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
