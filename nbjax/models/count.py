"""How large a network is and what a forward pass costs, counted on shapes alone: no weights are drawn, nothing is
run.
"""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from nbjax.models.layers import Conv, DepthwiseConv, Linear
from nbjax.models.network import Network, look, shapes

# The layers that multiply inputs by a kernel.
WEIGHTED = (Conv, DepthwiseConv, Linear)


class Operations(NamedTuple):
    """What an evaluation-mode forward pass of one image does.

    Attributes:
        layers: convolutions and dense layers on the way from the image to the logits, projections on shortcuts and
            squeeze-and-excitation among them.
        multiply_accumulates: multiplications, each with its addition, in those layers.
    """

    layers: int
    multiply_accumulates: int


def count_parameters(network: Network, *, auxiliary: bool = True) -> int:
    """Number of trainable values; running statistics of batch norm are none.

    Args:
        network: the architecture.
        auxiliary: count the auxiliary heads too, which are used while training only.
    """
    stages = (*network.stages, *network.auxiliary) if auxiliary else network.stages
    params = shapes(network)[0]
    return sum(math.prod(leaf.shape) for stage in stages for leaf in jax.tree.leaves(params[stage.name]))


def count_operations(network: Network, size: int | None = None) -> Operations:
    """Layers and multiply-accumulates of one evaluation-mode forward pass of one image.

    The convention is that of torchvision's tables and of the paper's Table 3, where they are called FLOPS: only
    convolutions and dense layers count, one multiplication with its addition is one operation, biases, batch norms,
    activations, poolings and auxiliary heads are free.

    Args:
        network: the architecture.
        size: pixels of the square image; None: the network's published input size.
    """
    counts: list[int] = []

    def watch(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(module, WEIGHTED):
            # Each position of the output, the batch and the channels aside, uses every value of the kernel once.
            kernel = module.get_variable("params", "kernel")
            counts.append(math.prod(output.shape[1:-1]) * kernel.size)

    size = network.input_size if size is None else size
    x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    for stage in network.stages:
        x = look(stage.module, x, watch)
    return Operations(len(counts), sum(counts))
