"""What the stages of a network hold, seen by tracing each once without data."""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from nbjax.models.layers import BatchNorm, Conv, DepthwiseConv, Dropout, Linear
from nbjax.models.network import Network, look


class Tensor(NamedTuple):
    """A parameter: its keys from the stage's name down, and its shape."""

    path: tuple[str, ...]
    shape: tuple[int, ...]


class Anatomy(NamedTuple):
    """Of a network.

    Attributes:
        tensors: every parameter in the order in which torchvision's models list theirs, which is the order of the
            computation; auxiliary stages, whose outputs no loss of ours uses, are left out.
        batch_norm: names of the stages with batch norm.
        dropout: names of the stages with dropout or stochastic depth.
        shapes: by stage, the shape of its output for one image.
    """

    tensors: tuple[Tensor, ...]
    batch_norm: frozenset[str]
    dropout: frozenset[str]
    shapes: dict[str, tuple[int, ...]]


@functools.cache
def anatomy(network: Network) -> Anatomy:
    """Traces a network's stages."""
    tensors: list[Tensor] = []
    batch_norm, dropout = set(), set()
    outputs: dict[str, tuple[int, ...]] = {}
    x = jax.ShapeDtypeStruct((1, network.input_size, network.input_size, 3), jnp.float32)

    for stage in network.stages:

        def watch(module: nn.Module, _: Any, __: Any, name: str = stage.name) -> None:
            if isinstance(module, Conv | DepthwiseConv | BatchNorm | Linear):
                params = module.variables["params"]
                # A weight comes before its bias.
                for leaf in sorted(params, key=lambda leaf: leaf == "bias"):
                    tensors.append(Tensor((name, *module.path, leaf), params[leaf].shape))
            if isinstance(module, BatchNorm):
                batch_norm.add(name)
            if isinstance(module, Dropout) and module.rate > 0:
                dropout.add(name)

        x = look(stage.module, x, watch)
        outputs[stage.name] = x.shape
    return Anatomy(tuple(tensors), frozenset(batch_norm), frozenset(dropout), outputs)
