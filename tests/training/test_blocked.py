"""Several steps at once are the same steps: in float64 to 1e-9, in float32 over a whole curve to 1e-3."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nbjax.training.blocked import coefficients
from nbjax.training.program import NOTHING, Hyper, Program, Samples
from nbjax.training.session import init, train_epoch
from nbjax.training.sessions import grid, run_sessions


def split(count, features, dtype=np.float32):
    rng = np.random.default_rng(count)
    labels = rng.integers(0, 2, count)
    inputs = rng.normal(size=(count, features)) + 0.4 * labels[:, None]
    return Samples(jnp.asarray(inputs.astype(dtype)), jnp.asarray(labels.astype(np.int32)))


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_coefficients_are_those_of_the_recurrence(momentum):
    block = 7
    found = coefficients(momentum, block)
    for source in range(block):
        moment, weight = 0.0, 0.0
        for step in range(block):
            assert found.past[step, source] == pytest.approx(weight)
            moment = momentum * moment + (step == source)
            weight += moment
        assert found.momentum[source] == pytest.approx(moment)
        assert found.weights[source] == pytest.approx(weight)
    moment, weight = 1.0, 0.0
    for step in range(block):
        assert found.drift[step] == pytest.approx(weight)
        moment *= momentum
        weight += moment
    assert found.end == pytest.approx(weight)


@pytest.mark.parametrize(
    ("nonlinearities", "block", "head_input"),
    [(0, 16, "features"), (1, 5, "standardised"), (2, 16, "features"), (2, 16, "standardised")],
)
def test_blocks_equal_single_steps_in_float64(nonlinearities, block, head_input):
    with jax.enable_x64(True):
        train, validation = split(107, 24, np.float64), split(20, 24, np.float64)
        plain = Program(features=24, nonlinearities=nonlinearities, batch_size=8, head_input=head_input)
        hyper = Hyper(jnp.asarray(0.05, jnp.float64), jnp.uint32(3))
        state, _ = init(plain, hyper, NOTHING, train, validation)
        state = jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf, state)
        one, other, epoch = state, state, jax.jit(train_epoch, static_argnums=0)
        for _ in range(3):
            one, first = epoch(plain, one, hyper, NOTHING, train, validation)
            other, second = epoch(plain._replace(block=block), other, hyper, NOTHING, train, validation)
            np.testing.assert_allclose(first.train_loss, second.train_loss, rtol=0, atol=1e-9)
            np.testing.assert_allclose(first.train_loss_batches, second.train_loss_batches, rtol=0, atol=1e-9)
        assert first.train_loss.dtype == jnp.float64
        for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)
        for a, b in zip(jax.tree.leaves(one.opt_state), jax.tree.leaves(other.opt_state), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


def test_loss_curves_agree_in_float32():
    train, validation = split(203, 64), split(50, 64)
    plain = Program(features=64, nonlinearities=4, batch_size=8)
    hypers = grid([1e-3, 1e-2], range(3))
    one, other = (run_sessions(plain._replace(block=block), 10, hypers, train, validation).metrics for block in (1, 16))
    np.testing.assert_allclose(one.train_loss, other.train_loss, atol=1e-3)
    np.testing.assert_allclose(one.validation_loss, other.validation_loss, atol=1e-3)
