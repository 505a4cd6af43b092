"""The shape of a distribution over sessions: is it normal, has it more than one mode (paper IX)?

Unimodality is tested with the dip of Hartigan and Hartigan (1985, The Dip Test of Unimodality): the least distance, at
the worst place, between the empirical distribution function and any unimodal one. It needs no bandwidth, and a lone
outlier moves it by no more than its share; Silverman's test takes the outlier's bump for a mode. Its p-value is against
uniform samples of the same size, the unimodal distribution whose dip is largest.
"""

import functools
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy import optimize, signal, stats

from nbjax.errors import InputError

REPLICATES = 2000
# Larger samples are compared with uniform ones of this size: the dip shrinks with the root of the size.
REFERENCE = 1000


class Summary(NamedTuple):
    """A sample of sessions.

    Attributes:
        values: how many.
        mean: of them.
        std: sample standard deviation.
        skewness: third standardised moment; 0 of a symmetric distribution.
        normality_p: p-value that the values are normal (D'Agostino and Pearson: skewness and kurtosis together); None
            below 20 values.
        modes: places of the peaks of a Gaussian kernel density of Silverman's bandwidth, those at least a twentieth of
            the highest above the saddle beside them.
        dip: Hartigan's.
        dip_p: p-value that there is one mode: small where there are more.
    """

    values: int
    mean: float
    std: float
    skewness: float
    normality_p: float | None
    modes: tuple[float, ...]
    dip: float
    dip_p: float


def summarise(values: np.ndarray, *, seed: int = 0, replicates: int = REPLICATES) -> Summary:
    """Moments, normality, modes and the dip test.

    Args:
        values: of sessions, finite, not all alike `[sessions]`, at least four.
        seed: of the dip test.
        replicates: of the dip test.

    Raises:
        InputError: fewer than four values, one that is not finite, or all alike.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 4 or not np.isfinite(values).all() or np.ptp(values) == 0:
        raise InputError(
            f"{len(values)} values, {np.isfinite(values).sum()} finite, {len(np.unique(values))} different; expected "
            "at least four finite ones, not all alike."
        )
    dip, p_value = dip_test(values, seed=seed, replicates=replicates)
    return Summary(
        values=len(values),
        mean=float(values.mean()),
        std=float(values.std(ddof=1)),
        skewness=float(stats.skew(values)),
        normality_p=float(stats.normaltest(values).pvalue) if len(values) >= 20 else None,
        modes=tuple(modes(values).tolist()),
        dip=dip,
        dip_p=p_value,
    )


def modes(values: np.ndarray) -> np.ndarray:
    """Places of the peaks of the kernel density, ascending; `Summary.modes` says which count."""
    density = stats.gaussian_kde(values, "silverman")
    margin = 3 * density.factor * values.std(ddof=1)
    places = np.linspace(values.min() - margin, values.max() + margin, 512)
    heights = density(places)
    return places[signal.find_peaks(heights, prominence=heights.max() / 20)[0]]


def dip_test(
    values: np.ndarray, *, step: float | None = None, seed: int = 0, replicates: int = REPLICATES
) -> tuple[float, float]:
    """Hartigan's dip and its p-value by seeded Monte Carlo.

    An accuracy is a share of so many samples and lies on a lattice, each point of which would count as a mode: where
    values repeat, they are spread at random over their cell of the lattice.

    Args:
        values: finite `[sessions]`.
        step: of the lattice: 1 / samples for an accuracy. None takes the least distance between two values, which is
            too long where they are few and far apart, and then hides modes.
        seed: of the spreading and of the Monte Carlo.
        replicates: uniform samples drawn; the p-value is at least 1 / (replicates + 1).
    """
    values = np.asarray(values, np.float64)
    places = np.unique(np.round(values, 6))
    if 1 < len(places) < len(values):
        step = float(np.diff(places).min()) if step is None else step
        values = values + np.random.default_rng([seed, 1]).uniform(-step / 2, step / 2, len(values))
    dip = dip_statistic(values)
    size = min(len(values), REFERENCE)
    reference = _uniform_dips(size, replicates, seed)
    scaled = dip * (len(values) / size) ** 0.5
    return dip, float((1 + (reference >= scaled).sum()) / (1 + replicates))


@functools.lru_cache(maxsize=16)
def _uniform_dips(size: int, replicates: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 2])
    return np.asarray([dip_statistic(rng.random(size)) for _ in range(replicates)])


def dip_statistic(values: np.ndarray) -> float:
    """Hartigan's dip of a sample, in [1 / (2 n), 1 / 4] for distinct values; equal ones count as modes of their own.

    Their algorithm: between the greatest convex minorant and the least concave majorant of the distribution function
    lies the modal interval's first guess, the whole range; it is narrowed to where the two are farthest apart, as long
    as they are farther apart there than either is from the distribution function outside.
    """
    places, counts = np.unique(values, return_counts=True)
    above = np.cumsum(counts) / len(values)
    below = above - counts / len(values)
    low, high, distance = 0, len(places) - 1, 0.0
    while low < high:
        inside = slice(low, high + 1)
        minorant = _convex(places[inside], below[inside])
        majorant = -_convex(places[inside], -above[inside])
        left, right, gap = _narrowed(minorant, majorant, below[inside], above[inside])
        if gap <= distance:
            break
        outside = (above[inside] - minorant)[: left + 1], (majorant - below[inside])[right:]
        distance = max(distance, *(float(gaps.max()) for gaps in outside))
        if right - left == high - low:
            break
        low, high = low + left, low + right
    return max(distance, 1 / len(values)) / 2


def _convex(places: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Greatest convex function below the points, at the points: its slopes are the isotonic regression of theirs."""
    steps = np.diff(places)
    slopes = optimize.isotonic_regression(np.diff(heights) / steps, weights=steps).x
    return heights[0] + np.concatenate([[0.0], np.cumsum(slopes * steps)])


def _narrowed(
    minorant: np.ndarray, majorant: np.ndarray, below: np.ndarray, above: np.ndarray
) -> tuple[int, int, float]:
    """Where the two curves are farthest apart, as an interval between points they touch, and how far."""
    touches = np.flatnonzero(below - minorant < 1e-12), np.flatnonzero(majorant - above < 1e-12)
    gaps = majorant - minorant
    on_minorant, on_majorant = (one[gaps[one].argmax()] for one in touches)
    if gaps[on_minorant] > gaps[on_majorant]:
        later = touches[1][np.searchsorted(touches[1], on_minorant)]
        return int(on_minorant), int(later), float(gaps[on_minorant])
    earlier = touches[0][np.searchsorted(touches[0], on_majorant, "right") - 1]
    return int(earlier), int(on_majorant), float(gaps[on_majorant])


class Pairs(NamedTuple):
    """Loss and accuracy of the same epoch, of all sessions and epochs (paper, Figure 20).

    Attributes:
        loss: in nats `[rows]`.
        accuracy: in [0, 1] `[rows]`.
        sessions: how many they come from.
        left_out: rows without a finite loss.
    """

    loss: np.ndarray
    accuracy: np.ndarray
    sessions: int
    left_out: int


def loss_accuracy_pairs(history: pa.Table, split: str) -> Pairs:
    """Every epoch of every session, of one split: `train` or `validation`.

    Raises:
        InputError: another split.
    """
    if split not in ("train", "validation"):
        raise InputError(f"split: found {split!r}; expected train or validation, which every epoch has.")
    loss, accuracy = (history[f"{split}_{name}"].to_numpy().astype(np.float64) for name in ("loss", "accuracy"))
    finite = np.isfinite(loss)
    sessions = int((history["epoch"].to_numpy() == 0).sum())
    return Pairs(loss[finite], accuracy[finite], sessions, int((~finite).sum()))
