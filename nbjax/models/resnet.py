"""ResNet-18 to 152 (He et al. 2015; the stride of a bottleneck sits on its 3×3 convolution, as in torchvision)."""

import flax.linen as nn
import jax

from nbjax.models.layers import BatchNorm, GlobalAverage, Linear, MaxPool, Mode, conv
from nbjax.models.network import Network, Stage

# Blocks of layer1 to layer4, and whether they are bottlenecks.
DEPTHS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}


class Stem(nn.Module):
    """`[N, 224, 224, 3]` to `[N, 112, 112, 64]`."""

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Convolution, batch norm, ReLU."""
        return nn.relu(BatchNorm(name="bn1")(conv(64, 7, 2, name="conv1")(x), mode))


class Block(nn.Module):
    """A residual block; `[N, H, W, C]` to `[N, H/stride, W/stride, width or 4 width]`."""

    width: int
    stride: int
    bottleneck: bool
    shortcut: bool

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """The branch of convolutions plus the input, projected where its shape changes."""
        # Of each convolution: width, kernel, stride.
        plan = [(self.width, 3, self.stride), (self.width, 3, 1)]
        if self.bottleneck:
            plan = [(self.width, 1, 1), (self.width, 3, self.stride), (4 * self.width, 1, 1)]
        y = x
        for index, (width, kernel, stride) in enumerate(plan, start=1):
            y = conv(width, kernel, stride, name=f"conv{index}")(y)
            y = BatchNorm(name=f"bn{index}")(y, mode)
            if index < len(plan):
                y = nn.relu(y)
        if self.shortcut:
            x = conv(plan[-1][0], 1, self.stride, name="downsample.0")(x)
            x = BatchNorm(name="downsample.1")(x, mode)
        return nn.relu(x + y)


def resnet(name: str) -> Network:
    """The network of one of `DEPTHS`: stages stem, maxpool, layer1.0 … layer4.n, avgpool, fc."""
    depths, bottleneck = DEPTHS[name]
    stages = [Stage("stem", Stem(), ""), Stage("maxpool", MaxPool(3, 2, 1))]
    for layer, blocks in enumerate(depths, start=1):
        for block in range(blocks):
            stride = 2 if layer > 1 and block == 0 else 1
            shortcut = block == 0 and (bottleneck or layer > 1)
            module = Block(64 << (layer - 1), stride, bottleneck, shortcut)
            stages.append(Stage(f"layer{layer}.{block}", module))
    stages += [Stage("avgpool", GlobalAverage()), Stage("fc", Linear(1000))]
    return Network(name, tuple(stages), 2048 if bottleneck else 512)
