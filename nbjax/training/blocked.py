"""The first layer of a head, several steps at once: the same sums in another order.

A step on a small batch reads and writes the first layer's weights and momentum for a few samples' sake. But its inputs
are known before. With W and M kept as they are at a block's start, what the layer gives in the block's step t is

    X_t W_t = X_t W - rate (c_t X_t M + sum over s < t of a_(t-s) (X_t X_s^T) D_s)

where D_s is the loss's gradient by what the layer gave in step s, a_n = (1 - mu^n) / (1 - mu), c_n = mu a_n, and mu the
momentum. X W, X M and X X^T are matrix products of the whole block, and so are the W and M at its end. Weight decay
would bring W itself into every step; sessions with it take one step after the other.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nbjax.models.heads import HeadParams, finish_head
from nbjax.training.losses import sample_hits, sample_losses
from nbjax.training.program import Frozen, Hyper, Params, Program, Samples, fetch, standardised

Carry = tuple[Params, Any, Any]


def train_blocks(
    program: Program, carry: Carry, hyper: Hyper, frozen: Frozen, train: Samples, order: jax.Array, key: jax.Array
) -> tuple[Carry, tuple[jax.Array, jax.Array]]:
    """Every step of an epoch of a head under SGD, `program.block` steps at once.

    Returns:
        What the steps change, and means `[2]` of loss and hits over samples and over batches.
    """
    del frozen
    size, count = program.batch_size, len(order)
    full, rest = divmod(count, size)
    blocks, left = divmod(full, program.block)
    params, batch_stats, opt_state = carry
    trace = opt_state[0].trace
    state = (params["head"], trace["head"])
    starts = np.arange(blocks) * program.block
    means = []

    def train_one(state: Any, block: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        return _train_block(program, state, batch_stats, hyper, train, *block, key)

    if blocks:
        rows = order[: blocks * program.block * size].reshape(blocks, program.block, size)
        state, step_means = jax.lax.scan(train_one, state, (jnp.asarray(starts, jnp.int32), rows))
        means.append(step_means.reshape(-1, 2))
    if left:
        first = blocks * program.block
        rows = order[first * size : full * size].reshape(left, size)
        state, step_means = train_one(state, (jnp.int32(first), rows))
        means.append(step_means)
    if rest:
        state, step_means = train_one(state, (jnp.int32(full), order[full * size :][None]))
        means.append(step_means)
    params = {**params, "head": state[0]}
    opt_state = (opt_state[0]._replace(trace={**trace, "head": state[1]}), *opt_state[1:])
    steps = jnp.concatenate(means)
    weights = jnp.asarray(np.r_[np.full(full, size / count), [rest / count] if rest else []], steps.dtype)
    return (params, batch_stats, opt_state), (weights @ steps, jnp.mean(steps, axis=0))


class Coefficients(NamedTuple):
    """Of a block of K steps, float64.

    Attributes:
        past: `[K, K]`, of step s in the weights of step t; 0 unless s < t.
        drift: `[K]`, of the starting momentum in the weights of step t.
        end: of the starting momentum in the weights after the block.
        weights: `[K]`, of step s in the weights after the block.
        momentum: `[K]`, of step s in the momentum after it.
    """

    past: np.ndarray
    drift: np.ndarray
    end: float
    weights: np.ndarray
    momentum: np.ndarray


def coefficients(momentum: float, block: int) -> Coefficients:
    """For SGD with this momentum, in [0, 1)."""
    steps = np.arange(block)
    sums = np.concatenate([[0.0], np.cumsum(momentum ** np.arange(float(block)))])
    distance = steps[:, None] - steps
    return Coefficients(
        past=np.where(distance > 0, sums[np.maximum(distance, 0)], 0.0),
        drift=momentum * sums[:-1],
        end=float(momentum * sums[-1]),
        weights=sums[block - steps],
        momentum=momentum ** (block - 1.0 - steps),
    )


def _train_block(
    program: Program,
    state: tuple[HeadParams, HeadParams],
    batch_stats: Any,
    hyper: Hyper,
    train: Samples,
    first: jax.Array,
    rows: jax.Array,
    key: jax.Array,
) -> tuple[tuple[HeadParams, HeadParams], jax.Array]:
    """Steps `first` and following on the samples `rows` `[K, B]`; returns each step's mean loss and hits, `[K, 2]`."""
    (top, *rest), (top_momentum, *rest_momentum) = state
    block, size = rows.shape
    numbers = first + jnp.arange(block, dtype=jnp.int32)
    keys = jax.vmap(lambda number: jax.random.split(jax.random.fold_in(key, number)))(numbers)
    weights, momentum = top["kernel"], top_momentum["kernel"]
    x = jax.vmap(lambda rows, key: fetch(program, train, rows, key))(rows, keys[:, 0]).astype(weights.dtype)
    flat = standardised(batch_stats, x.reshape(block * size, -1))
    ahead = (flat @ weights).reshape(block, size, -1)
    moved = (flat @ momentum).reshape(block, size, -1)
    products = (flat @ flat.T).reshape(block, size, block, size)
    shifts = coefficients(program.momentum, block)
    rate = hyper.learning_rate.astype(weights.dtype)
    past = jnp.asarray(shifts.past, weights.dtype)
    drift = jnp.asarray(shifts.drift, weights.dtype)

    def step(carry: Any, now: Any) -> tuple[Any, jax.Array]:
        params, trace, gradients = carry
        number, (ahead, moved, products, past, drift, dropout_key, labels) = now
        correction = (products * past[:, None]).reshape(size, -1) @ gradients.reshape(block * size, -1)
        base = ahead - rate * (drift * moved + correction)

        def mean_loss(params: Any, base: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits = finish_head(params["rest"], base + params["bias"], dropout_key)
            loss = jnp.mean(sample_losses(logits, labels))
            return loss, jnp.stack([loss, jnp.mean(sample_hits(logits, labels))])

        (slopes, gradient), means = jax.grad(mean_loss, (0, 1), has_aux=True)(params, base)
        trace = jax.tree.map(lambda slope, old: slope + program.momentum * old, slopes, trace)
        params = jax.tree.map(lambda old, step: old - rate * step, params, trace)
        return (params, trace, gradients.at[number].set(gradient)), means

    dropout_keys = jax.vmap(lambda key: jax.random.fold_in(key, 1_000_003))(keys[:, 1])
    start = (
        {"rest": tuple(rest), "bias": top["bias"]},
        {"rest": tuple(rest_momentum), "bias": top_momentum["bias"]},
        jnp.zeros_like(ahead),
    )
    each = (ahead, moved, products, past, drift, dropout_keys, train.labels[rows])
    (params, trace, gradients), means = jax.lax.scan(step, start, (jnp.arange(block), each))
    grown = jnp.asarray(shifts.momentum, weights.dtype)[:, None, None] * gradients
    summed = jnp.asarray(shifts.weights, weights.dtype)[:, None, None] * gradients
    both = flat.T @ jnp.concatenate([grown, summed], axis=2).reshape(block * size, -1)
    momentum_gained, weights_gained = jnp.split(both, 2, axis=1)
    new_momentum = jnp.asarray(program.momentum**block, weights.dtype) * momentum + momentum_gained
    new_weights = weights - rate * (jnp.asarray(shifts.end, weights.dtype) * momentum + weights_gained)
    head = ({"kernel": new_weights, "bias": params["bias"]}, *params["rest"])
    return (head, ({"kernel": new_momentum, "bias": trace["bias"]}, *trace["rest"])), means
