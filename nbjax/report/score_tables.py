"""Tables of the report on the test split and on families held out once."""

from collections.abc import Callable, Sequence

import numpy as np

from nbjax.analysis.curves import confusion_matrices
from nbjax.analysis.scores import Score, Tested
from nbjax.analysis.uncertainty import once_weights
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
    """Every metric with every family held out once and on the test split, every family counted once, with intervals
    below; then of test families, slides and patches, where every one counts.
    """
    levels = [level for level in reversed(LEVELS) if (level, "accuracy") in test.scores]
    levels = [level for level in levels if level != "sample" or test.units.level == "sample"]
    names = {level: f"test {LEVELS[level]}, each counted once" for level in levels}
    if {"slide", "family"} <= set(levels) and len(
        {test.scores[level, "accuracy"].units for level in ("slide", "family")}
    ) == 1:
        # A column of the same numbers would only widen the table.
        levels.remove("slide")
        names["family"] = "test slides (each a family)"
    units = LEVELS[test.units.level]
    heads = [Head("", True), *([] if folds is None else [Head(f"{units} of every family, each held out once")])]
    heads += [Head(f"test {units}, by family"), *(Head(names[level]) for level in levels)]
    columns = [*([] if folds is None else [folds.by_family]), test.by_family]
    columns += [{metric: test.scores[level, metric] for metric in METRICS} for level in levels]

    def line(name: str, of: Callable[[Score], Entry], metric: str = "accuracy") -> list[Entry]:
        return [word(name), *(of(column[metric]) for column in columns)]

    rows = [line(metric_name(metric, classes), _estimate, metric) for metric in metrics_of(test)]
    if len(classes) > 2:
        rows += [_recall_line(test, folds, len(levels), place, name) for place, name in enumerate(classes)]
    rows.append(line("how many", lambda score: whole(score.units)))
    rows.append(line("families", lambda score: word(family_counts(score))))
    rows.append(line("as many families of equal size", _effective))
    rows.append(line("sessions", lambda score: whole(score.sessions)))
    return Table("test", heads, rows)


def _effective(score: Score) -> Entry:
    """Kish's number of families where units are counted; where families are, every one counts."""
    count = score.effective_families if score.counted == "units" else float(score.distinct_families)
    return number(count, "{:.1f}".format)


def family_counts(score: Score) -> str:
    """How many families of each label, as `5 + 7`; where some have several labels also how many in all, as `5 + 7 (9 in
    all)`.
    """
    by_label = " + ".join(map(str, score.families))
    return (
        by_label if score.distinct_families == sum(score.families) else f"{by_label} ({score.distinct_families} in all)"
    )


def _estimate(score: Score) -> Entry:
    text = metric_text(score.metric)
    missing = "no interval" if score.estimate is not None and score.counted == "families" else ""
    return number(score.estimate, text, span(score.interval, text) or missing)


def _recall_line(test: Tested, folds: Tested | None, levels: int, place: int, name: str) -> list[Entry]:
    """With more than two classes, the share of one's units classified rightly, every family counted once."""
    shares = [number(recalls(result)[place], percent) for result in ([test] if folds is None else [folds, test])]
    return [word(f"{name} classified rightly"), *shares, *[Entry(NONE)] * levels]


def confusion(tested: Tested) -> np.ndarray:
    """Units by label (rows) and class predicted by all sessions together, float `[classes, classes]`."""
    return confusion_matrices(tested.units)[0].astype(np.float64)


def recalls(tested: Tested) -> list[float | None]:
    """Of each class, the share of its units classified rightly, every family counted once; None without units."""
    labels, weights = tested.units.labels, once_weights(tested.units.families, tested.units.labels)
    hits, shares = tested.units.hits[0], []
    for place in range(tested.units.probabilities.shape[2]):
        own = labels == place
        shares.append(float(np.average(hits[own], weights=weights[own])) if own.any() else None)
    return shares


def wider_table(test: Tested) -> Table:
    """Intervals that count families, and those of a report that forgets them."""
    heads = [Head("", True), Head("all sessions together"), *_interval_heads(LEVELS[test.units.level])]
    rows = []
    for metric in metrics_of(test):
        score, text = test.score(metric), metric_text(metric)
        rows.append([word(metric_name(metric)), number(score.estimate, text), *_intervals(score, text)])
    return Table("wider", heads, rows, sortable=True, title="How much wider intervals by family are")


def _interval_heads(units: str) -> list[Head]:
    return [
        Head("one session, mean ± s.d."),
        Head("95 % interval, by family"),
        Head(f"as if {units} were independent"),
        Head("times wider"),
    ]


def _intervals(score: Score, text: Callable[[float], str]) -> list[Entry]:
    """One session's score; the interval by family, that which takes units for independent, and how many times wider the
    former is.
    """
    return [
        spread(score.session_mean, score.std, text),
        *(word(span(interval, text) or "none") for interval in (score.interval, score.naive)),
        number(score.times_wider, "{:.1f}".format),
    ]


def scores_table(results: Sequence[tuple[str, Tested]]) -> Table:
    """Every score at every level, as computed.

    Args:
        results: each with its name.
    """
    heads = [Head("of", True), Head("level", True), Head("counted once", True), Head("score", True), Head("units")]
    heads += [Head("all sessions together"), *_interval_heads("units")]
    rows = []
    for name, tested in results:
        for score in tested.every_score:
            text = metric_text(score.metric)
            rows.append(
                [
                    word(name),
                    word(score.level),
                    word(score.counted),
                    word(metric_name(score.metric)),
                    whole(score.units),
                    number(score.estimate, text, score.reason),
                    *_intervals(score, text),
                ]
            )
    return Table("scores", heads, rows, sortable=True, title="Every score at every level")


def confusion_table(test: Tested, classes: Sequence[str]) -> Table:
    """Shares of each label's units by the class that all sessions together predict."""
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
