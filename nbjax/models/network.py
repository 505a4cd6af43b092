"""A network is an ordered list of named stages; any cut between two of them gives a prefix and a suffix."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from nbjax.models.layers import EVALUATION, Mode

# By stage, then Linen's own nesting. Parameters and batch statistics are trees of their own.
Tree = Mapping[str, Any]


class Stage(NamedTuple):
    """One step of a network.

    Attributes:
        name: unique in its network; where a cut can be.
        module: Linen, called with (x, mode).
        torch_prefix: what stands before the names of the module's layers in the published state dict.
    """

    name: str
    module: nn.Module
    torch_prefix: str


class Network(NamedTuple):
    """An architecture.

    Attributes:
        name: as `load_backbone` takes it.
        stages: first to last; the last one is the classifier's last layer alone.
        input_size: pixels of the square input it was published with.
        feature_size: width of the last layer's input.
    """

    name: str
    stages: tuple[Stage, ...]
    input_size: int
    feature_size: int


def stage_range(network: Network, start: str | None, stop: str | None) -> tuple[Stage, ...]:
    """The stages from `start` (included; None: the first) to `stop` (left out; None: none).

    Raises:
        ValueError: the network has no such stage, or `stop` lies before `start`.
    """
    names = [stage.name for stage in network.stages]
    for name in (start, stop):
        if name is not None and name not in names:
            raise ValueError(f"{network.name} has no stage {name!r}; its stages are {', '.join(names)}.")
    first = 0 if start is None else names.index(start)
    last = len(names) if stop is None else names.index(stop)
    if last < first:
        raise ValueError(f"stage {stop!r} of {network.name} lies before {start!r}; swap them.")
    return network.stages[first:last]


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
) -> tuple[jax.Array, dict[str, Any], dict[str, jax.Array]]:
    """Runs the stages from `start` (included) to `stop` (left out).

    Args:
        network: the architecture.
        params: by stage.
        batch_stats: by stage.
        x: images `[N, H, W, 3]`, or what the stage before `start` gave.
        start: name of the first stage to run; None is the network's first.
        stop: name of the stage before which to stop; None runs all.
        mode: dropout and batch norm.
        dropout_key: needed where `mode.train` and a stage has dropout.

    Returns:
        The last stage's output, the batch statistics after the pass (by stage, all of the network's) and each stage's
        output by its name.
    """
    statistics = dict(batch_stats)
    outputs = {}
    for index, stage in enumerate(stage_range(network, start, stop)):
        variables = {"params": params.get(stage.name, {}), "batch_stats": batch_stats.get(stage.name, {})}
        rngs = None if dropout_key is None else {"dropout": jax.random.fold_in(dropout_key, index)}
        if mode.batch_statistics:
            x, changed = stage.module.apply(variables, x, mode, rngs=rngs, mutable=["batch_stats"])
            if "batch_stats" in changed:
                statistics[stage.name] = changed["batch_stats"]
        else:
            x = stage.module.apply(variables, x, mode, rngs=rngs)
        outputs[stage.name] = x
    return x, statistics, outputs


def initialise(network: Network, key: jax.Array) -> tuple[dict[str, Any], dict[str, Any]]:
    """Random parameters and fresh batch statistics, each by stage."""
    params, batch_stats = {}, {}
    x = jnp.zeros((1, network.input_size, network.input_size, 3), jnp.float32)
    for index, stage in enumerate(network.stages):
        variables = stage.module.init(jax.random.fold_in(key, index), x, EVALUATION)
        shape = jax.eval_shape(lambda v, x, module=stage.module: module.apply(v, x, EVALUATION), variables, x)
        x = jnp.zeros(shape.shape, shape.dtype)
        params[stage.name] = variables.get("params", {})
        batch_stats[stage.name] = variables.get("batch_stats", {})
    return params, batch_stats
