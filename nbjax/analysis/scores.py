"""Test scores, every family counted once, with intervals that respect families; and with every unit counted once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nbjax.analysis.resampling import drawn_weights, left_out_weights, percentile_interval
from nbjax.analysis.uncertainty import (
    FamilyEstimate,
    Interval,
    effective_families,
    family_sizes,
    flat,
    jackknife_interval,
    once_weights,
)
from nbjax.analysis.units import LEVELS, Units, ensemble, units_at
from nbjax.analysis.weighted import BINARY_ONLY, METRICS, weighted_scores

# Of two classes, the label whose units alone a score is taken over.
OF_LABEL = {"sensitivity": 1, "specificity": 0}
# Never negative, so that it is too large with few units, and no interval of this kind holds it.
WITHOUT_INTERVAL = {"expected_calibration_error": "few units make it too large, and no interval says by how much"}
RESAMPLES = 2000


class Score(NamedTuple):
    """One score of one cell at one level: that of the mean of the sessions' probabilities, as one prediction.

    Attributes:
        level: sample, patch, slide or family: what a unit is.
        counted: `families` where every family counts once, its units sharing that; `units` where every unit does.
        metric: of `weighted.METRICS`.
        units: how many samples, patches, slides or families there are.
        sessions: how many predicted.
        families: of each label, in the labels' order; of the score's label alone where it is taken over one. A family
            with two labels counts for both.
        distinct_families: how many families there are, each counted once.
        effective_families: how many of equal size would tell as much, were units counted (`effective_families`).
        estimate: None where the score is not defined (then `reason` says why).
        session_mean: mean over sessions of the score that each has by itself; None where it is not defined.
        std: sample standard deviation of the same; None with one session.
        interval: for other families of the same kinds (`uncertainty.jackknife_interval`); None where none can be had,
            as where units are counted: large families may be the hard ones, and then none holds.
        error: standard error, from how families differ; None where there is no interval.
        naive: percentile bootstrap over units as if they were independent: what forgetting families would print.
        times_wider: how many times wider the interval is than the naive one; None where one is missing or the latter
            has no width.
        reason: why the score or its interval is missing; empty where neither is, and where units are counted.
    """

    level: str
    counted: str
    metric: str
    units: int
    sessions: int
    families: tuple[int, ...]
    distinct_families: int
    effective_families: float
    estimate: float | None
    session_mean: float | None
    std: float | None
    interval: Interval | None
    error: float | None
    naive: Interval | None
    times_wider: float | None
    reason: str


class Tested(NamedTuple):
    """Predictions on families that the sessions did not see.

    Attributes:
        table: a row a seed and sample.
        units: of the sessions taken as one prediction, at the level of the reported scores: patches, or samples where
            the table does not say which patch each is of.
        by_session: likewise of every session by itself.
        by_family: by metric the scores that are reported first, every family counted once.
        scores: every other, by level and metric: at the level of families the share of families, else of units.
        sessions: that predicted.
        folds: how many times they were trained anew; 1 for a test split.
    """

    table: pa.Table
    units: Units
    by_session: Units
    by_family: dict[str, Score]
    scores: dict[tuple[str, str], Score]
    sessions: int
    folds: int

    def score(self, metric: str) -> Score:
        """A metric with every family counted once."""
        return self.by_family[metric]

    @property
    def every_score(self) -> list[Score]:
        """Those that are reported first, then the others."""
        return [*self.by_family.values(), *self.scores.values()]


def score_predictions(table: pa.Table, classes: int, *, seed: int = 0, resamples: int = RESAMPLES) -> Tested:
    """Scores predictions at every level that their columns tell apart: a study's and a baseline's alike.

    Metrics are described in `weighted.py`. Of held-out folds the areas under curves rank probabilities of sessions that
    were trained apart, which lowers them where folds differ in their certainty.

    Args:
        table: a row a seed and sample, as `units_at` wants it; with a column `fold` where families were held out in
            turn.
        classes: how many there are.
        seed: of the bootstraps.
        resamples: of each bootstrap.

    Raises:
        InputError: a column is missing, or the seeds did not predict the same samples.
    """
    placed = {"slide", "x", "y"} <= set(table.column_names)
    folds = len(table["fold"].unique()) if "fold" in table.column_names else 1
    # Families held out once are all of the dataset: its samples are many, and its patches say as much.
    levels = [level for level in LEVELS if level != "sample" or folds == 1] if placed else ["sample"]
    units = {level: units_at(table, level, classes) for level in levels}
    reported = units["patch" if placed else "sample"]
    by_family = score_units(reported, families_once=True, folds=folds, seed=seed, resamples=resamples)
    scores = {
        (level, score.metric): score
        for level in levels
        for score in score_units(
            units[level], families_once=level == "family", folds=folds, seed=seed, resamples=resamples
        )
    }
    return Tested(
        table=table,
        units=ensemble(reported),
        by_session=reported,
        by_family={score.metric: score for score in by_family},
        scores=scores,
        sessions=len(reported.seeds),
        folds=folds,
    )


def score_units(
    units: Units, *, families_once: bool, folds: int = 1, seed: int = 0, resamples: int = RESAMPLES
) -> list[Score]:
    """Every score at one level: one for each of `METRICS`, in that order.

    Args:
        units: of every session.
        families_once: every family counts once, and scores have intervals; else every unit does, and none has.
        folds: in how many the families were held out; 1 where the sessions were trained without any of them.
        seed: of the bootstrap.
        resamples: of the bootstrap.
    """
    each = once_weights(units.families, units.labels) if families_once else None
    sizes, member = family_sizes(units.families, units.labels)
    joint, alone = ensemble(units), np.ones((1, len(units.labels)))
    by_session = weighted_scores(units, alone, each=each)
    estimates = {metric: float(values[0, 0]) for metric, values in weighted_scores(joint, alone, each=each).items()}
    estimated: dict[str, tuple[FamilyEstimate, Interval | None]] = {}
    if families_once:
        estimated = _estimated(joint, estimates, each, (sizes, member), folds, seed, resamples)
    scores = []
    for metric in METRICS:
        own = sizes[:, _columns(units, metric)]
        score = _plain(units, metric, own, "families" if families_once else "units")
        if metric not in estimates:
            many = units.probabilities.shape[2] > 2 and metric in BINARY_ONLY
            reason = "is not defined for more than two classes" if many else "needs units of every label"
            scores.append(score._replace(reason=f"{metric} {reason}"))
            continue
        values = by_session[metric][:, 0]
        score = score._replace(
            estimate=estimates[metric],
            session_mean=float(values.mean()),
            std=float(values.std(ddof=1)) if len(values) > 1 else None,
        )
        scores.append(score if metric not in estimated else _with_interval(score, *estimated[metric]))
    return scores


def scores_table(scores: Sequence[Score]) -> pa.Table:
    """A row a score, the numbers of families by label as text (`10 + 12`), as CSV and Parquet hold it."""
    text = {"level", "counted", "metric", "families", "reason"}
    whole = {"units", "sessions", "distinct_families"}
    rows = [flat(score) | {"families": " + ".join(map(str, score.families))} for score in scores]
    kinds = {name: pa.string() if name in text else pa.int64() if name in whole else pa.float64() for name in rows[0]}
    return pa.Table.from_pylist(rows, pa.schema(list(kinds.items())))


def _columns(units: Units, metric: str) -> slice | np.ndarray:
    """Which columns of families' sizes a score is about: all, or its label's."""
    if metric not in OF_LABEL or units.probabilities.shape[2] > 2:
        return slice(None)
    return np.flatnonzero(np.unique(units.labels) == OF_LABEL[metric])


def _estimated(
    joint: Units,
    estimates: dict[str, float],
    each: np.ndarray | None,
    clusters: tuple[np.ndarray, np.ndarray],
    folds: int,
    seed: int,
    resamples: int,
) -> dict[str, tuple[FamilyEstimate, Interval | None]]:
    """Each score's interval by family, and the one that takes units for independent."""
    sizes, member = clusters
    apart, itself = family_sizes(np.arange(len(joint.labels)), joint.labels)
    drawn = weighted_scores(joint, drawn_weights(np.random.default_rng(seed), apart, resamples), itself, each)
    left_out: dict[str, np.ndarray] = {}
    if (sizes > 0).sum(axis=0).min() > 1:
        left_out = weighted_scores(joint, left_out_weights(len(sizes)), member, each)
    classes, estimated = joint.probabilities.shape[2], {}
    for metric, estimate in estimates.items():
        columns = _columns(joint, metric)
        concerned = (sizes[:, columns] > 0).any(axis=1)
        without = left_out[metric][0] if metric in left_out else np.full(len(sizes), estimate)
        by_family = jackknife_interval(
            estimate,
            without[concerned],
            sizes[concerned][:, columns],
            fraction=metric != "loss" and not (metric == "brier" and classes > 2),
            guess=guess(metric, classes),
            independent=float(drawn[metric][0].var()),
            folds=folds,
        )
        naive = percentile_interval(drawn[metric][0], apart[:, columns])
        if metric in WITHOUT_INTERVAL:
            by_family, naive = by_family._replace(interval=None, error=None, reason=WITHOUT_INTERVAL[metric]), None
        estimated[metric] = by_family, naive
    return estimated


def guess(metric: str, classes: int) -> float:
    """What answering every label alike, whatever the patch, scores in the mean where labels are equally frequent."""
    if metric == "loss":
        return float(np.log(classes))
    if metric == "brier":
        return 0.25 if classes == 2 else 1 - 1 / classes
    return 0.5 if metric == "roc_auc" else 1 / classes


def _plain(units: Units, metric: str, sizes: np.ndarray, counted: str) -> Score:
    """A score without its numbers."""
    return Score(
        level=units.level,
        counted=counted,
        metric=metric,
        units=len(units.labels),
        sessions=len(units.seeds),
        families=tuple((sizes > 0).sum(axis=0).tolist()),
        distinct_families=int((sizes > 0).any(axis=1).sum()),
        effective_families=effective_families(sizes) if sizes.any() else 0.0,
        estimate=None,
        session_mean=None,
        std=None,
        interval=None,
        error=None,
        naive=None,
        times_wider=None,
        reason="",
    )


def _with_interval(score: Score, by_family: FamilyEstimate, naive: Interval | None) -> Score:
    wider, ours = None, by_family.interval
    if ours is not None and naive is not None and naive.high - naive.low > 1e-9:
        wider = (ours.high - ours.low) / (naive.high - naive.low)
    score = score._replace(interval=ours, error=by_family.error, reason=by_family.reason)
    return score._replace(naive=naive, times_wider=wider)
