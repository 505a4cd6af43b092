"""Many sessions in one compiled program."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nbjax.training.session import Hyper, Metrics, Params, Samples, Settings, run


class Sessions(NamedTuple):
    """Finished sessions, all arrays with the session axis first.

    Attributes:
        learning_rates: float `[sessions]`.
        seeds: int `[sessions]`.
        metrics: each `[sessions, epochs + 1]`.
        best_params: of each session's kept epoch, stacked.
        best_epochs: int `[sessions]`.
    """

    learning_rates: np.ndarray
    seeds: np.ndarray
    metrics: Metrics
    best_params: Params
    best_epochs: np.ndarray


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run_all(
    settings: Settings, epochs: int, keys: jax.Array, hypers: Hyper, train: Samples, validation: Samples
) -> tuple[Params, jax.Array, Metrics]:
    def one(key: jax.Array, hyper: Hyper) -> tuple[Params, jax.Array, Metrics]:
        state, metrics = run(settings, epochs, key, hyper, train, validation)
        return state.best_params, state.best_epoch, metrics

    return jax.vmap(one)(keys, hypers)


def run_sessions(
    settings: Settings,
    epochs: int,
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    train: Samples,
    validation: Samples,
) -> Sessions:
    """Runs every learning rate with every seed.

    A session's key derives from its seed alone: sessions of one seed start from the same head and see the samples in
    the same order at every learning rate, and a session's result does not depend on what runs beside it.
    """
    rates, numbers = np.repeat(np.asarray(learning_rates), len(seeds)), np.tile(np.asarray(seeds), len(learning_rates))
    keys = jax.vmap(jax.random.key)(jnp.asarray(numbers, jnp.uint32))
    params, epochs_kept, metrics = _run_all(
        settings, epochs, keys, Hyper(jnp.asarray(rates, jnp.float32)), train, validation
    )
    return Sessions(rates, numbers, jax.tree.map(np.asarray, metrics), params, np.asarray(epochs_kept))
