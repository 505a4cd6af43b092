"""Sessions of a head on rows of one bank: partitions differ in which rows they train on, not in what is compiled."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nbjax.training.losses import sample_hits, sample_losses
from nbjax.training.program import (
    MOMENTS,
    NOTHING,
    Hyper,
    Params,
    Program,
    Samples,
    fetch,
    initial,
    logits_of,
    moments,
    optimiser,
    penalty,
)
from nbjax.training.session import logits_of_all


class Rows(NamedTuple):
    """A split as rows of a bank.

    Attributes:
        rows: int32 `[size]`; the first `count` are the split's, the others fill it up.
        count: int32, at least 1.
    """

    rows: Any
    count: Any


class Outcome(NamedTuple):
    """Of one session.

    Attributes:
        history: `[epochs + 1, 4]`: training loss and accuracy, validation loss and accuracy, as means over samples; of
            training the running ones, as in `nbjax.training.session.train_epoch`.
        epoch: int32, the one kept: that of the least criterion.
        logits: `[samples, outputs]` of the whole bank at that epoch, in evaluation mode.
    """

    history: Any
    epoch: Any
    logits: Any


def fill_up(rows: list[np.ndarray]) -> Rows:
    """Splits of different sizes as one array `[splits, size]`, each filled up with its own last row."""
    size = max(map(len, rows))
    filled = np.stack([np.pad(one, (0, size - len(one)), mode="edge") for one in rows])
    return Rows(filled.astype(np.int32), np.asarray([len(one) for one in rows], np.int32))


def shuffled(key: jax.Array, count: jax.Array, size: int) -> jax.Array:
    """0…size-1 in an order whose first `count` are `jax.random.permutation(key, count)`: 0…count-1 shuffled.

    `count` may be traced. JAX sorts by random words, again by fresh ones where there are many values; the words of a
    longer array begin with those of a shorter one, so that what is filled up changes nothing.
    """
    order = jnp.arange(size, dtype=jnp.int32)
    spare = order >= count
    rounds = max(1, int(np.ceil(3 * np.log(max(2, size)) / np.log(2**32 - 1))))
    for one in range(rounds):
        key, word_key = jax.random.split(key)
        words = jax.random.bits(word_key, (size,), jnp.uint32)
        again = jax.lax.sort((spare, words, order), num_keys=2)[2]
        order = jnp.where(count > int((2**32 - 1) ** (one / 3)), again, order)
    return order


@functools.partial(jax.jit, static_argnums=(0, 1))
def run_partitions(
    program: Program, epochs: int, hypers: Hyper, bank: Samples, train: Rows, validation: Rows
) -> Outcome:
    """Every session on every partition: each as `nbjax.training.sessions.run_sessions` runs it on those rows alone.

    Args:
        program: a head on features, one crop a sample, no goal.
        epochs: of each session.
        hypers: of the sessions, each `[sessions]`.
        bank: the samples of all splits.
        train: of each partition, with that axis first.
        validation: likewise.

    Returns:
        With the axes `[partitions, sessions]` first.
    """

    def one(train: Rows, validation: Rows, hyper: Hyper) -> Outcome:
        return _run(program, epochs, hyper, bank, train, validation)

    return jax.vmap(lambda train, validation: jax.vmap(lambda hyper: one(train, validation, hyper))(hypers))(
        train, validation
    )


def _run(program: Program, epochs: int, hyper: Hyper, bank: Samples, train: Rows, validation: Rows) -> Outcome:
    key = jax.random.key(hyper.seed)
    params, batch_stats = initial(program, jax.random.fold_in(key, 0), NOTHING)
    if program.head_input == "standardised":
        batch_stats = {MOMENTS: moments(bank.inputs[train.rows], train.count)}

    def everything(params: Params) -> jax.Array:
        # All rows of the bank: one matrix product for all sessions is faster than collecting each one's rows.
        return logits_of_all(program, params, batch_stats, NOTHING, bank, key)

    def evaluate(params: Params, rows: Rows) -> jax.Array:
        logits = everything(params)
        return masked_means(logits[rows.rows], bank.labels[rows.rows], rows.count)

    def epoch(carry: Any, number: jax.Array) -> Any:
        params, opt_state, best = carry
        order_key, step_key, _ = jax.random.split(jax.random.fold_in(key, number), 3)
        (params, opt_state), running = _train(
            program,
            (params, opt_state),
            batch_stats,
            hyper,
            bank,
            train,
            shuffled_rows(program, train, order_key),
            step_key,
        )
        found = jnp.concatenate([running, evaluate(params, validation)])
        return (params, opt_state, _better(program, best, params, number, found)), found

    first = jnp.concatenate([evaluate(params, train), evaluate(params, validation)])
    best = _better(program, (params, jnp.float32(jnp.inf), jnp.int32(0)), params, jnp.int32(0), first)
    opt_state = optimiser(program, hyper.learning_rate).init(params)
    (_, _, best), history = jax.lax.scan(epoch, (params, opt_state, best), jnp.arange(1, epochs + 1, dtype=jnp.int32))
    return Outcome(jnp.concatenate([first[None], history]), best[2], everything(best[0]))


def masked_means(logits: jax.Array, labels: jax.Array, count: jax.Array) -> jax.Array:
    """Loss and accuracy `[2]` over the first `count` samples."""
    values = jnp.stack([sample_losses(logits, labels), sample_hits(logits, labels)])
    real = jnp.arange(len(labels)) < count
    return jnp.sum(jnp.where(real, values, 0.0), axis=1) / count.astype(values.dtype)


def shuffled_rows(program: Program, train: Rows, key: jax.Array) -> jax.Array:
    """Rows of the bank `[steps, batch size]` in a fresh order; those of the split come first."""
    steps = -(-train.rows.shape[0] // program.batch_size)
    order = shuffled(key, train.count, steps * program.batch_size)
    return train.rows[jnp.minimum(order, train.rows.shape[0] - 1)].reshape(steps, program.batch_size)


def _train(
    program: Program,
    carry: Any,
    batch_stats: Any,
    hyper: Hyper,
    bank: Samples,
    train: Rows,
    rows: jax.Array,
    key: jax.Array,
) -> tuple[Any, jax.Array]:
    """Every step of an epoch; returns the running loss and accuracy `[2]`."""
    steps, size = rows.shape
    change = optimiser(program, hyper.learning_rate)

    def step(carry: Any, batch: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        params, opt_state = carry
        number, rows = batch
        # 0 where the split has ended; such a step changes nothing.
        real = jnp.clip(train.count - number * size, 0, size)
        window_key, dropout_key = jax.random.split(jax.random.fold_in(key, number))
        x, labels = fetch(program, bank, rows, window_key), bank.labels[rows]

        def mean_loss(params: Params) -> tuple[jax.Array, jax.Array]:
            logits, _ = logits_of(program, params, batch_stats, NOTHING, x, dropout_key)
            means = masked_means(logits, labels, jnp.maximum(real, 1))
            return means[0] + penalty(program, params), means

        gradients, means = jax.grad(mean_loss, has_aux=True)(params)
        # Optax counts on JAX's own promotion of types.
        with jax.numpy_dtype_promotion("standard"):
            updates, new_state = change.update(gradients, opt_state)
        new = (optax.apply_updates(params, updates), new_state)
        kept = jax.tree.map(lambda new, old: jnp.where(real > 0, new, old), new, (params, opt_state))
        return kept, means * real.astype(means.dtype)

    carry, sums = jax.lax.scan(step, carry, (jnp.arange(steps, dtype=jnp.int32), rows))
    return carry, jnp.sum(sums, axis=0) / train.count.astype(sums.dtype)


def _better(program: Program, best: Any, params: Params, number: jax.Array, found: jax.Array) -> Any:
    """The better of two epochs: parameters, score, number."""
    score = found[2] if program.criterion == "validation_loss" else jnp.maximum(found[0], found[2])
    return jax.tree.map(lambda new, old: jnp.where(score < best[1], new, old), (params, score, number), best)
