"""Many sessions at once: one compiled program an epoch, sharded over the devices, cut into chunks that fit."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from nbjax.training.program import NOTHING, Frozen, Hyper, Program, Rows, Samples
from nbjax.training.session import Metrics, State, evaluate, init, logits_of_all, train_epoch

AXIS = "sessions"


class Batching(NamedTuple):
    """How the sessions of a chunk run beside each other.

    Attributes:
        kind: `vmap`, each operation for all sessions; or `map`, one session after the other.
        devices: over which a chunk is spread.
    """

    kind: str = "vmap"
    devices: int = 1


TOGETHER = Batching()


def grid(learning_rates: Sequence[float], seeds: Sequence[int]) -> Hyper:
    """Every learning rate with every seed, as NumPy arrays `[sessions]`; the seeds of one rate lie together."""
    rates = np.repeat(np.asarray(learning_rates, np.float32), len(seeds))
    return Hyper(rates, np.tile(np.asarray(seeds, np.uint32), len(learning_rates)))


def chunks(hypers: Hyper, size: int, devices: int = 1) -> list[tuple[Hyper, int]]:
    """Sessions cut into chunks of one length, at most `size` and a multiple of `devices`.

    Returns:
        Each with the number of its sessions that count: the last is filled up with its own last session.
    """
    count = len(hypers.seed)
    pieces = -(-count // max(devices, size - size % devices))
    each = -(-count // pieces)
    each += -each % devices
    return [
        (filled_up(jax.tree.map(lambda values, at=at: values[at : at + each], hypers), each), min(each, count - at))
        for at in range(0, count, each)
    ]


def filled_up(hypers: Hyper, count: int) -> Hyper:
    """As many sessions, the last one repeated."""

    def longer(values: np.ndarray) -> np.ndarray:
        return np.pad(values, [(0, count - len(values)), *[(0, 0)] * (values.ndim - 1)], mode="edge")

    filled: Hyper = jax.tree.map(longer, hypers)
    return filled


def rows_of_splits(rows: Sequence[np.ndarray], size: int | None = None) -> Rows:
    """Splits of different sizes as one array `[splits, size]`, each filled up with its own last row.

    Args:
        rows: of each split, at least one.
        size: to which; else that of the greatest.
    """
    size = max(map(len, rows)) if size is None else size
    filled = np.stack([np.pad(split, (0, size - len(split)), mode="edge") for split in rows])
    return Rows(filled.astype(np.int32), np.asarray([len(split) for split in rows], np.int32))


def on_rows(hypers: Hyper, train: Rows, validation: Rows, chosen: np.ndarray) -> Hyper:
    """Each session under each chosen split; those of one split lie together.

    Args:
        hypers: NumPy `[sessions]`.
        train: rows of the samples by split.
        validation: likewise.
        chosen: numbers of splits, int `[chosen]`.

    Returns:
        NumPy `[chosen * sessions]`.
    """
    place = np.repeat(chosen, len(hypers.seed))
    rates, seeds = (np.tile(values, len(chosen)) for values in (hypers.learning_rate, hypers.seed))
    return Hyper(rates, seeds, *(Rows(*(values[place] for values in split)) for split in (train, validation)))


def _each(batching: Batching, function: Callable[..., Any], many: Any, shared: Any) -> Any:
    """`function(*many[i], *shared)` for every session i, on the devices."""

    def shard(many: Any, shared: Any) -> Any:
        def one(mine: Any) -> Any:
            return function(*mine, *shared)

        return jax.vmap(one)(many) if batching.kind == "vmap" else jax.lax.map(one, many)

    if batching.devices == 1:
        return shard(many, shared)
    mesh = Mesh(np.asarray(jax.devices()[: batching.devices]), (AXIS,))
    spread, whole = PartitionSpec(AXIS), PartitionSpec()
    return jax.shard_map(shard, mesh=mesh, in_specs=(spread, whole), out_specs=spread, check_vma=False)(many, shared)


@functools.partial(jax.jit, static_argnums=(0, 1))
def start(
    program: Program, batching: Batching, hypers: Hyper, frozen: Frozen, train: Samples, validation: Samples
) -> tuple[State, Metrics]:
    """Every session before training, and its epoch 0; all with the session axis first."""
    return _each(batching, functools.partial(init, program), (hypers,), (frozen, train, validation))


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def advance(
    program: Program,
    batching: Batching,
    states: State,
    hypers: Hyper,
    frozen: Frozen,
    train: Samples,
    validation: Samples,
) -> tuple[State, Metrics]:
    """One epoch of every session. The states given are used up."""
    return _each(batching, functools.partial(train_epoch, program), (states, hypers), (frozen, train, validation))


@functools.partial(jax.jit, static_argnums=(0, 1))
def best_logits(
    program: Program, batching: Batching, states: State, hypers: Hyper, frozen: Frozen, samples: Samples
) -> jax.Array:
    """Evaluation-mode logits `[sessions, samples, outputs]` of every session as it was at its best epoch."""

    def one(state: State, hyper: Hyper, frozen: Frozen, samples: Samples) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(hyper.seed), 2**31)
        return logits_of_all(program, state.best_params, state.best_batch_stats, frozen, samples, key)

    return _each(batching, one, (states, hypers), (frozen, samples))


@functools.partial(jax.jit, static_argnums=(0, 1))
def scores(
    program: Program, batching: Batching, states: State, hypers: Hyper, frozen: Frozen, samples: Samples
) -> jax.Array:
    """Loss and accuracy `[sessions, 2]`, means over samples, of every session as it is now."""

    def one(state: State, hyper: Hyper, frozen: Frozen, samples: Samples) -> jax.Array:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(hyper.seed), 2**31 + 1), state.epoch)
        return evaluate(program, state.params, state.batch_stats, frozen, samples, key)[0]

    return _each(batching, one, (states, hypers), (frozen, samples))


def epochs(
    program: Program,
    batching: Batching,
    hypers: Hyper,
    count: int,
    train: Samples,
    validation: Samples,
    frozen: Frozen = NOTHING,
) -> Iterator[tuple[State, Metrics]]:
    """States and metrics after epoch 0, 1, … `count`; ends before where every session has stopped."""
    states, metrics = start(program, batching, hypers, frozen, train, validation)
    yield states, metrics
    for _ in range(count):
        if program.goal is not None and bool(np.asarray(states.stopped).all()):
            return
        states, metrics = advance(program, batching, states, hypers, frozen, train, validation)
        yield states, metrics


class Finished(NamedTuple):
    """Sessions that ran to their end, with the session axis first.

    Attributes:
        hypers: of each, NumPy `[sessions]`.
        metrics: each `[sessions, epochs + 1]`; NaN after an epoch at which the goal was reached.
        states: their last ones, with the best parameters.
    """

    hypers: Hyper
    metrics: Metrics
    states: State


def run_sessions(
    program: Program,
    count: int,
    hypers: Hyper,
    train: Samples,
    validation: Samples,
    frozen: Frozen = NOTHING,
    batching: Batching = TOGETHER,
    done: Callable[[], None] = lambda: None,
) -> Finished:
    """Runs sessions to epoch `count`, all in one chunk; `done` is called after every epoch of training.

    A session's random numbers derive from its seed alone: sessions of one seed start from the same head and see the
    samples in the same order at every learning rate, and a result does not depend on what runs beside it.
    """
    on_device = jax.tree.map(jnp.asarray, hypers)
    by_epoch = []
    for last, metrics in epochs(program, batching, on_device, count, train, validation, frozen):
        states = last
        by_epoch.append(jax.tree.map(np.asarray, metrics))
        if len(by_epoch) > 1:
            done()
    missing = count + 1 - len(by_epoch)
    stacked = jax.tree.map(lambda *values: np.stack(values, axis=1), *by_epoch)
    padded = jax.tree.map(lambda values: np.pad(values, ((0, 0), (0, missing)), constant_values=np.nan), stacked)
    return Finished(hypers, padded, states)


def run_chunks(
    program: Program,
    count: int,
    hypers: Hyper,
    train: Samples,
    validation: Samples,
    batching: Batching = TOGETHER,
    together: int = 32,
    done: Callable[[int], None] = lambda count: None,
) -> Iterator[tuple[Finished, int]]:
    """Runs sessions of heads as `run_sessions` does, at most `together` at once.

    Yields:
        The sessions of each chunk, and how many of them count; `done` is told so many after every epoch.
    """
    for of_chunk, number in chunks(hypers, together, batching.devices):
        told = functools.partial(done, number)
        yield run_sessions(program, count, of_chunk, train, validation, batching=batching, done=told), number
