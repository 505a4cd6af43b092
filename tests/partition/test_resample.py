import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbjax.errors import InputError
from nbjax.partition import (
    grouped_folds,
    measure_quality,
    partition_classes,
    partition_families,
    resample_classes,
    resample_jointly,
    resample_partitions,
)

SIZES = np.maximum(1, np.random.default_rng(0).lognormal(2.5, 1.0, 61)).astype(int)


def test_partitions_are_near_different_and_from_the_seed():
    found = resample_partitions(SIZES, 50, seed=3, tolerance=0.01)
    assert found.shape == (50, 61)
    assert len(np.unique(found, axis=0)) == 50
    near = partition_families(SIZES).discrepancy + 0.01
    assert max(measure_quality(SIZES, assignment).discrepancy for assignment in found) <= near + 1e-12
    assert (found == resample_partitions(SIZES, 50, seed=3, tolerance=0.01)).all()
    assert (found[:20] == resample_partitions(SIZES, 20, seed=3, tolerance=0.01)).all()
    assert (found != resample_partitions(SIZES, 50, seed=4, tolerance=0.01)).any()
    # Most families are seen in more than one split.
    assert (np.array([len(set(column)) for column in found.T]) > 1).mean() > 0.8


def test_classes_together_are_different_also_where_one_has_few_near_partitions():
    few = [20, 20, 20, 20, 20]
    found = resample_classes([few, SIZES], 60, seed=1)
    assert [one.shape for one in found] == [(60, 5), (60, 61)]
    assert len(np.unique(found[0], axis=0)) < 60
    assert len(np.unique(np.concatenate(found, axis=1), axis=0)) == 60
    for sizes, assignments in zip((few, SIZES), found, strict=True):
        near = partition_families(sizes).discrepancy + 0.01
        assert max(measure_quality(np.asarray(sizes), one).discrepancy for one in assignments) <= near + 1e-12
    # None alone has enough, together they have.
    both = resample_classes([few, few], 300, seed=1)
    assert len(np.unique(np.concatenate(both, axis=1), axis=0)) == 300
    again = resample_classes([few, few], 300, seed=1)
    assert all((one == other).all() for one, other in zip(both, again, strict=True))


def test_other_targets_are_kept():
    found = resample_partitions(SIZES, 5, seed=0, tolerance=0.005, proportions=(0.6, 0.2, 0.2))
    near = partition_families(SIZES, (0.6, 0.2, 0.2)).discrepancy + 0.005
    assert max(measure_quality(SIZES, assignment, (0.6, 0.2, 0.2)).discrepancy for assignment in found) <= near + 1e-12


def two_label_counts(seed, families=24):
    """Patches of families with one label, the other, or both."""
    rng = np.random.default_rng(seed)
    kinds = rng.permutation(np.arange(families) % 3)
    return rng.integers(5, 40, (families, 2)) * np.stack([kinds != 1, kinds != 0], axis=1)


def test_partitions_of_families_with_two_labels_are_near_the_exact_one_and_different():
    counts = two_label_counts(0)
    found = resample_jointly(counts, 20, seed=3)
    assert found.shape == (20, 24)
    assert len(np.unique(found, axis=0)) == 20
    near = partition_classes(counts, method="exact").discrepancy + 0.01
    for assignment in found:
        reached = [measure_quality(of_label, assignment).discrepancy for of_label in counts.T]
        assert np.mean(reached) <= near + 1e-12
        assert all((counts[assignment == split] > 0).any(axis=0).all() for split in range(3))
    assert (found[:5] == resample_jointly(counts, 5, seed=3)).all()
    with pytest.raises(InputError, match="of the exact method's discrepancy, expected 100"):
        resample_jointly([[5, 5]] * 3, 100, seed=0)


@given(st.integers(0, 10_000), st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_folds_of_families_with_two_labels_hold_both(seed, folds):
    counts = two_label_counts(seed)
    found = grouped_folds(counts, folds, seed)
    assert (found == grouped_folds(counts, folds, seed)).all()
    for number in range(folds):
        assert (counts[found == number] > 0).any(axis=0).all()


@given(st.lists(st.integers(1, 200), min_size=8, max_size=80), st.integers(2, 8), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_folds_are_whole_and_none_is_empty(sizes, folds, seed):
    found = grouped_folds(sizes, folds, seed)
    assert found.shape == (len(sizes),)
    assert np.bincount(found, minlength=folds).min() >= 1
    assert len(np.bincount(found)) == folds
    assert (found == grouped_folds(sizes, folds, seed)).all()


def test_folds_are_alike():
    found = grouped_folds(SIZES, 5, seed=0)
    patches = np.bincount(found, weights=SIZES)
    assert patches.max() - patches.min() < 0.03 * SIZES.sum()
    assert np.ptp(np.bincount(found)) <= 2
    assert (found != grouped_folds(SIZES, 5, seed=1)).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resample_partitions([5, 5, 5], 28, seed=0), "different partitions .* expected 28"),
        (
            lambda: resample_classes([[5, 5, 5], [5, 5, 5]], 1000, seed=0),
            "6 x 6 different partitions .* expected 1000",
        ),
        (lambda: resample_partitions(SIZES, 0, seed=0), "count: found 0"),
        (lambda: resample_partitions(SIZES, 1, seed=0, tolerance=-0.1), "tolerance: found -0.1"),
        (lambda: resample_partitions(SIZES, 1, seed=0, tolerance=float("nan")), "tolerance: found nan"),
        (lambda: grouped_folds([1, 2, 3], 1, seed=0), "folds: found 1"),
        (lambda: grouped_folds([1, 2, 3], 4, seed=0), "3 families cannot fill 4 splits"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
