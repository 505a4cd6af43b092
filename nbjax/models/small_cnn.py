"""The small network of the paper's leakage experiments: no published weights, trained from scratch."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from nbjax.models.layers import Dropout, Linear, Mode, conv, flatten, max_pool
from nbjax.models.network import Network, Stage

WIDTHS = (32, 32, 64, 64)
LEAK = 0.01


class Unit(nn.Module):
    """A 3×3 convolution without padding, then the largest value of each 2×2 window; no activation."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """`[N, H, W, C]` to `[N, (H - 2) // 2, (W - 2) // 2, width]`."""
        del mode
        return max_pool(conv(self.width, 3, padding=0, bias=True, name="conv")(x), 2, 2)


class Flatten(nn.Module):
    """`[N, H, W, C]` to `[N, C H W]`."""

    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Channel first; `mode` changes nothing."""
        del mode
        return flatten(x)


class LeakyRelu(nn.Module):
    """LeakyReLU of slope 0.01 as a stage."""

    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Any shape; `mode` changes nothing."""
        del mode
        return jnp.where(x > 0, x, jnp.asarray(LEAK, x.dtype) * x)


def small_cnn(name: str = "small_cnn") -> Network:
    """Stages conv1 … conv4, flatten (9,216 values at 224 pixels), fc1, leaky, dropout, fc2."""
    stages = [Stage(f"conv{number}", Unit(width)) for number, width in enumerate(WIDTHS, 1)]
    stages += [
        Stage("flatten", Flatten()),
        Stage("fc1", Linear(128)),
        Stage("leaky", LeakyRelu()),
        Stage("dropout", Dropout(0.1)),
        Stage("fc2", Linear(1)),
    ]
    return Network(name, tuple(stages), 128)
