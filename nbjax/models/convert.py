"""From a published state dict to a network's trees, name by name.

The layers of a network carry the names of the published ones, so the table of names is read off the network itself.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from nbjax.models.network import Network, shapes
from nbjax.weights import match_keys

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
# Axes of a published weight in our order: convolutions [out, in, h, w] to [h, w, in, out], dense [out, in] to [in, out].
# A depthwise filter [C, 1, h, w] becomes [h, w, 1, C] by the same rule.
AXES = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
# torchvision's published DenseNet files still have the names of torchvision 0.2: `denselayer1.norm.1.weight`.
OLD_DENSE = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.([12])\.")


class Entry(NamedTuple):
    """One row of the table of names.

    Attributes:
        collection: `params` or `batch_stats`.
        path: keys from the stage's name down to the leaf.
        torch_name: in the published state dict.
        torch_shape: there.
    """

    collection: str
    path: tuple[str, ...]
    torch_name: str
    torch_shape: tuple[int, ...]


def name_table(network: Network) -> list[Entry]:
    """The published name and shape of every parameter and running statistic of a network."""
    prefixes = {
        stage.name: f"{stage.name}." if stage.torch_prefix is None else stage.torch_prefix
        for stage in (*network.stages, *network.auxiliary)
    }
    table = []
    for collection, tree in zip(("params", "batch_stats"), shapes(network), strict=True):
        for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            stage, *modules, last = (key.key for key in keys)
            torch_name = prefixes[stage] + ".".join([*modules, LEAVES[last]])
            # Undo the axes' order: position i of ours came from AXES[i] of theirs.
            axes = AXES[len(leaf.shape)]
            torch_shape = tuple(leaf.shape[axes.index(axis)] for axis in range(len(axes)))
            table.append(Entry(collection, (stage, *modules, last), torch_name, torch_shape))
    return table


def convert(
    network: Network,
    state_dict: Mapping[str, np.ndarray],
    source: str = "state dict",
    partial: str | Sequence[str] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and batch statistics, each by stage, float32, of a published state dict.

    Args:
        network: the architecture.
        state_dict: arrays by published name; `num_batches_tracked` may be there or not.
        source: names the state dict in errors.
        partial: pattern or patterns, as for a shell, of published names that may be absent (`classifier.*`,
            `AuxLogits.*`). What is absent is absent from the trees too: a stage that needs it cannot be run.

    Raises:
        InputError: names that are missing or unexpected, or shapes that differ, on both sides; a pattern fits no name.
    """
    table = name_table(network)
    renamed = {OLD_DENSE.sub(r"\1\2.", name): array for name, array in state_dict.items()}
    arrays = match_keys({entry.torch_name: entry.torch_shape for entry in table}, renamed, source, partial)
    trees: dict[str, dict[str, Any]] = {
        collection: {stage.name: {} for stage in (*network.stages, *network.auxiliary)}
        for collection in ("params", "batch_stats")
    }
    for entry in table:
        if entry.torch_name not in arrays:
            continue
        node = trees[entry.collection]
        for key in entry.path[:-1]:
            node = node.setdefault(key, {})
        array = np.asarray(arrays[entry.torch_name], np.float32)
        node[entry.path[-1]] = np.ascontiguousarray(array.transpose(AXES[array.ndim]))
    return trees["params"], trees["batch_stats"]
