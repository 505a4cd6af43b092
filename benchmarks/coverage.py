"""How often 95 % intervals hold the truth, in simulated cohorts whose truth is known.

    python -m benchmarks.coverage          # about ten minutes on two cores

The cohorts are drawn in ways that the intervals do not assume (`COHORTS`): among them large families that are the hard
ones, one giant among small families, one family in eight that is bad where all others are nearly right. A patch's logit
is 1.6 times (its family's distance from the boundary on the side of its label, plus a normal deviate of its own). The
truth of a score is that of 24,000 families, each counted once.

Beside nbjax's interval stands what a report prints that takes patches for independent: Wilson's, of all patches. Writes
`benchmarks/coverage.md`.
"""

import datetime
import multiprocessing
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import scipy

from nbjax.analysis.differences import METRICS as COMPARED
from nbjax.analysis.differences import differences
from nbjax.analysis.scores import Tested, score_units
from nbjax.analysis.uncertainty import naive_interval, once_weights
from nbjax.analysis.units import Units
from nbjax.analysis.weighted import weighted_scores

REPEATS, RESAMPLES = 500, 100
FAMILIES = (3, 5, 10, 20)
SLOPE = 1.6
METRICS = ("accuracy", "balanced_accuracy", "roc_auc", "sensitivity", "brier", "loss")


def usual_sizes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Patches of each family: lognormal, so that the largest of ten has a third of all."""
    return np.maximum(1, np.round(rng.lognormal(2.7, 0.7, count))).astype(int)


def predictions(
    rng: np.random.Generator, label: np.ndarray, size: np.ndarray, distance: np.ndarray, deviation: float
) -> Units:
    """One session's predictions on families of a label, a size and a mean distance from the boundary."""
    count = len(label)
    family = np.repeat(np.arange(count), size)
    distance = distance + deviation * rng.normal(size=count)
    logit = SLOPE * ((2 * label - 1) * distance)[family] + SLOPE * rng.normal(size=len(family))
    one, labels = scipy.special.expit(logit), label[family]
    loss = np.logaddexp(0, logit) - labels * logit
    return Units("patch", np.zeros(1, int), labels, family, np.stack([1 - one, one], axis=1)[None], loss[None])


def alike(rng: np.random.Generator, families: int) -> Units:
    """Families differ by chance, size and difficulty are independent."""
    label = np.repeat([0, 1], families)
    return predictions(rng, label, usual_sizes(rng, len(label)), np.full(len(label), 0.8), 0.7)


def heavy(rng: np.random.Generator, families: int) -> Units:
    """Sizes follow Pareto's law (exponent 1.1), and the larger a family the harder it is."""
    label = np.repeat([0, 1], families)
    size = np.minimum(np.ceil(4 * rng.random(len(label)) ** (-1 / 1.1)), 1500).astype(int)
    return predictions(rng, label, size, 1.5 - 0.5 * np.log(size / 4), 0.3)


def giants(rng: np.random.Generator, families: int) -> Units:
    """Three families in twenty are fifteen times as large as the others, and are classified at random."""
    label = np.repeat([0, 1], families)
    giant = rng.random(len(label)) < 0.15
    size = usual_sizes(rng, len(label)) * np.where(giant, 15, 1)
    return predictions(rng, label, size, np.where(giant, -0.1, 1.2), 0.4)


def some_bad(rng: np.random.Generator, families: int) -> Units:
    """Nearly all patches are right, but for one family in eight, of which a third is wrong."""
    label = np.repeat([0, 1], families)
    bad = rng.random(len(label)) < 1 / 8
    return predictions(rng, label, usual_sizes(rng, len(label)), np.where(bad, 0.6, 3.0), 0.3)


def some_inverted(rng: np.random.Generator, families: int) -> Units:
    """As before, but of the bad families most patches are taken for the other label."""
    label = np.repeat([0, 1], families)
    bad = rng.random(len(label)) < 1 / 8
    return predictions(rng, label, usual_sizes(rng, len(label)), np.where(bad, -0.5, 3.0), 0.2)


def single(rng: np.random.Generator, families: int) -> Units:
    """One patch a family."""
    label = np.repeat([0, 1], families)
    return predictions(rng, label, np.ones(len(label), int), np.full(len(label), 0.8), 0.7)


def imbalanced(rng: np.random.Generator, families: int) -> Units:
    """Four times as many families of the one label as of the other."""
    label = np.repeat([0, 1], [families, 4 * families])
    return predictions(rng, label, usual_sizes(rng, len(label)), np.full(len(label), 0.8), 0.7)


def guessing(rng: np.random.Generator, families: int) -> Units:
    """Nothing was learned, but families have a look of their own."""
    label = np.repeat([0, 1], families)
    return predictions(rng, label, usual_sizes(rng, len(label)), np.zeros(len(label)), 0.7)


def two_labels(rng: np.random.Generator, families: int) -> Units:
    """A third of the families, each a patient, has patches of both labels, with one difficulty for both."""
    kinds = np.arange(2 * families) % 3
    family, label = (index.ravel() for index in np.indices((2 * families, 2)))
    size = usual_sizes(rng, len(family)) * ((kinds != 1)[family] * (label == 0) + (kinds != 0)[family] * (label == 1))
    distance = (0.8 + 0.7 * rng.normal(size=2 * families))[family]
    drawn = predictions(rng, label, size, distance, 0.0)
    return drawn._replace(families=family[drawn.families])


def three_labels(rng: np.random.Generator, families: int) -> Units:
    """Three labels with as many families each."""
    label = np.repeat([0, 1, 2], families)
    family = np.repeat(np.arange(len(label)), usual_sizes(rng, len(label)))
    own = 1.2 * np.eye(3)[label] + 0.7 * rng.normal(size=(len(label), 3))
    logs = scipy.special.log_softmax(SLOPE * (own[family] + rng.normal(size=(len(family), 3))), axis=1)
    labels = label[family]
    return Units(
        "patch", np.zeros(1, int), labels, family, np.exp(logs)[None], -logs[np.arange(len(labels)), labels][None]
    )


COHORTS: dict[str, Callable[[np.random.Generator, int], Units]] = {
    "by chance": alike,
    "large ones hard": heavy,
    "giants": giants,
    "one in eight bad": some_bad,
    "one in eight inverted": some_inverted,
    "one patch a family": single,
    "four to one": imbalanced,
    "nothing learned": guessing,
    "patients of two labels": two_labels,
    "three labels": three_labels,
}


def truth(name: str) -> dict[str, float]:
    """Every score of many families, each counted once."""
    rng, values = np.random.default_rng(12345), []
    for _ in range(6):
        units = COHORTS[name](rng, 2000)
        weights = once_weights(units.families, units.labels)
        values.append({metric: score[0, 0] for metric, score in weighted_scores(units, weights[None]).items()})
    return {metric: float(np.mean([one[metric] for one in values])) for metric in values[0]}


def measure(task: tuple[str, int]) -> tuple[list[str], float]:
    """A line of the table, and the coverage of the naive interval of the accuracy."""
    name, families = task
    true, rng = truth(name), np.random.default_rng([families, *map(ord, name)])
    ends: dict[str, list[tuple[float, float]]] = {metric: [] for metric in METRICS}
    naive = []
    for number in range(REPEATS):
        units = COHORTS[name](rng, families)
        for score in score_units(units, families_once=True, seed=number, resamples=RESAMPLES):
            if score.metric in ends and score.interval is not None:
                ends[score.metric].append(score.interval)
        naive.append(naive_interval(int(units.hits.sum()), len(units.labels)))
    cells = []
    for metric, intervals in ends.items():
        if not intervals:
            cells.append("–")
            continue
        low, high = np.asarray(intervals).T
        held = np.mean((low <= true[metric]) & (high >= true[metric]))
        cells.append(f"{100 * held:.1f} % / {np.median(high - low):.2f}")
    low, high = np.asarray(naive).T
    return cells, float(np.mean((low <= true["accuracy"]) & (high >= true["accuracy"])))


Pair = tuple[Tested, Tested]


def pair(rng: np.random.Generator, families: int, distances: tuple[np.ndarray, np.ndarray]) -> Pair:
    """What two methods predict on the same families; half of a patch's own noise is the same for both."""
    label = np.repeat([0, 1], families)
    family = np.repeat(np.arange(2 * families), usual_sizes(rng, 2 * families))
    labels, shared = label[family], rng.normal(size=len(family))
    tested = []
    for distance in distances:
        noise = (shared + rng.normal(size=len(family))) / 2**0.5
        logit = SLOPE * ((2 * label - 1) * distance)[family] + SLOPE * noise
        one = scipy.special.expit(logit)
        loss = np.logaddexp(0, logit) - labels * logit
        units = Units("patch", np.zeros(1, int), labels, family, np.stack([1 - one, one], axis=1)[None], loss[None])
        tested.append(Tested(pa.table({}), units, units, {}, {}, 1, 1))
    return tested[0], tested[1]


def no_better(rng: np.random.Generator, families: int) -> Pair:
    """Neither is better: which one does better on a family is chance."""
    own = 0.8 + 0.7 * rng.normal(size=(2, 2 * families))
    return pair(rng, families, (own[0], own[1]))


def better(rng: np.random.Generator, families: int) -> Pair:
    """What is hard for the one is hard for the other, and the first is a little better."""
    own = 0.8 + 0.7 * rng.normal(size=2 * families)
    return pair(rng, families, (own, own - 0.2 + 0.4 * rng.normal(size=2 * families)))


def better_on_some(rng: np.random.Generator, families: int) -> Pair:
    """They are alike, but for one family in eight, on which the second guesses."""
    own = 3 + 0.2 * rng.normal(size=2 * families)
    return pair(rng, families, (own, np.where(rng.random(2 * families) < 1 / 8, 0.0, own)))


PAIRS: dict[str, Callable[[np.random.Generator, int], Pair]] = {
    "neither better": no_better,
    "the first better": better,
    "better on one in eight": better_on_some,
}


def measure_pair(task: tuple[str, int]) -> list[str]:
    """Coverage, median width, and how often an interval of a difference leaves out 0, of every score."""
    name, families = task
    rng = np.random.default_rng(12345)
    many = [differences(*PAIRS[name](rng, 1500), resamples=2) for _ in range(6)]
    rng = np.random.default_rng([families, *map(ord, name)])
    found = [differences(*PAIRS[name](rng, families), resamples=RESAMPLES) for _ in range(REPEATS)]
    cells = []
    for metric in COMPARED:
        true = np.mean([one[metric].estimate for one in many])
        low, high = np.asarray([one[metric].interval for one in found]).T
        held, apart = np.mean((low <= true) & (true <= high)), np.mean((low > 0) | (high < 0))
        cells.append(f"{true:+.3f}: {100 * held:.1f} % / {np.median(high - low):.2f} / {100 * apart:.1f} %")
    return cells


def main() -> None:
    """Measures and writes the tables."""
    tasks = [(name, families) for name in COHORTS for families in FAMILIES]
    rows = []
    with multiprocessing.Pool() as pool:
        for (name, families), (cells, naive) in zip(tasks, pool.imap(measure, tasks), strict=True):
            rows.append(f"| {name} | {families} | {' | '.join(cells)} | {100 * naive:.1f} % |")
            print(rows[-1], flush=True)
        pairs = [(name, families) for name in PAIRS for families in FAMILIES]
        compared = []
        for (name, families), cells in zip(pairs, pool.imap(measure_pair, pairs), strict=True):
            compared.append(f"| {name} | {families} | {' | '.join(cells)} |")
            print(compared[-1], flush=True)
    error = 100 * (0.95 * 0.05 / REPEATS) ** 0.5
    lines = [
        "# Coverage of 95 % intervals",
        "",
        f"`python -m benchmarks.coverage`, {datetime.date.today()}, Python {platform.python_version()}, NumPy "
        f"{np.__version__}, SciPy {scipy.__version__}. Simulated cohorts with known truth, {REPEATS} a row: a coverage "
        f"of 95 % has a standard error of {error:.1f} points. A cell is coverage / median width of nbjax's interval of "
        "a score in which every family counts once; the last column is the coverage of an interval of the accuracy "
        "that takes patches for independent. With three families a label intervals are wide and hold the truth more "
        "often than they say, because little can be said from so few. The cohorts:",
        "",
        *(f"- {name}: {' '.join(str(cohort.__doc__).split())}" for name, cohort in COHORTS.items()),
        "",
        f"| cohorts | families a label | {' | '.join(METRICS).replace('_', ' ')} | patches, accuracy |",
        f"| --- | ---: |{' ---: |' * (len(METRICS) + 1)}",
        *rows,
        "",
        "## Differences of two methods on the same families",
        "",
        "A cell is the true difference: coverage / median width / share of intervals that leave out 0. The cohorts:",
        "",
        *(f"- {name}: {' '.join(str(cohort.__doc__).split())}" for name, cohort in PAIRS.items()),
        "",
        f"| methods | families a label | {' | '.join(COMPARED).replace('_', ' ')} |",
        f"| --- | ---: |{' ---: |' * len(COMPARED)}",
        *compared,
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
