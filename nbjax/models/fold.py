"""A frozen network made faster: batch norms folded into the convolutions before them, Winograd where it wins.

Which batch norm follows which convolution is seen by running each stage once without data, so that the networks need
not say it.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from nbjax.models import winograd
from nbjax.models.anatomy import anatomy
from nbjax.models.layers import BatchNorm, Conv, DepthwiseConv, Mode, windows
from nbjax.models.network import ABSENT, Keys, Network, Tree, look, needing, stage_range


class Seen(NamedTuple):
    """A convolution of a stage.

    Attributes:
        norm: where the batch norm that takes its output is; None where there is none.
        epsilon: of that batch norm.
        module: the layer.
        shape: of its input.
    """

    norm: Keys | None
    epsilon: float
    module: nn.Module
    shape: tuple[int, ...]


def fold(network: Network, params: Tree, batch_stats: Tree, on_cpu: bool) -> tuple[Tree, Tree]:
    """The parameters and statistics of a frozen network with its batch norms folded in.

    A folded batch norm loses its parameters, its convolution gets a bias; one written otherwise has `winograd`
    or `columns` in place of `kernel`.

    Args:
        network: the architecture.
        params: by stage.
        batch_stats: by stage.
        on_cpu: write the convolutions in the ways that were measured to be faster on a CPU.
    """
    folded: dict[str, Any] = {}
    statistics: dict[str, Any] = {}
    x = jax.ShapeDtypeStruct((1, network.input_size, network.input_size, 3), jnp.float32)
    for stage in network.stages:
        variables = {"params": params[stage.name], "batch_stats": batch_stats[stage.name]}
        try:
            seen, x = _look(stage.module, variables, x)
        except ABSENT:
            # Of a partial checkpoint: whoever runs the stage is told then.
            folded[stage.name], statistics[stage.name] = variables.values()
            x = jax.ShapeDtypeStruct(anatomy(network).shapes[stage.name], jnp.float32)
            continue
        flat = {collection: flatten_dict(tree) for collection, tree in variables.items()}
        for path, convolution in seen.items():
            _fold_one(flat, path, convolution, on_cpu)
        folded[stage.name], statistics[stage.name] = (unflatten_dict(flat[name]) for name in ("params", "batch_stats"))
    return folded, statistics


def _look(module: nn.Module, variables: Tree, x: jax.ShapeDtypeStruct) -> tuple[dict[Keys, Seen], Any]:
    """The convolutions of a stage by their path, and the shape of its output."""
    convolutions: dict[Keys, Seen] = {}
    # With each output, so that its identity stays its own.
    producers: dict[int, tuple[Keys, jax.Array]] = {}

    def watch(layer: nn.Module, arguments: Any, result: Any) -> None:
        if isinstance(layer, Conv | DepthwiseConv):
            convolutions[layer.path] = Seen(None, 0.0, layer, arguments[0].shape)
            producers[id(result)] = layer.path, result
        elif isinstance(layer, BatchNorm) and id(arguments[0]) in producers:
            path = producers[id(arguments[0])][0]
            convolutions[path] = convolutions[path]._replace(norm=layer.path, epsilon=layer.epsilon)

    return convolutions, look(module, x, watch, variables)


def _fold_one(flat: dict[str, dict[Keys, Any]], path: Keys, seen: Seen, on_cpu: bool) -> None:
    """Folds the batch norm after one convolution, in place."""
    params, statistics = flat["params"], flat["batch_stats"]
    kernel = np.asarray(params[*path, "kernel"])
    if seen.norm is not None:
        scale, shift, mean, var = (
            np.asarray(tree.pop((*seen.norm, name)), np.float64)
            for tree, name in ((params, "scale"), (params, "bias"), (statistics, "mean"), (statistics, "var"))
        )
        factor = scale / np.sqrt(var + seen.epsilon)
        bias = np.asarray(params.get((*path, "bias"), 0.0))
        params[*path, "bias"] = ((bias - mean) * factor + shift).astype(np.float32)
        kernel = (kernel * factor).astype(np.float32)
    way = faster_way(seen.module, seen.shape) if on_cpu else "kernel"
    del params[*path, "kernel"]
    params[*path, way] = winograd.transform_kernel(kernel) if way == "winograd" else kernel


def faster_way(module: nn.Module, shape: tuple[int, ...]) -> str:
    """How a convolution of inputs `[N, H, W, C]` was the fastest on two cores.

    Returns:
        `winograd`, `columns` (one matrix product of the windows side by side) or `kernel` (XLA's own).
    """
    if not isinstance(module, Conv):
        return "kernel"
    fewest, height = min(shape[3], module.width), shape[1]
    square = len({side for axis in module.padding for side in axis}) == 1
    if module.kernel == (3, 3) and module.stride == 1 and square and fewest >= 32 and height <= 150:
        return "winograd"
    if module.kernel == (5, 5) and module.stride == 1 and square and fewest >= 32:
        return "winograd"
    if module.kernel in ((1, 7), (7, 1)) and module.stride == 1 and fewest >= 64:
        return "winograd"
    if module.kernel == (3, 3) and module.stride == 2 and (fewest >= 256 or shape[3] == 3):
        return "columns"
    return "kernel"


def run_folded(network: Network, params: Tree, batch_stats: Tree, x: jax.Array, stop: str) -> jax.Array:
    """What `forward` gives in evaluation mode before stage `stop`, from what `fold` gave.

    Each stage is a compiled program of its own, of which equal stages share one. On a CPU that compiles many times
    faster than the whole as one program, and runs faster too (`benchmarks.forward`, with and without `--whole`); where
    starting a program costs more than running it, compile this function.
    """
    for index in stage_range(network, None, stop):
        stage = network.stages[index]
        with needing(stage.name):
            x = _run_stage(stage.module, params[stage.name], batch_stats[stage.name], x)
    return x


@functools.partial(jax.jit, static_argnums=0)
def _run_stage(module: nn.Module, params: Any, batch_stats: Any, x: jax.Array) -> jax.Array:
    with nn.intercept_methods(_folded_layers):
        return module.apply({"params": params, "batch_stats": batch_stats}, x, Mode())


def _folded_layers(run: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
    module = context.module
    if isinstance(module, BatchNorm):
        return run(*args, **kwargs) if "params" in module.variables else args[0]
    if not isinstance(module, Conv | DepthwiseConv):
        return run(*args, **kwargs)
    params = module.variables["params"]
    if "winograd" in params or "columns" in params:
        return _convolve(module, params, args[0]) + params.get("bias", jnp.float32(0))
    result = run(*args, **kwargs)
    has_own_bias = isinstance(module, Conv) and module.bias
    return result if has_own_bias or "bias" not in params else result + params["bias"]


def _convolve(module: Conv, params: Tree, x: jax.Array) -> jax.Array:
    """A convolution written as `faster_way` says, without its bias."""
    padding = module.padding
    if "columns" in params:
        padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
        columns = jnp.concatenate(windows(padded, module.kernel[0], module.stride), axis=-1)
        return columns @ params["columns"].reshape(-1, module.width)
    if module.kernel in ((3, 3), (5, 5)):
        return winograd.convolve(x, params["winograd"], module.kernel[0], padding[0][0])
    axis = 1 if module.kernel == (7, 1) else 2
    return winograd.convolve_line(x, params["winograd"], axis, padding[axis - 1][0])
