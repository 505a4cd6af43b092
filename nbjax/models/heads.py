"""Heads: what replaces a backbone's last layer (paper V and VI). Plain functions over plain trees."""

import itertools
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from nbjax.errors import InputError

# One dict a linear layer, first to last: kernel float32 [in, out], bias float32 [out].
HeadParams = tuple[Mapping[str, jax.Array], ...]
LEAK = 0.2


def head_sizes(feature_size: int, nonlinearities: int, outputs: int) -> tuple[int, ...]:
    """Widths from the features to the outputs: each non-linearity halves (paper VI.A).

    Raises:
        InputError: fewer than no non-linearities, no output, or more halvings than the features allow.
    """
    most = feature_size.bit_length() - 1
    if not 0 <= nonlinearities <= most:
        raise InputError(
            f"a head with {nonlinearities} non-linearities does not fit {feature_size} features; expected 0 to {most}."
        )
    if outputs < 1:
        raise InputError(f"a head with {outputs} outputs; expected 1 for two classes, else the number of classes.")
    return (*(feature_size >> k for k in range(nonlinearities + 1)), outputs)


def init_head(key: jax.Array, feature_size: int, nonlinearities: int, outputs: int) -> HeadParams:
    """Draws a head with torch's default initialisation: uniform in ±1/sqrt(inputs), weights and biases alike.

    That is what `kaiming_uniform_` with a = sqrt(5), the default of `torch.nn.Linear`, comes to.

    Args:
        key: of this session.
        feature_size: d, of the backbone.
        nonlinearities: k; 0 is the straightforward adaptation, one linear layer (paper V.A).
        outputs: 1 for two classes, else the number of classes.

    Raises:
        InputError: as `head_sizes`.
    """
    sizes = head_sizes(feature_size, nonlinearities, outputs)
    layers = []
    keys = jax.random.split(key, len(sizes) - 1)
    for layer_key, (inputs, width) in zip(keys, itertools.pairwise(sizes), strict=True):
        kernel_key, bias_key = jax.random.split(layer_key)
        bound = 1 / math.sqrt(inputs)
        layers.append(
            {
                "kernel": jax.random.uniform(kernel_key, (inputs, width), jnp.float32, -bound, bound),
                "bias": jax.random.uniform(bias_key, (width,), jnp.float32, -bound, bound),
            }
        )
    return tuple(layers)


def apply_head(params: HeadParams, features: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
    """Logits `[..., outputs]` of features `[..., d]`.

    Between two linear layers: LeakyReLU of slope 0.2, then dropout of 0.5 (paper VI.A), active where a key is given.

    Args:
        params: as `init_head` draws them.
        features: of the backbone.
        dropout_key: of this step; None is evaluation mode.
    """
    return finish_head(params[1:], features @ params[0]["kernel"] + params[0]["bias"], dropout_key)


def take_standardised(params: HeadParams, mean: jax.Array, deviation: jax.Array) -> HeadParams:
    """The head on features as they are that does what this one does on `(features - mean) / deviation`, each `[d]`."""
    first, *rest = params
    kernel = first["kernel"] / deviation[:, None]
    return ({"kernel": kernel, "bias": first["bias"] - mean @ kernel}, *rest)


def finish_head(params: HeadParams, x: jax.Array, dropout_key: jax.Array | None) -> jax.Array:
    """Logits of what the first linear layer gave, by all layers after it."""
    for index, layer in enumerate(params):
        x = jnp.where(x > 0, x, jnp.asarray(LEAK, x.dtype) * x)
        if dropout_key is not None:
            x = jnp.where(_keep(jax.random.fold_in(dropout_key, index), x.shape), x * 2, jnp.zeros((), x.dtype))
        x = x @ layer["kernel"] + layer["bias"]
    return x


def _keep(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """True with probability 1/2: each random word is good for 32 of them, which on a CPU costs a step its time."""
    count = math.prod(shape)
    words = jax.random.bits(key, (-(-count // 32), 1), jnp.uint32)
    bits = (words >> jnp.arange(32, dtype=jnp.uint32)) & jnp.uint32(1)
    return (bits == 1).reshape(-1)[:count].reshape(shape)
