"""What the best of many is worth: a winner's score is partly luck, and the luck grows with the number that competed."""

import itertools
import math
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nbjax.analysis.selection import CRITERIA, CellKey, sessions_by_cell
from nbjax.errors import InputError

HALVINGS = 1000


def expected_best(scores: np.ndarray, *, lower_is_better: bool = True) -> np.ndarray:
    """Expected best of n sessions drawn from those at hand, for n = 1 … N: float64 `[N]`.

    Drawn with replacement, the minimum of n exceeds the i-th smallest of N scores with probability ((N - i) / N)^n, so
    that

        E(min of n) = sum over i of x_(i) [((N - i + 1) / N)^n - ((N - i) / N)^n],

    exactly (Dodge et al. 2019, Show Your Work, there for the maximum). A best of 10 can so be set beside a best of 3.
    It knows no score below the least one seen, so that toward n = N it is too high.

    Args:
        scores: finite `[N]`.
        lower_is_better: as of a loss; False for an accuracy.

    Raises:
        InputError: no scores, or one that is not finite.
    """
    scores = np.asarray(scores, np.float64)
    if not len(scores) or not np.isfinite(scores).all():
        raise InputError(
            f"{len(scores)} scores, {np.isfinite(scores).sum()} finite; expected finite ones, at least one."
        )
    ordered = np.sort(scores) if lower_is_better else np.sort(scores)[::-1]
    count = len(ordered)
    draws = np.arange(1, count + 1)[:, None]
    beyond = (np.arange(count, -1, -1) / count) ** draws
    return (beyond[:, :-1] - beyond[:, 1:]) @ ordered


class NestedChoice(NamedTuple):
    """A cell chosen by some seeds and reported on the others, averaged over splits of the seeds.

    Attributes:
        cells: how many competed.
        seeds: how many each had.
        held_out: how many of them did not choose.
        splits: of the seeds, how many were averaged.
        luckiest: the best single session of all cells, which chooses and reports at once: what a best value in a paper
            is.
        apparent: mean over splits of the chosen cell's mean loss on the seeds that chose it.
        honest: mean over splits of the chosen cell's mean loss on the seeds that did not.
        honest_std: standard deviation of the latter over splits, which share seeds: a spread, not a standard error.
        optimism: honest - apparent: how much of the winner's lead was luck of its seeds.
        chosen: for each cell, the share of splits that chose it `[cells]`.
    """

    cells: int
    seeds: int
    held_out: int
    splits: int
    luckiest: float
    apparent: float
    honest: float
    honest_std: float
    optimism: float
    chosen: np.ndarray


def nested_choice(
    losses: np.ndarray, held_out: int | None = None, *, splits: int = HALVINGS, seed: int = 0
) -> NestedChoice:
    """Chooses the cell of least mean loss on part of the seeds and reads its mean on the rest.

    The seeds that report did not choose, so that the report is not too low; it is that of a choice made from fewer
    seeds than the study's, which errs to the other side. It corrects for the luck of seeds. The luck of one validation
    split, which all seeds share, is for the test split and the held-out families to show.

    Args:
        losses: selected loss of each cell's sessions, float `[cells, seeds]`; infinite where a session has no finite
            epoch.
        held_out: seeds that report; half of them (rounded down) by default.
        splits: all there are if no more than so many, else so many drawn without replacement of seeds within each.
        seed: of the draws.

    Raises:
        InputError: fewer than two seeds, no cell with finite losses, or nothing or everything held out.
    """
    cells, seeds = losses.shape
    held_out = seeds // 2 if held_out is None else held_out
    if not 0 < held_out < seeds:
        raise InputError(f"{held_out} of {seeds} seeds held out; expected at least one, and at least one to choose.")
    reporting = _splits(seeds, held_out, splits, seed)
    mask = np.zeros((len(reporting), seeds), bool)
    np.put_along_axis(mask, reporting, True, axis=1)
    choosing = np.stack([losses[:, ~held_out_seeds].mean(axis=1) for held_out_seeds in mask])
    winners = choosing.argmin(axis=1)
    honest = np.asarray(
        [losses[cell, held_out_seeds].mean() for cell, held_out_seeds in zip(winners, mask, strict=True)]
    )
    apparent = choosing.min(axis=1)
    if not (np.isfinite(apparent).all() and np.isfinite(honest).all()):
        raise InputError("a chosen cell has a session without a finite epoch; leave out cells that diverge.")
    return NestedChoice(
        cells=cells,
        seeds=seeds,
        held_out=held_out,
        splits=len(reporting),
        luckiest=float(losses.min()),
        apparent=float(apparent.mean()),
        honest=float(honest.mean()),
        honest_std=float(honest.std(ddof=1)) if len(honest) > 1 else 0.0,
        optimism=float((honest - apparent).mean()),
        chosen=np.bincount(winners, minlength=cells) / len(winners),
    )


def _splits(seeds: int, held_out: int, splits: int, seed: int) -> np.ndarray:
    """Which seeds report, int `[splits, held_out]`."""
    if math.comb(seeds, held_out) <= splits:
        return np.asarray(list(itertools.combinations(range(seeds), held_out)))
    rng = np.random.default_rng(seed)
    return rng.permuted(np.tile(np.arange(seeds), (splits, 1)), axis=1)[:, :held_out]


def losses_by_cell(history: pa.Table, criterion: str) -> tuple[list[CellKey], np.ndarray]:
    """The cells, and each one's sessions' selected losses `[cells, seeds]`, of the seeds that all cells have.

    Cells with a session that has no finite epoch are left out: they would never be chosen.

    Raises:
        InputError: the criterion is not a loss, or the cells share no seeds.
    """
    if criterion not in CRITERIA:
        raise InputError(f"criterion: found {criterion!r}; expected one of {', '.join(CRITERIA)}.")
    cells = {
        cell: {session.seed: session.loss for session in sessions}
        for cell, sessions in sessions_by_cell(history, criterion).items()
        if all(session.epoch is not None for session in sessions)
    }
    shared = sorted(set.intersection(*(set(by_seed) for by_seed in cells.values()))) if cells else []
    if not shared:
        raise InputError("the study's cells share no seed with finite losses; expected the same seeds in each.")
    return list(cells), np.asarray([[by_seed[key] for key in shared] for by_seed in cells.values()])
