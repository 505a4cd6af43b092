import numpy as np
import pytest

from nbjax.analysis.variance import estimate_components, variance_components
from nbjax.errors import InputError


def simulate(seed, partitions, seeds, deviations=(3.0, 1.0, 2.0)):
    rng = np.random.default_rng(seed)
    a, b, e = deviations
    rows, columns = a * rng.normal(size=(partitions, 1)), b * rng.normal(size=(1, seeds))
    return 80 + rows + columns + e * rng.normal(size=(partitions, seeds))


def textbook(scores):
    """Mean squares of the two-way table without replication, and their expectations solved."""
    p, s = scores.shape
    mean, rows, columns = scores.mean(), scores.mean(axis=1), scores.mean(axis=0)
    rest = scores - rows[:, None] - columns + mean
    ms_rows, ms_columns = s * ((rows - mean) ** 2).sum() / (p - 1), p * ((columns - mean) ** 2).sum() / (s - 1)
    ms_rest = (rest**2).sum() / ((p - 1) * (s - 1))
    return [(ms_rows - ms_rest) / s, (ms_columns - ms_rest) / p, ms_rest]


@pytest.mark.parametrize("shape", [(2, 2), (7, 3), (40, 10)])
def test_the_estimates_are_those_of_the_analysis_of_variance(shape):
    scores = simulate(1, *shape)
    np.testing.assert_allclose(estimate_components(scores), textbook(scores), rtol=1e-9, atol=1e-9)


def test_estimates_are_right_on_average_and_so_are_those_of_the_bootstrap():
    tables = [simulate(seed, 30, 8) for seed in range(400)]
    np.testing.assert_allclose(np.mean([estimate_components(one) for one in tables], axis=0), [9, 1, 4], rtol=0.1)
    rng = np.random.default_rng(0)
    drawn = [
        estimate_components(one, rng.multinomial(30, [1 / 30] * 30), rng.multinomial(8, [1 / 8] * 8))
        for one in tables
        for _ in range(5)
    ]
    # A row compared with its own copy would make these too small.
    np.testing.assert_allclose(np.mean(drawn, axis=0), [9, 1, 4], rtol=0.15)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    inside = np.zeros(3)
    for seed in range(60):
        found = variance_components(simulate(seed, 60, 20), resamples=200, seed=seed)
        for part, (component, truth) in enumerate(zip(found[:3], (9, 1, 4), strict=True)):
            inside[part] += component.interval.low <= truth <= component.interval.high
    # The seeds' part rests on 20 of them, and its interval is known to be short.
    assert (inside / 60 >= [0.85, 0.75, 0.85]).all()


def test_shares_sum_to_1_and_negative_estimates_are_said_to_be_0():
    scores = np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [2.0, 1.0]])
    found = variance_components(scores, resamples=50)
    assert found.partition == found.partition._replace(variance=0.0, share=0.0, truncated=True)
    assert found.interaction.share == 1
    usual = variance_components(simulate(0, 20, 5), resamples=50)
    assert sum(part.share for part in usual[:3]) == pytest.approx(1)
    assert not usual.partition.truncated


@pytest.mark.parametrize(
    ("scores", "message"),
    [(np.ones((1, 5)), "two or more partitions"), (np.ones(4), "found shape"), (np.full((3, 3), np.nan), "finite")],
)
def test_bad_input_is_refused(scores, message):
    with pytest.raises(InputError, match=message):
        variance_components(scores)
