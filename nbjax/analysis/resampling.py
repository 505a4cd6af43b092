"""Families (or whatever is the independent unit) drawn again within each label, as weights."""

import numpy as np

from nbjax.analysis.uncertainty import LEVEL


def drawn_weights(rng: np.random.Generator, labels: np.ndarray, resamples: int) -> np.ndarray:
    """How often a stratified bootstrap draws each cluster: float64 `[resamples, clusters]`.

    Within each label as many are drawn, with replacement, as there are, so that every label stays present.

    Args:
        rng: source of the draws.
        labels: of the clusters `[clusters]`.
        resamples: how many.
    """
    weights = np.zeros((resamples, len(labels)))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=resamples)
    return weights


def left_out_weights(clusters: int) -> np.ndarray:
    """Each cluster left out once, the others counted once: float64 `[clusters, clusters]`."""
    return np.ones((clusters, clusters)) - np.eye(clusters)


def percentile_interval(values: np.ndarray, labels: np.ndarray, level: float = LEVEL) -> tuple[float, float] | None:
    """Percentiles of a bootstrap's values, as `scipy.stats.bootstrap` has them; None where a label has one cluster.

    Args:
        values: of the resamples `[resamples]`.
        labels: of the clusters that were drawn `[clusters]`.
        level: of confidence, in (0, 1).
    """
    if np.unique(labels, return_counts=True)[1].min() < 2:
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
