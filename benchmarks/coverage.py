"""How often 95 % intervals hold the truth, in simulated cohorts whose truth is known.

    python -m benchmarks.coverage          # about five minutes on two cores

Every cohort has two labels with the same number of families, whose numbers of patches are lognormal (deviation of the
logarithm 0.7, so that one family often holds much of a label). Three intervals are compared: nbjax's, which is
Student's t over families with a jackknife variance; the percentile bootstrap over families within each label, the usual
one; and what a report prints that takes patches for independent.

First an accuracy alone, in many cohorts: a family's own accuracy is drawn from a beta distribution (mean 0.78,
deviation 0.18), and each of its patches is right with that probability; the truth is 0.78. Then every score of
`nbjax.analysis.scores`: a patch's logit is 1.6 times (±0.8 for its label, plus its family's deviation, normal of 0.7,
plus its own, normal of 1); the truth is the score of a cohort of 200,000 families. Writes `benchmarks/coverage.md`.
"""

import datetime
import platform
from pathlib import Path

import numpy as np
import scipy

from nbjax.analysis.resampling import drawn_weights, percentile_interval
from nbjax.analysis.scores import score_units
from nbjax.analysis.uncertainty import family_interval, family_sizes, naive_interval
from nbjax.analysis.units import Units
from nbjax.analysis.weighted import METRICS, weighted_scores

TRUTH, DEVIATION = 0.78, 0.18
COHORTS, RESAMPLES = 2000, 500
SCORE_COHORTS = 500
SHIFT, FAMILY_DEVIATION, SLOPE = 0.8, 0.7, 1.6
NAMES = ("nbjax (by family)", "bootstrap over families", "patches taken as independent")


def draw_sizes(rng: np.random.Generator, families: int) -> np.ndarray:
    """Number of patches of each of two labels' families."""
    return np.maximum(1, np.round(rng.lognormal(2.7, 0.7, 2 * families))).astype(int)


def cohort(rng: np.random.Generator, families: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits, family and label of every patch."""
    strength = TRUTH * (1 - TRUTH) / DEVIATION**2 - 1
    sizes = draw_sizes(rng, families)
    accuracy = rng.beta(TRUTH * strength, (1 - TRUTH) * strength, 2 * families)
    family = np.repeat(np.arange(2 * families), sizes)
    hits = (rng.random(len(family)) < accuracy[family]).astype(float)
    return hits, family, family // families


def measure_accuracy(families: int) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and median width of the three intervals of an accuracy."""
    rng = np.random.default_rng(families)
    ends = []
    for _ in range(COHORTS):
        hits, family, label = cohort(rng, families)
        ours = family_interval(hits, family, label, fraction=True)
        sizes, _ = family_sizes(family, label)
        weights = drawn_weights(rng, sizes, RESAMPLES)
        drawn = (weights @ np.bincount(family, hits)) / (weights @ np.bincount(family))
        naive = naive_interval(int(hits.sum()), len(hits))
        ends.append([ours.interval, percentile_interval(drawn, sizes), naive])
    low, high = np.moveaxis(np.asarray(ends, float), 2, 0)
    return ((low <= TRUTH) & (high >= TRUTH)).mean(axis=0), np.median(high - low, axis=0)


def measure_shared(families: int) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and median width for patients, a third of whom has both labels: by patient, by patient and label, by
    patch.
    """
    rng = np.random.default_rng(families)
    strength = TRUTH * (1 - TRUTH) / DEVIATION**2 - 1
    kinds, ends = np.arange(families) % 3, []
    for _ in range(COHORTS):
        sizes = np.maximum(1, np.round(rng.lognormal(2.7, 0.7, (families, 2)))).astype(int)
        sizes *= np.stack([kinds != 1, kinds != 0], axis=1)
        patient, label = (np.repeat(index.ravel(), sizes.ravel()) for index in np.indices(sizes.shape))
        accuracy = rng.beta(TRUTH * strength, (1 - TRUTH) * strength, families)
        hits = (rng.random(len(patient)) < accuracy[patient]).astype(float)
        ours, apart = (family_interval(hits, names, label, fraction=True) for names in (patient, 2 * patient + label))
        ends.append([ours.interval, apart.interval, naive_interval(int(hits.sum()), len(hits))])
    low, high = np.moveaxis(np.asarray(ends, float), 2, 0)
    return ((low <= TRUTH) & (high >= TRUTH)).mean(axis=0), np.median(high - low, axis=0)


def predictions(rng: np.random.Generator, families: int) -> Units:
    """One session's predictions on a cohort."""
    family = np.repeat(np.arange(2 * families), draw_sizes(rng, families))
    label = family // families
    own = SHIFT * (2 * label - 1) + FAMILY_DEVIATION * rng.normal(size=2 * families)[family]
    logit = SLOPE * (own + rng.normal(size=len(family)))
    one = scipy.special.expit(logit)
    loss = np.logaddexp(0, logit) - label * logit
    return Units("patch", np.zeros(1, int), label, family, np.stack([1 - one, one], axis=1)[None], loss[None])


def measure_scores(families: int, truth: dict[str, float]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Coverage and median width of the three intervals of every score, by metric."""
    rng = np.random.default_rng(families)
    ends: dict[str, list[tuple[float | None, ...]]] = {metric: [] for metric in METRICS}
    for number in range(SCORE_COHORTS):
        for one in score_units(predictions(rng, families), seed=number, resamples=RESAMPLES):
            ends[one.metric].append([interval or (None, None) for interval in (one.interval, one.bootstrap, one.naive)])
    found = {}
    for metric, rows in ends.items():
        low, high = np.moveaxis(np.asarray(rows, float), 2, 0)
        covered = (low <= truth[metric]) & (high >= truth[metric])
        found[metric] = (covered.mean(axis=0), np.median(high - low, axis=0))
    return found


def _cells(coverage: np.ndarray, width: np.ndarray) -> str:
    return " | ".join(f"{100 * c:.1f} % / {width:.3f}" for c, width in zip(coverage, width, strict=True))


def _accuracy_table() -> list[str]:
    lines = [f"| families a label | {' | '.join(NAMES)} |", "| ---: | ---: | ---: | ---: |"]
    for families in (2, 3, 5, 10, 20, 30):
        lines.append(f"| {families} | {_cells(*measure_accuracy(families))} |")
        print(lines[-1], flush=True)
    return lines


def _shared_table() -> list[str]:
    lines = [
        "| patients | nbjax (by patient) | by patient and label | patches taken as independent |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for families in (6, 9, 16, 30):
        lines.append(f"| {families} | {_cells(*measure_shared(families))} |")
        print(lines[-1], flush=True)
    return lines


def _score_table() -> list[str]:
    large = predictions(np.random.default_rng(0), 100_000)
    truth = {
        metric: float(values[0, 0])
        for metric, values in weighted_scores(large, np.ones((1, len(large.labels)))).items()
    }
    lines = [
        f"| score | truth | families a label | {' | '.join(NAMES)} |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    measured = {families: measure_scores(families, truth) for families in (3, 5, 10, 20)}
    for metric in METRICS:
        for families, found in measured.items():
            name = metric.replace("_", " ")
            lines.append(f"| {name} | {truth[metric]:.3f} | {families} | {_cells(*found[metric])} |")
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Measures and writes the tables."""
    errors = [100 * (0.95 * 0.05 / cohorts) ** 0.5 for cohorts in (COHORTS, SCORE_COHORTS)]
    lines = [
        "# Coverage of 95 % intervals",
        "",
        f"`python -m benchmarks.coverage`, {datetime.date.today()}, Python {platform.python_version()}, NumPy "
        f"{np.__version__}, SciPy {scipy.__version__}. Simulated cohorts with known truth; each cell is coverage / "
        "median width. nbjax's interval is Student's t over families with a jackknife variance; with two or three "
        "families a label it is very wide, and holds the truth more often than it says, because little can be said "
        "from so few. The bootstrap over families is too narrow until there are many. Patches taken as independent "
        "give an interval that misses far more often than it says, and no number of patches or families mends that.",
        "",
        f"## An accuracy of {TRUTH}, {COHORTS:,} cohorts a row (a coverage of 95 % has a standard error of "
        f"{errors[0]:.1f} points)",
        "",
        *_accuracy_table(),
        "",
        f"## The same where a third of the patients has both labels, {COHORTS:,} cohorts a row",
        "",
        "A patient's accuracy is the same for both labels, so that a patient is one family; taken for two, the "
        "interval is too narrow.",
        "",
        *_shared_table(),
        "",
        f"## Every score, {SCORE_COHORTS} cohorts a row (standard error {errors[1]:.1f} points)",
        "",
        "The expected calibration error is the exception: it is never negative, so that it is too large with few "
        "patches, and no interval of this kind can say so.",
        "",
        *_score_table(),
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
