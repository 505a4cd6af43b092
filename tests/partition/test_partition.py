import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nbjax.errors import InputError
from nbjax.partition import (
    measure_quality,
    partition_classes,
    partition_families,
    stratified_group_folds,
)

THIRDS = (1 / 3, 1 / 3, 1 / 3)
PROPORTIONS = [(0.7, 0.15, 0.15), (0.7, 0.2, 0.1), (0.55, 0.25, 0.2), (0.8, 0.1, 0.1)]

cohorts = st.lists(st.integers(1, 40), min_size=3, max_size=25)
targets = st.sampled_from(PROPORTIONS)


def sizes_per_split(sizes, assignment):
    return [sorted(np.asarray(sizes)[assignment == split].tolist()) for split in range(3)]


@pytest.fixture(scope="session")
def cases(shared: Path) -> list[dict]:
    return json.loads((shared / "partition" / "cases.json").read_text(encoding="utf-8"))


def test_sequential_agrees_with_the_shared_cases(cases):
    for case in cases:
        found = partition_families(case["patches_per_family"], case["proportions"], method="sequential")
        assert found.discrepancy == pytest.approx(case["sequential_D"], abs=1e-9)


def test_exact_reaches_the_optimum_found_by_exhaustion(cases):
    known = [case for case in cases if case["optimum_D"] is not None]
    assert len(known) > 20
    for case in known:
        found = partition_families(case["patches_per_family"], case["proportions"], method="exact")
        assert found.discrepancy == pytest.approx(case["optimum_D"], abs=1e-9)
        assert found.gap < 1e-7


@pytest.mark.slow
def test_exact_is_proven_and_never_worse_than_filing_on_the_shared_cases(cases):
    for case in cases:
        filed = partition_families(case["patches_per_family"], case["proportions"])
        found = partition_families(case["patches_per_family"], case["proportions"], method="exact")
        assert found.discrepancy <= filed.discrepancy + 1e-12
        assert found.lower_bound <= found.discrepancy
        assert found.gap < 1e-7


@given(st.lists(st.integers(1, 20), min_size=3, max_size=7), targets)
@example([2, 3, 12], PROPORTIONS[0])
@settings(max_examples=25, deadline=None)
def test_exact_is_the_least_of_all_assignments(sizes, proportions):
    least = min(
        measure_quality(np.array(sizes), np.array(assignment), proportions).discrepancy
        for assignment in itertools.product(range(3), repeat=len(sizes))
    )
    found = partition_families(sizes, proportions, method="exact")
    assert found.discrepancy == pytest.approx(least, abs=1e-9)
    assert found.lower_bound == pytest.approx(least, abs=1e-6)


@given(cohorts, targets, st.sampled_from(["filing", "exact", "sequential"]), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_every_family_has_one_split_and_order_changes_nothing(sizes, proportions, method, random):
    found = partition_families(sizes, proportions, method=method)
    assert found.assignment.shape == (len(sizes),)
    assert set(found.assignment.tolist()) <= {0, 1, 2}
    assert 0 <= found.discrepancy <= 1
    np.testing.assert_allclose([sum(found.proportions), sum(found.diversities)], 1)
    assert found.discrepancy == measure_quality(np.array(sizes), found.assignment, proportions).discrepancy
    order = list(range(len(sizes)))
    random.shuffle(order)
    again = partition_families([sizes[i] for i in order], proportions, method=method)
    assert again.discrepancy == found.discrepancy
    assert (again.mu, again.epsilon, again.optima) == (found.mu, found.epsilon, found.optima)
    assert sizes_per_split([sizes[i] for i in order], again.assignment) == sizes_per_split(sizes, found.assignment)


def test_weights_choose_between_proportions_and_diversities():
    sizes = [189, 120, 70, 70, 38, 28, 12, 4, 3, 2, 1, 1, 1, 1, 1, 1]
    for method in ("filing", "exact"):
        proportions = partition_families(sizes, weights=(1, 0), method=method)
        diversities = partition_families(sizes, weights=(0, 1), method=method)
        off_proportions = [
            np.abs(np.subtract(p.proportions, (0.7, 0.15, 0.15))).sum() for p in (proportions, diversities)
        ]
        off_diversities = [np.abs(np.subtract(p.diversities, THIRDS)).sum() for p in (proportions, diversities)]
        assert off_proportions[0] <= off_proportions[1]
        assert off_diversities[1] <= off_diversities[0]
        assert proportions.discrepancy == pytest.approx(off_proportions[0] / 6)
        assert diversities.discrepancy == pytest.approx(off_diversities[1] / 6)


def test_exact_says_when_its_assignment_is_from_filing():
    sizes = np.random.default_rng(1).integers(10**4, 10**5, 300)
    found = partition_families(sizes, method="exact", seconds=1e-3)
    assert found.found_by in ("exact", "filing")
    assert found.method == "exact"
    assert found.discrepancy <= partition_families(sizes).discrepancy
    assert found.gap == found.discrepancy - found.lower_bound


def test_classes_are_assigned_one_by_one_by_filing():
    counts = np.zeros((20, 2), dtype=int)
    rng = np.random.default_rng(0)
    counts[np.arange(20), np.arange(20) % 2] = rng.integers(1, 30, 20)
    joint = partition_classes(counts)
    for number, partition in enumerate(joint.classes):
        present = counts[:, number] > 0
        alone = partition_families(counts[present, number])
        assert joint.assignment[present].tolist() == alone.assignment.tolist()
        assert (partition.mu, partition.epsilon) == (alone.mu, alone.epsilon)
    assert joint.discrepancy == pytest.approx(np.mean([partition.discrepancy for partition in joint.classes]))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(any), min_size=3, max_size=6))
@settings(max_examples=25, deadline=None)
def test_families_of_two_classes_are_assigned_jointly_by_exact(rows):
    counts = np.array(rows)
    if ((counts > 0).sum(axis=0) < 3).any():
        with pytest.raises(InputError):
            partition_classes(counts, method="exact")
        return
    least = min(
        np.mean([measure_quality(column, np.array(assignment)).discrepancy for column in counts.T])
        for assignment in itertools.product(range(3), repeat=len(counts))
    )
    joint = partition_classes(counts, method="exact")
    assert joint.discrepancy == pytest.approx(least, abs=1e-9)
    assert joint.gap < 1e-6


@pytest.mark.parametrize("sizes", [[5, 5, 5], [9, 9, 9, 9], [50, 1, 1], [1000, 30, 1]])
@pytest.mark.parametrize("method", ["filing", "exact"])
def test_every_split_is_filled_where_it_is_asked_for(sizes, method):
    diversities = (0.7, 0.15, 0.15)
    plain = partition_families(sizes, diversities=diversities, method=method)
    found = partition_families(sizes, diversities=diversities, method=method, every_split=True)
    assert set(found.assignment.tolist()) == {0, 1, 2}
    least = min(
        measure_quality(np.array(sizes), np.array(assignment), diversities=diversities).discrepancy
        for assignment in itertools.product(range(3), repeat=len(sizes))
        if len(set(assignment)) == 3
    )
    if set(plain.assignment.tolist()) == {0, 1, 2}:
        assert found.assignment.tolist() == plain.assignment.tolist()
        assert found.reason == ""
    else:
        assert found.method == "exact"
        assert found.discrepancy == pytest.approx(least, abs=1e-9)
        assert "leaves a split without a family" in found.reason


def test_classes_together_fill_every_split_or_say_that_they_cannot():
    # Families 0 and 1 have both classes; the least discrepancy is not asked to fill, the other is.
    counts = np.array([[8, 1], [1, 8], [1, 0], [0, 1]])
    joint = partition_classes(counts, method="exact", every_split=True)
    assert all(set(joint.assignment[column > 0].tolist()) == {0, 1, 2} for column in counts.T)
    # Four families, of which every three are all that a class has: two must share a split.
    with pytest.raises(InputError, match="no assignment gives every split a family of every class"):
        partition_classes(1 - np.eye(4, dtype=int), method="exact", every_split=True)
    with pytest.raises(InputError, match='"exact" fills every split'):
        partition_families([1, 1, 1], method="sequential", every_split=True)


def test_filing_refuses_a_family_of_two_classes():
    counts = [[5, 0], [4, 0], [3, 2], [0, 9], [0, 4]]
    with pytest.raises(InputError, match=r'family 2 has patches of classes \[0, 1\].*the method "exact" takes several'):
        partition_classes(counts)


def test_stratified_group_folds_keep_families_whole():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 20, (40, 2)) + np.array([1, 0])
    found = stratified_group_folds(counts, seed=3)
    assert found.assignment.shape == (40,)
    np.testing.assert_allclose(found.classes[0].proportions, (5 / 7, 1 / 7, 1 / 7), atol=0.06)
    assert found.assignment.tolist() == stratified_group_folds(counts, seed=3).assignment.tolist()
    assert partition_classes(counts, method="exact", seconds=5).discrepancy <= found.discrepancy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"proportions": (0.7, 0.2, 0.2)}, "proportions: .* sum to 1.1, expected 1"),
        ({"proportions": (0.5, 0.25, 0.25)}, "train is 0.5, expected more than 0.5"),
        ({"proportions": (0.7, 0.1, 0.2)}, "validation 0.1 is less than test 0.2"),
        ({"proportions": (0.8, 0.2, 0.0)}, "test is 0, expected more than 0"),
        ({"proportions": (0.8, 0.2)}, "proportions: found 2 values"),
        ({"proportions": (0.999999, 5e-7, 5e-7)}, "expected no share between 0 and 1e-06"),
        ({"proportions": (float("nan"), 0.2, 0.1)}, "three finite numbers"),
        ({"diversities": (0.5, 0.3, 0.3)}, "diversities: .* sum to 1.1"),
        ({"weights": (0, 0)}, "weights: found"),
        ({"weights": (1, -1)}, "weights: found"),
        ({"method": "filling"}, 'method: found "filling", expected one of filing, exact, sequential'),
        ({"method": "exact", "seconds": 0}, "seconds: found 0"),
        ({"patches_per_family": [3, 4]}, "2 families cannot fill 3 splits"),
        ({"patches_per_family": []}, "found no families"),
        ({"patches_per_family": [0, 0, 0]}, "the class has no patches"),
        ({"patches_per_family": [3, 0, 4, 4]}, "family 1 has no patches"),
        ({"patches_per_family": [3, -1, 4, 4]}, "found -1"),
        ({"patches_per_family": [3, 1.5, 4, 4]}, "whole numbers"),
        ({"patches_per_family": ["a", "b", "c"]}, "whole numbers"),
        ({"patches_per_family": [[1, 2], [3, 4], [5, 6]]}, "one number a family"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(arguments, message):
    with pytest.raises(InputError, match=message) as error:
        partition_families(**{"patches_per_family": [9, 8, 7, 6], **arguments})
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([[1, 0], [2, 0], [3, 0]], "class 1 has no patches"),
        ([[1, 1], [2, 1], [3, 0]], "2 families of class 1 cannot fill 3 splits"),
        ([[1, 1], [2, 1], [3, 1], [0, 0]], "family 3 has no patches"),
        ([[1, 1], [2, -1], [3, 1]], "found -1"),
        ([[1, 1], [2], [3, 1]], "rows of different lengths"),
        ([1, 2, 3], "one column a class"),
    ],
)
def test_bad_tables_are_refused(counts, message):
    with pytest.raises(InputError, match=message):
        partition_classes(counts, method="exact")
    with pytest.raises(InputError, match=message):
        stratified_group_folds(counts)


def test_too_few_families_for_folds_are_refused():
    with pytest.raises(InputError, match="4 families cannot fill 7 folds"):
        stratified_group_folds([[1], [2], [3], [4]])
    # The advice is no more folds than there are families.
    with pytest.raises(InputError, match=r"4 families cannot fill 7 folds; .*=0\.52,0\.24,0\.24 asks for 4"):
        stratified_group_folds([[1], [2], [3], [4]])
    for shares, folds in (((0.6, 0.2, 0.2), 5), ((0.52, 0.24, 0.24), 4)):
        assert len(stratified_group_folds(np.ones((folds, 1), int), shares).assignment) == folds
    with pytest.raises(InputError, match=r"3 families cannot fill 4 folds; gather more families"):
        stratified_group_folds([[1], [2], [3]], (0.52, 0.24, 0.24))
