import base64
import functools
import io
import json
import re

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
import pytest
import sklearn.metrics

from nbjax.analysis import family_interval
from nbjax.analysis.selection import CellKey
from nbjax.errors import InputError
from nbjax.files import sealing
from nbjax.report.html import tied
from nbjax.report.study_page import write_report
from nbjax.report.tables import names_of_cells
from tests.report.conftest import page_of, per_cent, scores_of


def bootstrap_of_samples(values, label, resamples=20_000):
    """Percentiles of the mean when samples of each label are drawn again."""
    rng = np.random.default_rng(1)
    drawn = [
        values[label == one][rng.integers(0, (label == one).sum(), (resamples, (label == one).sum()))] for one in (0, 1)
    ]
    return np.quantile(np.concatenate(drawn, axis=1).mean(axis=1), [0.025, 0.975])


def test_cells_are_the_tables_own_numbers(make_study):
    folder = make_study()
    history = pyarrow.parquet.read_table(folder / "sessions.parquet").to_pylist()
    page = page_of(folder)
    rows = page.tables["cells"][1:]
    assert [row[0] for row in rows] == ["0.001", "0.01"]
    for row, rate in zip(rows, (0.001, 0.01), strict=True):
        chosen = []
        for seed in range(4):
            epochs = [line for line in history if line["learning_rate"] == rate and line["seed"] == seed]
            chosen.append(min(epochs, key=lambda line: max(line["train_loss"], line["validation_loss"])))
        losses = np.array([max(line["train_loss"], line["validation_loss"]) for line in chosen])
        accuracies = np.array([line["validation_accuracy"] for line in chosen])
        assert row[2:4] == ["4", "0"]
        assert row[4].split("\n")[0] == f"{losses.mean():.3f} ± {losses.std(ddof=1):.3f}"
        assert row[5].split("\n")[0] == f"{per_cent(accuracies.mean())} ± {per_cent(accuracies.std(ddof=1))}"
        (statistics,) = (line for line in page.tables["statistics"] if line[0] == row[0])
        values = [text.split("\n")[0] for text in statistics[2:]]
        middle = np.sort(losses)[1:3].mean()
        assert values == ["4", *(f"{one:.3f}" for one in (np.median(losses), middle, losses.min(), losses.std(ddof=1)))]


def test_the_chosen_cell_alone_is_marked(make_study):
    page = page_of(make_study())
    assert [attributes.get("class") for tag, attributes in page.tags if tag == "tr"].count(
        "chosen"
    ) == 2  # in two tables
    assert re.search(r'<tr class="chosen"><td data-value="0.01">0.01</td>', page.source)


def test_a_method_that_took_the_place_of_another_says_why(make_study):
    folder = make_study()
    assert "leaves a split" not in page_of(folder).text
    record = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    why = {"method": "exact", "reason": "iterative filing leaves a split without a family, so this is another"}
    record["dataset"]["partition"]["PD"] |= why
    with sealing(folder / "study.json") as temporary:
        temporary.write_text(json.dumps(record), encoding="utf-8")
    assert f"Label PD, method exact: {why['reason']}." in page_of(folder).text


def test_test_scores_equal_scikit_learns(make_study):
    folder = make_study()
    table = pyarrow.parquet.read_table(folder / "test_predictions.parquet")
    label, probability = (table[name].to_numpy().reshape(4, 30) for name in ("label", "probability"))
    label, together = label[0], probability.mean(axis=0)
    families = np.array(table["family"].to_pylist()[:30])
    sizes = dict(zip(*np.unique(families, return_counts=True), strict=True))
    weights = np.array([1 / sizes[family] for family in families])
    page = page_of(folder)
    counted, wider = scores_of(page, 3), {row[0]: row[1:] for row in page.tables["wider"][1:]}
    scores = {name: estimate for name, (estimate, _) in scores_of(page, 2).items()}
    hits = (probability > 0.5) == label
    per_seed = np.average(hits, axis=1, weights=weights)
    assert scores["accuracy"] == per_cent(np.average((together > 0.5) == label, weights=weights))
    assert counted["accuracy"] == (per_cent(((together > 0.5) == label).mean()), "")
    assert wider["accuracy"][1] == f"{per_cent(per_seed.mean())} ± {per_cent(per_seed.std(ddof=1))}"
    assert scores["loss, nats"] == f"{sklearn.metrics.log_loss(label, together, sample_weight=weights):.3f}"
    recall = functools.partial(sklearn.metrics.recall_score, label, together > 0.5, sample_weight=weights)
    assert scores["sensitivity (PD classified rightly)"] == per_cent(recall())
    assert scores["specificity (D classified rightly)"] == per_cent(recall(pos_label=0))
    area = sklearn.metrics.roc_auc_score(label, together, sample_weight=weights)
    assert scores["area under the ROC curve"] == f"{area:.3f}"
    confusion = sklearn.metrics.confusion_matrix(label, together > 0.5, normalize="true")
    assert [row[2:] for row in page.tables["confusion"][1:]] == [[per_cent(one) for one in row] for row in confusion]
    assert (scores["families"], scores["how many"], scores["sessions"]) == ("5 + 5", "30", "4")


def test_intervals_in_the_answer_and_the_table(make_study):
    folder = make_study()
    table = pyarrow.parquet.read_table(folder / "test_predictions.parquet")
    label, probability = (table[name].to_numpy().reshape(4, 30) for name in ("label", "probability"))
    families, label = np.array(table["family"].to_pylist()[:30]), label[0]
    hits = ((probability.mean(axis=0) > 0.5) == label).astype(float)
    interval = family_interval(hits, families, label, fraction=True)
    page = page_of(folder)
    estimate, ends = scores_of(page, 2)["accuracy"]
    printed = [float(end.rstrip(" %")) / 100 for end in ends.split(" to ")]
    np.testing.assert_allclose(printed, interval.interval, atol=0.01)
    wider = {row[0]: row[1:] for row in page.tables["wider"][1:]}
    assert wider["accuracy"][2] == ends
    naive = [float(one.rstrip(" %")) / 100 for one in wider["accuracy"][3].split(" to ")]
    np.testing.assert_allclose(naive, bootstrap_of_samples(hits, label), atol=0.05)
    ours, theirs = ([float(end) for end in wider["Brier score"][place].split(" to ")] for place in (2, 3))
    assert float(wider["Brier score"][4]) == pytest.approx(np.ptp(ours) / np.ptp(theirs), rel=0.05)
    said = f"{estimate} of a family's samples were classified rightly, in the mean over families (95 % interval {ends})"
    assert said in page.text


def test_dataset_and_partition_tables(make_study):
    page = page_of(make_study())
    assert page.tables["dataset"][1] == ["train", "D", "6", "40", "40", "320", "7"]
    assert len(page.tables["dataset"]) == 1 + 6
    assert "17 were rejected (too little tissue)" in page.text
    row = page.tables["partition"][1]
    assert row[2:] == ["0.0712", "60.0 / 18.0 / 22.0\n(70.0 / 15.0 / 15.0)", "42.0 / 22.0 / 36.0\n(33.3 / 33.3 / 33.3)"]


def test_sections_stand_in_their_order(make_study):
    headings = re.findall("<h2>(.*?)</h2>", page_of(make_study()).source)
    assert headings == [
        "The dataset",
        "The leak audit",
        "The results",
        "The uncertainty",
        "The best model",
        "The limits",
        "What was random, phantom or pretrained",
        "How to reproduce it",
    ]


def test_a_phantom_is_called_one_before_anything_else(make_study):
    page = page_of(make_study())
    assert page.text.index("This is a phantom") < page.text.index("The dataset")


def test_real_slides_and_random_weights(make_study):
    def change(record):
        record["dataset"]["phantom"], record["dataset"]["source"] = False, "slides/ours"
        record["backbone"]["pretrained"] = False

    page = page_of(make_study(change))
    assert "This is a phantom" not in page.text
    assert page.text.startswith("ours: report ours D, PD")
    assert "given: slides/ours" in page.text
    assert "The backbone's weights are random" in page.text


def test_a_flag_is_set_as_code_and_what_a_name_holds_is_not_run():
    assert tied("try --set=epochs=50, or (--set=a=<b>).") == (
        "try <code>--set=epochs=50</code>, or (<code>--set=a=&lt;b&gt;</code>)."
    )
    assert tied("a--b is 5.0 % ± 1.0 %") == "a--b is 5.0\u00a0%\u00a0±\u00a01.0\u00a0%"


def test_what_the_nuclei_of_the_slides_told_is_repeated(make_study):
    def change(record):
        record["dataset"]["magnifications"] = "nuclei look 2.0 times as large on 1 of 3 slides."

    assert "Nuclei look 2.0 times as large on 1 of 3 slides." in page_of(make_study(change)).text


def test_caution_where_the_interval_includes_guessing_or_families_are_few(make_study):
    label = np.repeat([0, 1], 8)
    family = np.array([f"f{index // 4}" for index in range(16)])
    hit = np.tile([1, 1, 0, 0], 4)
    probability = np.where(hit == 1, label, 1 - label) * 0.8 + 0.1
    columns = {"seed": np.zeros(16, int), "sample": np.arange(16), "family": family, "label": label}
    columns |= {"probability": probability, "loss": np.where(hit == 1, 0.1, 2.3)}
    page = page_of(make_study(test=pa.table(columns), folds=None))
    assert "is not above the 50.0 % of always answering one label" in page.text
    assert "With fewer than 5 of a label" in page.text


def test_no_interval_is_said_to_be_none(make_study):
    label = np.repeat([0, 1], 3)
    columns = {"seed": np.zeros(6, int), "sample": np.arange(6), "family": ["a"] * 3 + ["b"] * 3, "label": label}
    columns |= {"probability": [0.2, 0.6, 0.2, 0.7, 0.6, 0.8], "loss": [0.2, 0.9, 0.2, 0.4, 0.5, 0.2]}
    page = page_of(make_study(test=pa.table(columns), folds=None))
    assert "no interval: a label has one family only" in page.text
    assert scores_of(page)["accuracy"][1] == "no interval"
    assert {row[0]: row[3] for row in page.tables["wider"][1:]}["accuracy"] == "none"


def test_unfinished_study(make_study):
    def change(record):
        record["chosen"], record["programs"] = None, ["a", "b"]

    folder = make_study(change, test=None, folds=None)
    (folder / "programs" / "a").mkdir(parents=True)
    (folder / "sessions.parquet").rename(folder / "programs" / "a" / "history.parquet")
    page = page_of(folder)
    assert "The study is not finished (1 of 2 programs)" in page.text
    assert "No cell was chosen yet" in page.text
    assert "No test predictions yet" in page.text
    assert 'class="chosen"' not in page.source
    assert len(page.tables["cells"]) == 3
    assert "test" not in page.tables


def test_three_classes(make_study):
    folder = make_study(classes=("D", "PD", "UD"))
    page = page_of(folder)
    scores = scores_of(page, 2)
    assert {"D classified rightly", "PD classified rightly", "UD classified rightly"} <= set(scores)
    table = pyarrow.parquet.read_table(folder / "test_predictions.parquet")
    label = table["label"].to_numpy().reshape(4, 45)[0]
    every = np.stack(table["probabilities"].to_pylist()).reshape(4, 45, 3)
    every /= every.sum(axis=2, keepdims=True)  # scikit-learn wants sums of 1 to the last bit
    together, families = every.mean(axis=0), np.array(table["family"].to_pylist()[:45])
    sizes = dict(zip(*np.unique(families, return_counts=True), strict=True))
    weights = np.array([1 / sizes[family] for family in families])
    together /= together.sum(axis=1, keepdims=True)
    areas = [
        sklearn.metrics.roc_auc_score(label == place, together[:, place], sample_weight=weights) for place in range(3)
    ]
    assert scores["area under the ROC curve"][0] == f"{np.mean(areas):.3f}"
    recalls = sklearn.metrics.recall_score(label, together.argmax(axis=1), average=None, sample_weight=weights)
    assert [scores[f"{name} classified rightly"][0] for name in ("D", "PD", "UD")] == [per_cent(one) for one in recalls]
    assert len(page.tables["confusion"]) == 4


def test_names_are_shown_and_never_run(make_study):
    def change(record):
        record["name"] = "<script>alert(1)</script>"
        record["command"] = "study --slides='a & <b>'"
        record["dataset"]["source"] = '"><img src=x onerror=alert(1)>'

    page = page_of(make_study(change, classes=("<i>$x_$", "a & b$")))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 1
    assert "i" not in tags
    assert all(attributes["src"] != "x" for tag, attributes in page.tags if tag == "img")
    assert "<script>alert(1)</script>" in page.text
    assert "predicted <i>$x_$" in page.tables["confusion"][0]


def test_the_page_needs_nothing_else(make_study):
    page = page_of(make_study())
    assert not re.search(
        r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[\w+/=]+", "", page.source).replace("// Click", "")
    )
    assert all(attributes.get("src", "data:").startswith("data:") for _, attributes in page.tags)
    assert all(attributes.get("href", "data:").startswith("data:") for _, attributes in page.tags)
    assert len(page.source.encode()) < 10_000_000
    assert "prefers-color-scheme: dark" in page.source
    assert "@media print" in page.source


def test_figures_lie_beside_with_their_numbers(make_study):
    folder = make_study()
    page = page_of(folder)
    embedded = {base64.b64decode(found) for found in re.findall(r"base64,([\w+/=]+)", page.source)}
    files = sorted((folder / "figures").glob("*.png"))
    assert [file.stem for file in files] == ["confusion", "curves", "fold_families", "ranking", "test_families"]
    assert {file.read_bytes() for file in files} == embedded
    assert all(PIL.Image.open(io.BytesIO(file.read_bytes())).width > 600 for file in files)
    history = pyarrow.parquet.read_table(folder / "sessions.parquet")
    at = [row for row in history.to_pylist() if row["learning_rate"] == 0.01 and row["epoch"] == 2]
    curves = pyarrow.csv.read_csv(folder / "figures" / "curves.csv").to_pylist()
    losses = np.array([row["validation_loss"] for row in at])
    assert curves[2]["sessions"] == 4
    np.testing.assert_allclose(curves[2]["validation_loss_mean"], losses.mean())
    np.testing.assert_allclose(curves[2]["validation_loss_std"], losses.std(ddof=1))
    families = pyarrow.csv.read_csv(folder / "figures" / "test_families.csv").to_pylist()
    assert [row["family"] for row in families[:2]] == ["D/p0", "D/p1"]
    assert sum(row["samples"] for row in families) == 30


def test_every_figure_says_how_many_sessions(make_study):
    captions = re.findall("<figcaption>(.*?)</figcaption>", page_of(make_study()).source)
    assert len(captions) == 5
    assert all("4 sessions" in caption for caption in captions)


def test_diverged_sessions_are_counted_and_left_out_of_the_curves(make_study):
    folder = make_study()
    history = pyarrow.parquet.read_table(folder / "sessions.parquet").to_pylist()
    for row in history:
        if row["learning_rate"] == 0.01 and row["seed"] == 1:
            row["diverged"] = True
            row["train_loss"] = row["train_loss"] if row["epoch"] == 0 else float("nan")
    page = page_of(make_study(history=pa.Table.from_pylist(history)))
    assert page.tables["cells"][2][2:4] == ["4", "1"]
    assert "1 of 8 sessions diverged" in page.text
    assert "mean over 3 sessions" in page.text
    assert "Diverged sessions left out: 1." in page.text


def test_missing_and_damaged_files_are_named(make_study):
    folder = make_study()
    (folder / "test_predictions.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"test_predictions\.parquet: not a readable table"):
        write_report(folder)
    (folder / "sessions.parquet").unlink()
    with pytest.raises(InputError, match=r"sessions\.parquet: not a readable table"):
        write_report(folder)
    (folder / "study.json").write_text('{"name": ', encoding="utf-8")
    with pytest.raises(InputError, match=r"study\.json: not a study's record"):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_missing_fields_columns_and_samples_are_named(make_study):
    folder = make_study()
    predictions = pyarrow.parquet.read_table(folder / "test_predictions.parquet")
    history = pyarrow.parquet.read_table(folder / "sessions.parquet")
    with pytest.raises(InputError, match="has no column loss"):
        write_report(make_study(test=predictions.drop_columns(["loss"])))
    with pytest.raises(InputError, match="has no column epoch, train_loss"):
        write_report(make_study(history=history.drop_columns(["train_loss", "epoch"])))
    with pytest.raises(
        InputError, match=r"test_predictions\.parquet: 119 predictions of 4 seeds are not of the same samples"
    ):
        write_report(make_study(test=predictions.slice(0, 119)))
    with pytest.raises(InputError, match="the chosen cell has 23 rows for 4 seeds and 6 epochs"):
        write_report(make_study(history=history.slice(0, 47)))
    with pytest.raises(InputError, match="labels are"):
        write_report(make_study(test=predictions.slice(0, 0)))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (("dataset", "counts"), None, "field dataset.counts is missing or of another kind"),
        (("dataset", "phantom"), "yes", "field dataset.phantom is 'yes'; expected true or false"),
        (("dataset", "patch_size"), True, "field dataset.patch_size is True; expected a whole number"),
        (("dataset", "classes"), ["D", "other"], "field dataset.counts does not hold the labels of dataset.classes"),
        (("selection", "criterion"), "best", "field selection.criterion is 'best'"),
        (("chosen",), {"learning_rate": 1.0}, "field chosen has learning_rate; expected backbone"),
        (("name",), None, "field name is None; expected text"),
    ],
)
def test_wrong_fields_are_named(make_study, field, value, message):
    def change(record):
        inner = record
        for key in field[:-1]:
            inner = inner[key]
        inner[field[-1]] = value

    with pytest.raises(InputError, match=re.escape(message)):
        write_report(make_study(change))


def test_a_class_without_test_samples_has_no_share(make_study):
    folder = make_study(classes=("D", "PD", "UD"))
    table = pyarrow.parquet.read_table(folder / "test_predictions.parquet")
    page = page_of(make_study(classes=("D", "PD", "UD"), test=table.filter(pa.compute.less(table["label"], 2))))
    assert page.tables["confusion"][3] == ["UD", "0", "–", "–", "–"]
    assert ["UD classified rightly", "–"] in [[row[0], row[2]] for row in page.tables["test"]]


def test_leaks_and_findings_are_said(make_study):
    def leaky(record):
        record["dataset"] |= {"leak": "exchange", "audit": {"family": {"findings": 3, "messages": []}}}

    text = page_of(make_study(leaky)).text
    assert "share families on purpose (the dataset's leak is exchange)" in text
    assert "The audit found" not in text
    assert "here a leak was made on purpose" in text

    def accepted(record):
        record["dataset"] |= {
            "leak": "none",
            "audit": {"identical": {"findings": 4, "messages": []}, "label": {"findings": 1, "messages": []}},
        }

    text = page_of(make_study(accepted)).text
    assert "the dataset's config accepts it: 4 of the kind identical." in text
    assert "1 family has patches of more than one label" in text
    assert "on purpose" not in page_of(make_study()).text


def test_a_grid_over_strategies_and_backbones_names_them_in_every_row():
    values = [
        CellKey("resnet18", "straightforward", 0, 0, 1e-3, 8),
        CellKey("vgg16", "extension and unfreezing", 2, 3, 1e-3, 8),
        CellKey("vgg16", "unfreezing stages", 0, 2, 1e-3, 8),
        CellKey("small_cnn", "scratch", 0, -1, 1e-3, 8),
    ]
    heads, rows = names_of_cells(values)
    assert [head.text for head in heads] == ["backbone", "strategy", "learning rate", "batch size"]
    assert [row[1].text for row in rows] == [
        "straightforward",
        "extension-2+unfreezing-3",
        "unfreezing-2-stages",
        "scratch",
    ]
    assert [head.text for head in names_of_cells(values[1:3])[0]] == ["strategy", "learning rate", "batch size"]
    assert [head.text for head in names_of_cells(values[:1])[0]] == ["learning rate", "batch size"]


@pytest.mark.parametrize("name", ["test", "fold", "validation"])
def test_predictions_that_are_gone_from_a_finished_study_are_missed(make_study, name):
    folder = make_study()
    path = folder / f"{name}_predictions.parquet"
    (folder / f"{path.name}.sha256").write_text("", encoding="utf-8")
    path.unlink(missing_ok=True)
    with pytest.raises(InputError, match=rf"{path.name} is missing; run the study again, with the same command\."):
        write_report(folder)


def test_families_of_two_labels_are_no_leak(make_study):
    def change(record):
        record["dataset"] |= {"audit": {"label": {"findings": 2, "messages": []}}}

    text = page_of(make_study(change)).text
    assert "Families of two labels, each in one split, are no leak." in text
    assert "accepts it or leaks on purpose" not in text
