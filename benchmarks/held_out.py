"""Whether the score of families held out in turn is honest: whole procedures, repeated on simulated cohorts.

    python -m benchmarks.held_out          # about ten minutes on two cores

A cohort has 8 or 20 families a label with 6 patches each. A patch's 32 features are its family's look (normal of 1),
its own noise (normal of 1) and, where there is a signal, its label's shift of so much in 4 of them. As in a study,
learning rate and epochs are chosen inside each of five folds by families that are not held out there, a new head is
trained without the fold by three seeds, and its scores are `nbjax.analysis`'s. With no signal the score should be
guessing's in the mean over cohorts. An interval should hold what the procedure scores in the mean over cohorts. Writes
`benchmarks/held_out.md`.
"""

import datetime
import platform
from pathlib import Path

import jax
import numpy as np

from nbjax.analysis.scores import score_predictions
from nbjax.training.bank import Bank
from nbjax.training.crossvalidation import Candidate, choose_inside, cross_validate, held_out_folds, pool
from nbjax.training.program import Program

COHORTS = 200
FAMILIES, SIGNALS = (8, 20), (0.0, 1.0, 2.0)
PATCHES, FEATURES, SHIFTED = 6, 32, 4
RATES, EPOCHS, SEEDS, FOLDS = (0.003, 0.01, 0.03), 20, 3, 5
METRICS = ("accuracy", "balanced_accuracy", "roc_auc", "sensitivity", "brier", "loss")


def cohort(rng: np.random.Generator, families: int, signal: float) -> Bank:
    """A bank of one cohort; the splits play no part where families are held out."""
    family = np.repeat(np.arange(2 * families), PATCHES)
    label = family % 2
    features = rng.normal(size=(2 * families, FEATURES))[family] + rng.normal(size=(len(family), FEATURES))
    features[:, :SHIFTED] += signal * (label[:, None] - 0.5)
    names = np.char.add("f", family.astype(str))
    columns = {"label": label, "family": names, "slide": names, "x": np.arange(len(family))}
    columns |= {"y": np.zeros(len(family), int), "transform": np.zeros(len(family), int)}
    rows = {"train": slice(24, None), "validation": slice(0, 12), "test": slice(12, 24)}
    return Bank(
        None,
        {name: features[some].astype(np.float32) for name, some in rows.items()},
        {name: {key: values[some] for key, values in columns.items()} for name, some in rows.items()},
    )


def hold_out(bank: Bank) -> dict[str, tuple[float, float, float]]:
    """Every score of families held out once, and the ends of its interval."""
    pooled = pool(bank)
    fold = held_out_folds(pooled.columns, FOLDS)
    candidates = [Candidate(Program(features=FEATURES, batch_size=16))]
    choices = choose_inside(pooled, candidates, RATES, EPOCHS, fold)
    table = cross_validate(pooled, candidates, choices, range(SEEDS), fold)
    tested = score_predictions(table, 2, resamples=100)
    scores = {metric: tested.score(metric) for metric in METRICS}
    return {metric: (score.estimate, *(score.interval or (np.nan, np.nan))) for metric, score in scores.items()}


def measure(families: int, signal: float) -> list[str]:
    """A line a score: its mean over cohorts, and how often its interval holds that."""
    rng = np.random.default_rng([families, int(100 * signal)])
    rows = [hold_out(cohort(rng, families, signal)) for _ in range(COHORTS)]
    lines = []
    for metric in METRICS:
        estimate, low, high = np.asarray([row[metric] for row in rows]).T
        mean, error = estimate.mean(), estimate.std(ddof=1) / COHORTS**0.5
        held, above = np.mean((low <= mean) & (mean <= high)), np.mean(low > mean)
        name, width = metric.replace("_", " "), np.median(high - low)
        lines.append(
            f"| {signal:g} | {families} | {name} | {mean:.4f} ± {error:.4f} | {estimate.std(ddof=1):.3f} | "
            f"{100 * held:.1f} % | {100 * above:.1f} % | {width:.2f} |"
        )
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Measures and writes the table."""
    rows = [line for signal in SIGNALS for families in FAMILIES for line in measure(families, signal)]
    error = 100 * (0.95 * 0.05 / COHORTS) ** 0.5
    lines = [
        "# Families held out in turn",
        "",
        f"`python -m benchmarks.held_out`, {datetime.date.today()}, Python {platform.python_version()}, JAX "
        f"{jax.__version__}. {COHORTS} simulated cohorts a row; a coverage of 95 % has a standard error of {error:.1f} "
        "points. Every cohort goes through the whole procedure of a study's held-out score: choice of learning rate "
        "and epochs inside each fold, training, scoring with every family counted once. Coverage is of the procedure's "
        "mean over cohorts.",
        "",
        "| signal | families a label | score | mean ± standard error | s.d. over cohorts | coverage | interval too "
        "high | median width |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
        *rows,
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
