"""Many sessions in one compiled program."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from nbjax.models.heads import apply_head
from nbjax.training.session import Hyper, Metrics, Params, Samples, Settings, run, sample_losses


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


def predict(
    sessions: Sessions, which: np.ndarray, samples: Samples, columns: Mapping[str, np.ndarray], numbers: np.ndarray
) -> pa.Table:
    """Predictions of some sessions, each at its own kept epoch: one row a session and sample.

    Args:
        sessions: finished ones.
        which: int, their indices.
        samples: to predict, N of them.
        columns: of those samples, each `[N]`: slide, family, label, transform, x, y.
        numbers: of those samples, int `[N]`.

    Returns:
        Columns seed, sample, those given, probability (of class 1; of every class, `probabilities`, for more than two)
        and loss (in nats).
    """
    params = jax.tree.map(lambda leaf: leaf[which], sessions.best_params)
    logits = _apply_all(params, samples.features)
    losses = np.asarray(jax.vmap(sample_losses, (0, None))(logits, samples.labels))
    return pa.concat_tables(
        pa.table(
            {
                "seed": np.full(len(numbers), sessions.seeds[session], np.int32),
                "sample": numbers.astype(np.int32),
                **{name: columns[name] for name in ("slide", "family", "label", "transform", "x", "y")},
                **_probabilities(logits[row]),
                "loss": losses[row],
            }
        )
        for row, session in enumerate(which)
    )


@jax.jit
def _apply_all(params: Params, features: jax.Array) -> jax.Array:
    return jax.vmap(apply_head, (0, None))(params, features)


def _probabilities(logits: jax.Array) -> dict[str, Any]:
    """Of class 1 for one logit a sample, else of every class."""
    if logits.shape[1] == 1:
        return {"probability": np.asarray(jax.nn.sigmoid(logits[:, 0]))}
    return {"probabilities": list(np.asarray(jax.nn.softmax(logits, axis=-1)))}
