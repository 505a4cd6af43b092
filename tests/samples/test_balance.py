import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbjax.errors import InputError
from nbjax.samples import transforms_per_class
from nbjax.samples.balance import balanced_count

# The paper's Table 2: by split, starting patches, after balancing, samples in the end.
TABLE_2 = {
    "train": {"PD": (734, 734, 2936), "D": (420, 840, 3360)},
    "validation": {"PD": (127, 127, 508), "D": (82, 164, 656)},
    "test": {"PD": (127, 127, 508), "D": (80, 160, 640)},
}


@pytest.mark.parametrize("split", TABLE_2)
def test_table_2_of_the_paper(split):
    patches = {label: row[0] for label, row in TABLE_2[split].items()}
    transforms = transforms_per_class(patches)
    assert transforms == {"PD": 3, "D": 7}
    for label, (start, balanced, samples) in TABLE_2[split].items():
        assert balanced_count(patches, label) == balanced
        assert start * (1 + transforms[label]) == samples


def test_three_classes():
    # Ratios 1, 2 and 4 with 7 transforms: NGCA = 8 / 4 - 1 = 1, so 1, 2 + 1 and 4 + 3.
    assert transforms_per_class({"a": 400, "b": 200, "c": 100}) == {"a": 1, "b": 3, "c": 7}


def test_too_unequal_classes_take_all_transforms():
    assert transforms_per_class({"a": 2000, "b": 100}) == {"a": 0, "b": 7}


@given(st.dictionaries(st.text(min_size=1), st.integers(1, 10_000), min_size=1), st.integers(0, 7))
def test_never_more_than_available_and_never_fewer_for_a_smaller_class(patches, available):
    transforms = transforms_per_class(patches, available)
    assert transforms.keys() == patches.keys()
    assert all(0 <= count <= available for count in transforms.values())
    falling = sorted(patches, key=lambda label: -patches[label])
    counts = [transforms[label] for label in falling]
    assert counts == sorted(counts)


def test_empty_classes_are_refused():
    with pytest.raises(InputError, match="class b has 0 patches"):
        transforms_per_class({"a": 3, "b": 0})
    with pytest.raises(InputError, match="no class"):
        transforms_per_class({})
