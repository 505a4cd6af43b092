import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nbjax.training.partitions import Rows, fill_up, run_partitions, shuffled
from nbjax.training.program import NOTHING, Program, Samples
from nbjax.training.sessions import TOGETHER, best_logits, grid, run_sessions

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
HYPERS = grid([0.2], range(3))


def take(rows):
    return Samples(BANK.inputs[rows], BANK.labels[rows])


@pytest.mark.parametrize(
    "program",
    [
        Program(features=FEATURES, batch_size=8),
        Program(features=FEATURES, batch_size=16, nonlinearities=2, criterion="validation_loss"),
        Program(features=FEATURES, batch_size=8, optimiser="adam", outputs=3),
        Program(features=FEATURES, batch_size=8, head_input="standardised", weight_decay=0.3),
    ],
    ids=["straightforward", "extension", "adam, three outputs", "standardised with decay"],
)
def test_sessions_of_many_partitions_equal_those_of_each_alone(program):
    hypers = jax.tree.map(jnp.asarray, HYPERS)
    found = run_partitions(program, EPOCHS, hypers, BANK, fill_up(TRAIN), fill_up(VALIDATION))
    assert found.logits.shape == (3, 3, 150, program.outputs)
    # Compiling a program anew for each size is what takes the time here.
    for number in (0, 2):
        train, validation = TRAIN[number], VALIDATION[number]
        alone = run_sessions(program, EPOCHS, HYPERS, take(train), take(validation))
        np.testing.assert_allclose(found.history[number], np.stack(alone.metrics[:4], axis=2), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(found.epoch[number], alone.states.best_epoch)
        logits = best_logits(program, TOGETHER, alone.states, hypers, NOTHING, BANK)
        np.testing.assert_allclose(found.logits[number], logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("count", "size"), [(1, 1), (1, 9), (31, 40), (1626, 1640)])
def test_an_order_that_is_filled_up_begins_with_jaxs_own(count, size):
    key = jax.random.key(count)
    order = np.asarray(shuffled(key, jnp.int32(count), size))
    np.testing.assert_array_equal(order[:count], jax.random.permutation(key, count))
    assert sorted(order.tolist()) == list(range(size))


def test_what_a_split_is_filled_up_with_changes_nothing():
    hypers = jax.tree.map(jnp.asarray, HYPERS)
    program = Program(features=FEATURES, batch_size=8)
    plain = run_partitions(program, EPOCHS, hypers, BANK, fill_up(TRAIN[:1]), fill_up(VALIDATION[:1]))
    rng = np.random.default_rng(1)
    longer = [np.concatenate([one[:1], rng.integers(0, 150, (1, 30))], axis=1) for one in ([TRAIN[0]], [VALIDATION[0]])]
    train, validation = (
        Rows(rows.astype(np.int32), np.asarray([n], np.int32)) for rows, n in zip(longer, (91, 17), strict=True)
    )
    again = run_partitions(program, EPOCHS, hypers, BANK, train, validation)
    for one, other in zip(plain, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
