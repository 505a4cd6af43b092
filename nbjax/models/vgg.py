"""VGG-11 to 19 (Simonyan and Zisserman 2014), without and with batch norm, as torchvision numbers their layers."""

import flax.linen as nn
import jax

from nbjax.models.layers import (
    BatchNorm,
    Dropout,
    GlobalAverage,
    Linear,
    MaxPool,
    Mode,
    Relu,
    adaptive_average,
    conv,
    flatten,
)
from nbjax.models.network import Network, Stage

# Convolutions between two maximum poolings, for each of the five widths.
WIDTHS = (64, 128, 256, 512, 512)
DEPTHS = {
    "vgg11": ((1, 1, 2, 2, 2), False),
    "vgg13": ((2, 2, 2, 2, 2), False),
    "vgg16": ((2, 2, 3, 3, 3), False),
    "vgg19": ((2, 2, 4, 4, 4), False),
    "vgg16_bn": ((2, 2, 3, 3, 3), True),
}


class Unit(nn.Module):
    """Convolution, batch norm if any, ReLU: layers `number`, `number + 1` of torchvision's `features`."""

    width: int
    number: int
    norm: bool

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """`[N, H, W, C]` to `[N, H, W, width]`."""
        x = conv(self.width, 3, bias=True, name=str(self.number))(x)
        if self.norm:
            x = BatchNorm(name=str(self.number + 1))(x, mode)
        return nn.relu(x)


class Pool(nn.Module):
    """`[N, H, W, 512]` to `[N, 25088]`: means over 7×7 windows, flattened channel first."""

    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """At an input of 224 pixels each window is one pixel."""
        del mode
        return flatten(adaptive_average(x, 7))


def vgg(name: str) -> Network:
    """The network of one of `DEPTHS`: a stage a layer, named by torchvision's numbers.

    Dropout comes after `avgpool`: the frozen, deterministic prefix ends before `classifier.2` at the latest.
    """
    stages = [*_features(name), Stage("avgpool", Pool())]
    for first in (0, 3):
        stages.append(Stage(f"classifier.{first}", Linear(4096)))
        stages.append(Stage(f"classifier.{first + 1}", Relu()))
        stages.append(Stage(f"classifier.{first + 2}", Dropout(0.5)))
    stages.append(Stage("classifier.6", Linear(1000)))
    return Network(name, tuple(stages), 4096)


def vgg_gap(name: str) -> Network:
    """VGG's convolutions and the mean of what they see (512 features): for weights without the dense layers.

    Args:
        name: one of `DEPTHS` with `_gap` after it.
    """
    stages = [*_features(name.removesuffix("_gap")), Stage("avgpool", GlobalAverage()), Stage("fc", Linear(1000))]
    return Network(name, tuple(stages), 512)


def _features(name: str) -> list[Stage]:
    """Convolutions and poolings of one of `DEPTHS`."""
    depths, norm = DEPTHS[name]
    stages: list[Stage] = []
    number = 0
    for width, depth in zip(WIDTHS, depths, strict=True):
        for _ in range(depth):
            stages.append(Stage(f"features.{number}", Unit(width, number, norm), "features."))
            number += 3 if norm else 2
        stages.append(Stage(f"features.{number}", MaxPool(2, 2)))
        number += 1
    return stages
