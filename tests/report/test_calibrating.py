import numpy as np
import pyarrow as pa
import pytest

from nbjax.errors import InputError
from nbjax.report.calibrating import calibrate
from nbjax.training.tables import prediction_table


def predictions(logits, labels):
    """The table that a study writes of logits `[sessions, samples, outputs]`."""
    count = len(labels)
    families = [f"f{label}{number % 3}" for number, label in enumerate(labels)]
    columns = {"slide": families, "family": families, "label": labels, "transform": np.zeros(count, int)}
    columns |= {"x": 250 * np.arange(count), "y": np.zeros(count, int)}
    return prediction_table(np.arange(len(logits)), logits, columns, np.arange(count))


def certain(rng, outputs, factor):
    """Labels drawn from softmax(z), and logits factor * z."""
    logits = rng.normal(0, 2, (2, 4000, outputs))
    wide = np.concatenate([np.zeros((4000, 1)), logits[0]], axis=1) if outputs == 1 else logits[0]
    shares = np.exp(wide) / np.exp(wide).sum(axis=1, keepdims=True)
    labels = (rng.random((4000, 1)) > shares.cumsum(axis=1)).sum(axis=1)
    logits[1] = logits[0]
    return (factor * logits).astype(np.float32), labels


@pytest.mark.parametrize(("outputs", "classes"), [(1, 2), (3, 3)])
def test_the_factor_of_too_certain_logits_is_found(outputs, classes):
    rng = np.random.default_rng(0)
    validation, test = (predictions(*certain(rng, outputs, 3.0)) for _ in range(2))
    found = calibrate(validation, test, "patch", classes)
    np.testing.assert_allclose(found.temperature, 3, rtol=0.15)
    assert (found.loss_after < found.loss_before).all()
    assert (found.error_after < 0.5 * found.error_before).all()
    assert found.validation_samples == 4000
    assert found.before.counts.sum() == found.after.counts.sum() == 8000


def test_temperatures_where_float32_probabilities_are_0_or_1():
    logits = np.array([[[60.0], [-90.0], [40.0], [-1.0], [30.0], [-25.0]]], np.float32)
    table = predictions(logits, np.array([1, 0, 0, 1, 1, 0]))
    found = calibrate(table, table, "sample", 2)
    for values in (found.temperature, found.loss_before, found.loss_after):
        assert np.isfinite(values).all()
    # 40 and 1 on the wrong side, softplus of each.
    np.testing.assert_allclose(found.loss_before, (40 + np.log1p(np.e)) / 6, rtol=1e-5)


def test_order_of_rows_changes_nothing():
    rng = np.random.default_rng(0)
    validation, test = (predictions(*certain(rng, 1, 2.0)) for _ in range(2))
    shuffled = [table.take(pa.array(rng.permutation(len(table)))) for table in (validation, test)]
    one, other = calibrate(validation, test, "patch", 2), calibrate(*shuffled, "patch", 2)
    np.testing.assert_allclose(one.temperature, other.temperature)
    np.testing.assert_allclose(one.error_after, other.error_after)


def test_validation_samples_that_differ_between_seeds_are_refused():
    table = predictions(np.zeros((2, 6, 1), np.float32), np.array([0, 1] * 3))
    with pytest.raises(InputError, match="are not of the same samples"):
        calibrate(table.slice(0, 11), table, "sample", 2)
