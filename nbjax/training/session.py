"""One session: a pure function of its hyper-parameters (a seed among them) and the bank.

Written for one session; `nbjax.training.sessions` runs many of them at once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nbjax.models.heads import take_standardised
from nbjax.training.blocked import train_blocks
from nbjax.training.losses import sample_hits, sample_losses
from nbjax.training.program import (
    MOMENTS,
    Frozen,
    Hyper,
    Params,
    Program,
    Rows,
    Samples,
    features_of,
    fetch,
    initial,
    logits_of,
    moments,
    optimiser,
    penalty,
)

# Samples a head is evaluated on at once; a network is evaluated in batches of the program's size.
EVALUATION_ROWS = 256


class Metrics(NamedTuple):
    """Of one epoch, each a scalar; accuracies in [0, 1], losses in nats.

    The first four are means over samples; the other four are means over batches of the program's size, as the paper's
    authors computed them, in which the samples of a smaller last batch weigh more.
    """

    train_loss: Any
    train_accuracy: Any
    validation_loss: Any
    validation_accuracy: Any
    train_loss_batches: Any
    train_accuracy_batches: Any
    validation_loss_batches: Any
    validation_accuracy_batches: Any


class State(NamedTuple):
    """A session between two epochs.

    Attributes:
        epoch: int32, epochs done.
        params: what it trains, as `nbjax.training.program.initial` draws it.
        batch_stats: its own: of its batch norms where they are not frozen, and the moments of its head's input.
        opt_state: of the optimiser.
        best_params: those of the epoch with the least score so far.
        best_batch_stats: of that epoch.
        best_score: that score; infinite while no epoch had a finite one.
        best_epoch: int32.
        stopped: whether the goal was reached; the state then stays as it is.
    """

    epoch: jax.Array
    params: Params
    batch_stats: Any
    opt_state: Any
    best_params: Params
    best_batch_stats: Any
    best_score: jax.Array
    best_epoch: jax.Array
    stopped: jax.Array


def logits_of_all(
    program: Program, params: Params, batch_stats: Any, frozen: Frozen, samples: Samples, key: jax.Array
) -> jax.Array:
    """Evaluation-mode logits `[N, outputs]` of a split; `key` draws windows where they are drawn anew each time."""
    if MOMENTS in batch_stats:
        # Once for the head instead of for each sample; sessions then share the samples as they are.
        params = {**params, "head": take_standardised(params["head"], **batch_stats[MOMENTS])}
        batch_stats = {name: value for name, value in batch_stats.items() if name != MOMENTS}
    return _by_blocks(program, samples, key, lambda x: logits_of(program, params, batch_stats, frozen, x)[0])


def _by_blocks(
    program: Program, samples: Samples, key: jax.Array, function: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """What `function` makes of all of a split's inputs `[N, …]`, in blocks that fit memory."""
    count = samples.labels.shape[0]
    size = min(count, EVALUATION_ROWS if program.head_only else program.batch_size)
    blocks = -(-count // size)
    # The last block is filled up with its own last sample.
    rows = jnp.minimum(jnp.arange(blocks * size), count - 1).reshape(blocks, size)

    def block(rows: jax.Array) -> jax.Array:
        return function(fetch(program, samples, rows, jax.random.fold_in(key, rows[0])))

    outputs = jax.lax.map(block, rows)
    return outputs.reshape(blocks * size, outputs.shape[2])[:count]


def evaluate(
    program: Program,
    params: Params,
    batch_stats: Any,
    frozen: Frozen,
    samples: Samples,
    key: jax.Array,
    rows: Rows | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Loss and accuracy `[2]` of a split in evaluation mode: means over samples, and means over batches."""
    # All samples, whatever the rows: one matrix product for all sessions is faster than collecting each one's rows.
    logits, labels = logits_of_all(program, params, batch_stats, frozen, samples, key), samples.labels
    if rows is None:
        return _means(program, logits, labels, len(labels))
    return _means(program, logits[rows.rows], labels[rows.rows], rows.count)


def _means(
    program: Program, logits: jax.Array, labels: jax.Array, count: jax.Array | int
) -> tuple[jax.Array, jax.Array]:
    """Loss and accuracy `[2]` of the first `count` samples, at least one: means over samples, and means over
    batches.
    """
    size = program.batch_size
    values = jnp.stack([sample_losses(logits, labels), sample_hits(logits, labels)])
    batches = jnp.pad(values, ((0, 0), (0, -len(labels) % size))).reshape(2, -1, size)
    counts = jnp.clip(count - size * jnp.arange(batches.shape[1]), 0, size)
    of_batches = jax.vmap(_first_mean, (1, 0), 1)(batches, counts)
    return _first_mean(values, count), _first_mean(of_batches, -(-count // size))


def _first_mean(values: jax.Array, count: jax.Array | int) -> jax.Array:
    """Means `[2]` of the first `count` of values `[2, N]`; 0 of none."""
    kept = jnp.where(jnp.arange(values.shape[1]) < count, values, 0.0)
    return jnp.sum(kept, axis=1) / jnp.asarray(jnp.maximum(count, 1), values.dtype)


def init(program: Program, hyper: Hyper, frozen: Frozen, train: Samples, validation: Samples) -> tuple[State, Metrics]:
    """A session before training, and its epoch 0: both splits evaluated before any update."""
    key = jax.random.fold_in(jax.random.key(hyper.seed), 0)
    params, batch_stats = initial(program, key, frozen)
    if program.head_input == "standardised":
        input_moments = _input_moments(program, params, batch_stats, frozen, train, key, hyper.train)
        batch_stats = {**batch_stats, MOMENTS: input_moments}
    state = State(
        epoch=jnp.int32(0),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimiser(program, hyper.learning_rate).init(params),
        best_params=params,
        best_batch_stats=batch_stats,
        best_score=jnp.float32(jnp.inf),
        best_epoch=jnp.int32(0),
        stopped=jnp.bool_(False),
    )
    keys = jax.random.split(key)
    first = evaluate(program, params, batch_stats, frozen, train, keys[0], hyper.train)
    second = evaluate(program, params, batch_stats, frozen, validation, keys[1], hyper.validation)
    metrics = _metrics(first, second)
    return _keep_best(program, state, metrics), metrics


def _input_moments(
    program: Program,
    params: Params,
    batch_stats: Any,
    frozen: Frozen,
    train: Samples,
    key: jax.Array,
    rows: Rows | None,
) -> dict[str, jax.Array]:
    """Of the features of the training split before training; all crops of a bank count."""
    if program.head_only:
        features = train.inputs.astype(params["head"][0]["kernel"].dtype)
    else:
        features = _by_blocks(program, train, key, lambda x: features_of(program, params, batch_stats, frozen, x)[0])
    if rows is None:
        return moments(features, len(features))
    crops = rows.rows[:, None] * program.crops + jnp.arange(program.crops)
    return moments(features[crops.ravel()], rows.count * program.crops)


def train_epoch(
    program: Program, state: State, hyper: Hyper, frozen: Frozen, train: Samples, validation: Samples
) -> tuple[State, Metrics]:
    """One epoch: every training sample once in a fresh order, then the validation split.

    The training metrics are the running ones of the epoch: in training mode, before each step's update. A session that
    has stopped stays as it is, and its metrics are NaN.
    """
    epoch = state.epoch + 1
    order_key, step_key, validation_key = jax.random.split(jax.random.fold_in(jax.random.key(hyper.seed), epoch), 3)
    carry = (state.params, state.batch_stats, state.opt_state)
    if hyper.train is None:
        order = jax.random.permutation(order_key, train.labels.shape[0])
        train_all = train_blocks if program.block > 1 and program.weight_decay == 0 else _train_all
    else:
        order, train_all = _order_of(hyper.train, order_key), _train_rows
    (params, batch_stats, opt_state), means = train_all(program, carry, hyper, frozen, train, order, step_key)
    seen = evaluate(program, params, batch_stats, frozen, validation, validation_key, hyper.validation)
    metrics = _metrics(means, seen)
    new = state._replace(epoch=epoch, params=params, batch_stats=batch_stats, opt_state=opt_state)
    new = _keep_best(program, new, metrics)
    if program.goal is None:
        return new, metrics
    new = new._replace(stopped=metrics.train_accuracy >= program.goal)
    kept = jax.tree.map(lambda old, new: jnp.where(state.stopped, old, new), state, new)
    return kept, jax.tree.map(lambda value: jnp.where(state.stopped, jnp.float32(jnp.nan), value), metrics)


def _train_all(
    program: Program,
    carry: tuple[Params, Any, Any],
    hyper: Hyper,
    frozen: Frozen,
    train: Samples,
    order: jax.Array,
    key: jax.Array,
) -> tuple[tuple[Params, Any, Any], tuple[jax.Array, jax.Array]]:
    """Every step of an epoch; returns means `[2]` of loss and hits over samples and over batches."""
    size = program.batch_size
    full, rest = divmod(len(order), size)

    def step(carry: tuple[Params, Any, Any], batch: tuple[jax.Array, jax.Array]) -> Any:
        number, rows = batch
        return train_step(program, carry, hyper, frozen, train, rows, jax.random.fold_in(key, number))

    numbers = jnp.arange(full + 1)
    carry, means = jax.lax.scan(step, carry, (numbers[:full], order[: full * size].reshape(full, size)))
    sizes = jnp.full(full, size)
    if rest:
        carry, last = step(carry, (numbers[full], order[full * size :]))
        means, sizes = jnp.concatenate([means, last[None]]), jnp.append(sizes, rest)
    weights = (sizes / len(order)).astype(means.dtype)
    return carry, (weights @ means, jnp.mean(means, axis=0))


def _order_of(rows: Rows, key: jax.Array) -> jax.Array:
    """The samples of a split in a fresh order `[size]`, then what fills it up, which does not change that order."""
    words = jax.random.bits(key, rows.rows.shape, jnp.uint32)
    return rows.rows[jnp.lexsort((words, jnp.arange(len(rows.rows)) >= rows.count))]


def _train_rows(
    program: Program,
    carry: tuple[Params, Any, Any],
    hyper: Hyper,
    frozen: Frozen,
    train: Samples,
    order: jax.Array,
    key: jax.Array,
) -> tuple[tuple[Params, Any, Any], tuple[jax.Array, jax.Array]]:
    """As `_train_all`, where the first `hyper.train.count` of the order count: a step with none of them changes
    nothing.
    """
    assert hyper.train is not None
    size, count = program.batch_size, hyper.train.count
    steps = -(-len(order) // size)
    batches = jnp.pad(order, (0, steps * size - len(order)), mode="edge").reshape(steps, size)
    sizes = jnp.clip(count - size * jnp.arange(steps), 0, size)

    def step(carry: Any, batch: tuple[jax.Array, jax.Array, jax.Array]) -> Any:
        number, rows, real = batch
        step_key = jax.random.fold_in(key, number)
        new, means = train_step(program, carry, hyper, frozen, train, rows, step_key, real)
        return jax.tree.map(lambda new, old: jnp.where(real > 0, new, old), new, carry), means

    carry, means = jax.lax.scan(step, carry, (jnp.arange(steps), batches, sizes))
    weights = sizes.astype(means.dtype) / count.astype(means.dtype)
    return carry, (weights @ means, jnp.sum(means, axis=0) / (-(-count // size)).astype(means.dtype))


def train_step(
    program: Program,
    carry: tuple[Params, Any, Any],
    hyper: Hyper,
    frozen: Frozen,
    train: Samples,
    rows: jax.Array,
    key: jax.Array,
    count: jax.Array | None = None,
) -> tuple[tuple[Params, Any, Any], jax.Array]:
    """One update on the samples `rows`, or the first `count` of them; returns their mean loss and hits before it,
    `[2]`.
    """
    params, batch_stats, opt_state = carry
    window_key, dropout_key = jax.random.split(key)
    x, labels = fetch(program, train, rows, window_key), train.labels[rows]

    def mean_loss(params: Params) -> tuple[jax.Array, Any]:
        logits, changed = logits_of(program, params, batch_stats, frozen, x, dropout_key)
        values = jnp.stack([sample_losses(logits, labels), sample_hits(logits, labels)])
        means = _first_mean(values, len(rows) if count is None else count)
        return means[0] + penalty(program, params), (changed, means)

    gradients, (changed, means) = jax.grad(mean_loss, has_aux=True)(params)
    # Optax counts on JAX's own promotion of types.
    with jax.numpy_dtype_promotion("standard"):
        updates, opt_state = optimiser(program, hyper.learning_rate).update(gradients, opt_state)
    return (optax.apply_updates(params, updates), changed, opt_state), means


def _metrics(train: tuple[jax.Array, jax.Array], validation: tuple[jax.Array, jax.Array]) -> Metrics:
    (train_samples, train_batches), (validation_samples, validation_batches) = train, validation
    return Metrics(*train_samples, *validation_samples, *train_batches, *validation_batches)


def _keep_best(program: Program, state: State, metrics: Metrics) -> State:
    score = metrics.validation_loss
    if program.criterion == "max_train_validation_loss":
        score = jnp.maximum(score, metrics.train_loss)
    better = score < state.best_score

    def choose(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda new, old: jnp.where(better, new, old), new, old)

    return state._replace(
        best_params=choose(state.params, state.best_params),
        best_batch_stats=choose(state.batch_stats, state.best_batch_stats),
        best_score=choose(score, state.best_score),
        best_epoch=choose(state.epoch, state.best_epoch),
    )
