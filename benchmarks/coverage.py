"""How often three intervals for the accuracy hold the truth, in simulated cohorts whose truth is known.

    python -m benchmarks.coverage

Each cohort has two labels with the same number of families. A family's own accuracy is drawn from a beta distribution
(mean 0.78, deviation 0.18), its number of patches from a lognormal one (deviation of the logarithm 0.7), and each patch
is right with its family's accuracy. The truth is 0.78. Writes `benchmarks/coverage.md`.
"""

import datetime
import platform
from pathlib import Path

import numpy as np
import scipy

from nbjax.analysis.uncertainty import family_interval, naive_interval

TRUTH, DEVIATION = 0.78, 0.18
COHORTS, RESAMPLES = 2000, 500


def cohort(rng: np.random.Generator, families: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits, family and label of every patch."""
    strength = TRUTH * (1 - TRUTH) / DEVIATION**2 - 1
    sizes = np.maximum(1, np.round(rng.lognormal(2.7, 0.7, 2 * families))).astype(int)
    accuracy = rng.beta(TRUTH * strength, (1 - TRUTH) * strength, 2 * families)
    family = np.repeat(np.arange(2 * families), sizes)
    hits = (rng.random(len(family)) < accuracy[family]).astype(float)
    return hits, family, family // families


def bootstrap_interval(rng: np.random.Generator, hits: np.ndarray, family: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Percentiles over families drawn again within each label."""
    sums, sizes = np.bincount(family, hits), np.bincount(family)
    right, drawn = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    for one in np.unique(label):
        members = np.unique(family[label == one])
        chosen = members[rng.integers(0, len(members), (RESAMPLES, len(members)))]
        right, drawn = right + sums[chosen].sum(axis=1), drawn + sizes[chosen].sum(axis=1)
    return np.quantile(right / drawn, [0.025, 0.975])


def measure(families: int) -> tuple[list[float], list[float]]:
    """Coverage and mean width of our interval, the bootstrap and the naive one."""
    rng = np.random.default_rng(families)
    ends = []
    for _ in range(COHORTS):
        hits, family, label = cohort(rng, families)
        ours = family_interval(hits, family, label, fraction=True)
        naive = naive_interval(int(hits.sum()), len(hits))
        ends.append([(ours.low, ours.high), bootstrap_interval(rng, hits, family, label), naive])
    low, high = np.moveaxis(np.asarray(ends, float), 2, 0)
    return ((low <= TRUTH) & (high >= TRUTH)).mean(axis=0).tolist(), (high - low).mean(axis=0).tolist()


def main() -> None:
    """Measures and writes the table."""
    lines = [
        "# Coverage of 95 % intervals for an accuracy",
        "",
        f"`python -m benchmarks.coverage`, {datetime.date.today()}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__}. {COHORTS} simulated cohorts a row; coverage / mean width.",
        "",
        "| families a label | nbjax (by family) | bootstrap over families | patches taken as independent |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for families in (2, 3, 5, 10, 30):
        coverage, width = measure(families)
        cells = [f"{100 * c:.1f} % / {100 * w:.0f} points" for c, w in zip(coverage, width, strict=True)]
        lines.append(f"| {families} | {' | '.join(cells)} |")
        print(lines[-1])
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
