import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from nbjax.analysis.leak_curve import leak_points, leaking_folds, point_of, regression_accuracies

FAMILY = np.repeat(np.arange(20), 6)
LABEL = FAMILY % 2


def test_the_ends_are_scikit_learns_grouped_and_stratified_folds():
    for fraction, splitter in (
        (0.0, StratifiedGroupKFold(5, shuffle=True, random_state=3)),
        (1.0, StratifiedKFold(5, shuffle=True, random_state=3)),
    ):
        fold = leaking_folds(LABEL, FAMILY, fraction, 5, 3)
        groups = {"groups": FAMILY} if fraction == 0 else {}
        for number, (_, held_out) in enumerate(splitter.split(LABEL[:, None], LABEL, **groups)):
            np.testing.assert_array_equal(np.flatnonzero(fold == number), held_out)


def test_a_larger_fraction_deals_the_same_families_and_more():
    split = []
    for fraction in (0.0, 0.3, 0.6, 1.0):
        fold = leaking_folds(LABEL, FAMILY, fraction, 5, 0)
        split.append({one for one in range(20) if len(set(fold[one == FAMILY])) > 1})
    assert [len(one) for one in split] == [0, 6, 12, 20]
    assert split[1] < split[2] < split[3]


def test_a_family_with_two_labels_leaks_with_both_or_with_neither():
    # Every family has both labels, as patients with two lesions do.
    label = np.tile([0, 1], 60)
    for fraction, leaking in ((0.0, 0), (0.3, 6), (1.0, 20)):
        fold = leaking_folds(label, FAMILY, fraction, 3, 0)
        assert sum(len(set(fold[one == FAMILY])) > 1 for one in range(20)) == leaking


def test_families_that_can_be_recognised_make_leaking_scores_perfect_and_true_ones_chance():
    # Features name the family and say nothing of the label.
    rng = np.random.default_rng(0)
    features = 4 * np.eye(20)[FAMILY] + 0.1 * rng.normal(size=(120, 20))
    assert regression_accuracies(features, LABEL, FAMILY, 1.0, repetitions=2).min() > 0.95
    apart = regression_accuracies(features, LABEL, FAMILY, 0.0, repetitions=2)
    half = regression_accuracies(features, LABEL, FAMILY, 0.5, repetitions=2)
    assert apart.mean() < 0.6
    assert apart.mean() < half.mean() < 0.95


def test_a_point_is_students_interval_over_draws():
    values = np.random.default_rng(0).normal(size=(12, 5))
    found = point_of(values)
    theirs = stats.ttest_1samp(values.mean(axis=1), 0).confidence_interval()
    np.testing.assert_allclose(found.interval, (theirs.low, theirs.high))
    assert (found.draws, found.sessions) == (12, 60)


def test_points_do_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "fraction": np.repeat([0.0, 1.0], 12),
            "partition": np.tile(np.repeat(np.arange(4), 3), 2),
            "seed": np.tile(np.arange(3), 8),
            "score": rng.random(24),
        }
    )
    found = leak_points(table, "score")
    assert found[1.0].mean == pytest.approx(np.mean(table["score"].to_numpy()[12:]))
    assert leak_points(table.take(rng.permutation(24)), "score") == found
