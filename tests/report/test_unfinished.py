"""Reports of studies that are not finished, or that an older version wrote."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
import pytest

from nbjax.errors import InputError
from nbjax.report.study_page import write_report
from tests.report.conftest import history_table, page_of, placed_predictions


@pytest.fixture
def running(make_study):
    """A study killed in the middle: one of its two programs is finished, and an earlier study's tables lie there."""

    def make(finished=1):
        folder = make_study(lambda record: record.update(chosen=None, programs=["one", "two"], config={}))
        history = history_table(np.random.default_rng(5))
        for name, rate in list(zip(("one", "two"), (0.001, 0.01), strict=True))[:finished]:
            (folder / "programs" / name).mkdir(parents=True)
            rows = history.filter(pyarrow.compute.equal(history["learning_rate"], rate))
            pyarrow.parquet.write_table(rows, folder / "programs" / name / "history.parquet")
        (folder / "sessions.parquet").unlink()
        return folder

    return make


def test_what_is_finished_is_shown(running):
    page = page_of(running())
    assert "So far 4 sessions in 1 cell of the grid. 1 of the study's 2 programs are finished." in page.text
    assert [row[:3] for row in page.tables["cells"][1:]] == [["0.001", "8", "4"]]
    assert "1 of 2 programs are missing" in page.text
    assert "The study is not finished (1 of 2 programs)" in page.text


def test_nothing_of_an_earlier_study_is_shown(running):
    page = page_of(running())
    assert "nothing was classified yet" in page.text
    assert "test" not in page.tables
    assert "winner" not in page.tables
    assert "the chosen cell is better" not in page.tables["cells"][0]


def test_before_the_first_program_is_finished(running):
    folder = running(finished=0)
    page = page_of(folder)
    assert "So far 0 sessions in 0 cells of the grid" in page.text
    assert "cells" not in page.tables
    assert "dataset" in page.tables


def test_a_report_may_lie_elsewhere(running, tmp_path_factory):
    folder, out = running(), tmp_path_factory.mktemp("out")
    before = sorted(folder.rglob("*"))
    assert write_report(folder, out / "there") == out / "there" / "report.html"
    assert sorted(folder.rglob("*")) == before


def test_without_validation_predictions_it_says_so(make_study):
    page = page_of(make_study())
    assert "Temperature scaling needs predictions on the validation split" in page.text
    assert "temperature" not in page.tables


def test_validation_predictions_of_other_sessions_are_refused(make_study):
    rng = np.random.default_rng(0)
    test, validation = (placed_predictions(rng, ("D", "PD")) for _ in range(2))
    some = validation.filter(pyarrow.compute.less(validation["seed"], 3))
    with pytest.raises(InputError, match=r"validation_predictions\.parquet: is not of the sessions that predicted"):
        write_report(make_study(test=test, validation=some))


def test_three_classes_have_temperatures_and_a_curve_each(make_study):
    rng, classes = np.random.default_rng(0), ("D", "PD", "UD")
    names = ("test", "folds", "validation")
    tables = {name: placed_predictions(rng, classes, fold=name == "folds") for name in names}
    folder = make_study(classes=classes, **tables)
    page = page_of(folder)
    assert len(page.tables["temperature"]) == 3
    curves = pyarrow.csv.read_csv(folder / "figures/ranking.csv")
    assert set(curves["positive"].to_pylist()) == set(classes)


def test_the_audit(make_study):
    def audited(found):
        return lambda record: record["dataset"].update(audit=found)

    clean = page_of(make_study(audited({})))
    assert "Clean. All 134 patches were compared across the three splits" in clean.text
    assert [row[1] for row in clean.tables["audit"][1:]] == ["0"] * 5
    message = "2 patches are identical & lie in several splits"
    found = page_of(make_study(audited({"identical": {"findings": 3, "messages": [message]}})))
    assert "Clean." not in found.text
    assert message in found.text
    assert [row[1] for row in found.tables["audit"][1:]] == ["0", "0", "0", "3", "0"]
    assert "holds no audit" in page_of(make_study()).text


def test_limits_follow_from_the_study(make_study):
    def real(record):
        record["dataset"]["phantom"] = False

    text = page_of(make_study(real, folds=None)).text
    limits = text[text.index("The limits") : text.index("What was random")]
    assert "Every one of the 28 slides counts as a family of its own" in limits
    assert "chosen by a validation split of 3 + 3 families" in limits
    assert "Cells have as few as 4 sessions" in limits
    assert "Families were not held out in turn." in limits
    assert "2 cells were compared" in limits

    def grouped(record):
        real(record)
        record["dataset"]["families"] = {"D": 7, "PD": 14}

    assert "counts as a family of its own" not in page_of(make_study(grouped)).text


def test_one_cell_and_one_seed(make_study):
    rng = np.random.default_rng(2)
    history = history_table(rng)
    one = history.filter(pyarrow.compute.equal(history["learning_rate"], 0.01))
    page = page_of(make_study(history=one, folds=None))
    assert page.tables["cells"][0][-1].startswith("validation accuracy")
    assert "there was one cell, so that nothing was picked among cells" in page.text
    single = history.filter(pyarrow.compute.equal(history["seed"], 0))
    test = placed_predictions(rng, ("D", "PD"))
    test = test.filter(pyarrow.compute.equal(test["seed"], 0))
    page = page_of(make_study(history=single, test=test, folds=None, validation=test))
    assert "with one seed a cell, no seed is left to check the choice" in page.text
    assert "This is of 1 session" in page.text
    assert "±" not in page.tables["cells"][1][4]


def test_a_cell_that_never_had_a_finite_loss(make_study):
    rows = history_table(np.random.default_rng(2)).to_pylist()
    for row in rows:
        if row["learning_rate"] == 0.001 and row["seed"] == 2:
            row |= {"train_loss": float("nan"), "validation_loss": float("inf"), "diverged": True}
    page = page_of(make_study(history=pa.Table.from_pylist(rows)))
    assert page.tables["cells"][1][3:5] == ["1", "not finite"]
    # Three of its four sessions may lose, the one without a loss cannot win.
    won, of = re.match(r"at ([\d.]+) of (\d) seeds", page.tables["cells"][1][-1]).groups()
    assert (float(won) >= 1, of) == (True, "4")
    assert "one cell alone has a finite loss in every session" in page.text
