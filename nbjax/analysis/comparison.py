"""Is one cell better than another? The probability that a session of the one beats a session of the other."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy import stats

from nbjax.analysis.cells import RESAMPLES
from nbjax.analysis.selection import ACCURACY_CRITERION, CellKey, sessions_by_cell
from nbjax.analysis.uncertainty import LEVEL, Interval
from nbjax.errors import InputError


class Improvement(NamedTuple):
    """How often the first of two beats the second.

    Attributes:
        probability: that it does, ties counted half; 0.5 where neither is better.
        interval: bootstrap's, over sessions; None with one session on a side, or where all comparisons end alike.
        p_value: two-sided, that the probability is 0.5: Mann and Whitney's test, or the sign test on pairs; None with
            one session on a side.
        sessions: of the first and of the second; the number of pairs twice where they are paired.
    """

    probability: float
    interval: Interval | None
    p_value: float | None
    sessions: tuple[int, int]


def probability_of_improvement(
    first: np.ndarray,
    second: np.ndarray,
    *,
    lower_is_better: bool = True,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Improvement:
    """P(a session of the first is better than one of the second) + P(they are equal) / 2.

    It is Mann and Whitney's U over the number of pairs, which asks nothing of the shape of the distributions, so that
    sessions without a finite loss count as worse than all others. The interval draws sessions again on either side
    separately (Agarwal et al. 2021). It speaks of other seeds on the same slides and the same partition.

    Args:
        first: scores of sessions `[n]`, not NaN.
        second: scores of sessions `[m]`, not NaN.
        lower_is_better: as of a loss; False for an accuracy.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        level: of confidence, in (0, 1).
    """
    sign = -1.0 if lower_is_better else 1.0
    first, second = sign * np.asarray(first, np.float64), sign * np.asarray(second, np.float64)
    wins = (first[:, None] > second) + 0.5 * (first[:, None] == second)
    counts = len(first), len(second)
    probability = float(wins.mean())
    if min(counts) < 2:
        return Improvement(probability, None, None, counts)
    rng = np.random.default_rng(seed)
    drawn = [rng.multinomial(count, np.full(count, 1 / count), size=resamples) / count for count in counts]
    values = np.einsum("rn,nm,rm->r", drawn[0], wins, drawn[1], optimize=True)
    interval = _interval(wins, values, level)
    # Of sessions all alike the test statistic has no variance.
    alike = len(np.unique(np.concatenate([first, second]))) == 1
    p_value = 1.0 if alike else float(stats.mannwhitneyu(first, second).pvalue)
    return Improvement(probability, interval, p_value, counts)


def paired_improvement(
    first: Mapping[int, float],
    second: Mapping[int, float],
    *,
    lower_is_better: bool = True,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Improvement:
    """How often the first is better than the second with the same seed, ties counted half.

    A session's randomness derives from its seed alone: two cells that share backbone and strategy start from the same
    head and see the samples in the same order, so that comparing seed by seed takes out what both share. Where the
    heads differ in shape nothing is shared; then use `probability_of_improvement`.

    Args:
        first: score by seed; seeds that only one side has are left out.
        second: likewise.
        lower_is_better: as of a loss; False for an accuracy.
        seed: of the bootstrap.
        resamples: of the bootstrap, over pairs.
        level: of confidence, in (0, 1).

    Raises:
        InputError: no seed is on both sides.
    """
    shared = sorted(first.keys() & second.keys())
    if not shared:
        raise InputError("the two cells share no seed; expected sessions of the same seeds.")
    sign = -1.0 if lower_is_better else 1.0
    ours, theirs = (sign * np.asarray([side[key] for key in shared]) for side in (first, second))
    wins = (ours > theirs) + 0.5 * (ours == theirs)
    counts = len(shared), len(shared)
    if len(shared) < 2:
        return Improvement(float(wins.mean()), None, None, counts)
    drawn = wins[np.random.default_rng(seed).integers(0, len(wins), (resamples, len(wins)))].mean(axis=1)
    interval = _interval(wins, drawn, level)
    decided = int((wins != 0.5).sum())
    p_value = float(stats.binomtest(int((wins == 1).sum()), decided).pvalue) if decided else 1.0
    return Improvement(float(wins.mean()), interval, p_value, counts)


def _interval(wins: np.ndarray, drawn: np.ndarray, level: float) -> Interval | None:
    """The bootstrap's quantiles; none where all comparisons end alike, of which drawing again tells nothing."""
    if np.ptp(wins) == 0:
        return None
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def compare_cells(
    history: pa.Table, criterion: str, reference: CellKey, *, paired: bool = False, seed: int = 0
) -> list[tuple[CellKey, Improvement]]:
    """Each other cell against one: its key, and how probably the reference beats it.

    The p-values are of single comparisons: over many cells some are small by chance alone. Where the reference was
    chosen by these very sessions, they favour it: probabilities are then too high and p-values too small.

    Args:
        history: a row a session and epoch, as a study writes it.
        criterion: of `selection.criterion_values`.
        reference: as the chosen cell.
        paired: seed by seed.
        seed: of the bootstraps.

    Raises:
        InputError: no such cell.
    """
    cells = {
        cell: {session.seed: session.score for session in sessions}
        for cell, sessions in sessions_by_cell(history, criterion).items()
    }
    if reference not in cells:
        raise InputError(f"the study has no cell {reference._asdict()}.")
    lower = criterion != ACCURACY_CRITERION
    compared = []
    for cell, scores in cells.items():
        if cell == reference:
            continue
        if paired:
            improvement = paired_improvement(cells[reference], scores, lower_is_better=lower, seed=seed)
        else:
            improvement = probability_of_improvement(
                np.asarray(list(cells[reference].values())),
                np.asarray(list(scores.values())),
                lower_is_better=lower,
                seed=seed,
            )
        compared.append((cell, improvement))
    return compared
