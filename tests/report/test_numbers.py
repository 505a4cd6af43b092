"""Every number of the page, computed again from the Parquet files by other means."""

import collections
import itertools
import re
import shutil

import numpy as np
import pyarrow.parquet
import pytest
import scipy.optimize
import scipy.special
import sklearn.metrics

from nbjax.analysis import family_interval, jackknife_interval
from tests.report.conftest import page_of, per_cent, placed_predictions, scores_of, write_study

CELL = ("learning_rate", "batch_size")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study's folder with every file that a study writes now."""
    rng = np.random.default_rng(3)
    names = ("test", "folds", "validation")
    tables = {name: placed_predictions(rng, ("D", "PD"), fold=name == "folds") for name in names}
    return write_study(tmp_path_factory.mktemp("study"), lambda record: record["dataset"].update(audit={}), **tables)


@pytest.fixture(scope="module")
def page(study):
    """Its report."""
    return page_of(study)


def rows_of(folder, name):
    return pyarrow.parquet.read_table(folder / f"{name}.parquet").to_pylist()


def selected(folder):
    """Selected loss of each session, by cell and seed: the criterion's least, epoch by epoch."""
    losses = collections.defaultdict(dict)
    for row in rows_of(folder, "sessions"):
        cell, seed = tuple(row[name] for name in CELL), row["seed"]
        value = max(row["train_loss"], row["validation_loss"])
        losses[cell][seed] = min(value, losses[cell].get(seed, np.inf))
    return losses


def units(folder, name, key):
    """Labels, families and probabilities of class 1 `[seeds, units]`: means over samples, then over patches."""
    patches = collections.defaultdict(list)
    for row in rows_of(folder, name):
        patches[row["seed"], row["slide"], row["x"], row["y"], row["family"], row["label"]].append(row["probability"])
    above = collections.defaultdict(list)
    for (seed, slide, x, y, family, label), values in patches.items():
        place = {"patch": (slide, x, y), "slide": (slide,), "family": (family,)}[key]
        above[seed, label, family, place].append(np.mean(values))
    places = sorted({place[1:] for place in above})
    seeds = sorted({place[0] for place in above})
    values = np.array([[np.mean(above[seed, *place]) for place in places] for seed in seeds])
    return np.array([place[0] for place in places]), np.array([place[1] for place in places]), values


def calibration_error(labels, probability, sample_weight=None, bins=15):
    confidence, right = np.maximum(probability, 1 - probability), (probability > 0.5) == labels
    weights = np.ones(len(labels)) if sample_weight is None else sample_weight
    total = 0.0
    for low in np.arange(bins) / bins:
        here = (confidence > low) & (confidence <= low + 1 / bins + 1e-12)
        total += abs((weights * right)[here].sum() - (weights * confidence)[here].sum())
    return total / weights.sum()


def of_answers(score, **given):
    return lambda y, p, w: score(y, p > 0.5, sample_weight=w, **given)


def of_probabilities(score):
    return lambda y, p, w: score(y, p, sample_weight=w)


SCORES = {
    "accuracy": of_answers(sklearn.metrics.accuracy_score),
    "balanced accuracy": of_answers(sklearn.metrics.balanced_accuracy_score),
    "area under the ROC curve": of_probabilities(sklearn.metrics.roc_auc_score),
    "average precision (PD)": of_probabilities(sklearn.metrics.average_precision_score),
    "sensitivity (PD classified rightly)": of_answers(sklearn.metrics.recall_score),
    "specificity (D classified rightly)": of_answers(sklearn.metrics.recall_score, pos_label=0),
    "F1 (PD)": of_answers(sklearn.metrics.f1_score),
    "Brier score": of_probabilities(sklearn.metrics.brier_score_loss),
    "expected calibration error": of_probabilities(calibration_error),
    "loss, nats": of_probabilities(sklearn.metrics.log_loss),
}
SHARES = {"accuracy", "balanced accuracy", "expected calibration error"}


def text_of(name, value):
    return per_cent(value) if name in SHARES or "classified" in name else f"{value:.3f}"


def once(labels, families):
    """A weight of each unit, so that every family counts once."""
    pairs = list(zip(labels.tolist(), families.tolist(), strict=True))
    counts = collections.Counter(pairs)
    return np.array([1 / counts[pair] for pair in pairs])


# Predictions, level, and whether every family counts once, by column of the table.
COLUMNS = {
    1: ("fold_predictions", "patch", True),
    2: ("test_predictions", "patch", True),
    3: ("test_predictions", "family", True),
    4: ("test_predictions", "slide", False),
    5: ("test_predictions", "patch", False),
}


def test_every_score_at_every_level(study, page):
    assert page.tables["test"][0][1:] == [
        "patches of every family, each held out once",
        "test patches, by family",
        "test families, each counted once",
        "test slides, each counted once",
        "test patches, each counted once",
    ]
    for column, (name, level, families_once) in COLUMNS.items():
        labels, families, values = units(study, name, level)
        weights = once(labels, families) if families_once else None
        shown = scores_of(page, column)
        assert shown["how many"][0] == str(len(labels))
        assert shown["families"][0] == "5 + 5"
        sizes = np.unique(families, return_counts=True)[1]
        effective = 10 if families_once else sizes.sum() ** 2 / (sizes**2).sum()
        assert shown["as many families of equal size"][0] == f"{effective:.1f}"
        together = values.mean(axis=0)
        for metric, score in SCORES.items():
            assert shown[metric][0] == text_of(metric, score(labels, together, weights)), (metric, level)
        if families_once:
            hits = ((together > 0.5) == labels).astype(float)
            folds = 5 if name == "fold_predictions" else 1
            low, high = family_interval(hits, families, labels, fraction=True, folds=folds).interval
            ends = [float(end.rstrip(" %")) / 100 for end in shown["accuracy"][1].split(" to ")]
            # Where families agree, the interval is as wide as a bootstrap of patches says.
            np.testing.assert_allclose(ends, (low, high), atol=0.01)
        else:
            assert shown["accuracy"][1] == ""


def test_an_interval_of_an_area_leaves_out_one_family_at_a_time(study, page):
    labels, families, values = units(study, "test_predictions", "patch")
    together, weights = values.mean(axis=0), once(labels, families)
    names = sorted(set(zip(labels.tolist(), families.tolist(), strict=True)))
    rest = [families != family for _, family in names]
    area = sklearn.metrics.roc_auc_score
    left_out = [area(labels[rows], together[rows], sample_weight=weights[rows]) for rows in rest]
    sizes = np.eye(2)[[label for label, _ in names]] * np.array([(~rows).sum() for rows in rest])[:, None]
    estimate = area(labels, together, sample_weight=weights)
    low, high = jackknife_interval(estimate, np.array(left_out), sizes, fraction=True).interval
    value, ends = scores_of(page, 2)["area under the ROC curve"]
    assert value == f"{estimate:.3f}"
    np.testing.assert_allclose([float(end) for end in ends.split(" to ")], (low, high), atol=0.01)


def test_all_scores_repeat_the_table_of_test_scores(page):
    rows = {tuple(row[:4]): row[5] for row in page.tables["scores"][1:]}
    for column, (name, level, families_once) in COLUMNS.items():
        of = "held out once" if name.startswith("fold") else "test split"
        for metric in SCORES:
            key = (of, level, "families" if families_once else "units", metric.split(" (")[0])
            assert rows[key].split("\n")[0] == scores_of(page, column)[metric][0]
    assert {row[1] for row in page.tables["scores"][1:] if row[0] == "held out once"} == {"patch", "slide", "family"}


def test_how_often_the_chosen_cell_is_better(study, page):
    losses = selected(study)
    pairs = [(loss, losses[0.001, 8][seed]) for seed, loss in losses[0.01, 8].items()]
    better = sum(1.0 if mine < other else 0.5 if mine == other else 0.0 for mine, other in pairs)
    rows = {row[0]: row[-1] for row in page.tables["cells"][1:]}
    assert rows["0.001"].split("\n")[0] == f"at {better:g} of 4 seeds"
    assert rows["0.01"] == "chosen"


def test_what_the_best_of_many_is_worth(study, page):
    losses = selected(study)
    cells = sorted(losses)
    table = np.array([[losses[cell][seed] for seed in range(4)] for cell in cells])
    apparent, honest, winners = [], [], []
    for reporting in itertools.combinations(range(4), 2):
        choosing = [seed for seed in range(4) if seed not in reporting]
        winner = table[:, choosing].mean(axis=1).argmin()
        winners.append(winner)
        apparent.append(table[winner, choosing].mean())
        honest.append(table[winner, list(reporting)].mean())
    assert [row[1] for row in page.tables["winner"][1:]] == [
        f"{table.min():.3f}",
        f"{np.mean(apparent):.3f}",
        f"{np.mean(honest):.3f} ± {np.std(honest, ddof=1):.3f}",
        re.sub(r"[+-]0\.000", "0.000", f"{np.mean(honest) - np.mean(apparent):+.3f}"),
        per_cent(np.mean(np.array(winners) == cells.index((0.01, 8)))),
    ]
    mine = list(losses[0.01, 8].values())
    expected = [np.mean([min(drawn) for drawn in itertools.product(mine, repeat=n)]) for n in (1, 2, 3, 4)]
    assert page.tables["expected"] == [
        ["best of", "1", "2", "3", "4"],
        ["expected loss", *(f"{x:.3f}" for x in expected)],
    ]


def test_confusion(study, page):
    labels, _, values = units(study, "test_predictions", "patch")
    shares = sklearn.metrics.confusion_matrix(labels, values.mean(axis=0) > 0.5, normalize="true")
    assert page.tables["confusion"][1:] == [
        [name, str((labels == place).sum()), *(per_cent(share) for share in shares[place])]
        for place, name in enumerate(("D", "PD"))
    ]


def test_temperatures_come_from_validation_alone(study, page):
    def logits_and_labels(name):
        rows = sorted(rows_of(study, name), key=lambda row: (row["seed"], row["sample"]))
        logits = scipy.special.logit(np.array([row["probability"] for row in rows], np.float64)).reshape(4, -1)
        return logits, np.array([row["label"] for row in rows]).reshape(4, -1)

    validation, test = logits_and_labels("validation_predictions"), logits_and_labels("test_predictions")
    temperatures, errors = [], []
    labels, _, _ = units(study, "test_predictions", "patch")
    for logits, label, unseen in zip(*validation, test[0], strict=True):
        found = scipy.optimize.minimize_scalar(
            lambda t, z=logits, y=label: sklearn.metrics.log_loss(y, scipy.special.expit(z / t)), bounds=(0.05, 20)
        )
        temperatures.append(found.x)
        # Samples of one patch stand side by side, its two transforms.
        scaled = scipy.special.expit(unseen / found.x).reshape(-1, 2).mean(axis=1)
        errors.append(calibration_error(labels, scaled))
    text = f"{np.mean(temperatures):.2f} ± {np.std(temperatures, ddof=1):.2f} over 4 sessions"
    assert text in page.text
    row = page.tables["temperature"][2]
    assert row[0] == "expected calibration error"
    (scores,) = (row for row in page.tables["wider"][1:] if row[0] == "expected calibration error")
    single = [calibration_error(labels, one) for one in units(study, "test_predictions", "patch")[2]]
    losses = [sklearn.metrics.log_loss(labels, one) for one in units(study, "test_predictions", "patch")[2]]
    assert row[1].split(" ± ")[0] == per_cent(np.mean(single))
    assert scores[3:] == ["none", "none", "–"]
    assert float(row[2].split(" %")[0]) == pytest.approx(100 * np.mean(errors), abs=0.06)
    assert page.tables["temperature"][1][1].split(" ± ")[0] == f"{np.mean(losses):.3f}"


def test_the_test_split_does_not_change_temperatures(study, page, tmp_path):
    def temperature(page):
        return re.search(r"validation samples is ([\d.]+ ± [\d.]+)", page.text).group(1)

    shutil.copytree(study, tmp_path / "study")
    other = placed_predictions(np.random.default_rng(9), ("D", "PD"))
    pyarrow.parquet.write_table(other, tmp_path / "study" / "test_predictions.parquet")
    assert temperature(page_of(tmp_path / "study")) == temperature(page)


def test_numbers_sort_by_what_they_are(page):
    values = [
        float(attributes["data-value"]) for tag, attributes in page.tags if "data-value" in attributes and tag == "td"
    ]
    assert len(values) > 100
    assert np.isfinite(values).all()
