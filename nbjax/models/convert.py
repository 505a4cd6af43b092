"""From a published state dict to a network's trees, name by name.

The layers of a network carry the names of the published ones, so the table of names is read off the network itself.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from nbjax.english import listed
from nbjax.errors import InputError
from nbjax.models.network import Network, Stage, stage_shapes
from nbjax.models.networks import NETWORKS, build_network
from nbjax.weights.keys import is_counter, is_inside, match_keys, prefixes_of, without_prefix

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
# Axes of a published weight in our order: convolutions [out, in, h, w] to [h, w, in, out], dense [out, in] to [in,
# out]. A depthwise filter [C, 1, h, w] becomes [h, w, 1, C] by the same rule.
AXES = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
# torchvision's published DenseNet files still have the names of torchvision 0.2: `denselayer1.norm.1.weight`.
OLD_DENSE = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.([12])\.")
# Names what is no file in errors.
STATE_DICT = "state dict"


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


class Fitted(NamedTuple):
    """A state dict as a network takes it.

    Attributes:
        trees: parameters and batch statistics, each by stage, float32.
        note: in words, what had to be understood; begins with a comma, empty where there was nothing.
    """

    trees: tuple[dict[str, Any], dict[str, Any]]
    note: str


def torch_prefix(stage: Stage) -> str:
    """What stands before the names of a stage's layers in a published state dict."""
    return f"{stage.name}." if stage.torch_prefix is None else stage.torch_prefix


def _entries(stage: Stage, collection: str, tree: Any) -> Iterator[Entry]:
    for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        *modules, last = (key.key for key in keys)
        torch_name = torch_prefix(stage) + ".".join([*modules, LEAVES[last]])
        # Undo the axes' order: position i of ours came from AXES[i] of theirs.
        axes = AXES[len(leaf.shape)]
        torch_shape = tuple(leaf.shape[axes.index(axis)] for axis in range(len(axes)))
        yield Entry(collection, (stage.name, *modules, last), torch_name, torch_shape)


@functools.cache
def name_table(network: Network) -> tuple[Entry, ...]:
    """The published name and shape of every parameter and running statistic of a network."""
    seen = list(stage_shapes(network))
    params = [entry for stage, tree, _ in seen for entry in _entries(stage, "params", tree)]
    return (*params, *(entry for stage, _, tree in seen for entry in _entries(stage, "batch_stats", tree)))


def fitting_networks(state_dict: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the networks whose layers, the last one aside, are those of a state dict; the one that takes most
    first.
    """
    named = {name: array.shape for name, array in _renamed(state_dict).items() if not is_counter(name)}
    counts = {name: _used_tensors(build_network(name), named) for name in NETWORKS}
    return sorted((name for name in NETWORKS if counts[name]), key=lambda name: -counts[name])


def _used_tensors(network: Network, named: Mapping[str, tuple[int, ...]]) -> int:
    """How many tensors of a network, the last stage's aside, are there; 0 unless all and no others of its stages."""
    prefixes: set[str] | None = None
    expected: set[str] = set()
    # Stage by stage: most networks are told apart by their first.
    for stage, *trees in stage_shapes(network):
        if stage == network.stages[-1]:
            break
        for entry in (one for tree in trees for one in _entries(stage, "", tree)):
            expected.add(entry.torch_name)
            if prefixes is None:
                prefixes = prefixes_of(entry.torch_name, named)
            prefixes = {one for one in prefixes if named.get(one + entry.torch_name) == entry.torch_shape}
            if not prefixes:
                return 0
    for prefix in prefixes or ():
        inside = [name.removeprefix(prefix) for name in named if name.startswith(prefix)]
        if all(name in expected for name in inside if is_inside(name, expected, torch_prefix(network.stages[-1]))):
            return len(expected)
    return 0


def convert(
    network: Network,
    state_dict: Mapping[str, np.ndarray],
    source: str = STATE_DICT,
    partial: str | Sequence[str] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The trees that `fit` gives."""
    return fit(network, state_dict, source, partial).trees


def fit(
    network: Network,
    state_dict: Mapping[str, np.ndarray],
    source: str = STATE_DICT,
    partial: str | Sequence[str] | None = None,
    headless: bool = False,
) -> Fitted:
    """The parameters and batch statistics, each by stage, float32, of a published state dict.

    Args:
        network: the architecture.
        state_dict: arrays by published name, all of them with the same prefix or none; `num_batches_tracked` may be
            there or not.
        source: names the state dict in errors.
        partial: pattern or patterns, as for a shell, of published names that may be absent (`classifier.*`,
            `AuxLogits.*`). What is absent is absent from the trees too: a stage that needs it cannot be run.
        headless: what is not of the stages before the last one does not matter: the last stage and the auxiliary ones
            are taken where they fit, and anything else is left out.

    Raises:
        InputError: names that are missing or unexpected, or shapes that differ, on both sides; a pattern fits no name;
            values that are not finite.
    """
    before = {stage.name for stage in network.stages[:-1]}
    table = name_table(network)
    used = {entry.torch_name: entry.torch_shape for entry in table if entry.path[0] in before}
    renamed, prefix = without_prefix(
        used if headless else {entry.torch_name for entry in table}, _renamed(state_dict), source
    )
    expected = {entry.torch_name: entry.torch_shape for entry in table}
    given = renamed
    if headless:
        expected = used | _fitting_stages(network, renamed)
        last = torch_prefix(network.stages[-1])
        given = {name: array for name, array in renamed.items() if name in expected or is_inside(name, used, last)}
    try:
        arrays = match_keys(expected, given, source, partial)
    except InputError as error:
        raise InputError(f"{error}; {_advice(network, state_dict, source)}") from None
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    note = f", names taken without their prefix {prefix!r}" if prefix else ""
    left = sum(not is_counter(name) for name in state_dict) - len(arrays)
    if headless and left:
        note += f", {left} other tensors in it not used"
    return Fitted(_to_trees(network, arrays, source), note)


def _renamed(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {OLD_DENSE.sub(r"\1\2.", name): array for name, array in state_dict.items()}


def _fitting_stages(network: Network, given: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Shapes by name of the last and the auxiliary stages, those of them that are there whole, finite and of their
    shapes.
    """
    fitting: dict[str, tuple[int, ...]] = {}
    for stage in (network.stages[-1], *network.auxiliary):
        expected = {entry.torch_name: entry.torch_shape for entry in name_table(network) if entry.path[0] == stage.name}
        arrays = [given.get(name) for name in expected]
        if all(
            array is not None and array.shape == shape and array.dtype.kind == "f" and bool(np.isfinite(array).all())
            for array, shape in zip(arrays, expected.values(), strict=True)
        ):
            fitting.update(expected)
    return fitting


def _advice(network: Network, state_dict: Mapping[str, np.ndarray], source: str) -> str:
    names = fitting_networks(state_dict)
    if names and names[0] != network.name:
        return (
            f"it fits {names[0]}: name that backbone (--set=backbones={names[0]} of a study, --backbone={names[0]} of "
            f"convert_weights)"
        )
    if names and source != STATE_DICT:
        return (
            f"all before the last layer fits {network.name}, which is enough for a study "
            f"(--set=backbones={network.name} --set=weights={source}) and for nbjax.models.load_headless"
        )
    if names:
        last = torch_prefix(network.stages[-1])
        return (
            f"all before the last layer fits {network.name}: leave the names that begin with {last} out and give "
            f'partial="{last}*"'
        )
    return f"it fits none of the backbones; give a checkpoint of {network.name}"


def _to_trees(network: Network, arrays: Mapping[str, np.ndarray], source: str) -> tuple[dict[str, Any], dict[str, Any]]:
    trees: dict[str, dict[str, Any]] = {
        collection: {stage.name: {} for stage in (*network.stages, *network.auxiliary)}
        for collection in ("params", "batch_stats")
    }
    faulty = []
    for entry in name_table(network):
        if entry.torch_name not in arrays:
            continue
        node = trees[entry.collection]
        for key in entry.path[:-1]:
            node = node.setdefault(key, {})
        # A double may be too large for a float: it is counted below.
        with np.errstate(over="ignore"):
            array = arrays[entry.torch_name].astype(np.float32, copy=False)
        wrong = np.count_nonzero(~np.isfinite(array) | (array < 0 if entry.path[-1] == "var" else False))
        if wrong:
            faulty.append(f"{entry.torch_name} ({wrong:,} of {array.size:,})")
        node[entry.path[-1]] = np.ascontiguousarray(array.transpose(AXES[array.ndim]))
    if faulty:
        named = listed(faulty, 4)
        raise InputError(
            f"{source}: values that are not finite, or variances below 0, in {named}: the training that wrote these "
            f"weights had failed; give those of an earlier epoch"
        )
    return trees["params"], trees["batch_stats"]
