import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbjax.analysis.selection import key_of
from nbjax.analysis.uncertainty import Interval
from nbjax.analysis.verdict import judge
from nbjax.errors import InputError
from nbjax.files import sealing
from nbjax.report.answer import answer, cautions, verdict_words
from nbjax.report.findings import find
from nbjax.training import store
from tests.report.conftest import CELL, history_table, page_of, placed_predictions, write_study

RNG_SEED = 3


def history_of(curves, rate=0.01):
    """Sessions of the chosen rate that follow `curves`, beside those of the other rate."""
    other = [row for row in history_table(np.random.default_rng(0)).to_pylist() if row["learning_rate"] != rate]
    rows = [
        {
            **CELL,
            "learning_rate": rate,
            "batch_size": 8,
            "seed": seed,
            "epoch": epoch,
            "train_loss": loss,
            "validation_loss": loss,
            "diverged": False,
            "train_accuracy": 0.9,
            "validation_accuracy": 0.9,
        }
        for seed, curve in enumerate(curves)
        for epoch, loss in enumerate(curve)
    ]
    return pa.Table.from_pylist([*other, *rows])


def test_a_goal_that_stops_sessions_calls_for_no_more_epochs(found):
    falling = [[0.9, 0.8, 0.7, 0.6, 0.5, 0.4]] * 4
    counts = found.study["dataset"]["counts"]["validation"]
    verdict = judge(history_of(falling), key_of(found.study["chosen"]), "max_train_validation_loss", counts)
    assert "--set=epochs=" in " ".join(verdict_words(found, verdict)[1])
    goal = found._replace(study={**found.study, "config": {"accuracy_goal": 0.9}})
    assert "--set=epochs=" not in " ".join(verdict_words(goal, verdict)[1])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A finished study's findings, with held-out and randomly held-out families."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(RNG_SEED)
    test, folds = placed_predictions(rng, ("D", "PD")), placed_predictions(rng, ("D", "PD"), noise=1, fold=True)
    tables = {"test": test, "folds": folds}
    write_study(folder, **tables)
    careless = placed_predictions(rng, ("D", "PD"), noise=1, fold=True)
    pyarrow.parquet.write_table(careless, folder / "random_fold_predictions.parquet")
    return find(folder)


@settings(max_examples=60)
@given(st.lists(st.lists(st.floats(0.01, 5), min_size=6, max_size=6), min_size=1, max_size=5))
def test_no_answer_says_trained_where_a_session_kept_epoch_0(found, curves):
    counts = found.study["dataset"]["counts"]["validation"]
    verdict = judge(history_of(curves), key_of(found.study["chosen"]), "max_train_validation_loss", counts)
    said = " ".join(answer(found._replace(verdict=verdict)))
    kept_none = any(min(curve) == curve[0] for curve in curves)
    assert ("was trained" in said) == (not kept_none)
    assert said.startswith("Nothing was learned") == verdict.nothing
    word, _ = verdict_words(found, verdict)
    assert (word == "No") == verdict.nothing
    assert (word == "Yes") <= (not kept_none)


def test_a_study_that_learned_nothing_shows_no_score_and_no_curve(tmp_path):
    rising = history_of([[0.7, 0.8, 0.9, 1.0, 1.1, 1.2]] * 4)
    page = page_of(write_study(tmp_path, history=rising, choices=[(0.001, 0, 0.7)] * 3, folds=None))
    assert page.text.split("straightforward ")[1].startswith("Nothing was learned: in 4 of 4 sessions")
    assert "With each family held out once nothing is learned either: outside each of 3 folds" in page.text
    assert "Did it learn? No." in page.text
    assert "was trained to tell" not in page.text
    assert "the median of the kept epochs is 0 of 5" in page.text
    assert {"test", "confusion", "temperature"}.isdisjoint(page.tables)
    assert sorted(path.stem for path in (tmp_path / "figures").glob("*.png")) == ["curves"]
    assert "--set=learning_rates=" in page.text
    assert "--set=dataset.standardisation=imagenet" in page.text


RISING = [[0.7, 0.8, 0.9, 1.0, 1.1, 1.2]] * 4


def test_where_folds_choose_better_than_the_one_validation_split_they_are_shown_after_it(tmp_path):
    table = placed_predictions(np.random.default_rng(1), ("D", "PD"), fold=True)
    choices = [(0.001, 3, 0.5), (0.01, 1, 0.6), (0.001, 0, 0.7)]
    page = page_of(write_study(tmp_path, history=history_of(RISING), folds=table, choices=choices))
    assert page.text.split("straightforward ")[1].startswith("Nothing was learned: in 4 of 4 sessions")
    assert "Where folds of families choose, and not the one validation split: with each of the" in page.text
    assert (
        "chose among themselves (0.001 to 0.01; 0 to 3 epochs); in 1 of 3 folds they found no epoch better" in page.text
    )
    assert "was trained to tell" not in page.text
    assert {row[0] for row in page.tables["scores"][1:]} == {"held out once"}
    assert (tmp_path / "figures/fold_families.png").is_file()


def test_figures_and_tables_of_a_page_that_was_are_gone_where_this_one_has_none(tmp_path):
    table = placed_predictions(np.random.default_rng(1), ("D", "PD"), fold=True)
    page_of(write_study(tmp_path, folds=table, choices=[(0.01, 4, 0.5)]))
    (tmp_path / "figures/mine.png").write_bytes(b"")
    for path in tmp_path.glob("*fold_*.parquet*"):
        path.unlink()
    page_of(tmp_path)
    assert {path.name for path in (tmp_path / "figures").glob("*famil*")} == {"test_families.png", "test_families.csv"}
    assert (tmp_path / "figures/mine.png").is_file()


def test_what_held_out_heads_are_trained_with_is_said(tmp_path):
    table = placed_predictions(np.random.default_rng(1), ("D", "PD"), fold=True)
    page = page_of(write_study(tmp_path, folds=table, choices=[(0.01, 4, 0.5), (0.01, 1, 0.5)]))
    assert page.text.count("chose among themselves (0.01; 1 to 4 epochs)") == 2
    assert [row[1:] for row in page.tables["folds"][1:]] == [["0.01", "8", "4", "0.500"], ["0.01", "8", "1", "0.500"]]


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        (["fold_predictions.parquet", "fold_predictions.parquet.sha256"], "fold_predictions"),
        (["fold_choices.parquet"], "fold_choices"),
        (["fold_choices.parquet", "fold_choices.parquet.sha256"], "fold_choices"),
        (["fold_choices.parquet.sha256"], "fold_choices"),
    ],
)
def test_a_file_of_the_folds_that_is_lost_is_said_and_nothing_else_of_them(tmp_path, lost, named):
    write_study(tmp_path, choices=[(0.01, 4, 0.5)])
    for name in lost:
        (tmp_path / name).unlink(missing_ok=True)
    with pytest.raises(InputError, match=rf"{named}\.parquet (is missing|has no .* beside it).*run the study again"):
        find(tmp_path)


def test_a_damaged_table_of_choices_is_one_sentence(tmp_path):
    write_study(tmp_path, choices=[(0.01, 4, 0.5)])
    path = tmp_path / "fold_choices.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"fold_choices\.parquet is damaged"):
        find(tmp_path)


def test_where_half_of_the_sessions_learned_nothing_no_more_than_that_is_said(tmp_path):
    rising, falling = [0.7, 0.8, 0.9, 1.0, 1.1, 1.2], [0.9, 0.8, 0.7, 0.6, 0.5, 0.8]
    page = page_of(write_study(tmp_path, history=history_of([rising, rising, rising, falling])))
    assert page.text.split("straightforward ")[1].startswith(
        "Nothing was learned in 3 of 4 sessions of the best cell: no"
    )
    assert "half of the sessions or more answer at random, so that no score of them is shown" in page.text


def test_several_labels_are_told_apart(tmp_path):
    page = page_of(write_study(tmp_path, classes=("D", "PD", "UD")))
    assert "D, PD, UD · resnet18" in page.text
    assert "to tell D, PD and UD apart in" in page.text


def test_held_out_families_come_first_then_the_random_split_then_the_test_split(found):
    # As different as sessions never are.
    folds, careless = with_scores(found.folds, estimate=0.8, std=0.001), with_scores(found.random_folds, estimate=0.95)
    found = found._replace(folds=folds, random_folds=careless)
    said = answer(found)
    assert [text.split(" ")[0] for text in said] == ["A", "With", "4", "Had", "On"]
    assert "been chosen by such splits" in said[3]
    estimates = [100 * tested.score("accuracy").estimate for tested in (found.folds, found.random_folds, found.test)]
    for text, estimate in zip([said[1], *said[3:]], estimates, strict=True):
        assert f"{estimate:.1f} %" in text
    assert f"{estimates[1] - estimates[0]:.1f} points more" in said[3]


def with_scores(tested, **change):
    changed = {name: tested.score(name)._replace(**change) for name in ("accuracy", "balanced_accuracy")}
    return tested._replace(by_family=tested.by_family | changed)


def test_how_many_families_would_be_enough_is_said_where_there_are_too_few(found):
    wide = found._replace(folds=with_scores(found.folds, interval=Interval(0.5, 0.9), error=0.1))
    expected = int(np.ceil(10 * (1.959964 * 0.1 / 0.05) ** 2))
    assert f"For an interval of ± 5 points about {expected} families like these would be needed." in answer(wide)[1]
    narrow = found._replace(folds=with_scores(found.folds, interval=Interval(0.75, 0.85), error=0.02))
    assert "would be needed" not in answer(narrow)[1]


def test_a_random_split_flatters_by_more_than_sessions_differ_or_is_not_said_to(found):
    few = found._replace(
        folds=with_scores(found.folds, estimate=0.70, std=0.06),
        random_folds=with_scores(found.random_folds, estimate=0.78, std=0.06),
    )
    assert "more, which slides" not in answer(few)[3]
    assert "78.0 % would have been reported: no more than sessions of one split differ by." in answer(few)[3]
    steady = few._replace(folds=with_scores(few.folds, std=0.01), random_folds=with_scores(few.random_folds, std=0.02))
    assert "8.0 points more, which slides of new patients would not give" in answer(steady)[3]


@pytest.mark.parametrize("kind", ["empty", "strings", "nulls", "one way", "text"])
def test_choices_of_other_content_are_one_sentence(tmp_path, kind):
    path = write_study(tmp_path, choices=[(0.01, 4, 0.5)]) / "fold_choices.parquet"
    table = store.read_table(path)
    epochs = table.column_names.index("epochs")
    odd = {
        "empty": table.slice(0, 0),
        "strings": table.set_column(epochs, "epochs", [["4", "0"]]),
        "nulls": table.set_column(epochs, "epochs", pa.array([4, None], pa.int32())),
        "one way": table.slice(1),
    }
    with sealing(path) as temporary:
        if kind == "text":
            temporary.write_text("hello", encoding="utf-8")
        else:
            pyarrow.parquet.write_table(odd[kind], temporary)
    with pytest.raises(
        InputError, match=r"fold_choices\.parquet: .*; remove it, and the study's command makes it again"
    ):
        find(tmp_path)


def test_one_session_tells_no_leak_from_luck(found):
    one = found._replace(
        folds=with_scores(found.folds, std=None), random_folds=with_scores(found.random_folds, std=None)
    )
    assert "with one session nothing tells whether the difference is luck" in answer(one)[3]


def test_where_every_family_is_one_patch_a_random_split_is_not_blamed(found):
    units = found.folds.units._replace(families=np.arange(found.folds.score("accuracy").units))
    careless = found.random_folds._replace(units=units)
    (said,) = [text for text in answer(found._replace(random_folds=careless)) if "split at random" in text]
    assert said.startswith("Every family has one patch only")


def choices_of(*pairs):
    rows = [
        {"of": "fold", "fold": fold, "learning_rate": 0.01, "batch_size": 8, "epochs": epochs, "loss": loss}
        for fold, (epochs, loss) in enumerate(pairs)
    ]
    return {"fold": rows}


def test_a_random_split_is_shown_where_held_out_families_show_nothing(found):
    said = answer(found._replace(folds=None, choices=choices_of((0, 0.7), (0, 0.7))))
    assert said[1].startswith("With each family held out once nothing is learned: outside each of 2 folds")
    assert said[2].startswith("Had the patches been split at random")
    assert "and learning rate and epochs been chosen by such splits" in said[2]
    assert "would have been reported, which slides of new patients would not give." in said[2]


def test_folds_whose_best_loss_is_no_better_than_guessing_are_counted(found):
    said = " ".join(answer(found._replace(choices=choices_of((3, 0.76), (2, 0.5), (0, 0.8)))))
    assert "in 1 of 3 folds they found no epoch better than the start" in said
    assert "in 2 of 3 folds the least loss that they found is no less than guessing gives" in said


@pytest.mark.parametrize(
    ("change", "word", "reason"),
    [
        ({}, "Yes", None),
        ({"estimate": 0.4}, "Not for other families", "not above the"),
        ({"interval": Interval(0.3, 0.9)}, "It does not show for other families", "not surely above the"),
        ({"interval": None}, "It does not show for other families", "not surely above the"),
    ],
)
def test_whether_it_learned_is_asked_of_held_out_families_too(found, change, word, reason):
    some = found._replace(folds=with_scores(found.folds, **change))
    falling = [[0.9, 0.8, 0.5, 0.6, 0.7, 0.8]] * 4
    verdict = judge(
        history_of(falling),
        key_of(found.study["chosen"]),
        "max_train_validation_loss",
        found.study["dataset"]["counts"]["validation"],
    )
    said, reasons = verdict_words(some, verdict)
    assert said == word
    assert reason is None or reason in reasons[-1]
    assert (
        verdict_words(found._replace(folds=None, choices=choices_of((0, 0.7))), verdict)[0] == "Not for other families"
    )


def test_a_median_between_two_epochs_is_not_rounded(tmp_path):
    falling, later = [0.9, 0.5, 0.8, 0.8, 0.8, 0.8], [0.9, 0.8, 0.7, 0.6, 0.5, 0.8]
    page = page_of(write_study(tmp_path, history=history_of([falling, falling, later, later])))
    assert "the median of the kept epochs is 2.5 of 5" in page.text


def test_a_test_split_whose_interval_is_wide_says_next_to_nothing(found):
    test = with_scores(found.test, interval=Interval(0.04, 1.0))
    assert "says next to nothing" in answer(found._replace(test=test))[-1]
    assert "4.0 % to 100.0 %" in answer(found._replace(test=test))[-1]


def test_held_out_scores_are_compared_with_guessing(found):
    assert not [text for text in cautions(found) if "held-out" in text]
    folds = with_scores(found.folds, interval=Interval(0.3, 0.9))
    assert "The held-out families' balanced accuracy has an interval down to 30.0 %" in " ".join(
        cautions(found._replace(folds=folds))
    )


def test_a_family_of_two_labels_is_one_family(tmp_path):
    table = placed_predictions(np.random.default_rng(0), ("D", "PD"), fold=True)
    names = [name.split("/")[1] for name in table["family"].to_pylist()]
    table = table.set_column(table.column_names.index("family"), "family", pa.array(names))
    assert "With each of the 5 families held out once" in answer(find(write_study(tmp_path, folds=table)))[1]


@pytest.mark.parametrize("positive", [None, "D", "PD"])
def test_the_positive_label_is_named_and_sensitivity_is_its_share(tmp_path, positive):
    def change(record):
        record["config"] = {"positive": positive}

    table = placed_predictions(np.random.default_rng(1), ("D", "PD"))
    study = find(write_study(tmp_path, change, test=table, folds=None, validation=table))
    name = positive or "PD"
    assert study.classes[1] == name
    page = page_of(tmp_path)
    assert f"The positive label is {name}" in page.text
    assert f"sensitivity ({name} classified rightly)" in {row[0] for row in page.tables["test"]}
    other = find(write_study(tmp_path, test=table, folds=None, validation=table))
    mirrored = {"sensitivity": "specificity", "specificity": "sensitivity"} if positive == "D" else {}
    for metric in ("accuracy", "loss", "roc_auc", "sensitivity", "specificity", "brier"):
        expected = other.test.score(mirrored.get(metric, metric)).estimate
        assert study.test.score(metric).estimate == pytest.approx(expected)
    np.testing.assert_allclose(study.calibration.temperature, other.calibration.temperature, rtol=1e-4)
