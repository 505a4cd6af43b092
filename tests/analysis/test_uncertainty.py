import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nbjax.analysis import family_interval, jackknife_interval, naive_interval
from nbjax.analysis.uncertainty import FamilyEstimate, Interval, flat
from nbjax.analysis.variance import Component


def draw(seed, families=6, size=8):
    rng = np.random.default_rng(seed)
    family = np.repeat(np.arange(2 * families), rng.integers(1, size, 2 * families))
    label = family // families
    return (rng.random(len(family)) < 0.3 + 0.6 * rng.random(2 * families)[family]).astype(float), family, label


def test_one_sample_a_family_and_equal_labels_is_students_interval_with_pooled_strata():
    rng = np.random.default_rng(0)
    values, label = rng.exponential(size=200), np.repeat([0, 1], 100)
    ours = family_interval(values, np.arange(200), label, fraction=False)
    # Two strata of 100: half the mean's variance from each, Welch's degrees of freedom.
    variances = [values[label == one].var(ddof=1) / 100 / 4 for one in (0, 1)]
    freedom = sum(variances) ** 2 / sum(v**2 / 99 for v in variances)
    reach = stats.t.ppf(0.975, freedom) * sum(variances) ** 0.5
    np.testing.assert_allclose(np.log(ours.interval.high / ours.estimate), reach / values.mean(), rtol=1e-9)
    np.testing.assert_allclose(ours.estimate, values.mean())


def test_near_scipys_bootstrap_where_families_are_many_and_of_one_size():
    rng = np.random.default_rng(1)
    means = rng.beta(6, 3, 300)
    values, family = np.repeat(means, 4), np.repeat(np.arange(300), 4)
    ours = family_interval(values, family, np.zeros(1200, int), fraction=True)
    theirs = stats.bootstrap((means,), np.mean, random_state=2, n_resamples=4000).confidence_interval
    np.testing.assert_allclose(ours.interval, (theirs.low, theirs.high), atol=0.002)


@given(st.integers(0, 10_000))
def test_order_and_repetition_of_samples_change_nothing(seed):
    values, family, label = draw(seed)
    once = family_interval(values, family, label, fraction=True)
    order = np.random.default_rng(seed).permutation(len(values))
    again = family_interval(values[order], family[order], label[order], fraction=True)
    thrice = family_interval(np.tile(values, 3), np.tile(family, 3), np.tile(label, 3), fraction=True)
    for other in (again, thrice):
        np.testing.assert_allclose((other.estimate, *other.interval), (once.estimate, *once.interval), rtol=1e-9)


@given(st.integers(0, 10_000))
def test_a_fractions_interval_stays_within_bounds_and_holds_the_estimate(seed):
    values, family, label = draw(seed, families=3)
    result = family_interval(values, family, label, fraction=True)
    assert 0 <= result.interval.low <= result.estimate <= result.interval.high <= 1


def test_families_make_the_interval_wider_than_samples():
    values, family, label = draw(3, families=5, size=60)
    result = family_interval(values, family, label, fraction=True)
    low, high = naive_interval(int(values.sum()), len(values))
    assert result.interval.high - result.interval.low > 2 * (high - low)


def test_one_family_of_a_label_gives_no_interval():
    result = family_interval(np.ones(6), np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 1, 1, 1]), fraction=True)
    assert result.interval is None
    assert result.families == (1, 2)
    assert "one family only" in result.reason


def test_agreeing_families_are_counted_as_samples_are_by_clopper_and_pearson():
    result = family_interval(np.ones(40), np.repeat(np.arange(8), 5), np.repeat([0, 1], 20), fraction=True)
    expected = stats.binomtest(8, 8).proportion_ci(0.95, "exact")
    assert result.interval == pytest.approx((expected.low, 1.0))


def test_the_variance_is_the_jackknifes_where_families_are_of_unlike_size():
    rng = np.random.default_rng(0)
    family = np.repeat(np.arange(8), rng.integers(1, 30, 8))
    values = rng.exponential(size=len(family)) + family / 8
    ours = family_interval(values, family, np.zeros(len(family), int), fraction=False)
    without = np.array([values[family != one].mean() for one in range(8)])
    deviation = (7 / 8 * ((without - values.mean()) ** 2).sum()) ** 0.5
    sizes = np.bincount(family)
    reach = stats.t.ppf(0.975, sizes.sum() ** 2 / (sizes**2).sum() - 1) * deviation
    np.testing.assert_allclose(np.log(ours.interval.high / ours.estimate), reach / values.mean(), rtol=1e-9)


def test_the_jackknife_of_a_mean_of_equal_families_is_the_family_interval():
    values, family = np.random.default_rng(1).random(60), np.repeat(np.arange(12), 5)
    label = np.zeros(60, int)
    without = np.array([values[family != one].mean() for one in range(12)])
    one = family_interval(values, family, label, fraction=True)
    other = jackknife_interval(values.mean(), without, np.full((12, 1), 5), fraction=True)
    np.testing.assert_allclose((other.estimate, *other.interval), (one.estimate, *one.interval), rtol=1e-9)
    assert other[2:] == one[2:]
    alone = jackknife_interval(0.5, np.zeros(3), np.eye(2)[[0, 0, 1]], fraction=True)
    assert (alone.interval, "one family only" in alone.reason) == (None, True)


def test_families_twice_as_new_families_narrow_the_interval():
    values, family, label = draw(5, families=6)
    once = family_interval(values, family, label, fraction=True)
    both = [np.concatenate(pair) for pair in ((values, values), (family, family + 100), (label, label))]
    twice = family_interval(*both, fraction=True)
    assert twice.estimate == pytest.approx(once.estimate)
    assert twice.interval.high - twice.interval.low < 0.75 * (once.interval.high - once.interval.low)


def test_the_interval_covers_as_often_as_it_says_and_the_naive_one_does_not():
    rng = np.random.default_rng(0)
    held, naive = [], []
    for _ in range(400):
        accuracy = rng.beta(6, 2, 24)
        family = np.repeat(np.arange(24), rng.geometric(1 / 15, 24))
        hits = (rng.random(len(family)) < accuracy[family]).astype(float)
        result = family_interval(hits, family, family // 12, fraction=True)
        held.append(result.interval.low <= 0.75 <= result.interval.high)
        low, high = naive_interval(int(hits.sum()), len(hits))
        naive.append(low <= 0.75 <= high)
    assert 0.92 <= np.mean(held) <= 0.98
    assert np.mean(naive) < 0.8


def patients(rng, count, deviation=0.18, truth=0.78):
    """Hits, patient and label of the samples of `count` patients: every third has both labels, with one strength for
    both.
    """
    strength = truth * (1 - truth) / deviation**2 - 1
    accuracy = rng.beta(truth * strength, (1 - truth) * strength, count)
    # Of each patient's labels, the samples.
    sizes = np.maximum(1, np.round(rng.lognormal(2.3, 0.7, (count, 2)))).astype(int)
    sizes *= np.stack([np.arange(count) % 3 != 1, np.arange(count) % 3 != 0], axis=1)
    patient, label = (np.repeat(index.ravel(), sizes.ravel()) for index in np.indices(sizes.shape))
    return (rng.random(len(patient)) < accuracy[patient]).astype(float), patient, label


def test_a_patient_with_two_labels_is_one_family_of_an_interval():
    values, patient, label = patients(np.random.default_rng(2), 16)
    result = family_interval(values, patient, label, fraction=True)
    assert (result.families, result.distinct_families) == ((11, 10), 16)
    # The same samples, the patients' two labels taken for two families each.
    apart = family_interval(values, 2 * patient + label, label, fraction=True)
    assert (apart.families, apart.distinct_families) == ((11, 10), 21)
    assert result.estimate == apart.estimate
    agreeing = family_interval(np.ones(len(values)), patient, label, fraction=True)
    assert agreeing.interval.low == pytest.approx(stats.binomtest(16, 16).proportion_ci(0.95, "exact").low)


def test_where_every_patient_has_both_labels_alike_patients_alone_are_counted():
    rng = np.random.default_rng(0)
    means = rng.random(12)
    values, patient, label = np.repeat(means, 10), np.repeat(np.arange(12), 10), np.tile([0, 1], 60)
    both = family_interval(values, patient, label, fraction=True)
    # As if there were one label.
    plain = family_interval(values, patient, np.zeros(120, int), fraction=True)
    assert both.interval == pytest.approx(plain.interval)
    # Two labels taken apart would say that there are 24 families.
    apart = family_interval(values, 2 * patient + label, label, fraction=True)
    assert apart.interval.high - apart.interval.low < 0.75 * (both.interval.high - both.interval.low)


def test_the_jackknife_of_a_mean_is_the_family_interval_of_patients_with_two_labels():
    rng = np.random.default_rng(3)
    values, patient, label = rng.random(240), np.repeat(np.arange(12), 20), np.tile([0, 1], 120)
    without = np.array([values[patient != one].mean() for one in range(12)])
    one = family_interval(values, patient, label, fraction=True)
    other = jackknife_interval(values.mean(), without, np.full((12, 2), 10), fraction=True)
    np.testing.assert_allclose((other.estimate, *other.interval), (one.estimate, *one.interval), rtol=1e-9)
    assert other[2:] == one[2:]


def test_intervals_of_patients_with_two_labels_cover_as_often_as_they_say():
    rng = np.random.default_rng(1)
    held, apart = [], []
    for _ in range(400):
        values, patient, label = patients(rng, 18)
        for families, found in ((patient, held), (2 * patient + label, apart)):
            result = family_interval(values, families, label, fraction=True)
            found.append(result.interval.low <= 0.78 <= result.interval.high)
    assert 0.92 <= np.mean(held) <= 0.98
    assert np.mean(apart) < np.mean(held)


def test_two_families_far_apart_give_ends_that_can_be_printed():
    result = family_interval(np.array([0.01, 9.0]), np.array([0, 1]), np.zeros(2, int), fraction=False)
    assert result.estimate / result.interval.low == pytest.approx(1000)
    assert result.interval.high == pytest.approx(1000 * result.estimate)
    fraction = family_interval(np.array([0.01, 0.99]), np.array([0, 1]), np.zeros(2, int), fraction=True)
    assert fraction.interval == (pytest.approx(0, abs=1e-6), pytest.approx(1))


def test_a_score_at_the_end_of_its_range_that_families_move_has_no_interval():
    found = jackknife_interval(0.0, np.array([0, 0.1, 0, 0.1, 0, 0]), np.eye(2)[[0, 0, 0, 1, 1, 1]], fraction=True)
    assert (found.estimate, found.interval) == (0.0, None)
    assert "end of its range" in found.reason


def test_a_records_intervals_are_columns_of_their_own():
    component = Component(0.04, Interval(0.01, 0.09), 0.5, Interval(0.2, 0.8), False)
    assert flat(component) == {
        "variance": 0.04,
        "low": 0.01,
        "high": 0.09,
        "share": 0.5,
        "share_low": 0.2,
        "share_high": 0.8,
        "truncated": False,
    }
    alone = FamilyEstimate(0.5, None, (1, 1), 2, (1.0, 1.0), "one family")
    assert list(flat(alone)) == ["estimate", "low", "high", "families", "distinct_families", "effective", "reason"]
    assert (flat(alone)["low"], flat(alone)["high"]) == (None, None)
