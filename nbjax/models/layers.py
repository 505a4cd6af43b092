"""Layers with torch's arithmetic and names, explicit paddings, and an explicit mode."""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

Padding = Sequence[tuple[int, int]]


class Mode(NamedTuple):
    """How a forward pass behaves.

    Attributes:
        train: dropout is active.
        batch_statistics: batch norm normalises by the batch and updates its running statistics; else it uses the
            running ones.
    """

    train: bool = False
    batch_statistics: bool = False


EVALUATION = Mode()


class Pointwise(nn.Module):
    """A 1×1 convolution as a matrix product, which XLA runs about twice as fast on a CPU."""

    width: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[N, H, W, C]` to `[N, H/stride, W/stride, width]`."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (1, 1, x.shape[-1], self.width), jnp.float32)
        return x[:, :: self.stride, :: self.stride] @ kernel[0, 0].astype(x.dtype)


def conv(width: int, kernel: int, stride: int = 1, padding: Padding | None = None, *, name: str) -> nn.Module:
    """A square convolution without bias, `[N, H, W, C]` to `[N, H', W', width]`.

    Padding defaults to half the kernel on every side, as torchvision's models have it (XLA's SAME differs on strides).
    """
    if kernel == 1:
        return Pointwise(width, stride, name=name)
    if padding is None:
        padding = ((kernel // 2, kernel // 2), (kernel // 2, kernel // 2))
    return nn.Conv(width, (kernel, kernel), (stride, stride), padding, use_bias=False, name=name)


class BatchNorm(nn.Module):
    """Batch normalisation over `[N, H, W, C]` as torch computes it.

    Running statistics move by 0.1 towards the batch's; the running variance is the unbiased one, the batch is
    normalised by the biased one.
    """

    epsilon: float = 1e-5
    momentum: float = 0.1

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Normalises `x`; with batch statistics the collection `batch_stats` must be mutable."""
        width = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (width,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (width,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (width,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (width,), jnp.float32)
        mean, var = running_mean.value, running_var.value
        if mode.batch_statistics:
            values = x.astype(jnp.float32)
            mean = jnp.mean(values, axis=(0, 1, 2))
            var = jnp.mean(jnp.square(values - mean), axis=(0, 1, 2))
            count = x.size // width
            if not self.is_initializing():
                step = jnp.float32(self.momentum)
                running_mean.value += step * (mean - running_mean.value)
                running_var.value += step * (var * jnp.float32(count / (count - 1)) - running_var.value)
        factor = scale * jax.lax.rsqrt(var + jnp.float32(self.epsilon))
        return x * factor.astype(x.dtype) + (bias - mean * factor).astype(x.dtype)


class DepthwiseConv(nn.Module):
    """One k×k filter a channel, as a sum of k×k shifted products.

    XLA's own depthwise convolution on a CPU is 20 to 40 times slower than this form, which it fuses into one loop.
    """

    kernel: int
    stride: int
    padding: Padding

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[N, H, W, C]` to `[N, H', W', C]`."""
        k, s = self.kernel, self.stride
        weights = self.param("kernel", nn.initializers.lecun_normal(), (k, k, 1, x.shape[-1]), jnp.float32)
        x = jnp.pad(x, ((0, 0), *self.padding, (0, 0)))
        height, width = ((x.shape[axis] - k) // s + 1 for axis in (1, 2))
        shifted = (
            x[:, i : i + s * (height - 1) + 1 : s, j : j + s * (width - 1) + 1 : s] * weights[i, j].astype(x.dtype)
            for i in range(k)
            for j in range(k)
        )
        return sum(shifted, start=jnp.zeros((), x.dtype))


def max_pool(x: jax.Array, kernel: int, stride: int, padding: int = 0) -> jax.Array:
    """Largest value of each window; the padding never wins."""
    return nn.max_pool(x, (kernel, kernel), (stride, stride), ((padding, padding), (padding, padding)))


def global_average(x: jax.Array) -> jax.Array:
    """Mean over height and width: `[N, H, W, C]` to `[N, C]`."""
    return jnp.mean(x, axis=(1, 2))


class Linear(nn.Module):
    """A dense layer, a stage of its own: `[N, C]` to `[N, width]`."""

    width: int
    layer: str

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Applies the layer; `mode` changes nothing."""
        del mode
        return nn.Dense(self.width, name=self.layer)(x)
