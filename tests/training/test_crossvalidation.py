import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbjax.errors import InputError
from nbjax.training.bank import Bank
from nbjax.training.crossvalidation import (
    INNER_FOLDS,
    INNER_SEEDS,
    Candidate,
    Choice,
    choose_inside,
    cross_validate,
    cross_validations,
    family_folds,
    held_out_folds,
    pool,
    pooled_columns,
    random_folds,
)
from nbjax.training.program import Program
from nbjax.training.sessions import Batching, grid, on_rows, rows_of_splits, run_sessions


def rows_of(families):
    """Names and labels of the rows of families, each given as its number of rows by label."""
    names = [f"f{index}" for index, sizes in enumerate(families) for size in sizes.values() for _ in range(size)]
    labels = [label for sizes in families for label, size in sizes.items() for _ in range(size)]
    return np.asarray(names), np.asarray(labels)


def check_folds(names, labels, fold, wanted):
    """What has to hold whatever the families."""
    for name in set(names):
        assert len(set(fold[names == name])) == 1, "a family is in two folds"
    assert set(fold) == set(range(fold.max() + 1))
    for label in set(labels):
        families = len(set(names[labels == label]))
        for number in set(fold):
            seen = len(set(names[(labels == label) & (fold != number)]))
            assert seen >= min(2, families - 1), "a label is missing where it has to be learnt"
    return min(wanted, *(len(set(names[labels == label])) for label in set(labels)))


SIZES = st.integers(1, 9)
TWO_LABELS = st.lists(st.dictionaries(st.integers(0, 1), SIZES, min_size=1), min_size=4, max_size=30)


@given(TWO_LABELS, st.integers(2, 6), st.integers(0, 99))
@settings(deadline=None)
def test_families_stay_whole_and_every_fold_has_every_label(families, wanted, seed):
    names, labels = rows_of([*families, {0: 3}, {0: 2}, {1: 2}, {1: 4, 0: 1}])
    fold = family_folds(names, labels, wanted, seed)
    fewest = check_folds(names, labels, fold, wanted)
    if fewest > 2:
        # Two folds may leave too little of a label of three families.
        assert fold.max() + 1 == max(fewest, 2) or (wanted == 2 and fold.max() == 2)
        for label in (0, 1):
            assert set(fold[labels == label]) == set(fold)
    np.testing.assert_array_equal(fold, family_folds(names, labels, wanted, seed))
    order = np.random.default_rng(seed).permutation(len(names))
    np.testing.assert_array_equal(fold[order], family_folds(names[order], labels[order], wanted, seed))


@given(
    st.lists(st.dictionaries(st.integers(0, 2), SIZES, min_size=1), max_size=20), st.integers(2, 6), st.integers(0, 99)
)
@settings(deadline=None)
def test_families_of_three_labels_stay_whole(families, wanted, seed):
    # Each pair of labels shares a family: in two folds one label would have nothing to be learnt from.
    names, labels = rows_of([*families, {0: 3, 1: 2}, {1: 2, 2: 1}, {2: 5, 0: 1}])
    check_folds(names, labels, family_folds(names, labels, wanted, seed), wanted)


def test_folds_of_two_label_families_are_alike_in_patches_of_each_label():
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, 40)
    families = [{label: int(rng.integers(5, 30)) for label in (0, 1) if kind in (label, 2)} for kind in kinds.tolist()]
    names, labels = rows_of(families)
    fold = family_folds(names, labels, 5, 0)
    for label in (0, 1):
        patches = np.bincount(fold[labels == label], minlength=5)
        assert np.ptp(patches) < 0.1 * patches.mean()


def test_a_label_with_one_family_cannot_be_held_out():
    with pytest.raises(InputError, match="label 1 has 1 family"):
        family_folds(np.array(["a", "b", "c"]), np.array([0, 0, 1]), 3, 0)


def make_bank(family, label, features):
    """A bank of samples that are each a patch of their own, in three splits."""
    count = len(family)
    columns = {
        "label": label,
        "family": np.char.add("f", family.astype(str)),
        "slide": np.char.add("s", family.astype(str)),
        "x": np.arange(count),
        "y": np.arange(count),
        "transform": np.zeros(count, int),
    }
    names = ("train", "validation", "test")
    split = np.arange(count) * 3 // count
    return Bank(
        None,
        {name: features[split == index].astype(np.float32) for index, name in enumerate(names)},
        {name: {key: value[split == index] for key, value in columns.items()} for index, name in enumerate(names)},
    )


@pytest.fixture
def bank():
    """Ten families a label whose features name the family: nothing of it helps with another family."""
    rng = np.random.default_rng(0)
    family = np.repeat(np.arange(20), 6)
    return make_bank(family, family % 2, 10 * np.eye(20)[family] + rng.normal(size=(120, 20)))


PROGRAM = Program(features=20, batch_size=16, criterion="validation_loss")


def hold_out(program, bank, fold, rate, epochs, seeds):
    """Every fold with the same learning rate and epochs."""
    choices = [Choice(0, rate, epochs, 0.5)] * (int(fold.max()) + 1)
    return cross_validate(pool(bank), [Candidate(program)], choices, range(seeds), fold)


def test_every_sample_is_predicted_once_a_seed_by_sessions_without_its_family(bank):
    columns = pooled_columns(bank.columns)
    table = hold_out(PROGRAM, bank, held_out_folds(columns, 5), 0.1, 20, 3)
    assert len(table) == 3 * 120
    for seed in range(3):
        samples = np.sort(table["sample"].to_numpy()[table["seed"].to_numpy() == seed])
        np.testing.assert_array_equal(samples, np.arange(120))
    # Had a session seen the family, it would know its label: the features say nothing else.
    hits = (table["probability"].to_numpy() > 0.5) == table["label"].to_numpy()
    assert 0.2 < hits.mean() < 0.7


def separable(seed=0, strength=1.0):
    """Twenty families in two labels that one feature tells apart, whatever the family."""
    rng = np.random.default_rng(seed)
    family = np.repeat(np.arange(20), 6)
    features = rng.normal(size=(120, 20))
    features[:, 0] += strength * (2 * (family % 2) - 1)
    return make_bank(family, family % 2, features)


def test_folds_choose_what_their_own_families_choose_and_nothing_of_what_is_held_out():
    """Other features of a fold's own families change what the other folds choose, and not what it chooses itself."""
    made = separable()
    columns = pooled_columns(made.columns)
    fold = held_out_folds(columns, 4)
    program = Program(features=20, batch_size=16)
    first = choose_inside(pool(made), [Candidate(program)], (1e-4, 3e-2), 6, fold)
    assert [choice.learning_rate for choice in first] == [3e-2] * 4
    strange = set(columns["family"][fold == 2])
    inputs = {
        split: np.where(np.isin(made.columns[split]["family"], list(strange))[:, None], -5 * values, values)
        for split, values in made.inputs.items()
    }
    other = choose_inside(pool(made._replace(inputs=inputs)), [Candidate(program)], (1e-4, 3e-2), 6, fold)
    assert other[2] == first[2]
    assert all(other[number].loss != pytest.approx(first[number].loss, abs=1e-4) for number in (0, 1, 3))


def test_a_choice_is_the_least_loss_of_inner_folds_trained_one_by_one():
    made = separable(1, 0.4)
    columns = pooled_columns(made.columns)
    fold = held_out_folds(columns, 4)
    programs = [Program(features=20, batch_size=size) for size in (8, 32)]
    rates = (3e-3, 3e-2)
    (choice, *_) = choose_inside(pool(made), [Candidate(one) for one in programs], rates, 4, fold)
    splits = []
    for one in range(4):
        outside = np.flatnonzero(fold != one)
        inner = held_out_folds({name: values[outside] for name, values in columns.items()}, INNER_FOLDS)
        splits += [(one, outside[inner != number], outside[inner == number]) for number in range(inner.max() + 1)]
    # The order of a session's samples depends on what its rows are filled up to.
    sizes = [max(len(split[side]) for split in splits) for side in (1, 2)]
    samples, expected = pool(made).samples, {}
    for place, program in enumerate(programs):
        for rate in rates:
            sums = np.zeros((5, 2))
            for one, *parts in splits:
                if one == 0:
                    rows = [rows_of_splits([part], size) for part, size in zip(parts, sizes, strict=True)]
                    hypers = on_rows(grid([rate], range(INNER_SEEDS)), *rows, np.array([0]))
                    metrics = run_sessions(program, 4, hypers, samples, samples).metrics
                    losses = np.stack([metrics.train_loss, metrics.validation_loss], axis=2).mean(axis=0)
                    sums += len(parts[1]) * losses / np.sum(fold != 0)
            for epoch, pair in enumerate(sums):
                expected[epoch, place, rate] = pair.max()
    best = min(expected, key=expected.get)
    assert (choice.epochs, choice.candidate, choice.learning_rate) == best
    assert choice.loss == pytest.approx(expected[best], rel=1e-5)


def test_where_nothing_carries_over_no_epoch_is_chosen(bank):
    fold = held_out_folds(pooled_columns(bank.columns), 4)
    choices = choose_inside(pool(bank), [Candidate(PROGRAM)], (0.3,), 4, fold)
    assert [choice.epochs for choice in choices] == [0] * 4
    table = cross_validate(pool(bank), [Candidate(PROGRAM)], choices, range(2), fold)
    assert len(table) == 2 * 120


def test_choices_do_not_depend_on_how_many_sessions_run_at_once():
    made = separable(2, 0.5)
    fold = held_out_folds(pooled_columns(made.columns), 3)
    program = Program(features=20, batch_size=16)
    ways = [(32, "vmap"), (5, "vmap"), (7, "map")]
    found = [
        choose_inside(pool(made), [Candidate(program, Batching(kind), together)], (3e-3, 3e-2), 3, fold)
        for together, kind in ways
    ]
    for other in found[1:]:
        assert [one[:3] for one in other] == [one[:3] for one in found[0]]
        np.testing.assert_allclose([one.loss for one in other], [one.loss for one in found[0]], rtol=1e-5)


@pytest.mark.parametrize("rate", [1e-12, 1e-37])
def test_rounding_is_not_learning(rate):
    made = separable()
    fold = held_out_folds(pooled_columns(made.columns), 3)
    choices = choose_inside(pool(made), [Candidate(Program(features=20, batch_size=16))], (rate,), 4, fold)
    assert [choice.epochs for choice in choices] == [0] * 3


def test_a_session_that_diverges_is_never_chosen():
    made = separable()
    fold = held_out_folds(pooled_columns(made.columns), 3)
    choices = choose_inside(pool(made), [Candidate(Program(features=20, batch_size=16))], (1e30, 3e-2), 3, fold)
    assert [choice.learning_rate for choice in choices] == [3e-2] * 3


def test_what_is_held_out_does_not_standardise_itself(bank):
    """Another family of the same fold may look like anything: nothing of it reaches the head or its moments."""
    program = Program(features=20, batch_size=16, head_input="standardised", weight_decay=0.3)
    held_out = held_out_folds(pooled_columns(bank.columns), 2)
    one = hold_out(program, bank, held_out, 0.01, 2, 1)
    fold, family = one["fold"].to_numpy(), np.asarray(one["family"].to_pylist())
    odd = family[fold == 0][0]
    inputs = {
        split: np.where((bank.columns[split]["family"] == odd)[:, None], 1e3 * values, values)
        for split, values in bank.inputs.items()
    }
    other = hold_out(program, bank._replace(inputs=inputs), held_out, 0.01, 2, 1)
    same = (fold == 0) & (family != odd)
    found, again = one["probability"].to_numpy(), other["probability"].to_numpy()
    np.testing.assert_array_equal(found[same], again[same])
    assert np.abs(found[fold == 1] - again[fold == 1]).max() > 1e-3


def test_a_random_split_flatters_where_features_name_the_family(bank, capsys):
    own = Choice(0, 0.1, 20, 0.5)
    found, choices = cross_validations(bank, [Candidate(PROGRAM)], (0.1,), 20, range(2), 5)
    # Families tell nothing of other families and patches all of each other, which each way to hold out finds by itself.
    losses = {name: [choice.loss for choice in some] for name, some in choices.items()}
    assert max(losses["random_fold"]) < 0.3 < 0.6 < min(losses["fold"])
    capsys.readouterr()
    fold = held_out_folds(pooled_columns(bank.columns), 5)
    honest = cross_validate(pool(bank), [Candidate(PROGRAM)], [own] * 5, range(2), fold)
    tables = {**found, "fold": honest}
    accuracies = {}
    for name, table in tables.items():
        hits = (table["probability"].to_numpy() > 0.5) == table["label"].to_numpy()
        accuracies[name] = hits.mean()
        assert sorted(set(table["fold"].to_pylist())) == list(range(5))
    assert accuracies["random_fold"] > 0.95 > 0.7 > accuracies["fold"]
    # The bar ends where it said that it would.
    assert capsys.readouterr().err.count(f"{5 * 2 * 20}/{5 * 2 * 20}") == 1


def test_a_label_of_two_families_has_none_to_choose_by():
    family = np.repeat(np.arange(5), 6)
    made = make_bank(family, (family > 1).astype(int), np.random.default_rng(0).normal(size=(30, 20)))
    with pytest.raises(InputError, match="label 0 has 1 family"):
        cross_validations(made, [Candidate(PROGRAM)], (0.1, 1.0), 4, range(2), 5)


def test_a_head_sees_nothing_of_a_patient_with_two_labels():
    """Patients of both labels, whose look says who they are: who saw the patient's other label is misled."""
    patient, label = np.repeat(np.arange(12), 10), np.tile([0, 1], 60)
    made = make_bank(patient, label, np.pad(10 * np.eye(12)[patient], ((0, 0), (0, 8))))
    columns = pooled_columns(made.columns)
    tables = [
        hold_out(PROGRAM, made, fold, 0.1, 20, 2)
        for fold in (
            held_out_folds(columns, 4),
            family_folds(np.char.add(columns["family"], label.astype(str)), columns["label"], 4),
        )
    ]
    whole, apart = (((table["probability"].to_numpy() > 0.5) == table["label"].to_numpy()).mean() for table in tables)
    assert 0.35 < whole < 0.65
    assert apart < whole - 0.2
    numbers = set(zip(tables[0]["family"].to_pylist(), tables[0]["fold"].to_pylist(), strict=True))
    assert len(numbers) == 12


def test_all_transforms_of_a_patch_are_in_one_fold():
    rng = np.random.default_rng(0)
    patch = rng.permutation(np.repeat(np.arange(60), rng.integers(1, 9, 60)))
    columns = {
        "slide": np.char.add("s", (patch // 5).astype(str)),
        "family": np.char.add("f", (patch // 10).astype(str)),
        "label": patch % 2,
        "x": patch % 5,
        "y": np.zeros_like(patch),
    }
    for fold in (random_folds(columns, 5), held_out_folds(columns, 5)):
        assert all(len(set(fold[patch == one])) == 1 for one in range(60))
    fold = random_folds(columns, 5)
    first = np.unique(patch, return_index=True)[1]
    for label in (0, 1):
        assert np.bincount(fold[first][columns["label"][first] == label]).tolist() == [6] * 5
    assert (random_folds(columns, 5, seed=1) != fold).any()
    # Patches are what is balanced, however many transforms they have.
    np.testing.assert_array_equal(
        held_out_folds({name: values[first] for name, values in columns.items()}, 5), held_out_folds(columns, 5)[first]
    )
