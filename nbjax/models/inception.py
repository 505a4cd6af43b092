"""Inception v3 (Szegedy et al. 2015), as torchvision has it."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from nbjax.models.layers import (
    ConvNorm,
    Dropout,
    GlobalAverage,
    Linear,
    MaxPool,
    Mode,
    Rescale,
    average_pool,
    chain,
    global_average,
    max_pool,
)
from nbjax.models.network import Network, Stage
from nbjax.samples.standardise import IMAGENET_MEAN, IMAGENET_STD


def renormalise() -> Rescale:
    """From ImageNet-normalised images to mean 0.5 and deviation 0.5, with which Inception networks were trained."""
    scale = tuple(deviation / 0.5 for deviation in IMAGENET_STD)
    shift = tuple((mean - 0.5) / 0.5 for mean in IMAGENET_MEAN)
    return Rescale(scale, shift)


class MixedA(nn.Module):
    """`[N, 35, 35, C]` to `[N, 35, 35, 224 + pool_width]`."""

    pool_width: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Four branches side by side."""
        units = ("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)
        branches = [
            chain(x, mode, ("branch1x1", 64, 1)),
            chain(x, mode, ("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)),
            chain(x, mode, *units),
            chain(average_pool(x, 3, 1, 1), mode, ("branch_pool", self.pool_width, 1)),
        ]
        return jnp.concatenate(branches, axis=-1)


class MixedB(nn.Module):
    """`[N, 35, 35, 288]` to `[N, 17, 17, 768]`."""

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Three branches side by side."""
        units = ("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3, 2)
        branches = [chain(x, mode, ("branch3x3", 384, 3, 2)), chain(x, mode, *units), max_pool(x, 3, 2)]
        return jnp.concatenate(branches, axis=-1)


class MixedC(nn.Module):
    """`[N, 17, 17, 768]` to the same shape; `width` of the 7-pixel convolutions."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Four branches side by side."""
        row, column, width = (1, 7), (7, 1), self.width
        single = ("branch7x7_1", width, 1), ("branch7x7_2", width, row), ("branch7x7_3", 192, column)
        double = (
            ("branch7x7dbl_1", width, 1),
            ("branch7x7dbl_2", width, column),
            ("branch7x7dbl_3", width, row),
            ("branch7x7dbl_4", width, column),
            ("branch7x7dbl_5", 192, row),
        )
        branches = [
            chain(x, mode, ("branch1x1", 192, 1)),
            chain(x, mode, *single),
            chain(x, mode, *double),
            chain(average_pool(x, 3, 1, 1), mode, ("branch_pool", 192, 1)),
        ]
        return jnp.concatenate(branches, axis=-1)


class MixedD(nn.Module):
    """`[N, 17, 17, 768]` to `[N, 8, 8, 1280]`."""

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Three branches side by side."""
        units = (
            ("branch7x7x3_1", 192, 1),
            ("branch7x7x3_2", 192, (1, 7)),
            ("branch7x7x3_3", 192, (7, 1)),
            ("branch7x7x3_4", 192, 3, 2),
        )
        branches = [
            chain(x, mode, ("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, 2)),
            chain(x, mode, *units),
            max_pool(x, 3, 2),
        ]
        return jnp.concatenate(branches, axis=-1)


class MixedE(nn.Module):
    """`[N, 8, 8, C]` to `[N, 8, 8, 2048]`."""

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Four branches side by side, two of which fork at their ends."""
        # In this order, which is that of the published parameters.
        row, column = (1, 3), (3, 1)
        branches = [chain(x, mode, ("branch1x1", 320, 1))]
        single = chain(x, mode, ("branch3x3_1", 384, 1))
        branches.append(chain(single, mode, ("branch3x3_2a", 384, row)))
        branches.append(chain(single, mode, ("branch3x3_2b", 384, column)))
        double = chain(x, mode, ("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3))
        branches.append(chain(double, mode, ("branch3x3dbl_3a", 384, row)))
        branches.append(chain(double, mode, ("branch3x3dbl_3b", 384, column)))
        branches.append(chain(average_pool(x, 3, 1, 1), mode, ("branch_pool", 192, 1)))
        return jnp.concatenate(branches, axis=-1)


class Auxiliary(nn.Module):
    """`[N, 17, 17, 768]` to logits `[N, 1000]`."""

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Means of 5×5 windows, two convolutions, global average, dense layer."""
        x = ConvNorm(128, 1, name="conv0")(average_pool(x, 5, 3), mode)
        x = ConvNorm(768, 5, padding=0, name="conv1")(x, mode)
        return Linear(1000, name="fc")(global_average(x))


def inception_v3(name: str = "inception_v3") -> Network:
    """Stages transform_input, Conv2d_1a_3x3 … Mixed_7c, avgpool, dropout, fc; AuxLogits beside Mixed_6e.

    The input is ImageNet-normalised, as for torchvision's other networks; the first stage re-normalises it.
    """
    stages = (
        Stage("transform_input", renormalise()),
        Stage("Conv2d_1a_3x3", ConvNorm(32, 3, 2, padding=0)),
        Stage("Conv2d_2a_3x3", ConvNorm(32, 3, padding=0)),
        Stage("Conv2d_2b_3x3", ConvNorm(64, 3)),
        Stage("maxpool1", MaxPool(3, 2)),
        Stage("Conv2d_3b_1x1", ConvNorm(80, 1)),
        Stage("Conv2d_4a_3x3", ConvNorm(192, 3, padding=0)),
        Stage("maxpool2", MaxPool(3, 2)),
        Stage("Mixed_5b", MixedA(32)),
        Stage("Mixed_5c", MixedA(64)),
        Stage("Mixed_5d", MixedA(64)),
        Stage("Mixed_6a", MixedB()),
        Stage("Mixed_6b", MixedC(128)),
        Stage("Mixed_6c", MixedC(160)),
        Stage("Mixed_6d", MixedC(160)),
        Stage("Mixed_6e", MixedC(192)),
        Stage("Mixed_7a", MixedD()),
        Stage("Mixed_7b", MixedE()),
        Stage("Mixed_7c", MixedE()),
        Stage("avgpool", GlobalAverage()),
        Stage("dropout", Dropout(0.5)),
        Stage("fc", Linear(1000)),
    )
    auxiliary = (Stage("AuxLogits", Auxiliary(), source="Mixed_6e"),)
    return Network(name, stages, 2048, input_size=299, auxiliary=auxiliary)
