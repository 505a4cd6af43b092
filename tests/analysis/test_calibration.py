import numpy as np
import pytest
import sklearn.calibration
import sklearn.metrics

from nbjax.analysis.calibration import fit_temperature, mean_loss, probabilities, reliability, scale_temperatures
from nbjax.analysis.weighted import confidence_bins
from nbjax.errors import InputError


def draw(seed, samples, outputs, heat):
    """Labels drawn from the softmax of calibrated logits, and those logits times `heat`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (samples, outputs))
    every = probabilities(logits)
    labels = (rng.random(samples)[:, None] > np.cumsum(every, axis=1)).sum(axis=1)
    return heat * logits, labels


def test_reliability_equals_scikit_learns_curve():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 400)
    hits = (rng.random(400) < confidence**2).astype(float)
    found = reliability(confidence, hits, bins=10)
    right, mean = sklearn.calibration.calibration_curve(hits, confidence, n_bins=10)
    np.testing.assert_allclose(found.right, right)
    np.testing.assert_allclose(found.confidence, mean)
    assert found.counts.sum() == 400
    assert found.error == pytest.approx(np.average(np.abs(right - mean), weights=found.counts))
    assert ((found.low < found.confidence) & (found.confidence <= found.high)).all()


def test_bins_are_closed_above():
    np.testing.assert_array_equal(
        confidence_bins(np.array([0.0, 0.1, 0.25, 0.2500001, 0.5, 1.0]), 4), [0, 0, 0, 1, 1, 3]
    )


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_heat_that_was_put_in_is_found_again(outputs):
    for heat in (0.5, 1.0, 3.0):
        logits, labels = draw(0, 20_000, outputs, heat)
        assert fit_temperature(logits, labels) == pytest.approx(heat, rel=0.05)


@pytest.mark.parametrize("outputs", [1, 3])
def test_no_other_temperature_has_less_loss(outputs):
    logits, labels = draw(1, 300, outputs, 2.0)
    best = fit_temperature(logits, labels)
    losses = [mean_loss(logits / (best * factor), labels) for factor in (0.9, 0.99, 1, 1.01, 1.1)]
    assert np.argmin(losses) == 2
    every = probabilities(logits)
    assert mean_loss(logits, labels) == pytest.approx(sklearn.metrics.log_loss(labels, every))


def test_scaling_mends_certainty_and_changes_no_prediction():
    validation, test = (draw(seed, 3000, 1, 3.0) for seed in (2, 3))
    found = scale_temperatures(np.stack([validation[0]] * 2), validation[1], np.stack([test[0]] * 2), test[1])
    assert found.temperature.shape == (2,)
    assert (found.loss_after < found.loss_before).all()
    assert (found.error_after < 0.5 * found.error_before).all()
    assert not found.at_bound.any()
    np.testing.assert_array_equal(np.sign(found.logits[0]), np.sign(test[0]))


def test_the_test_labels_fit_nothing():
    validation, test = (draw(seed, 200, 1, 2.0) for seed in (4, 5))
    given = [np.stack([validation[0]]), validation[1], np.stack([test[0]])]
    one, other = scale_temperatures(*given, test[1]), scale_temperatures(*given, 1 - test[1])
    np.testing.assert_array_equal(one.logits, other.logits)


def test_what_validation_does_not_determine_is_marked():
    labels = np.array([0, 1, 0, 1])
    logits = (4.0 * labels - 2)[None, :, None]
    assert scale_temperatures(logits, labels, logits, labels).at_bound.all()
    with pytest.raises(InputError, match="logits of 0 validation samples"):
        fit_temperature(np.zeros((0, 1)), np.zeros(0))


@pytest.mark.parametrize("scale", [20, 40, 80])
def test_wide_margins_have_the_coldest_temperature(scale):
    labels = np.array([0, 1, 0, 1])
    binary = np.where(labels == 1, 1.0, -1.0)[:, None] * scale
    three = np.eye(3)[labels] * scale
    assert fit_temperature(binary, labels) == pytest.approx(0.05)
    assert fit_temperature(three, labels) == pytest.approx(0.05)


def test_binary_losses_equal_scikit_learns_where_logits_are_large():
    logits, labels = np.array([[50.0], [-60.0], [3.0]]), np.array([0, 1, 1])
    assert mean_loss(logits, labels) == pytest.approx((50 + 60 + np.log1p(np.exp(-3))) / 3)
