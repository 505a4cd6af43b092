"""A network is an ordered list of named stages; any cut between two of them gives a prefix and a suffix."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from nbjax.errors import InputError
from nbjax.models.layers import EVALUATION, Mode
from nbjax.samples.standardise import IMAGENET_MEAN, IMAGENET_STD

# By stage, then Linen's own nesting. Parameters and batch statistics are trees of their own.
Tree = Mapping[str, Any]
# The way down such a tree.
Keys = tuple[str, ...]

# What Flax raises for a parameter that is not there, and for a stage with none.
ABSENT = (flax.errors.ScopeParamNotFoundError, flax.errors.ScopeCollectionNotFound)


class Stage(NamedTuple):
    """One step of a network.

    Attributes:
        name: unique in its network; where a cut can be.
        module: Linen, called with (x, mode).
        torch_prefix: what stands before the names of the module's layers in the published state dict; None: the stage's
            name and a dot.
        source: the stage whose output an auxiliary stage takes; None: the stage before it.
    """

    name: str
    module: nn.Module
    torch_prefix: str | None = None
    source: str | None = None


class Network(NamedTuple):
    """An architecture.

    Attributes:
        name: as `load_backbone` takes it.
        stages: first to last; the last one is the classifier's last layer alone.
        feature_size: width of the last layer's input.
        input_size: pixels of the square input it was published with.
        mean: per channel, subtracted from the pixels as fractions of 255.
        deviation: by which the result is divided.
        auxiliary: stages beside the path, which classify the output of their `source` while training.
    """

    name: str
    stages: tuple[Stage, ...]
    feature_size: int
    input_size: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    deviation: tuple[float, float, float] = IMAGENET_STD
    auxiliary: tuple[Stage, ...] = ()


def stage_range(network: Network, start: str | None, stop: str | None) -> range:
    """Positions of the stages from `start` (included; None: the first) to `stop` (left out; None: none).

    Raises:
        InputError: the network has no such stage, or `stop` lies before `start`.
    """
    names = [stage.name for stage in network.stages]
    for name in (start, stop):
        if name is not None and name not in names:
            raise InputError(f"{network.name} has no stage {name!r}; its stages are {', '.join(names)}.")
    first = 0 if start is None else names.index(start)
    last = len(names) if stop is None else names.index(stop)
    if last < first:
        raise InputError(f"stage {stop!r} of {network.name} lies before {start!r}; swap them.")
    return range(first, last)


def forward(
    network: Network,
    params: Tree,
    batch_stats: Tree,
    x: jax.Array,
    *,
    start: str | None = None,
    stop: str | None = None,
    mode: Mode = EVALUATION,
    dropout_key: jax.Array | None = None,
    auxiliary: bool = False,
) -> tuple[jax.Array, dict[str, Any], dict[str, jax.Array]]:
    """Runs the stages from `start` (included) to `stop` (left out).

    Args:
        network: the architecture.
        params: by stage.
        batch_stats: by stage.
        x: images `[N, H, W, 3]`, or what the stage before `start` gave; float32 or bfloat16, as the activations shall
            be.
        start: name of the first stage to run; None is the network's first.
        stop: name of the stage before which to stop; None runs all.
        mode: dropout and batch norm.
        dropout_key: needed where `mode.train` and a stage has dropout. A stage's mask does not depend on the cut.
        auxiliary: run the auxiliary stages too, each where its source is run.

    Returns:
        The last stage's output, the batch statistics after the pass (by stage, all of the network's) and the output of
        each stage that ran, by its name.
    """
    statistics = dict(batch_stats)
    outputs = {}
    beside = {stage.source: stage for stage in network.auxiliary} if auxiliary else {}
    for index in stage_range(network, start, stop):
        stage = network.stages[index]
        key = None if dropout_key is None else jax.random.fold_in(dropout_key, index)
        x, statistics[stage.name] = _apply(stage, params, batch_stats, x, mode, key)
        outputs[stage.name] = x
        if stage.name in beside:
            other = beside[stage.name]
            key = None if dropout_key is None else jax.random.fold_in(dropout_key, len(network.stages) + index)
            outputs[other.name], statistics[other.name] = _apply(other, params, batch_stats, x, mode, key)
    return x, statistics, outputs


def _apply(
    stage: Stage, params: Tree, batch_stats: Tree, x: jax.Array, mode: Mode, dropout_key: jax.Array | None
) -> tuple[jax.Array, Any]:
    """A stage's output and its batch statistics after it."""
    with needing(stage.name):
        return _apply_module(stage.module, mode, params[stage.name], batch_stats[stage.name], x, dropout_key)


@contextlib.contextmanager
def needing(stage: str) -> Iterator[None]:
    """Says in one sentence that a stage is to be run whose parameters a partial checkpoint did not have.

    Raises:
        InputError: that.
    """
    try:
        yield
    except ABSENT as error:
        raise InputError(
            f"stage {stage} cannot run: its checkpoint was read as a partial one and lacks parameters of that stage; "
            "give a whole one, or run only the stages before."
        ) from error


# Compiled by module, not by stage: the equal blocks of a deep network are traced once.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply_module(
    module: nn.Module, mode: Mode, params: Any, batch_stats: Any, x: jax.Array, dropout_key: jax.Array | None
) -> tuple[jax.Array, Any]:
    variables = {"params": params, "batch_stats": batch_stats}
    rngs = None if dropout_key is None else {"dropout": dropout_key}
    if not mode.batch_statistics or not batch_stats:
        return module.apply(variables, x, mode, rngs=rngs), batch_stats
    x, changed = module.apply(variables, x, mode, rngs=rngs, mutable=["batch_stats"])
    return x, changed["batch_stats"]


def look(
    module: nn.Module, x: jax.ShapeDtypeStruct, watch: Callable[[nn.Module, Any, Any], None], variables: Any = None
) -> jax.ShapeDtypeStruct:
    """Runs a stage without data, as in evaluation, and returns the shape of its output.

    Args:
        module: of the stage.
        x: shape of its input.
        watch: is told of every layer: the bound module, its positional arguments and what it gives, in the order in
            which they end.
        variables: the stage's; None is made up.
    """

    def seen(run: Callable[..., Any], arguments: Any, keywords: Any, context: nn.module.InterceptorContext) -> Any:
        result = run(*arguments, **keywords)
        if context.method_name == "__call__":
            watch(context.module, arguments, result)
        return result

    def apply(x: jax.Array) -> jax.Array:
        with nn.intercept_methods(seen):
            if variables is None:
                output: jax.Array = module.init_with_output(jax.random.key(0), x, EVALUATION)[0]
                return output
            return jnp.asarray(module.apply(variables, x, EVALUATION))

    return jax.eval_shape(apply, x)


def stage_shapes(network: Network) -> Iterator[tuple[Stage, dict[str, Any], dict[str, Any]]]:
    """Of each stage, the auxiliary ones last: shape and type of every parameter and of every running statistic."""
    outputs: dict[str, jax.ShapeDtypeStruct] = {}
    x = jax.ShapeDtypeStruct((1, network.input_size, network.input_size, 3), jnp.float32)
    key = jax.random.key(0)
    for stage in (*network.stages, *network.auxiliary):
        source = x if stage.source is None else outputs[stage.source]
        x, variables = jax.eval_shape(
            lambda x, key, module=stage.module: module.init_with_output(key, x, EVALUATION), source, key
        )
        outputs[stage.name] = x
        yield stage, variables.get("params", {}), variables.get("batch_stats", {})


def shapes(network: Network) -> tuple[dict[str, Any], dict[str, Any]]:
    """Shape and type of every parameter and of every running statistic, each by stage, the auxiliary stages last."""
    trees_of = {stage.name: trees for stage, *trees in stage_shapes(network)}
    params, batch_stats = ({name: trees[index] for name, trees in trees_of.items()} for index in (0, 1))
    return params, batch_stats


def initialise(network: Network, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Random parameters and fresh batch statistics, each by stage, as NumPy arrays.

    Kernels are normal with variance 2 / inputs (He et al. 2015), scales and running variances 1, all others 0.
    """
    rng = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        if name == "kernel":
            deviation = np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
            return deviation * rng.standard_normal(leaf.shape, np.float32)
        return np.full(leaf.shape, name in ("scale", "var"), np.float32)

    params, batch_stats = shapes(network)
    return jax.tree_util.tree_map_with_path(draw, params), jax.tree_util.tree_map_with_path(draw, batch_stats)
