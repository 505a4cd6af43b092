import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbjax.training.bank import Bank
from nbjax.training.crossvalidation import cross_validate, family_folds
from nbjax.training.program import Program
from nbjax.training.sessions import grid


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 9)), min_size=6, max_size=30), st.integers(0, 99))
def test_families_stay_whole_and_every_fold_has_every_label(families, seed):
    families = [*families, (0, 3), (0, 2), (1, 2), (1, 4)]
    sizes = np.asarray([size for _, size in families])
    labels = np.repeat([label for label, _ in families], sizes)
    names = np.repeat([f"f{index}" for index in range(len(families))], sizes)
    folds = family_folds(names, labels, 5, seed)
    for name in set(names):
        assert len(set(folds[names == name])) == 1
    fewest = min(5, *(sum(label == one for label, _ in families) for one in (0, 1)))
    for label in (0, 1):
        assert set(folds[labels == label]) == set(range(fewest))


@pytest.fixture
def bank():
    """Ten families a label whose features name the family: nothing of it helps with another family."""
    rng = np.random.default_rng(0)
    family = np.repeat(np.arange(20), 6)
    features = (10 * np.eye(20)[family] + rng.normal(size=(120, 20))).astype(np.float32)
    columns = {
        "label": family % 2,
        "family": np.char.add("f", family.astype(str)),
        "slide": np.char.add("s", family.astype(str)),
        "x": np.arange(120),
        "y": np.arange(120),
        "transform": np.zeros(120, int),
    }
    split = np.asarray([0] * 60 + [1] * 30 + [2] * 30)
    names = ("train", "validation", "test")
    return Bank(
        None,
        {name: features[split == index] for index, name in enumerate(names)},
        {name: {key: value[split == index] for key, value in columns.items()} for index, name in enumerate(names)},
    )


def test_every_sample_is_predicted_once_a_seed_by_sessions_without_its_family(bank):
    program = Program(features=20, batch_size=16, criterion="validation_loss")
    table = cross_validate(program, grid([0.1], range(3)), 20, bank, 5)
    assert len(table) == 3 * 120
    for seed in range(3):
        samples = np.sort(table["sample"].to_numpy()[table["seed"].to_numpy() == seed])
        np.testing.assert_array_equal(samples, np.arange(120))
    # Had a session seen the family, it would know its label: the features say nothing else.
    hits = (table["probability"].to_numpy() > 0.5) == table["label"].to_numpy()
    assert 0.2 < hits.mean() < 0.7


def test_what_is_held_out_does_not_standardise_itself(bank):
    """Another family of the same fold may look like anything: nothing of it reaches the head or its moments."""
    program = Program(features=20, batch_size=16, head_input="standardised", weight_decay=0.3)
    one = cross_validate(program, grid([0.01], [0]), 2, bank, 2)
    fold, family = one["fold"].to_numpy(), np.asarray(one["family"].to_pylist())
    odd = family[fold == 0][0]
    inputs = {
        split: np.where((bank.columns[split]["family"] == odd)[:, None], 1e3 * values, values)
        for split, values in bank.inputs.items()
    }
    other = cross_validate(program, grid([0.01], [0]), 2, bank._replace(inputs=inputs), 2)
    same = (fold == 0) & (family != odd)
    found, again = one["probability"].to_numpy(), other["probability"].to_numpy()
    np.testing.assert_array_equal(found[same], again[same])
    assert np.abs(found[fold == 1] - again[fold == 1]).max() > 1e-3
