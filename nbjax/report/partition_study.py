"""A study over partitions: what its tables say, in numbers, figures and sentences."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nbjax.analysis.leak_curve import Point, leak_points, point_of, score_matrix
from nbjax.analysis.uncertainty import flat
from nbjax.analysis.variance import Component, Components, variance_components
from nbjax.english import listing
from nbjax.files import replacing
from nbjax.report.figures.partition_study import leak_figure, score_distribution, variance_figure
from nbjax.report.paper import published
from nbjax.report.sections import Picture, Section
from nbjax.report.table import percent, span
from nbjax.spreadsheet import write_csv
from nbjax.training.config import PartitionStudyConfig

# The paper's one test score, of another dataset; context, never a target.
PAPER_ACCURACY = published.BEST_TEST.accuracy
LEVELS = {"sample": "samples (as in the paper)", "patch": "patches", "family": "families"}
METHODS = {"filing": "iterative filing", "exact": "the exact method"}
CAPTIONS = {
    "distribution": "Mean test accuracy under partitions that are all near the optimum.",
    "variance": "Where the variance of the test accuracy comes from; whiskers are 95 % bootstrap intervals.",
    "leak_curve": "Reported and true accuracy by the share of families that leak; bands are 95 % intervals over draws.",
}
# What a leak's three curves show; the first is what a report would say.
REPORTED = "reported: the head on a validation split that leaks"
TRUE = "true: the same sessions on test families, which never leak"
REGRESSION = "reported: logistic regression in 5-fold cross-validation"
Curve = Mapping[float, Point]


def conclude(config: PartitionStudyConfig, tables: Mapping[str, pa.Table], out: Path) -> Section:
    """Analyses the tables, draws, and says what was found.

    Args:
        config: the study's.
        tables: `partitions` and, where a leak was drawn, `leak` and `regression`.
        out: gets `variance.json`, `figures/*.png` and their numbers as CSV.
    """
    scores = {level: score_matrix(tables["partitions"], f"test_{level}_accuracy") for level in LEVELS}
    components = {LEVELS[level]: variance_components(scores_of_level[1:]) for level, scores_of_level in scores.items()}
    filing, resampled = scores["sample"][0], scores["sample"][1:]
    placed = _placed(resampled, float(filing.mean()), PAPER_ACCURACY)
    # Whose partition number 0 is: exact's where filing does not apply.
    method = listing(METHODS[code] for code in tables["partitions"]["method"][0].as_py().split("+"))
    content = {name: _plain(component) for name, component in components.items()} | {"placed": placed}
    with replacing(out / "variance.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    title = f"Test accuracy, {resampled.size} sessions of {config.strategies[0]} on {config.backbones[0]}"
    means = [{"partition": number, "mean": float(row.mean())} for number, row in enumerate(scores["sample"])]
    drawn = {
        "distribution": (score_distribution(resampled, filing, PAPER_ACCURACY, title, method=method), means),
        "variance": (variance_figure(components, "Where the test accuracy's variance comes from"), _rows(components)),
    }
    lines = _answer(components[LEVELS["sample"]], placed, method)
    if config.leak_fractions:
        curves = _leak_curves(tables)
        drawn["leak_curve"] = (
            leak_figure(curves, "What leaking families do to a reported accuracy"),
            _points_of(curves),
        )
        lines += _leak_answer(curves, tables["leak"])
    pictures = []
    for name, (figure, rows) in drawn.items():
        path = out / "figures" / f"{name}.png"
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png")
        write_csv(rows, path.with_suffix(".csv"))
        pictures.append(Picture(path, CAPTIONS[name]))
    return Section("How much is the partition", [*lines, *_diverged(tables)], pictures)


def _diverged(tables: Mapping[str, pa.Table]) -> list[str]:
    counts = {
        name: int(np.sum(tables[name]["diverged"].to_numpy(zero_copy_only=False)))
        for name in tables
        if name != "regression"
    }
    return [
        f"{name}: {count} sessions diverged; they keep their best finite epoch and are counted."
        for name, count in counts.items()
        if count
    ]


def _leak_curves(tables: Mapping[str, pa.Table]) -> dict[str, Curve]:
    fractions, accuracies = (tables["regression"][name].to_numpy() for name in ("fraction", "accuracy"))
    return {
        REPORTED: leak_points(tables["leak"], "validation_sample_accuracy"),
        TRUE: leak_points(tables["leak"], "test_sample_accuracy"),
        REGRESSION: {
            float(fraction): point_of(accuracies[fractions == fraction][:, None]) for fraction in np.unique(fractions)
        },
    }


def _points_of(curves: Mapping[str, Curve]) -> list[dict[str, Any]]:
    return [
        {"curve": name, "fraction": fraction, **flat(point)}
        for name, points in curves.items()
        for fraction, point in points.items()
    ]


def _placed(sessions: np.ndarray, filing: float, paper: float) -> dict[str, Any]:
    """Where two scores lie among those of partitions x seeds `sessions`: the share below, in [0, 1]."""
    means = sessions.mean(axis=1)
    return {
        "resampled_mean": float(means.mean()),
        "resampled_std": float(means.std(ddof=1)),
        "resampled_quantiles": np.quantile(means, [0, 0.025, 0.5, 0.975, 1]).tolist(),
        "filing": filing,
        "filing_percentile": float(np.mean(means < filing)),
        "paper": paper,
        # One session, and so placed among sessions.
        "paper_percentile": float(np.mean(sessions < paper)),
    }


def _plain(components: Components) -> dict[str, Any]:
    return {name: flat(part) if isinstance(part, Component) else part for name, part in components._asdict().items()}


def _rows(components: Mapping[str, Components]) -> list[dict[str, Any]]:
    return [
        {"level": level, "part": part, **flat(getattr(components_of_level, part))}
        for level, components_of_level in components.items()
        for part in ("partition", "seed", "interaction")
    ]


def _answer(parts: Components, placed: Mapping[str, Any], method: str) -> list[str]:
    def share(part: Component) -> str:
        return f"{_whole(part.share)} ({span(part.share_interval, _whole)})"

    def points(part: Component) -> str:
        return f"{100 * part.variance**0.5:.1f}"

    least, low, middle, high, most = map(percent, placed["resampled_quantiles"])
    return [
        f"The same head was trained under {parts.partitions} nearly equally good partitions with {parts.seeds} seeds "
        f"each. Which families are in which split explains {share(parts.partition)} of the variance of the test "
        f"accuracy, the seed {share(parts.seed)}, and what is left, their interaction, {share(parts.interaction)}; 95 "
        "% bootstrap intervals, rough ones with so few seeds.",
        f"As standard deviations: partition {points(parts.partition)}, seed {points(parts.seed)}, interaction "
        f"{points(parts.interaction)} points of accuracy.",
        *(
            f"The {name} part's estimate was negative and is given as 0: too small to be told from none."
            for name in ("partition", "seed", "interaction")
            if getattr(parts, name).truncated
        ),
        f"Nearly equally good partitions of the same families give mean test accuracies from {least} to {most} (median "
        f"{middle}, 95 % of them in {low} to {high}).",
        f"{method[0].upper()}{method[1:]}'s own partition gives {percent(placed['filing'])}: "
        f"{_whole(placed['filing_percentile'])} of the resampled ones give less. The paper's "
        f"{100 * placed['paper']:.2f} %, of one session on one partition of another dataset, would be above "
        f"{_whole(placed['paper_percentile'])} of the sessions.",
    ]


def _leak_answer(curves: Mapping[str, Curve], table: pa.Table) -> list[str]:
    def said(point: Point) -> str:
        return f"{percent(point.mean)} ({span(point.interval, percent)})"

    reported, true, regression = (list(curves[name].items()) for name in (REPORTED, TRUE, REGRESSION))
    (first, start), (last, end) = reported[0], reported[-1]
    fractions, counts = (table[name].to_numpy() for name in ("fraction", "train_families"))
    families = [counts[fractions == one].mean() for one in (first, last)]
    before, after = (_gap_by_draw(table, fraction) for fraction in (first, last))
    return [
        f"With {_whole(first)} of the families leaking, the reported accuracy is {said(start)} and the true one "
        f"{said(true[0][1])}; with {_whole(last)} it is {said(end)} and the true one {said(true[-1][1])}; "
        f"{start.draws} draws x {start.sessions // start.draws} seeds, 95 % intervals over draws.",
        f"Reported less true accuracy is {_points(before)} points with {_whole(first)} leaking (other families, and "
        f"validation chooses the epoch) and {_points(after)} with {_whole(last)}: the larger leak adds "
        f"{_points(after - before)} points.",
        f"Training then sees patches of {families[-1]:.1f} instead of {families[0]:.1f} families on average, which can "
        "raise the true score.",
        f"Logistic regression, five repetitions of 5-fold cross-validation: {said(regression[0][1])} with "
        f"{_whole(regression[0][0])} leaking, {said(regression[-1][1])} with {_whole(regression[-1][0])}; standard "
        f"deviations over repetitions {regression[0][1].std:.3f} and {regression[-1][1].std:.3f}.",
        "All these intervals are over draws of partitions or folds of the same families: they do not say how other "
        "families would fare.",
    ]


def _whole(share: float) -> str:
    return f"{100 * share:.0f} %"


def _gap_by_draw(table: pa.Table, fraction: float) -> np.ndarray:
    """Reported less true accuracy of each draw with a fraction of families leaking, means over seeds `[draws]`."""
    here = table.filter(pa.array(table["fraction"].to_numpy() == fraction))
    reported, true = (score_matrix(here, f"{split}_sample_accuracy") for split in ("validation", "test"))
    return np.asarray((reported - true).mean(axis=1))


def _points(draws: np.ndarray) -> str:
    """A mean over draws with its 95 % interval, in points of accuracy."""
    point = point_of(100 * draws[:, None])
    return f"{point.mean:+.1f} ({span(point.interval, '{:+.1f}'.format)})"
