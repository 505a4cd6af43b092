"""Weights of a network by name or file: which are meant, into the store, out of it, and in words where they came from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from nbjax.errors import InputError
from nbjax.files import sha256
from nbjax.models.convert import convert
from nbjax.models.network import Network, shapes
from nbjax.weights import read_checkpoint
from nbjax.weights.sources import LITE0, SOURCES, describe, efficientnet_lite0_file, find_source, recognise, weight_sets
from nbjax.weights.store import is_stored, load_tree, save_tree

# Parameters and batch statistics, each by stage.
Trees = tuple[dict[str, Any], dict[str, Any]]


def choose_weights(backbone: str, weights: str) -> str:
    """The name of a published set of weights; `imagenet` means the only one, or the only one that is stored.

    Raises:
        InputError: there is no such set, or `imagenet` could mean two.
    """
    published = weight_sets(backbone)
    if not published:
        raise InputError(
            f"{backbone} has no published weights, and {weights!r} was asked for; leave weights out (None in a config), and "
            f"let a study train it with the strategy scratch."
        )
    if weights in published:
        return weights
    if weights != "imagenet":
        return find_source(backbone, weights).weights
    stored = [name for name in published if is_stored(store_name(backbone, name))]
    for names in (stored, published):
        if len(names) == 1:
            return names[0]
    raise InputError(
        f"{backbone} has the ImageNet weights {' and '.join(published)}, which give different results; name one of them "
        f"instead of 'imagenet'."
    )


def find_weights(network: Network, weights: str, partial: str | Sequence[str] | None = None) -> tuple[Trees, str]:
    """Trees of the weights that a user names, and in words and by sha256 where they came from; nothing is downloaded.

    Args:
        network: the architecture.
        weights: as `load_backbone` takes them.
        partial: of a file, as `convert` takes it.

    Raises:
        InputError: they are neither stored nor a file, or do not fit.
    """
    if weights != "imagenet" and weights not in {source.weights for source in SOURCES}:
        return _read(network, Path(weights), partial)
    if partial is not None:
        raise InputError(f"weights {weights!r} are stored whole; patterns of what may be absent go with a file's path.")
    chosen = choose_weights(network.name, weights)
    if network.name == LITE0 and not is_stored(store_name(network.name, chosen)):
        return _read(network, efficientnet_lite0_file(), None)
    return _load(network, chosen)


def store_weights(network: Network, weights: str, path: Path) -> Path:
    """Converts a checkpoint file and stores it as a published set of weights; returns the folder.

    A file whose sha256 is not the published one is taken too (a copy in another layout has another); what `find_weights`
    says of it then says so.

    Raises:
        InputError: there is no such set, or the file cannot be read, does not fit the network, or is another published
            set of weights.
    """
    if weights not in weight_sets(network.name):
        find_source(network.name, weights)
    params, batch_stats = convert(network, read_checkpoint(path), str(path))
    known = recognise(sha256(path))
    if known is not None and known.weights != weights:
        raise InputError(f"{path} is torchvision's {known.weights} of {known.backbone}, not {weights}; give that name.")
    return save_tree(store_name(network.name, weights), {"params": params, "batch_stats": batch_stats}, path)


def store_name(backbone: str, weights: str) -> str:
    """The name under which a set of weights is stored."""
    return f"{backbone}-{weights}"


def _read(network: Network, path: Path, partial: str | Sequence[str] | None) -> tuple[Trees, str]:
    if not path.is_file():
        known = ", ".join(dict.fromkeys(("imagenet", *weight_sets(network.name))))
        raise InputError(
            f"weights {str(path)!r} of {network.name}: there is no such file; expected {known}, or the path of a .pth, "
            f".pt, .safetensors or .npz file."
        )
    return convert(network, read_checkpoint(path), str(path), partial), describe(path.name, sha256(path))


def _load(network: Network, weights: str) -> tuple[Trees, str]:
    name = store_name(network.name, weights)
    flag = f" --weights={weights}" if len(weight_sets(network.name)) > 1 else ""
    command = f"`python -m experiments.convert_weights --backbone={network.name}{flag}`"
    if not is_stored(name):
        raise InputError(
            f"the weights {weights} of {network.name} are not stored on this machine; run {command} once, or give the "
            f"path of a checkpoint file."
        )
    tree, provenance = load_tree(name)
    trees: Any = tree.get("params"), tree.get("batch_stats")
    if _shapes(trees) != _shapes(shapes(network)):
        raise InputError(f"the stored weights {name} do not fit the layers of {network.name}; run {command} again.")
    words = describe(provenance["source"], provenance["source_sha256"])
    return trees, f"{weights} from {words}, converted {provenance['date'][:10]}"


def _shapes(trees: Any) -> dict[str, tuple[int, ...]]:
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree_util.tree_flatten_with_path(trees)[0]}
