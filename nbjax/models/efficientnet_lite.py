"""EfficientNet-lite0 (Tan and Le 2019, the variant without squeeze-and-excitation, with ReLU6).

Names and shapes are those of the published file `efficientnet-lite0-57934424.pth`.
"""

import flax.linen as nn
import jax

from nbjax.models.layers import BatchNorm, DepthwiseConv, Dropout, GlobalAverage, Linear, Mode, Padding, conv
from nbjax.models.network import Network, Stage

EPSILON = 1e-3
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


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME for one axis: the odd pixel goes to the end."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _padding(x: jax.Array, kernel: int, stride: int) -> Padding:
    return (same_padding(x.shape[1], kernel, stride), same_padding(x.shape[2], kernel, stride))


class Stem(nn.Module):
    """`[N, 224, 224, 3]` to `[N, 112, 112, 32]`."""

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Convolution, batch norm, ReLU6."""
        x = conv(32, 3, 2, _padding(x, 3, 2), name="_conv_stem")(x)
        return nn.relu6(BatchNorm(EPSILON, name="_bn0")(x, mode))


class Block(nn.Module):
    """An inverted residual block: expand, filter each channel, project."""

    width: int
    kernel: int
    stride: int
    expansion: int

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """`[N, H, W, C]` to `[N, H/stride, W/stride, width]`; adds its input where the shapes agree."""
        y = x
        if self.expansion > 1:
            y = conv(x.shape[-1] * self.expansion, 1, name="_expand_conv")(y)
            y = nn.relu6(BatchNorm(EPSILON, name="_bn0")(y, mode))
        padding = _padding(y, self.kernel, self.stride)
        y = DepthwiseConv(self.kernel, self.stride, padding, name="_depthwise_conv")(y)
        y = nn.relu6(BatchNorm(EPSILON, name="_bn1")(y, mode))
        y = conv(self.width, 1, name="_project_conv")(y)
        y = BatchNorm(EPSILON, name="_bn2")(y, mode)
        return x + y if self.stride == 1 and x.shape[-1] == self.width else y


class Top(nn.Module):
    """`[N, 7, 7, 320]` to `[N, 7, 7, 1280]`."""

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Convolution, batch norm, ReLU6."""
        return nn.relu6(BatchNorm(EPSILON, name="_bn1")(conv(1280, 1, name="_conv_head")(x), mode))


def efficientnet_lite0(name: str = "efficientnet_lite0") -> Network:
    """Stages stem, blocks.0 … blocks.15, top, avgpool, dropout, fc; input (pixel - 127) / 128."""
    stages = [Stage("stem", Stem(), "")]
    for repeats, kernel, stride, expansion, width in GROUPS:
        for repeat in range(repeats):
            number = len(stages) - 1
            block = Block(width, kernel, stride if repeat == 0 else 1, expansion)
            stages.append(Stage(f"blocks.{number}", block, f"_blocks.{number}."))
    stages += [
        Stage("top", Top(), ""),
        Stage("avgpool", GlobalAverage()),
        Stage("dropout", Dropout(0.2)),
        Stage("fc", Linear(1000), "_fc."),
    ]
    return Network(name, tuple(stages), 1280, mean=(127 / 255,) * 3, deviation=(128 / 255,) * 3)
