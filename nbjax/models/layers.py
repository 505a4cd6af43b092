"""Layers with torch's arithmetic and names, explicit paddings, and an explicit mode.

Activations keep the type of the input: float32, or bfloat16 for speed on accelerators. Parameters, batch statistics and
the arithmetic of batch norm are float32.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

# Pixels before and after, for height and for width.
Padding = tuple[tuple[int, int], tuple[int, int]]
HE = nn.initializers.he_normal()


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """Convolution of `[N, H, W, C]` by `[h, w, C, K]`, or of each channel alone by `[h, w, 1, C]`.

    On a CPU kernels of 1×1 are matrix products, filters of one channel sums of shifted products, and gradients matrix
    products: XLA's own are many times slower there. Everywhere else all are XLA's, whose compiler for GPUs dies of a
    strided slice that goes into a matrix product.
    """
    return _by_platform(_forward_on_cpu, _forward, x, kernel, stride=stride, padding=padding)


def _by_platform(on_cpu: Callable[..., Any], elsewhere: Callable[..., Any], *arrays: jax.Array, **static: Any) -> Any:
    """Chosen when a program is compiled and not when it is traced: what is traced once may run on several platforms."""
    return jax.lax.platform_dependent(
        *arrays, cpu=functools.partial(on_cpu, **static), default=functools.partial(elsewhere, **static)
    )


def _is_depthwise(x: jax.Array, kernel: jax.Array) -> bool:
    return kernel.shape[2] != x.shape[3]


def _forward(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    layout, groups = ("NHWC", "HWIO", "NHWC"), x.shape[3] // kernel.shape[2]
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=layout, feature_group_count=groups
    )


def _forward_on_cpu(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    if _is_depthwise(x, kernel):
        return _shifted_products(x, kernel, stride, padding)
    if kernel.shape[:2] == (1, 1):
        return _views(x, kernel, stride, padding)[0] @ kernel[0, 0]
    return _forward(x, kernel, stride, padding)


def _views(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> list[jax.Array]:
    if any(map(any, padding)):
        x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    return taps(x, (kernel.shape[0], kernel.shape[1]), stride)


def _shifted_products(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    weights = kernel.reshape(-1, x.shape[3])
    views = _views(x, kernel, stride, padding)
    return functools.reduce(operator.add, [view * weight for view, weight in zip(views, weights, strict=True)])


def _backward(
    x: jax.Array, kernel: jax.Array, gradient: jax.Array, stride: int, padding: Padding, forward: Any = _forward
) -> tuple[jax.Array, jax.Array]:
    of_x, of_kernel = jax.vjp(lambda x, kernel: forward(x, kernel, stride, padding), x, kernel)[1](gradient)
    return of_x, of_kernel


def _backward_on_cpu(
    x: jax.Array, kernel: jax.Array, gradient: jax.Array, stride: int, padding: Padding
) -> tuple[jax.Array, jax.Array]:
    if _is_depthwise(x, kernel):
        return _backward(x, kernel, gradient, stride, padding, _shifted_products)
    columns, back = jax.vjp(lambda x: jnp.concatenate(_views(x, kernel, stride, padding), axis=-1), x)
    width = kernel.shape[3]
    flat, rows = gradient.reshape(-1, width), columns.reshape(-1, columns.shape[-1])
    (of_x,) = back((flat @ kernel.reshape(-1, width).T).reshape(columns.shape))
    return of_x, (rows.T @ flat).reshape(kernel.shape)


convolve.defvjp(
    lambda x, kernel, stride, padding: (convolve(x, kernel, stride, padding), (x, kernel)),
    lambda stride, padding, saved, gradient: _by_platform(
        _backward_on_cpu, _backward, *saved, gradient, stride=stride, padding=padding
    ),
)


class Conv(nn.Module):
    """A convolution `[N, H, W, C]` to `[N, H', W', width]`; see `conv`."""

    width: int
    kernel: tuple[int, int]
    stride: int
    padding: Padding
    bias: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the layer."""
        kernel = self.param("kernel", HE, (*self.kernel, x.shape[-1], self.width), jnp.float32).astype(x.dtype)
        x = convolve(x, kernel, self.stride, self.padding)
        if self.bias:
            x = x + self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32).astype(x.dtype)
        return x


def conv(
    width: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    padding: int | Padding | None = None,
    *,
    bias: bool = False,
    name: str,
) -> Conv:
    """A convolution of the given output width, kernel (height, width) and stride.

    Padding defaults to half the kernel on every side, as torchvision's models have it (XLA's SAME differs on strides).
    """
    height, width_ = (kernel, kernel) if isinstance(kernel, int) else kernel
    if padding is None:
        padding = ((height // 2, height // 2), (width_ // 2, width_ // 2))
    elif isinstance(padding, int):
        padding = ((padding, padding), (padding, padding))
    return Conv(width, (height, width_), stride, padding, bias, name=name)


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
        values = x.astype(jnp.float32)
        if mode.batch_statistics:
            mean = jnp.mean(values, axis=(0, 1, 2))
            var = jnp.mean(jnp.square(values - mean), axis=(0, 1, 2))
            count = x.size // width
            step = jnp.float32(self.momentum)
            running_mean.value += step * (mean - running_mean.value)
            running_var.value += step * (var * jnp.float32(count / (count - 1)) - running_var.value)
        factor = scale * jax.lax.rsqrt(var + jnp.float32(self.epsilon))
        return (values * factor + (bias - mean * factor)).astype(x.dtype)


class ConvNorm(nn.Module):
    """Convolution, batch norm with epsilon 1e-3 and ReLU, under the names `conv` and `bn`: Inception's unit."""

    width: int
    kernel: int | tuple[int, int]
    stride: int = 1
    padding: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """`[N, H, W, C]` to `[N, H', W', width]`."""
        x = conv(self.width, self.kernel, self.stride, self.padding, name="conv")(x)
        return nn.relu(BatchNorm(1e-3, name="bn")(x, mode))


# Of one unit: its name, width, kernel; and its stride where that is not 1, the padding then being 0.
Unit = tuple[str, int, int | tuple[int, int]] | tuple[str, int, int | tuple[int, int], int]


def chain(x: jax.Array, mode: Mode, *units: Unit) -> jax.Array:
    """`ConvNorm` units one after the other, as in the branches of Inception's blocks; call it in a compact method."""
    for name, width, kernel, *stride in units:
        x = ConvNorm(width, kernel, *stride, padding=0 if stride else None, name=name)(x, mode)
    return x


def windows(x: jax.Array, kernel: int, stride: int) -> list[jax.Array]:
    """The kernel² shifted views of `[N, H, W, C]`, each `[N, H', W', C]`, row by row."""
    return taps(x, (kernel, kernel), stride)


def taps(x: jax.Array, kernel: tuple[int, int], stride: int) -> list[jax.Array]:
    """The shifted views of `[N, H, W, C]` that a kernel (height, width) sees, each `[N, H', W', C]`, row by row."""
    height, width = ((size - side) // stride + 1 for size, side in zip(x.shape[1:3], kernel, strict=True))
    rows, columns = stride * (height - 1) + 1, stride * (width - 1) + 1
    return [x[:, i : i + rows : stride, j : j + columns : stride] for i in range(kernel[0]) for j in range(kernel[1])]


class DepthwiseConv(nn.Module):
    """One k×k filter a channel."""

    kernel: int
    stride: int
    padding: Padding

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[N, H, W, C]` to `[N, H', W', C]`."""
        kernel = self.param("kernel", HE, (self.kernel, self.kernel, 1, x.shape[-1]), jnp.float32).astype(x.dtype)
        return convolve(x, kernel, self.stride, self.padding)


def max_pool(x: jax.Array, kernel: int, stride: int, padding: int = 0, *, ceil: bool = False) -> jax.Array:
    """Largest value of each window of `[N, H, W, C]`; the padding never wins.

    With `ceil` a last window may hang over the end, as torch's `ceil_mode` has it, but must begin before the padding.
    """
    extra = [0, 0]
    if ceil:
        rest = [(size + 2 * padding - kernel) % stride for size in x.shape[1:3]]
        extra = [stride - r if r > 0 and kernel - (stride - r) > padding else 0 for r in rest]
    pads = [(0, 0), *((padding, padding + more) for more in extra), (0, 0)]
    padded = jnp.pad(x, pads, constant_values=-jnp.inf)
    return functools.reduce(jnp.maximum, windows(padded, kernel, stride))


def average_pool(x: jax.Array, kernel: int, stride: int, padding: int = 0) -> jax.Array:
    """Mean of each window of `[N, H, W, C]`; zeros of the padding count, as torch's default has it."""
    padded = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    return functools.reduce(operator.add, windows(padded, kernel, stride)) / jnp.asarray(kernel**2, x.dtype)


def global_average(x: jax.Array) -> jax.Array:
    """Mean over height and width: `[N, H, W, C]` to `[N, C]`."""
    return jnp.mean(x, axis=(1, 2))


def adaptive_average(x: jax.Array, size: int) -> jax.Array:
    """Means over size×size windows that cover `[N, H, W, C]` as evenly as pixels allow: `[N, size, size, C]`.

    Window i of n pixels goes from floor(i n / size) to ceil((i + 1) n / size), torch's `AdaptiveAvgPool2d`.
    """
    if x.shape[1:3] == (size, size):
        return x
    rows, columns = (jnp.asarray(_shares(length, size), x.dtype) for length in x.shape[1:3])
    return jnp.einsum("nhwc,ih,jw->nijc", x, rows, columns)


def _shares(length: int, size: int) -> np.ndarray:
    """Weight of each of `length` pixels in each of `size` means, `[size, length]`."""
    weights = np.zeros((size, length))
    for i in range(size):
        first, last = i * length // size, -(-(i + 1) * length // size)
        weights[i, first:last] = 1 / (last - first)
    return weights


def flatten(x: jax.Array) -> jax.Array:
    """`[N, H, W, C]` to `[N, C H W]`, channel first as torch flattens."""
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)


class Linear(nn.Module):
    """A dense layer: `[N, C]` to `[N, width]`."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode = EVALUATION) -> jax.Array:
        """Applies the layer; `mode` changes nothing."""
        del mode
        kernel = self.param("kernel", HE, (x.shape[-1], self.width), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.width,), jnp.float32)
        return x @ kernel.astype(x.dtype) + bias.astype(x.dtype)


class Relu(nn.Module):
    """ReLU as a stage."""

    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Any shape; `mode` changes nothing."""
        del mode
        return nn.relu(x)


class Dropout(nn.Module):
    """Dropout, active where `mode.train`; `whole` drops all of an example (stochastic depth, Huang et al. 2016)."""

    rate: float
    whole: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """`[N, …]`; what is kept is scaled up, so that the mean stays."""
        if not mode.train:
            return x
        shape = (x.shape[0], *(1,) * (x.ndim - 1)) if self.whole else x.shape
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, shape)
        return jnp.where(keep, x / jnp.asarray(1 - self.rate, x.dtype), jnp.zeros((), x.dtype))


class MaxPool(nn.Module):
    """`max_pool` as a stage."""

    kernel: int
    stride: int
    padding: int = 0
    ceil: bool = False

    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """`[N, H, W, C]` to `[N, H', W', C]`."""
        del mode
        return max_pool(x, self.kernel, self.stride, self.padding, ceil=self.ceil)


class GlobalAverage(nn.Module):
    """`global_average` as a stage."""

    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """`[N, H, W, C]` to `[N, C]`."""
        del mode
        return global_average(x)


class Rescale(nn.Module):
    """Maps each channel linearly, `scale * x + shift`, as a stage."""

    scale: tuple[float, ...]
    shift: tuple[float, ...]

    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """`[N, H, W, 3]`."""
        del mode
        return x * jnp.asarray(self.scale, x.dtype) + jnp.asarray(self.shift, x.dtype)
