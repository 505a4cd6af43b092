import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nbjax.analysis import family_interval, jackknife_interval, naive_interval
from nbjax.analysis.uncertainty import FamilyEstimate, Interval, effective_families, families_needed, flat
from nbjax.analysis.variance import Component


def draw(seed, families=6, size=8):
    rng = np.random.default_rng(seed)
    family = np.repeat(np.arange(2 * families), rng.integers(1, size, 2 * families))
    label = family // families
    return (rng.random(len(family)) < 0.3 + 0.6 * rng.random(2 * families)[family]).astype(float), family, label


def test_many_families_of_one_sample_have_students_interval_with_strata():
    rng = np.random.default_rng(0)
    values, label = rng.beta(6, 3, 2000), np.repeat([0, 1], 1000)
    ours = family_interval(values, np.arange(2000), label, fraction=True)
    # Two strata of 1000: half the mean's variance from each, Welch's degrees of freedom.
    variances = [values[label == one].var(ddof=1) / 1000 / 4 for one in (0, 1)]
    freedom = sum(variances) ** 2 / sum(v**2 / 999 for v in variances)
    reach = stats.t.ppf(0.975, freedom) * sum(variances) ** 0.5
    np.testing.assert_allclose(ours.interval, (values.mean() - reach, values.mean() + reach), atol=3e-4)
    np.testing.assert_allclose(ours.estimate, values.mean())


def test_near_scipys_bootstrap_where_families_are_many_and_of_unlike_size():
    rng = np.random.default_rng(1)
    means, sizes = rng.beta(6, 3, 300), rng.integers(1, 40, 300)
    values, family = np.repeat(means, sizes), np.repeat(np.arange(300), sizes)
    ours = family_interval(values, family, np.zeros(len(family), int), fraction=True)
    theirs = stats.bootstrap((means,), np.mean, random_state=2, n_resamples=4000).confidence_interval
    np.testing.assert_allclose(ours.interval, (theirs.low, theirs.high), atol=0.003)
    assert ours.estimate == pytest.approx(means.mean())
    logs = family_interval(values, family, np.zeros(len(family), int), fraction=False, guess=0.7)
    np.testing.assert_allclose(logs.interval, (theirs.low, theirs.high), atol=0.003)


@given(st.integers(0, 10_000))
def test_how_many_samples_a_family_has_does_not_move_the_estimate(seed):
    rng = np.random.default_rng(seed)
    means, few, many = rng.random(9), rng.integers(1, 5, 9), rng.integers(1, 500, 9)
    label = np.arange(9) % 2
    one, other = (
        family_interval(np.repeat(means, sizes), np.repeat(np.arange(9), sizes), np.repeat(label, sizes), fraction=True)
        for sizes in (few, many)
    )
    np.testing.assert_allclose((one.estimate, *one.interval), (other.estimate, *other.interval), rtol=1e-9)
    assert one.estimate == pytest.approx(means.mean())


@given(st.integers(0, 10_000))
def test_order_of_samples_changes_nothing(seed):
    values, family, label = draw(seed)
    once = family_interval(values, family, label, fraction=True)
    order = np.random.default_rng(seed).permutation(len(values))
    again = family_interval(values[order], family[order], label[order], fraction=True)
    np.testing.assert_allclose((again.estimate, *again.interval), (once.estimate, *once.interval), rtol=1e-9)


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


def test_wilsons_interval_of_agreeing_families_and_a_part_of_one_that_guesses():
    result = family_interval(np.ones(40), np.repeat(np.arange(8), 5), np.repeat([0, 1], 20), fraction=True)
    # The centre has half a family more, which answers at random; of each label three quarters of one in the variance.
    centre, variance = 8.25 / 8.5, 0.75 * 2 * (0.5 / 10) ** 2
    trials = centre * (1 - centre) / variance
    reach = stats.t.ppf(0.975, 6)
    low = (centre + reach**2 / 2 / trials) / (1 + reach**2 / trials)
    low -= reach / (1 + reach**2 / trials) * (centre * (1 - centre) / trials + reach**2 / 4 / trials**2) ** 0.5
    assert result.interval == pytest.approx((low, 1.0))


@pytest.mark.parametrize("hits", [(101, 100, 200), (11, 10, 20), (10, 10, 20)])
def test_families_that_agree_by_chance_tell_no_more_than_independent_samples(hits):
    *right, size = hits
    values = np.concatenate([np.arange(size) < of_family for of_family in right]).astype(float)
    result = family_interval(values, np.repeat([0, 1], size), np.zeros(2 * size, int), fraction=True)
    wilson = stats.binomtest(sum(right), 2 * size).proportion_ci(0.95, "wilson")
    assert result.interval.low < wilson.low
    assert result.interval.high > wilson.high
    losses = family_interval(0.3 + values, np.repeat([0, 1], size), np.zeros(2 * size, int), fraction=False, guess=0.7)
    mean, error = 0.3 + values.mean(), 1.96 * values.std() / (2 * size) ** 0.5
    assert losses.interval.low < mean - error
    assert losses.interval.high > mean + error


def test_samples_that_all_have_the_score_of_a_guess_have_no_interval():
    result = family_interval(np.full(8, 0.5), np.arange(8), np.zeros(8, int), fraction=True)
    assert (result.estimate, result.interval, result.reason) == (0.5, None, "every sample has the score of a guess")


def test_the_jackknife_of_a_mean_is_the_family_interval():
    values, family = np.repeat(np.random.default_rng(1).random(12), 5), np.repeat(np.arange(12), 5)
    label = np.zeros(60, int)
    without = np.array([values[family != one].mean() for one in range(12)])
    one = family_interval(values, family, label, fraction=True)
    other = jackknife_interval(values.mean(), without, np.full((12, 1), 5), fraction=True)
    np.testing.assert_allclose((other.estimate, *other.interval), (one.estimate, *one.interval), rtol=1e-9)
    assert other[2:5] == one[2:5]
    alone = jackknife_interval(0.5, np.zeros(3), np.eye(2)[[0, 0, 1]], fraction=True)
    assert (alone.interval, "one family only" in alone.reason) == (None, True)


def test_families_twice_as_new_families_narrow_the_interval():
    values, family, label = draw(5, families=6)
    once = family_interval(values, family, label, fraction=True)
    both = [np.concatenate(pair) for pair in ((values, values), (family, family + 100), (label, label))]
    twice = family_interval(*both, fraction=True)
    assert twice.estimate == pytest.approx(once.estimate)
    assert twice.interval.high - twice.interval.low < 0.75 * (once.interval.high - once.interval.low)


def test_the_interval_covers_where_large_families_are_the_hard_ones_and_the_naive_one_does_not():
    rng = np.random.default_rng(0)
    held, naive = [], []
    for _ in range(400):
        sizes = np.minimum(3 * rng.random(24) ** (-1 / 1.1), 800).astype(int) + 1
        accuracy = np.clip(1.02 - 0.09 * np.log(sizes) + rng.normal(0, 0.08, 24), 0, 1)
        family = np.repeat(np.arange(24), sizes)
        hits = (rng.random(len(family)) < accuracy[family]).astype(float)
        result = family_interval(hits, family, family // 12, fraction=True)
        held.append(result.interval)
        naive.append(naive_interval(int(hits.sum()), len(hits)))
    sizes = np.minimum(3 * np.random.default_rng(1).random(200_000) ** (-1 / 1.1), 800).astype(int) + 1
    truth = np.clip(1.02 - 0.09 * np.log(sizes) + np.random.default_rng(2).normal(0, 0.08, 200_000), 0, 1).mean()
    assert 0.92 <= np.mean([low <= truth <= high for low, high in held]) <= 0.99
    assert np.mean([low <= truth <= high for low, high in naive]) < 0.5


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
    assert result.estimate == pytest.approx(apart.estimate)


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
    values, patient, label = np.repeat(rng.random(12), 20), np.repeat(np.arange(12), 20), np.tile([0, 1], 120)
    without = np.array([values[patient != one].mean() for one in range(12)])
    one = family_interval(values, patient, label, fraction=True)
    other = jackknife_interval(values.mean(), without, np.full((12, 2), 10), fraction=True)
    np.testing.assert_allclose((other.estimate, *other.interval), (one.estimate, *one.interval), rtol=1e-9)
    assert other[2:5] == one[2:5]


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
    result = family_interval(np.array([0.01, 9.0]), np.array([0, 1]), np.zeros(2, int), fraction=False, guess=0.7)
    assert result.interval.high / result.interval.low == pytest.approx(1000**2)
    fraction = family_interval(np.array([0.01, 0.99]), np.array([0, 1]), np.zeros(2, int), fraction=True)
    assert fraction.interval == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))


@given(st.integers(0, 999), st.integers(2, 10), st.booleans())
def test_folds_correct_the_variance_as_nadeau_and_bengio_do(seed, folds, fraction):
    left_out = 0.3 + 0.1 * np.random.default_rng(seed).random(10)
    given = {"sizes": np.eye(2)[[0] * 5 + [1] * 5], "fraction": fraction, "guess": 0.35}
    # What overlapping training sets add, with the ratio of a fold to the others.
    factor = 1 + folds * (1 / folds) / (1 - 1 / folds)
    scores = left_out if fraction else np.log(left_out)
    means = np.repeat([scores[:5].mean(), scores[5:].mean()], 5)
    wider = means + factor**0.5 * (scores - means)
    ours = jackknife_interval(0.35, left_out, folds=folds, **given)
    theirs = jackknife_interval(0.35, wider if fraction else np.exp(wider), **given)
    np.testing.assert_allclose(ours.interval, theirs.interval, rtol=1e-9)


def test_as_many_families_as_are_said_to_be_needed_give_that_interval():
    rng, needed = np.random.default_rng(0), []
    for _ in range(50):
        found = family_interval(rng.beta(6, 2, 60), np.arange(60), np.arange(60) % 2, fraction=True)
        needed.append(families_needed(60, found.error, 0.05))
    # Of a beta distribution, from its variance.
    assert np.mean(needed) == pytest.approx((1.96 / 0.05) ** 2 * stats.beta(6, 2).var(), rel=0.1)
    many = int(np.mean(needed))
    low, high = family_interval(rng.beta(6, 2, many), np.arange(many), np.zeros(many, int), fraction=True).interval
    assert (high - low) / 2 == pytest.approx(0.05, rel=0.25)


def test_effective_families():
    assert effective_families(np.array([[10, 0], [0, 10], [5, 5]])) == pytest.approx(3)
    assert effective_families(np.array([[90], [10]])) == pytest.approx(100**2 / (90**2 + 10**2))


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
    alone = FamilyEstimate(0.5, None, (1, 1), 2, "one family")
    names = ["estimate", "low", "high", "families", "distinct_families", "reason", "error"]
    assert list(flat(alone)) == names
    assert (flat(alone)["low"], flat(alone)["high"]) == (None, None)
