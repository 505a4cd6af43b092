"""Tables of the report on the test split and on families held out once."""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from nbjax.analysis.curves import confusion_matrices
from nbjax.analysis.scores import Score, Tested
from nbjax.analysis.weighted import METRICS
from nbjax.report.calibrating import Calibration
from nbjax.report.table import NONE, Entry, Head, Table, number, percent, span, spread, three, whole, word

SHARES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "expected_calibration_error")
LEVELS = {"sample": "samples", "patch": "patches", "slide": "slides", "family": "families"}


def metric_name(metric: str, classes: Sequence[str] = ()) -> str:
    """A metric in words; with two classes also which of them it is about."""
    names = {
        "roc_auc": "area under the ROC curve",
        "average_precision": "average precision",
        "f1": "F1",
        "brier": "Brier score",
        "loss": "loss, nats",
    }
    if len(classes) == 2:
        names |= {
            "specificity": f"specificity ({classes[0]} classified rightly)",
            "sensitivity": f"sensitivity ({classes[1]} classified rightly)",
            "f1": f"F1 ({classes[1]})",
            "average_precision": f"average precision ({classes[1]})",
        }
    return names.get(metric, metric.replace("_", " "))


def metric_text(metric: str) -> Callable[[float], str]:
    """How a metric is printed."""
    return percent if metric in SHARES else three


def metrics_of(tested: Tested) -> list[str]:
    """Accuracy first, then what else is defined at the report's level, the loss last."""
    order = [*(name for name in METRICS if name != "loss"), "loss"]
    return [name for name in order if tested.score(name).estimate is not None]


def test_table(test: Tested, folds: Tested | None, classes: Sequence[str]) -> Table:
    """Every metric by patch, slide and family, and with every family held out once; intervals by family below."""
    levels = [level for level in LEVELS if (level, "accuracy") in test.scores]
    levels = [level for level in levels if level != "sample" or test.units.level == "sample"]
    names = {level: f"test {LEVELS[level]}" for level in levels}
    if {"slide", "family"} <= set(levels) and len(
        {test.scores[one, "accuracy"].units for one in ("slide", "family")}
    ) == 1:
        # A column of the same numbers would only widen the table.
        levels.remove("family")
        names["slide"] = "test slides (each a family)"
    heads = [Head("", True), *(Head(names[level]) for level in levels)]
    heads += [] if folds is None else [Head(f"{LEVELS[folds.units.level]} of every family, each held out once")]

    def line(name: str, of: Callable[[Tested, str], Entry]) -> list[Entry]:
        held_out = [] if folds is None else [of(folds, folds.units.level)]
        return [word(name), *(of(test, level) for level in levels), *held_out]

    rows = [
        line(metric_name(metric, classes), functools.partial(_estimate, metric=metric)) for metric in metrics_of(test)
    ]
    if len(classes) > 2:
        rows += [_recall_line(test, folds, len(levels), place, name) for place, name in enumerate(classes)]
    rows.append(line("how many", lambda one, level: whole(one.scores[level, "accuracy"].units)))
    rows.append(line("families", lambda one, level: word(family_counts(one.scores[level, "accuracy"]))))
    rows.append(line("sessions", lambda one, level: whole(one.sessions)))
    return Table("test", heads, rows)


def family_counts(score: Score) -> str:
    """How many families of each label, as `5 + 7`; where some have several labels also how many in all, as `5 + 7 (9 in
    all)`.
    """
    by_label = " + ".join(map(str, score.families))
    return (
        by_label if score.distinct_families == sum(score.families) else f"{by_label} ({score.distinct_families} in all)"
    )


def _estimate(tested: Tested, level: str, metric: str) -> Entry:
    score, text = tested.scores[level, metric], metric_text(metric)
    return number(score.estimate, text, span(score.interval, text) or ("" if score.estimate is None else "no interval"))


def _recall_line(test: Tested, folds: Tested | None, levels: int, place: int, name: str) -> list[Entry]:
    """With more than two classes, the share of one's units classified rightly, at the level of the report."""
    shares = [number(recalls(result)[place], percent) for result in ([test] if folds is None else [test, folds])]
    return [word(f"{name} classified rightly"), shares[0], *[Entry(NONE)] * (levels - 1), *shares[1:]]


def confusion(tested: Tested) -> np.ndarray:
    """Units by label (rows) and predicted class, mean over sessions, float `[classes, classes]`."""
    return confusion_matrices(tested.units).mean(axis=0)


def recalls(tested: Tested) -> list[float | None]:
    """Of each class, the share of its units classified rightly; None for one without units."""
    return [float(row[place] / row.sum()) if row.sum() else None for place, row in enumerate(confusion(tested))]


def wider_table(test: Tested) -> Table:
    """Intervals that count families, and those of a report that forgets them."""
    name = LEVELS[test.units.level]
    heads = [Head("", True), Head("mean ± s.d. over sessions"), Head("95 % interval, by family")]
    heads += [Head("bootstrap of families"), Head(f"bootstrap of {name}"), Head("times wider")]
    rows = []
    for metric in metrics_of(test):
        score, text = test.score(metric), metric_text(metric)
        rows.append(
            [
                word(metric_name(metric)),
                spread(score.estimate, score.std, text),
                *_intervals(score, text),
            ]
        )
    return Table("wider", heads, rows, sortable=True, title="How much wider intervals by family are")


def _intervals(score: Score, text: Callable[[float], str]) -> list[Entry]:
    """By family, by the bootstrap of families, by that of units, and how many times wider the second is than the
    third.
    """
    intervals = (score.interval, score.bootstrap, score.naive)
    return [
        *(word(span(interval, text) or "none") for interval in intervals),
        number(score.times_wider, "{:.1f}".format),
    ]


def scores_table(results: Sequence[tuple[str, Tested]]) -> Table:
    """Every score at every level, as computed.

    Args:
        results: each with its name.
    """
    heads = [Head("of", True), Head("level", True), Head("score", True), Head("units"), Head("mean ± s.d.")]
    heads += [Head("by family"), Head("bootstrap of families"), Head("bootstrap of units"), Head("times wider")]
    rows = []
    for name, tested in results:
        for (level, metric), score in tested.scores.items():
            text = metric_text(metric)
            rows.append(
                [
                    word(name),
                    word(level),
                    word(metric_name(metric)),
                    whole(score.units),
                    spread(score.estimate, score.std, text, score.reason if score.estimate is None else ""),
                    *_intervals(score, text),
                ]
            )
    return Table("scores", heads, rows, sortable=True, title="Every score at every level")


def confusion_table(test: Tested, classes: Sequence[str]) -> Table:
    """Shares of each label's units by predicted class, mean over sessions."""
    rows = []
    for name, line in zip(classes, confusion(test), strict=True):
        total = line.sum()
        shares = [number(float(count / total) if total else None, percent) for count in line]
        rows.append([word(name), number(float(total), "{:,.0f}".format), *shares])
    name = LEVELS[test.units.level]
    return Table(
        "confusion", [Head("label", True), Head(name), *(Head(f"predicted {label}") for label in classes)], rows
    )


def temperature_table(calibration: Calibration) -> Table:
    """Loss and calibration error of the test split before and after temperature scaling, mean ± s.d. over sessions."""
    rows = [
        [
            word(name),
            *(_over_sessions(values, text) for values in (before, after)),
        ]
        for name, before, after, text in (
            ("loss, nats", calibration.loss_before, calibration.loss_after, three),
            ("expected calibration error", calibration.error_before, calibration.error_after, percent),
        )
    ]
    return Table("temperature", [Head("", True), Head("as trained"), Head("after temperature scaling")], rows)


def _over_sessions(values: np.ndarray, text: Callable[[float], str]) -> Entry:
    return spread(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None, text)
