"""Is the chosen cell better than the others, or the luckiest of many that are alike?"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy import stats

from nbjax.analysis.selection import CellKey, sessions_by_cell
from nbjax.analysis.uncertainty import Interval
from nbjax.errors import InputError

# Fewer seeds tell nothing of how cells differ.
LEAST_SEEDS = 5
PERMUTATIONS = 5000
# Numbers held at once.
ROOM = 4_000_000


class Comparison(NamedTuple):
    """The chosen cell against another, seed by seed.

    Attributes:
        seeds: that both have.
        won: seeds at which the chosen cell has the lower selected loss, ties counted half.
        interval: of the probability that it has (Clopper and Pearson); None with fewer than `LEAST_SEEDS`.
        p_value: that cells which are all alike show one so far behind the best of them, see `compare_with_chosen`; None
            with fewer than `LEAST_SEEDS`.
    """

    seeds: int
    won: float
    interval: Interval | None
    p_value: float | None


def compare_with_chosen(
    history: pa.Table, criterion: str, chosen: CellKey, *, seed: int = 0, permutations: int = PERMUTATIONS
) -> dict[CellKey, Comparison]:
    """Each other cell against the chosen one, which is that of the least mean selected loss.

    A session's randomness derives from its seed alone, so that sessions of one seed are pairs: cells that share
    backbone and strategy start from the same head and see the samples in the same order. How far a cell is behind is
    the mean of its differences over seeds, in standard errors. A p-value is the share of permutations of the cells
    within their seeds, the best cell chosen anew in each, in which any cell falls as far behind the chosen one (a
    max-type correction, Westfall and Young 1993). It allows for both: that the cell was chosen by these very sessions,
    and that it is compared with many. It speaks of other seeds on the same slides and the same partition.

    Args:
        history: a row a session and epoch, as a study writes it.
        criterion: a loss of `selection.CRITERIA`.
        chosen: the chosen cell.
        seed: of the permutations.
        permutations: how many.

    Raises:
        InputError: no such cell.
    """
    losses = {
        cell: {session.seed: session.loss for session in sessions}
        for cell, sessions in sessions_by_cell(history, criterion).items()
    }
    if chosen not in losses:
        raise InputError(f"the study has no cell {chosen._asdict()}.")
    cells = [cell for cell in losses if cell != chosen]
    shared = sorted(set.intersection(*(set(of_cell) for of_cell in losses.values())))
    p_values: list[float | None] = [None] * len(cells)
    if cells and len(shared) >= LEAST_SEEDS:
        matrix = np.asarray([[losses[cell][number] for number in shared] for cell in (chosen, *cells)])
        p_values = [*_p_values(matrix, seed, permutations)]
    compared = {}
    for cell, p_value in zip(cells, p_values, strict=True):
        pairs = sorted(losses[chosen].keys() & losses[cell].keys())
        mine, other = (np.asarray([losses[key][number] for number in pairs]) for key in (chosen, cell))
        won = float((mine < other).sum() + (mine == other).sum() / 2)
        compared[cell] = Comparison(len(pairs), won, _exact(won, len(pairs)), p_value)
    return compared


def _exact(won: float, seeds: int) -> Interval | None:
    """Clopper and Pearson's interval; a half-won pair widens it to either side."""
    if seeds < LEAST_SEEDS:
        return None
    low, high = (stats.binomtest(int(count), seeds).proportion_ci() for count in (np.floor(won), np.ceil(won)))
    return Interval(float(low.low), float(high.high))


def _p_values(losses: np.ndarray, seed: int, permutations: int) -> list[float]:
    """Of each cell but the first, the chosen one; `losses` are `[cells, seeds]`, infinite where there is none."""
    finite = losses[np.isfinite(losses)]
    losses = np.where(np.isfinite(losses), losses, 2 * finite.max() - finite.min())
    behind = _behind(losses[None], np.zeros(1, int))[0, 1:]
    rng = np.random.default_rng(seed)
    step = max(1, ROOM // losses.size)
    furthest = []
    for begin in range(0, permutations, step):
        order = rng.random((min(step, permutations - begin), *losses.shape)).argsort(axis=1)
        permuted = np.take_along_axis(losses[None], order, axis=1)
        furthest.append(_behind(permuted, permuted.mean(axis=2).argmin(axis=1)).max(axis=1))
    # As far but for rounding counts.
    reached = np.concatenate(furthest)[None] >= behind[:, None] * (1 - 1e-9)
    p_values: list[float] = ((1 + reached.sum(axis=1)) / (1 + permutations)).tolist()
    return p_values


def _behind(losses: np.ndarray, best: np.ndarray) -> np.ndarray:
    """How many standard errors each cell is behind the `best` `[studies]`, float `[studies, cells]`, of losses
    `[studies, cells, seeds]`.
    """
    differences = losses - losses[np.arange(len(losses)), best][:, None]
    means, errors = differences.mean(axis=2), differences.std(axis=2, ddof=1) / losses.shape[2] ** 0.5
    # Differences that are all the same have no error but that of their digits.
    scores: np.ndarray = means / np.maximum(errors, 1e-9 * np.abs(losses).max())
    return scores
