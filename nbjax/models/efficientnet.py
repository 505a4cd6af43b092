"""EfficientNet-B0 (Tan and Le 2019), as torchvision has it."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from nbjax.models.layers import BatchNorm, DepthwiseConv, Dropout, GlobalAverage, Linear, Mode, conv
from nbjax.models.network import Network, Stage

# Of each group of blocks: repeats, kernel, stride of the first, expansion, output width.
GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# Of the last block; the others drop less, in proportion to their place.
STOCHASTIC_DEPTH = 0.2


class Unit(nn.Module):
    """Convolution, batch norm and SiLU, under torchvision's names `0` and `1`."""

    width: int
    kernel: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """`[N, H, W, C]` to `[N, H/stride, W/stride, width]`."""
        x = conv(self.width, self.kernel, self.stride, name="0")(x)
        return nn.silu(BatchNorm(name="1")(x, mode))


class Block(nn.Module):
    """An inverted residual block: expand, filter each channel, squeeze and excite, project."""

    width: int
    kernel: int
    stride: int
    expansion: int
    drop: float

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """`[N, H, W, C]` to `[N, H/stride, W/stride, width]`; adds its input where the shapes agree."""
        y, number = x, 0
        if self.expansion > 1:
            y = conv(x.shape[-1] * self.expansion, 1, name="block.0.0")(y)
            y = nn.silu(BatchNorm(name="block.0.1")(y, mode))
            number = 1
        half = (self.kernel // 2, self.kernel // 2)
        y = DepthwiseConv(self.kernel, self.stride, (half, half), name=f"block.{number}.0")(y)
        y = nn.silu(BatchNorm(name=f"block.{number}.1")(y, mode))
        squeezed = jnp.mean(y, axis=(1, 2), keepdims=True)
        squeezed = nn.silu(conv(x.shape[-1] // 4, 1, bias=True, name=f"block.{number + 1}.fc1")(squeezed))
        y = y * nn.sigmoid(conv(y.shape[-1], 1, bias=True, name=f"block.{number + 1}.fc2")(squeezed))
        y = conv(self.width, 1, name=f"block.{number + 2}.0")(y)
        y = BatchNorm(name=f"block.{number + 2}.1")(y, mode)
        if self.stride > 1 or x.shape[-1] != self.width:
            return y
        return x + Dropout(self.drop, whole=True)(y, mode)


def efficientnet_b0(name: str = "efficientnet_b0") -> Network:
    """Stages features.0, features.1.0 … features.7.0, features.8, avgpool, classifier.0 (dropout), classifier.1."""
    stages = [Stage("features.0", Unit(32, 3, 2))]
    count = sum(group[0] for group in GROUPS)
    for number, (repeats, kernel, stride, expansion, width) in enumerate(GROUPS, start=1):
        for repeat in range(repeats):
            drop = STOCHASTIC_DEPTH * (len(stages) - 1) / count
            block = Block(width, kernel, stride if repeat == 0 else 1, expansion, drop)
            stages.append(Stage(f"features.{number}.{repeat}", block))
    stages += [
        Stage("features.8", Unit(1280, 1)),
        Stage("avgpool", GlobalAverage()),
        Stage("classifier.0", Dropout(0.2)),
        Stage("classifier.1", Linear(1000)),
    ]
    return Network(name, tuple(stages), 1280)
