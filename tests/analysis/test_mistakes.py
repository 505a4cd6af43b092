import numpy as np
import pyarrow as pa
import pytest

from nbjax.analysis.mistakes import family_table, misclassified_table
from nbjax.errors import InputError

NAMES = ("benign", "malignant")


def by_patch(table):
    """Label, mean probability of class 1, and that of each session, by family, slide and place."""
    found = {}
    for row in table.to_pylist():
        place = (row["family"], row["slide"], row["x"], row["y"])
        found.setdefault((*place, row["label"]), {}).setdefault(row["seed"], []).append(row["probability"])
    return {
        place: np.asarray([np.mean(values) for _, values in sorted(seeds.items())]) for place, seeds in found.items()
    }


def test_every_misclassified_patch_is_listed_once_with_what_sessions_answered(make_predictions):
    table = make_predictions(seed=4, sessions=5, families=5)
    expected = {place: each for place, each in by_patch(table).items() if (each.mean() > 0.5) != place[-1]}
    rows = misclassified_table(table, NAMES).to_pylist()
    assert len(rows) == len(expected) > 5
    for row in rows:
        label = NAMES.index(row["label"])
        each = expected[row["family"], row["slide"], row["x"], row["y"], label]
        assert row["answered"] == NAMES[1 - label]
        assert row["confidence"] == pytest.approx(each.mean() if label == 0 else 1 - each.mean())
        assert row["sessions_wrong"] == pytest.approx(np.mean((each > 0.5) != label))


def test_the_worst_families_come_first_and_their_surest_mistakes(make_predictions):
    table = make_predictions(seed=4, sessions=5, families=5)
    patches, mistakes = {}, {}
    for place, each in by_patch(table).items():
        patches[place[0]] = patches.get(place[0], 0) + 1
        mistakes[place[0]] = mistakes.get(place[0], 0) + ((each.mean() > 0.5) != place[-1])
    rows = misclassified_table(table, NAMES).to_pylist()
    keys = [
        (-mistakes[row["family"]] / patches[row["family"]], -mistakes[row["family"]], row["family"], -row["confidence"])
        for row in rows
    ]
    assert keys == sorted(keys)
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    assert misclassified_table(shuffled, NAMES).to_pylist() == rows


def test_families_are_listed_once_with_all_their_labels(make_predictions):
    table = make_predictions(seed=4, sessions=3, families=5)
    names = [name.replace("1/f0", "0/f0") for name in table["family"].to_pylist()]
    table = table.set_column(table.column_names.index("family"), "family", pa.array(names))
    rows = family_table(table, NAMES).to_pylist()
    assert len(rows) == 9
    assert [row["accuracy"] for row in rows] == sorted(row["accuracy"] for row in rows)
    patches = by_patch(table)
    wrong = misclassified_table(table, NAMES)["family"].to_pylist()
    for row in rows:
        mine = {place: each for place, each in patches.items() if place[0] == row["family"]}
        assert row["patches"] == len(mine)
        assert row["slides"] == len({place[1] for place in mine})
        assert row["accuracy"] == pytest.approx(np.mean([(each > 0.5) == place[-1] for place, each in mine.items()]))
        assert row["labels"] == " + ".join(NAMES[label] for label in sorted({place[-1] for place in mine}))
        assert row["misclassified"] == wrong.count(row["family"])
    assert [row["labels"] for row in rows].count("benign + malignant") == 1


def test_three_labels_and_no_mistake_at_all(make_predictions):
    table = make_predictions(classes=3)
    every = np.stack(table["probabilities"].to_pylist())
    rows = misclassified_table(table, ("A", "B", "C")).to_pylist()
    assert all(row["answered"] != row["label"] for row in rows)
    right = 0.01 + 0.97 * np.eye(3)[table["label"].to_numpy()]
    perfect = table.set_column(table.column_names.index("probabilities"), "probabilities", pa.array(list(right)))
    assert every.shape == right.shape
    nothing = misclassified_table(perfect, ("A", "B", "C"))
    assert (len(nothing), nothing.column_names[:2]) == (0, ["family", "slide"])
    assert all(row["accuracy"] == 1 for row in family_table(perfect, ("A", "B", "C")).to_pylist())


def test_predictions_without_places_cannot_be_listed(make_predictions):
    with pytest.raises(InputError, match="no column slide"):
        misclassified_table(make_predictions().drop_columns(["slide"]), NAMES)
