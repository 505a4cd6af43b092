import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nbjax.models.heads import apply_head, init_head
from nbjax.training.session import Hyper, Samples, Settings, run, sample_hits, sample_losses
from nbjax.training.sessions import run_sessions

FEATURES = 12
RNG = np.random.default_rng(0)


def split(count, classes=2):
    labels = RNG.integers(0, classes, count)
    features = RNG.normal(size=(count, FEATURES)) + labels[:, None]
    return Samples(jnp.asarray(features, jnp.float32), jnp.asarray(labels, jnp.int32))


TRAIN, VALIDATION = split(45), split(20)
SETTINGS = Settings(FEATURES, 1, 0, 8, 0.9, "max_train_validation_loss")


def authors_loop(key, learning_rate, epochs, batch_size, train, validation):
    """The straightforward adaptation in plain NumPy, float64: SGD as torch defines it, the same head and batches."""
    (layer,) = init_head(jax.random.fold_in(key, 0), FEATURES, 0, 1)
    kernel, bias = np.asarray(layer["kernel"], float), np.asarray(layer["bias"], float)
    momentum = [np.zeros_like(kernel), np.zeros_like(bias)]

    def loss(x, y):
        logit = (x @ kernel + bias)[:, 0]
        return np.mean(np.logaddexp(0, logit) - y * logit)

    x, y = np.asarray(train.features, float), np.asarray(train.labels)
    vx, vy = np.asarray(validation.features, float), np.asarray(validation.labels)
    history = [(loss(x, y), loss(vx, vy))]
    for epoch in range(1, epochs + 1):
        shuffle_key, _ = jax.random.split(jax.random.fold_in(key, epoch))
        order = np.asarray(jax.random.permutation(shuffle_key, len(y)))
        total = 0.0
        for start in range(0, len(y), batch_size):
            rows = order[start : start + batch_size]
            total += loss(x[rows], y[rows]) * len(rows)
            off = (1 / (1 + np.exp(-(x[rows] @ kernel + bias))) - y[rows, None]) / len(rows)
            momentum = [0.9 * old + new for old, new in zip(momentum, (x[rows].T @ off, off.sum(axis=0)), strict=True)]
            kernel, bias = kernel - learning_rate * momentum[0], bias - learning_rate * momentum[1]
        history.append((total / len(y), loss(vx, vy)))
    return np.asarray(history)


@pytest.mark.parametrize("batch_size", [8, 45, 64])
def test_losses_equal_a_plain_loop(batch_size):
    settings = SETTINGS._replace(batch_size=batch_size)
    key = jax.random.key(3)
    _, metrics = run(settings, 6, key, Hyper(jnp.float32(0.05)), TRAIN, VALIDATION)
    expected = authors_loop(key, 0.05, 6, batch_size, TRAIN, VALIDATION)
    np.testing.assert_allclose(np.stack([metrics.train_loss, metrics.validation_loss], 1), expected, rtol=1e-5)


@pytest.mark.parametrize("nonlinearities", [0, 2])
def test_a_session_among_others_equals_the_same_session_alone(nonlinearities):
    settings = SETTINGS._replace(nonlinearities=nonlinearities)
    rates, seeds = [0.003, 0.03], range(5)
    together = run_sessions(settings, 4, rates, seeds, TRAIN, VALIDATION)
    for index in (0, 3, 9):
        rate, seed = together.learning_rates[index], together.seeds[index]
        alone = run_sessions(settings, 4, [rate], [int(seed)], TRAIN, VALIDATION)
        for one, other in zip(alone.metrics, together.metrics, strict=True):
            np.testing.assert_allclose(one[0], other[index], atol=1e-5)
        for one, other in zip(jax.tree.leaves(alone.best_params), jax.tree.leaves(together.best_params), strict=True):
            np.testing.assert_allclose(one[0], other[index], atol=1e-5)


@pytest.mark.parametrize("criterion", ["max_train_validation_loss", "validation_loss"])
def test_the_kept_parameters_are_those_of_the_best_epoch(criterion):
    settings = SETTINGS._replace(criterion=criterion)
    # A rate this high makes validation loss rise and fall, so the best epoch is not the last.
    result = run_sessions(settings, 12, [0.5], range(6), TRAIN, VALIDATION)
    score = result.metrics.validation_loss
    if criterion == "max_train_validation_loss":
        score = np.maximum(score, result.metrics.train_loss)
    np.testing.assert_array_equal(result.best_epochs, score.argmin(axis=1))
    assert (result.best_epochs < 12).any()
    for session in range(6):
        params = jax.tree.map(lambda leaf, session=session: leaf[session], result.best_params)
        loss = jnp.mean(sample_losses(apply_head(params, VALIDATION.features), VALIDATION.labels))
        kept = result.metrics.validation_loss[session, result.best_epochs[session]]
        np.testing.assert_allclose(loss, kept, rtol=1e-5)


def test_epoch_0_is_before_any_update():
    result = run_sessions(SETTINGS, 1, [0.1, 0.2], [7], TRAIN, VALIDATION)
    np.testing.assert_array_equal(result.metrics.train_loss[0, 0], result.metrics.train_loss[1, 0])
    params = init_head(jax.random.fold_in(jax.random.key(7), 0), FEATURES, 0, 1)
    loss = jnp.mean(sample_losses(apply_head(params, TRAIN.features), TRAIN.labels))
    np.testing.assert_allclose(result.metrics.train_loss[0, 0], loss, rtol=1e-6)


def test_three_classes_learn():
    train, validation = split(90, 3), split(45, 3)
    result = run_sessions(SETTINGS._replace(outputs=3), 30, [0.05], range(2), train, validation)
    assert result.metrics.train_loss.shape == (2, 31)
    assert (result.metrics.validation_accuracy[:, -1] > 0.6).all()


def test_a_diverging_session_is_recorded_and_leaves_the_others_alone():
    # Steps of 1e38 overflow within an epoch; the other session must not notice.
    both = run_sessions(SETTINGS, 3, [0.01, 1e38], [0], TRAIN, VALIDATION)
    alone = run_sessions(SETTINGS, 3, [0.01], [0], TRAIN, VALIDATION)
    assert not np.isfinite(both.metrics.validation_loss[1]).all()
    np.testing.assert_allclose(both.metrics.validation_loss[0], alone.metrics.validation_loss[0], rtol=1e-6)


def test_binary_and_two_logit_losses_agree():
    logits = jnp.asarray(RNG.normal(size=(9, 1)), jnp.float32)
    labels = jnp.asarray(RNG.integers(0, 2, 9), jnp.int32)
    two = jnp.concatenate([jnp.zeros_like(logits), logits], axis=1)
    np.testing.assert_allclose(sample_losses(logits, labels), sample_losses(two, labels), rtol=1e-5)
    np.testing.assert_array_equal(sample_hits(logits, labels), sample_hits(two, labels))
