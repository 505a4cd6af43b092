"""Test scores at sample, patch, slide and family level, with intervals that respect families and without."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nbjax.analysis.resampling import drawn_weights, left_out_weights, percentile_interval
from nbjax.analysis.uncertainty import FamilyEstimate, Interval, family_interval, family_sizes, flat, jackknife_interval
from nbjax.analysis.units import LEVELS, Units, units_at
from nbjax.analysis.weighted import BINARY_ONLY, METRICS, weighted_scores

# Scores that are the mean of a number that each unit has, and the label whose units they are taken over.
MEANS: dict[str, int | None] = {"loss": None, "accuracy": None, "brier": None, "sensitivity": 1, "specificity": 0}
RESAMPLES = 2000


class Score(NamedTuple):
    """One score of one cell at one level.

    Attributes:
        level: sample, patch, slide or family: what the score is taken over.
        metric: of `weighted.METRICS`.
        units: how many samples, patches, slides or families there are.
        sessions: how many predicted.
        families: of each label, in the labels' order; of the score's label alone where it is taken over one. A family
            with two labels counts for both.
        distinct_families: how many families there are, each counted once.
        estimate: mean over sessions; None where the score is not defined (then `reason` says why).
        std: sample standard deviation over sessions; None with one session.
        interval: for other families of the same kinds (Student's t over families); None where none can be had.
        bootstrap: percentile bootstrap over families, the usual one; too narrow with few families
            (`benchmarks/coverage.md`).
        naive: percentile bootstrap over units as if they were independent.
        times_wider: how many times wider the bootstrap over families is than the one over units: what it costs that
            patches of a family are alike. 1 where every unit is a family of its own; None where one is missing or has
            no width.
        reason: why something is missing; empty where nothing is.
    """

    level: str
    metric: str
    units: int
    sessions: int
    families: tuple[int, ...]
    distinct_families: int
    estimate: float | None
    std: float | None
    interval: Interval | None
    bootstrap: Interval | None
    naive: Interval | None
    times_wider: float | None
    reason: str


def score_levels(
    table: pa.Table, classes: int, levels: Sequence[str] = tuple(LEVELS), *, seed: int = 0, resamples: int = RESAMPLES
) -> list[Score]:
    """Every score at every level, of the predictions of one cell.

    Sessions are taken as they are: estimates are means over sessions, intervals are about families, and how far
    sessions lie apart is said by `std`. Metrics are described in `weighted.py`. Of held-out folds the areas under
    curves rank probabilities of sessions that were trained apart, which lowers them where folds differ in their
    certainty.

    Args:
        table: a row a seed and sample, as `units_at` wants it.
        classes: how many there are.
        levels: some of `LEVELS`.
        seed: of the bootstraps.
        resamples: of each bootstrap.

    Raises:
        InputError: a column is missing, or the seeds did not predict the same samples.
    """
    scores = []
    for level in levels:
        scores += score_units(units_at(table, level, classes), seed=seed, resamples=resamples)
    return scores


class Tested(NamedTuple):
    """Predictions on families that the sessions did not see.

    Attributes:
        table: a row a seed and sample.
        units: at the level of the reported scores: patches, or samples where the table does not say which patch each is
            of.
        scores: by level and metric.
        sessions: that predicted.
        folds: how many times they were trained anew; 1 for a test split.
    """

    table: pa.Table
    units: Units
    scores: dict[tuple[str, str], Score]
    sessions: int
    folds: int

    def score(self, metric: str) -> Score:
        """A metric at the level of the reported scores."""
        return self.scores[self.units.level, metric]


def score_predictions(table: pa.Table, classes: int, *, resamples: int = RESAMPLES) -> Tested:
    """Scores predictions at every level that their columns tell apart: a study's and a baseline's alike.

    Args:
        table: a row a seed and sample, as `units_at` wants it; with a column `fold` where families were held out in
            turn.
        classes: how many there are.
        resamples: of each bootstrap.

    Raises:
        InputError: a column is missing, or the seeds did not predict the same samples.
    """
    placed = {"slide", "x", "y"} <= set(table.column_names)
    folds = len(table["fold"].unique()) if "fold" in table.column_names else 1
    # Families held out once are all of the dataset: its samples are many, and its patches say as much.
    levels = [level for level in LEVELS if level != "sample" or folds == 1] if placed else ["sample"]
    units = {level: units_at(table, level, classes) for level in levels}
    scores = {
        (level, score.metric): score for level in levels for score in score_units(units[level], resamples=resamples)
    }
    chosen = units["patch" if placed else "sample"]
    return Tested(table, chosen, scores, len(chosen.seeds), folds)


def score_units(units: Units, *, seed: int = 0, resamples: int = RESAMPLES) -> list[Score]:
    """Every score at one level: one for each of `METRICS`, in that order."""
    sizes, family_of = family_sizes(units.families, units.labels)
    alone = np.ones((1, len(units.labels)))
    by_session = weighted_scores(units, alone)
    rng = np.random.default_rng(seed)
    by_family = _mean_over_sessions(units, drawn_weights(rng, sizes, resamples), family_of)
    naive, apart = by_family, sizes
    if len(sizes) < len(units.labels):
        apart, itself = family_sizes(np.arange(len(units.labels)), units.labels)
        naive = _mean_over_sessions(units, drawn_weights(rng, apart, resamples), itself)
    left_out = {}
    if (sizes > 0).sum(axis=0).min() > 1:
        left_out = _mean_over_sessions(units, left_out_weights(len(sizes)), family_of)
    scores = []
    for metric in METRICS:
        if metric not in by_session:
            scores.append(_undefined(units, metric, sizes))
            continue
        values = by_session[metric][:, 0]
        by_families = _by_families(units, metric, float(values.mean()), left_out.get(metric), sizes)
        column = _column(units, MEANS.get(metric))
        bootstrap = percentile_interval(by_family[metric], sizes[:, column])
        as_if = percentile_interval(naive[metric], apart[:, column])
        scores.append(_score(units, metric, values, by_families, bootstrap, as_if))
    return scores


def scores_table(scores: Sequence[Score]) -> pa.Table:
    """A row a score, the numbers of families by label as text (`10 + 12`), as CSV and Parquet hold it."""
    text = {"level", "metric", "families", "reason"}
    whole = {"units", "sessions", "distinct_families"}
    rows = [flat(score) | {"families": " + ".join(map(str, score.families))} for score in scores]
    kinds = {name: pa.string() if name in text else pa.int64() if name in whole else pa.float64() for name in rows[0]}
    return pa.Table.from_pylist(rows, pa.schema(list(kinds.items())))


def _mean_over_sessions(units: Units, weights: np.ndarray, member: np.ndarray) -> dict[str, np.ndarray]:
    """Each score `[rows]` under each row of weights of the clusters, averaged over sessions."""
    return {metric: values.mean(axis=0) for metric, values in weighted_scores(units, weights, member).items()}


def _column(units: Units, label: int | None) -> slice | np.ndarray:
    """Which columns of families' sizes a score is about: all, or the label's."""
    return slice(None) if label is None else np.flatnonzero(np.unique(units.labels) == label)


def _by_families(
    units: Units, metric: str, estimate: float, left_out: np.ndarray | None, sizes: np.ndarray
) -> FamilyEstimate:
    fraction = metric != "loss" and not (metric == "brier" and units.probabilities.shape[2] > 2)
    if metric not in MEANS:
        left_out = np.zeros(len(sizes)) if left_out is None else left_out
        return jackknife_interval(estimate, left_out, sizes, fraction=fraction)
    of_label = MEANS[metric]
    values = {"loss": units.losses, "brier": units.brier}.get(metric, units.hits).mean(axis=0)
    rows = np.ones(len(values), bool) if of_label is None else units.labels == of_label
    return family_interval(values[rows], units.families[rows], units.labels[rows], fraction=fraction)


def _score(
    units: Units,
    metric: str,
    values: np.ndarray,
    by_families: FamilyEstimate,
    bootstrap: Interval | None,
    naive: Interval | None,
) -> Score:
    wider = None
    if bootstrap is not None and naive is not None and naive.high - naive.low > 1e-9:
        wider = (bootstrap.high - bootstrap.low) / (naive.high - naive.low)
    return Score(
        level=units.level,
        metric=metric,
        units=len(units.labels),
        sessions=len(units.seeds),
        families=by_families.families,
        distinct_families=by_families.distinct_families,
        estimate=float(values.mean()),
        std=float(values.std(ddof=1)) if len(values) > 1 else None,
        interval=by_families.interval,
        bootstrap=bootstrap,
        naive=naive,
        times_wider=wider,
        reason=by_families.reason,
    )


def _undefined(units: Units, metric: str, sizes: np.ndarray) -> Score:
    many = units.probabilities.shape[2] > 2 and metric in BINARY_ONLY
    reason = "is not defined for more than two classes" if many else "needs units of every label"
    return Score(
        level=units.level,
        metric=metric,
        units=len(units.labels),
        sessions=len(units.seeds),
        families=tuple((sizes > 0).sum(axis=0).tolist()),
        distinct_families=len(sizes),
        estimate=None,
        std=None,
        interval=None,
        bootstrap=None,
        naive=None,
        times_wider=None,
        reason=f"{metric} {reason}",
    )
