"""Sessions on rows of shared samples: as if they had those rows alone, whatever fills them up and whatever runs
beside.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbjax.training.program import NOTHING, Program, Rows, Samples
from nbjax.training.session import _order_of, init, train_step
from nbjax.training.sessions import TOGETHER, best_logits, grid, rows_of_splits, run_sessions

FEATURES, EPOCHS = 12, 6
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 150)
BANK = Samples(
    jnp.asarray(RNG.normal(size=(150, FEATURES)) + LABELS[:, None], jnp.float32), jnp.asarray(LABELS, jnp.int32)
)
# Three partitions whose splits are of different sizes; the first has no whole number of batches.
ORDERS = [RNG.permutation(150) for _ in range(3)]
TRAIN = [order[:size] for order, size in zip(ORDERS, (91, 64, 40), strict=True)]
VALIDATION = [order[100 : 100 + size] for order, size in zip(ORDERS, (17, 30, 9), strict=True)]


def take(rows):
    return Samples(BANK.inputs[rows], BANK.labels[rows])


def hypers_of(train, validation):
    return grid([0.2], range(len(train.count)))._replace(train=train, validation=validation)


def check_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "program",
    [
        Program(features=FEATURES, batch_size=100),
        Program(features=FEATURES, batch_size=100, criterion="validation_loss"),
        Program(features=FEATURES, batch_size=100, optimiser="adam", outputs=3),
        Program(features=FEATURES, batch_size=100, head_input="standardised", weight_decay=0.3),
    ],
    ids=["straightforward", "by validation", "adam, three outputs", "standardised with decay"],
)
def test_sessions_on_rows_equal_those_that_have_nothing_else(program):
    """One batch is all of a split, so that the order in it counts for nothing."""
    hypers = hypers_of(rows_of_splits(TRAIN), rows_of_splits(VALIDATION))
    found = run_sessions(program, EPOCHS, hypers, BANK, BANK)
    logits = best_logits(program, TOGETHER, found.states, found.hypers, NOTHING, BANK)
    # Compiling a program anew for each size is what takes the time here.
    for number in (0, 2):
        own = grid([0.2], [number])
        alone = run_sessions(program, EPOCHS, own, take(TRAIN[number]), take(VALIDATION[number]))
        check_close([values[number] for values in found.metrics], [values[0] for values in alone.metrics])
        assert found.states.best_epoch[number] == alone.states.best_epoch[0]
        expected = best_logits(program, TOGETHER, alone.states, own, NOTHING, BANK)
        np.testing.assert_allclose(logits[number], expected[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("nonlinearities", [0, 2])
def test_an_epoch_on_rows_is_one_step_after_the_other(nonlinearities):
    program = Program(features=FEATURES, batch_size=8, nonlinearities=nonlinearities)
    rows = rows_of_splits(TRAIN)
    found = run_sessions(program, 1, hypers_of(rows, rows_of_splits(VALIDATION)), BANK, BANK)
    for number, (split, size) in enumerate(zip(TRAIN, (91, 64, 40), strict=True)):
        hyper = jax.tree.map(lambda values, number=number: jnp.asarray(values)[number], grid([0.2], range(3)))
        state, _ = init(program, hyper, NOTHING, BANK, BANK)
        order_key, step_key, _ = jax.random.split(jax.random.fold_in(jax.random.key(number), 1), 3)
        order = _order_of(Rows(*(values[number] for values in rows)), order_key)[:size]
        assert sorted(order.tolist()) == sorted(split.tolist())
        carry, means = (state.params, state.batch_stats, state.opt_state), []
        for step in range(-(-size // 8)):
            # Masks of dropout go by the place in a full batch.
            batch = order[8 * step : 8 * step + 8]
            filled = jnp.pad(batch, (0, 8 - len(batch)), mode="edge")
            key = jax.random.fold_in(step_key, step)
            carry, mean = train_step(program, carry, hyper, NOTHING, BANK, filled, key, jnp.int32(len(batch)))
            means.append((len(batch), *mean))
        sizes, losses, hits = np.asarray(means).T
        metrics = found.metrics
        np.testing.assert_allclose(metrics.train_loss[number, 1], sizes @ losses / size, rtol=1e-4)
        np.testing.assert_allclose(metrics.train_accuracy[number, 1], sizes @ hits / size, rtol=1e-4)
        np.testing.assert_allclose(metrics.train_loss_batches[number, 1], losses.mean(), rtol=1e-4)
        mine = jax.tree.map(lambda values, number=number: values[number], found.states.params)
        check_close(jax.tree.leaves(mine), jax.tree.leaves(carry[0]))


@given(st.integers(1, 40), st.integers(0, 30), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_an_order_is_of_the_splits_own_rows_whatever_fills_it_up(count, more, seed):
    rows = np.random.default_rng(seed).permutation(1000)[: count + more].astype(np.int32)
    key = jax.random.key(seed)
    order = np.asarray(_order_of(Rows(rows, jnp.int32(count)), key))
    assert sorted(order[:count].tolist()) == sorted(rows[:count].tolist())
    np.testing.assert_array_equal(order[:count], _order_of(Rows(rows[:count], jnp.int32(count)), key))


def test_every_order_is_about_as_likely():
    orders = np.asarray(
        jax.vmap(lambda key: _order_of(Rows(jnp.arange(5), jnp.int32(3)), key)[:3])(
            jax.random.split(jax.random.key(0), 6000)
        )
    )
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    # Six orders, a thousand each; 5 standard deviations of a binomial are 144.
    assert len(counts) == 6
    assert np.abs(counts - 1000).max() < 144


def test_what_a_split_is_filled_up_with_changes_nothing():
    program = Program(features=FEATURES, batch_size=8)
    plain = run_sessions(program, EPOCHS, hypers_of(rows_of_splits(TRAIN), rows_of_splits(VALIDATION)), BANK, BANK)
    rng = np.random.default_rng(1)
    longer = []
    for splits in (TRAIN, VALIDATION):
        rows, counts = rows_of_splits(splits)
        filled = np.concatenate([rows, np.zeros((3, 30), np.int32)], axis=1)
        spare = np.arange(filled.shape[1]) >= counts[:, None]
        longer.append(Rows(np.where(spare, rng.integers(0, 150, filled.shape), filled).astype(np.int32), counts))
    again = run_sessions(program, EPOCHS, hypers_of(*longer), BANK, BANK)
    check_close(plain.metrics, again.metrics)
    check_close(jax.tree.leaves(plain.states.best_params), jax.tree.leaves(again.states.best_params))
