"""Families (or whatever is the independent unit) drawn again, as weights."""

import numpy as np

from nbjax.analysis.uncertainty import LEVEL, Interval, strata_of


def drawn_weights(rng: np.random.Generator, sizes: np.ndarray, resamples: int) -> np.ndarray:
    """How often a stratified bootstrap draws each cluster: float64 `[resamples, clusters]`.

    Within each label as many are drawn, with replacement, as there are. Labels that share clusters are drawn from
    together, and what lacks one of them is drawn again, so that every label stays present.

    Args:
        rng: source of the draws.
        sizes: number of units of each cluster by label `[clusters, labels]`.
        resamples: how many.
    """
    strata, present = strata_of(sizes), sizes > 0
    weights = np.zeros((resamples, len(sizes)))
    lacking = np.ones(resamples, bool)
    while lacking.any():
        for stratum in np.unique(strata):
            members = np.flatnonzero(strata == stratum)
            even = np.full(len(members), 1 / len(members))
            weights[np.ix_(lacking, members)] = rng.multinomial(len(members), even, size=int(lacking.sum()))
        lacking = (weights @ present == 0).any(axis=1)
    return weights


def left_out_weights(clusters: int) -> np.ndarray:
    """Each cluster left out once, the others counted once: float64 `[clusters, clusters]`."""
    return np.ones((clusters, clusters)) - np.eye(clusters)


def percentile_interval(values: np.ndarray, sizes: np.ndarray, level: float = LEVEL) -> Interval | None:
    """Percentiles of a bootstrap's values, as `scipy.stats.bootstrap` has them; None where a label has one cluster.

    Args:
        values: of the resamples `[resamples]`.
        sizes: number of units of each cluster that was drawn, by label `[clusters, labels]`.
        level: of confidence, in (0, 1).
    """
    if (sizes > 0).sum(axis=0).min() < 2:
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
