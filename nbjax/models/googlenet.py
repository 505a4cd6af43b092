"""GoogLeNet (Szegedy et al. 2014) with batch norm, as torchvision has it: 3×3 where the paper has 5×5."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from nbjax.models.inception import renormalise
from nbjax.models.layers import (
    ConvNorm,
    Dropout,
    GlobalAverage,
    Linear,
    MaxPool,
    Mode,
    adaptive_average,
    chain,
    flatten,
    max_pool,
)
from nbjax.models.network import Network, Stage

# Of each block: 1×1; 3×3 reduced, 3×3; second 3×3 reduced, second 3×3; after the maximum.
WIDTHS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
# Pooling that follows a block, with its kernel.
POOLS = {"3b": ("maxpool3", 3), "4e": ("maxpool4", 2)}


class Inception(nn.Module):
    """`[N, H, W, C]` to `[N, H, W, C']`; `widths` as in `WIDTHS`."""

    widths: tuple[int, int, int, int, int, int]

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Four branches side by side."""
        single, reduced, triple, reduced2, triple2, pooled = self.widths
        branches = [
            chain(x, mode, ("branch1", single, 1)),
            chain(x, mode, ("branch2.0", reduced, 1), ("branch2.1", triple, 3)),
            chain(x, mode, ("branch3.0", reduced2, 1), ("branch3.1", triple2, 3)),
            chain(max_pool(x, 3, 1, 1), mode, ("branch4.1", pooled, 1)),
        ]
        return jnp.concatenate(branches, axis=-1)


class Auxiliary(nn.Module):
    """`[N, H, W, C]` to logits `[N, 1000]`."""

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Means of 4×4 windows, a convolution, two dense layers."""
        x = flatten(ConvNorm(128, 1, name="conv")(adaptive_average(x, 4), mode))
        x = nn.relu(Linear(1024, name="fc1")(x))
        return Linear(1000, name="fc2")(Dropout(0.7)(x, mode))


def googlenet(name: str = "googlenet") -> Network:
    """Stages transform_input, conv1 … inception5b, avgpool, dropout, fc; aux1 and aux2 beside 4a and 4d.

    The input is ImageNet-normalised, as for torchvision's other networks; the first stage re-normalises it.
    """
    stages = [
        Stage("transform_input", renormalise()),
        Stage("conv1", ConvNorm(64, 7, 2)),
        Stage("maxpool1", MaxPool(3, 2, ceil=True)),
        Stage("conv2", ConvNorm(64, 1)),
        Stage("conv3", ConvNorm(192, 3)),
        Stage("maxpool2", MaxPool(3, 2, ceil=True)),
    ]
    for block, widths in WIDTHS.items():
        stages.append(Stage(f"inception{block}", Inception(widths)))
        if block in POOLS:
            pool, kernel = POOLS[block]
            stages.append(Stage(pool, MaxPool(kernel, 2, ceil=True)))
    stages += [Stage("avgpool", GlobalAverage()), Stage("dropout", Dropout(0.2)), Stage("fc", Linear(1000))]
    auxiliary = (
        Stage("aux1", Auxiliary(), source="inception4a"),
        Stage("aux2", Auxiliary(), source="inception4d"),
    )
    return Network(name, tuple(stages), 1024, auxiliary=auxiliary)
