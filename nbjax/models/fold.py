"""A frozen network made faster: batch norms folded into the convolutions before them, Winograd where it wins.

Which batch norm follows which convolution is seen by running each stage once without data, so that the networks need not
say it.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from nbjax.models import winograd
from nbjax.models.layers import EVALUATION, BatchNorm, Conv, DepthwiseConv, Mode
from nbjax.models.network import Network, Tree, stage_range

Path = tuple[str, ...]


class Seen(NamedTuple):
    """A convolution of a stage.

    Attributes:
        norm: where the batch norm that takes its output is; None where there is none.
        epsilon: of that batch norm.
        winograd: whether it has the form that `nbjax.models.winograd` computes.
        shape: of its input.
    """

    norm: Path | None
    epsilon: float
    winograd: bool
    shape: tuple[int, ...]


def fold(network: Network, params: Tree, batch_stats: Tree, use_winograd: bool) -> tuple[Tree, Tree]:
    """The parameters and statistics of a frozen network with its batch norms folded in.

    A folded batch norm loses its parameters, its convolution gets a bias; a convolution for Winograd has `winograd` in
    place of `kernel`.

    Args:
        network: the architecture.
        params: by stage.
        batch_stats: by stage.
        use_winograd: for the convolutions for which it was measured to win on a CPU.
    """
    folded: dict[str, Any] = {}
    statistics: dict[str, Any] = {}
    x = jax.ShapeDtypeStruct((1, network.input_size, network.input_size, 3), jnp.float32)
    for stage in network.stages:
        variables = {"params": params[stage.name], "batch_stats": batch_stats[stage.name]}
        seen, x = _look(stage.module, variables, x)
        flat = {collection: _flatten(tree) for collection, tree in variables.items()}
        for path, convolution in seen.items():
            _fold_one(flat, path, convolution, use_winograd)
        folded[stage.name], statistics[stage.name] = (_unflatten(flat[name]) for name in ("params", "batch_stats"))
    return folded, statistics


def _look(module: nn.Module, variables: Tree, x: jax.ShapeDtypeStruct) -> tuple[dict[Path, Seen], Any]:
    """The convolutions of a stage by their path, and the shape of its output."""
    found: dict[Path, Seen] = {}
    # With each output, so that its identity stays its own.
    producers: dict[int, tuple[Path, jax.Array]] = {}

    def watch(run: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        one = context.module
        result = run(*args, **kwargs)
        if isinstance(one, Conv | DepthwiseConv):
            form = isinstance(one, Conv) and (one.kernel, one.stride, one.padding) == ((3, 3), 1, ((1, 1), (1, 1)))
            found[one.path] = Seen(None, 0.0, form, args[0].shape)
            producers[id(result)] = one.path, result
        elif isinstance(one, BatchNorm) and id(args[0]) in producers:
            path = producers[id(args[0])][0]
            found[path] = found[path]._replace(norm=one.path, epsilon=one.epsilon)
        return result

    def apply(x: jax.Array) -> jax.Array:
        with nn.intercept_methods(watch):
            return module.apply(variables, x, EVALUATION)

    return found, jax.eval_shape(apply, x)


def _fold_one(flat: dict[str, dict[Path, Any]], path: Path, seen: Seen, use_winograd: bool) -> None:
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
    if use_winograd and seen.winograd and wins(seen.shape, kernel.shape[-1]):
        del params[*path, "kernel"]
        params[*path, "winograd"] = winograd.transform_kernel(kernel)
    else:
        params[*path, "kernel"] = kernel


def wins(shape: tuple[int, ...], width: int) -> bool:
    """Whether Winograd was the faster one on two cores, for an input `[N, H, W, C]` and the number of output channels."""
    return min(shape[3], width) >= 64 and shape[1] <= 112


def run_folded(network: Network, params: Tree, batch_stats: Tree, x: jax.Array, stop: str) -> jax.Array:
    """What `forward` gives in evaluation mode before stage `stop`, from what `fold` gave."""
    for index in stage_range(network, None, stop):
        stage = network.stages[index]
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
    if "winograd" in params:
        return winograd.convolve(args[0], params["winograd"]) + params.get("bias", jnp.float32(0))
    result = run(*args, **kwargs)
    has_own_bias = isinstance(module, Conv) and module.bias
    return result if has_own_bias or "bias" not in params else result + params["bias"]


def _flatten(tree: Tree, path: Path = ()) -> dict[Path, Any]:
    flat: dict[Path, Any] = {}
    for name, value in tree.items():
        flat.update(_flatten(value, (*path, name)) if hasattr(value, "items") else {(*path, name): value})
    return flat


def _unflatten(flat: dict[Path, Any]) -> Tree:
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        node = tree
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node[path[-1]] = value
    return tree
