import csv
import json
import shutil

import numpy as np
import PIL.Image
import pyarrow.parquet
import pytest

from experiments.study import study
from nbjax.analysis import score_predictions
from nbjax.config import StudyConfig
from nbjax.errors import InputError
from nbjax.report.baselines import write_baselines
from nbjax.report.findings import find
from nbjax.report.sections import BASELINES_SECTION, of_study, read_section, store_section
from tests.report.conftest import page_of

SMALL = {"epochs": 2, "seeds": 2, "backbones": ("small_cnn",), "weights": "random", "input_size": 48, "folds": 3}


@pytest.fixture(scope="module")
def finished(slides, tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    study(StudyConfig(name="small", **SMALL), str(slides), out)
    banks = {path: path.stat().st_mtime_ns for path in (out / "banks").rglob("*")}
    write_baselines(out, out / "banks")
    # The study's own bank is what they use.
    assert {path: path.stat().st_mtime_ns for path in (out / "banks").rglob("*")} == banks
    return out


@pytest.mark.parametrize(("ours", "own"), [("baselines", "test_predictions"), ("baseline_folds", "fold_predictions")])
def test_rows_match_the_studys_predictions(finished, ours, own):
    found, expected = (pyarrow.parquet.read_table(finished / f"{name}.parquet") for name in (ours, own))
    assert found.column_names == [*expected.column_names, "method"]
    names = list(dict.fromkeys(found["method"].to_pylist()))
    assert names == ["features_logistic", "features_svm", "patterns_svm", "words_svm"]
    same = ["sample", "slide", "family", "label", "transform", "x", "y"] + ["fold"] * ("fold" in ours)
    one = expected.filter(expected["seed"].to_numpy() == 0).sort_by("sample").select(same)
    for name in names:
        of_method = found.filter(np.asarray(found["method"].to_pylist()) == name)
        assert of_method.select(same).to_pydict() == one.to_pydict()
        assert set(of_method["seed"].to_pylist()) == {0}


def test_the_studys_page_has_them_until_another_study_lies_there(finished, tmp_path):
    page = page_of(finished)
    assert "Older kinds of methods" in page.text
    assert len(page.tables["baselines"]) == 1 + 5
    copy = tmp_path / "study"
    shutil.copytree(finished, copy)
    record = json.loads((copy / "study.json").read_text(encoding="utf-8"))
    record["chosen"]["learning_rate"] *= 2
    section = read_section(copy / BASELINES_SECTION)
    assert section.about == of_study(json.loads((finished / "study.json").read_text(encoding="utf-8")))
    assert section.about != of_study(record)
    store_section(section._replace(about=of_study(record)), copy / BASELINES_SECTION)
    page = page_of(copy)
    assert "baselines" not in page.tables
    assert (
        f"was made when this study stood otherwise; python -m experiments.baselines --study={copy} makes it anew"
        in page.text
    )


@pytest.mark.parametrize(
    ("field", "value"), [("folds", 4), ("seeds", 3), ("folds", 0)], ids=["other folds", "more seeds", "no folds"]
)
def test_a_study_that_changes_is_told_from_itself(finished, field, value):
    record = json.loads((finished / "study.json").read_text(encoding="utf-8"))
    assert of_study({**record, "config": {**record["config"], field: value}}) != of_study(record)


@pytest.mark.parametrize("lost", ["figures/baselines.png", BASELINES_SECTION])
def test_a_damaged_part_does_not_take_the_page_with_it(finished, tmp_path, lost):
    copy = tmp_path / "study"
    shutil.copytree(finished, copy)
    (copy / lost).write_bytes(b"") if lost == BASELINES_SECTION else (copy / lost).unlink()
    page = page_of(copy)
    assert "baselines" not in page.tables
    assert f"; python -m experiments.baselines --study={copy} makes it anew" in page.text


def test_the_table_holds_what_the_predictions_say(finished):
    with (finished / "baselines.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows][-1] == "study"
    predictions = pyarrow.parquet.read_table(finished / "baselines.parquet")
    for row in rows[:-1]:
        of_method = predictions.filter(np.asarray(predictions["method"].to_pylist()) == row["method"])
        result = score_predictions(of_method, 2)
        assert float(row["test_accuracy"]) == pytest.approx(result.score("accuracy").estimate)
        assert float(row["test_roc_auc"]) == pytest.approx(result.score("roc_auc").estimate)
        assert row["chosen"].startswith("C = ")
    assert rows[-1]["sessions"] == "2"
    lines = (finished / "baselines.md").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.startswith("|")]) == 2 + 5
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    with PIL.Image.open(finished / "figures/baselines.png") as picture:
        assert min(picture.size) > 300
    assert not list(finished.rglob("*.tmp"))


def test_the_studys_line_says_what_its_report_says(finished):
    with (finished / "baselines.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = find(finished)
    for name, tested in (("test", found.test), ("folds", found.folds)):
        accuracy = tested.score("accuracy")
        shown = rows[-1]
        assert shown["level"] == tested.units.level == "patch"
        low, high = accuracy.interval or (None, None)
        for end, value in (("accuracy", accuracy.estimate), ("low", low), ("high", high)):
            assert (float(shown[f"{name}_{end}"]) if shown[f"{name}_{end}"] else None) == value
        if name == "folds":
            for row in rows[:-1]:
                less = accuracy.estimate - float(row["folds_accuracy"])
                assert float(row["study_less"]) == pytest.approx(less, abs=1e-9)
                assert float(row["study_less_low"]) < less < float(row["study_less_high"])
        # One number for one thing, in every line.
        assert {row[f"{name}_units"] for row in rows} == {str(accuracy.units)}
        assert {row[f"{name}_distinct_families"] for row in rows} == {str(accuracy.distinct_families)}


def test_a_folder_without_a_study_gets_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"study\.json: there is no such file"):
        write_baselines(tmp_path, tmp_path / "banks")
