import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbjax.errors import InputError
from nbjax.partition import exchange, random, spread_families


@st.composite
def cohorts(draw):
    """Patches of families that each have one label and one split; every label is in train and in validation."""
    labels = draw(st.integers(1, 4))
    family, split, label = [], [], []
    number = 0
    for a_label in range(labels):
        for a_split in (0, 1, 2):
            for _ in range(draw(st.integers(1, 4))):
                patches = draw(st.integers(1, 6))
                family += [number] * patches
                split += [a_split] * patches
                label += [a_label] * patches
                number += 1
    order = draw(st.permutations(range(len(family))))
    return tuple(np.array(values)[order] for values in (family, split, label))


@given(cohorts(), st.integers(0, 2**32), st.sampled_from([exchange, random]))
@settings(max_examples=60, deadline=None)
def test_counts_per_class_and_split_stay_and_test_is_untouched(cohort, seed, experiment):
    family, split, label = cohort
    new = experiment(family, split, label, seed)
    assert ((new == 2) == (split == 2)).all()
    for number in np.unique(label):
        of_class = label == number
        assert np.bincount(new[of_class], minlength=3).tolist() == np.bincount(split[of_class], minlength=3).tolist()
    assert (new == experiment(family, split, label, seed)).all()


@given(cohorts(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_exchange_moves_one_patch_a_family(cohort, seed):
    family, split, label = cohort
    new = exchange(family, split, label, seed)
    moved = new != split
    assert np.bincount(family[moved]).max() == 1
    for number in np.unique(label):
        sides = [len(np.unique(family[(label == number) & (split == side)])) for side in (0, 1)]
        assert moved[label == number].sum() == 2 * min(sides)


@given(cohorts(), st.integers(0, 2**32), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_exchange_moves_at_most_the_patches_asked_for(cohort, seed, patches):
    family, split, label = cohort
    new = exchange(family, split, label, seed, patches)
    moved = new != split
    assert np.bincount(family[moved]).max() <= patches
    for number in np.unique(label):
        of_class = label == number
        assert np.bincount(new[of_class], minlength=3).tolist() == np.bincount(split[of_class], minlength=3).tolist()
        sides = [np.bincount(family[of_class & (split == side)]) for side in (0, 1)]
        able = [np.sort(np.minimum(side[side > 0], patches)) for side in sides]
        fewest = min(map(len, able))
        # The families that take part are drawn: between the poorest and the richest of the side with more.
        least, most = (min(int(side[part].sum()) for side in able) for part in (np.s_[:fewest], np.s_[-fewest:]))
        assert 2 * least <= moved[of_class].sum() <= 2 * most


def test_random_mixes_families():
    family = np.repeat(np.arange(20), 50)
    split = np.repeat([0] * 12 + [1] * 4 + [2] * 4, 50)
    new = random(family, split, np.zeros(1000, dtype=int), seed=0)
    # 3 of 4 patches of train and validation are in train: of 50 patches a family, about 37 whatever its first split.
    in_train = np.bincount(family[new == 0], minlength=16)[:16]
    assert in_train.min() > 20
    assert in_train.max() < 50
    assert (new != random(family, split, np.zeros(1000, dtype=int), seed=1)).any()


@given(cohorts(), st.integers(0, 2**32), st.sampled_from([0.0, 0.4, 0.7, 1.0]))
@settings(max_examples=60, deadline=None)
def test_spreading_takes_whole_families_and_never_test_ones(cohort, seed, fraction):
    family, split, label = cohort
    new = spread_families(family, split, label, fraction, seed)
    assert ((new == 2) == (split == 2)).all()
    more = spread_families(family, split, label, 1.0, seed)
    for number in np.unique(label):
        here = (label == number) & (split < 2)
        changed = np.unique(family[here & (new != split)])
        families = np.unique(family[here])
        assert len(changed) <= round(fraction * len(families))
        if fraction == 1:
            counts = np.bincount(new[here], minlength=2)
            assert counts.tolist() == np.bincount(split[here], minlength=2).tolist()
        assert (more[here] < 2).all()
    if fraction == 0:
        assert (new == split).all()


def test_spread_families_lie_on_both_sides_and_a_larger_fraction_spreads_the_same_and_more():
    family = np.repeat(np.arange(20), 50)
    split = np.repeat([0] * 12 + [1] * 4 + [2] * 4, 50)
    spread = []
    for fraction in (0.25, 0.5, 1.0):
        new = spread_families(family, split, np.zeros(1000, dtype=int), fraction, seed=0)
        spread.append({one for one in range(20) if len(set(new[family == one])) > 1})
    assert [len(one) for one in spread] == [4, 8, 16]
    assert spread[0] < spread[1] < spread[2]
    with pytest.raises(InputError, match=r"fraction: found 1\.5"):
        spread_families(family, split, np.zeros(1000, dtype=int), 1.5, seed=0)


def test_a_family_of_two_classes_is_spread_with_both_or_with_neither():
    family = np.repeat(np.arange(16), 60)
    label = np.where(family < 4, 0, np.where(family < 8, 1, np.arange(960) % 2))
    split = np.repeat([0, 0, 0, 1, 2, 0, 1, 0, 0, 1, 0, 1, 0, 2, 0, 0], 60)
    for seed in range(5):
        new = spread_families(family, split, label, 0.5, seed)
        assert ((new == 2) == (split == 2)).all()
        spread = {one for one in range(16) if len(set(new[family == one])) > 1}
        # Of those not in test half of the eleven of the first class, and of the three that are of the second alone.
        assert len(spread) == 6 + 2
        for one in spread - set(range(8)):
            assert all(len(set(new[(family == one) & (label == number)])) == 2 for number in (0, 1))


@pytest.mark.parametrize("experiment", [exchange, random])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"split": np.array([0, 1, 3])}, "split: found 3"),
        ({"split": np.array([0, 1])}, "split: found 2 values for 3 patches"),
        ({"label": np.array(["a", "b", "c"])}, "label: found"),
        ({"family": np.zeros((3, 1), dtype=int)}, "family: found int64"),
    ],
)
def test_bad_input_is_refused(experiment, changed, message):
    arguments = {"family": np.array([0, 1, 2]), "split": np.array([0, 1, 2]), "label": np.array([0, 0, 0]), **changed}
    with pytest.raises(InputError, match=message):
        experiment(**arguments, seed=0)


def test_exchange_needs_a_family_on_both_sides():
    with pytest.raises(InputError, match="class 1 has no family in train or none in validation"):
        exchange(np.array([0, 1, 2, 3]), np.array([0, 1, 0, 2]), np.array([0, 0, 1, 1]), seed=0)
