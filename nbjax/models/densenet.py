"""DenseNet-121 (Huang et al. 2016), as torchvision has it; a stage for each dense layer."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from nbjax.models.layers import BatchNorm, GlobalAverage, Linear, MaxPool, Mode, average_pool, conv
from nbjax.models.network import Network, Stage

DEPTHS = (6, 12, 24, 16)
GROWTH = 32


class Stem(nn.Module):
    """`[N, 224, 224, 3]` to `[N, 112, 112, 64]`."""

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Convolution, batch norm, ReLU."""
        return nn.relu(BatchNorm(name="norm0")(conv(64, 7, 2, name="conv0")(x), mode))


class DenseLayer(nn.Module):
    """`[N, H, W, C]` to `[N, H, W, C + 32]`: the input, and what it adds."""

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Batch norm, ReLU, convolution, twice."""
        y = nn.relu(BatchNorm(name="norm1")(x, mode))
        y = conv(4 * GROWTH, 1, name="conv1")(y)
        y = nn.relu(BatchNorm(name="norm2")(y, mode))
        return jnp.concatenate([x, conv(GROWTH, 3, name="conv2")(y)], axis=-1)


class Transition(nn.Module):
    """`[N, H, W, C]` to `[N, H/2, W/2, C/2]`."""

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """Batch norm, ReLU, convolution, means of 2×2."""
        y = nn.relu(BatchNorm(name="norm")(x, mode))
        return average_pool(conv(x.shape[-1] // 2, 1, name="conv")(y), 2, 2)


class Norm(nn.Module):
    """The last batch norm and ReLU."""

    @nn.compact
    def __call__(self, x: jax.Array, mode: Mode) -> jax.Array:
        """`[N, H, W, C]`."""
        return nn.relu(BatchNorm(name="norm5")(x, mode))


def densenet121(name: str = "densenet121") -> Network:
    """Stages stem, pool0, features.denseblock1.denselayer1 … features.norm5, avgpool, classifier."""
    stages = [Stage("stem", Stem(), "features."), Stage("features.pool0", MaxPool(3, 2, 1))]
    for block, depth in enumerate(DEPTHS, start=1):
        for layer in range(1, depth + 1):
            stages.append(Stage(f"features.denseblock{block}.denselayer{layer}", DenseLayer()))
        if block < len(DEPTHS):
            stages.append(Stage(f"features.transition{block}", Transition()))
    stages.append(Stage("features.norm5", Norm(), "features."))
    stages += [Stage("avgpool", GlobalAverage()), Stage("classifier", Linear(1000))]
    return Network(name, tuple(stages), 1024)
