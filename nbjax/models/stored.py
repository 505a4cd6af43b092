"""Weights of a network by name or file: which are meant, into the store, out of it, and in words where they came
from.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from nbjax.english import listing
from nbjax.errors import InputError
from nbjax.files import sha256
from nbjax.models.convert import fit
from nbjax.models.network import Network, shapes
from nbjax.weights.checkpoint import open_checkpoint
from nbjax.weights.sources import LITE0, SOURCES, describe, efficientnet_lite0_file, find_source, recognise, weight_sets
from nbjax.weights.store import is_stored, load_tree, save_tree

# Parameters and batch statistics, each by stage.
Trees = tuple[dict[str, Any], dict[str, Any]]

RANDOM = "random"
"""The weights that a user asks for by this name are drawn."""


def choose_weights(backbone: str, weights: str) -> str:
    """The name of a published set of weights; `imagenet` means the only one, or the only one that is stored.

    Raises:
        InputError: there is no such set, or `imagenet` could mean two.
    """
    published = weight_sets(backbone)
    if not published:
        raise InputError(
            f"{backbone} has no published weights, and {weights!r} was asked for; ask for random ones, and let a study "
            f"train it from them (--set=weights=random --set=strategies=scratch)."
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
        f"{backbone} has the ImageNet weights {listing(published)}, which give different results; name one of them "
        f"instead of 'imagenet'."
    )


def check_weights(network: Network, weights: str) -> None:
    """Looks whether the weights that a user names are there, without reading them.

    Raises:
        InputError: they are not published, not stored and no file.
    """
    if weights == RANDOM:
        return
    if _is_path(weights):
        _check_file(network, Path(weights))
    elif network.name == LITE0 and weights in ("imagenet", *weight_sets(LITE0)):
        efficientnet_lite0_file()
    else:
        _check_stored(network, choose_weights(network.name, weights))


def find_weights(
    network: Network, weights: str, partial: str | Sequence[str] | None = None, headless: bool = False
) -> tuple[Trees, str]:
    """Trees of the weights that a user names, and in words and by sha256 where they came from; nothing is downloaded.

    Args:
        network: the architecture.
        weights: as `load_backbone` takes them.
        partial: of a file, as `fit` takes it.
        headless: of a file, as `fit` takes it.

    Raises:
        InputError: they are neither stored nor a file, or do not fit.
    """
    if _is_path(weights):
        return _read(network, Path(weights), partial, headless)
    if partial is not None:
        raise InputError(f"weights {weights!r} are stored whole; patterns of what may be absent go with a file's path.")
    chosen = choose_weights(network.name, weights)
    if network.name == LITE0 and not is_stored(store_name(network.name, chosen)):
        return _read(network, efficientnet_lite0_file(), None, headless)
    return _load(network, chosen)


def _is_path(weights: str) -> bool:
    return weights != "imagenet" and weights not in {source.weights for source in SOURCES}


def store_weights(network: Network, weights: str, path: Path) -> Path:
    """Converts a checkpoint file and stores it as a published set of weights; returns the folder.

    A file whose sha256 is not the published one is taken too (a copy in another layout has another); what
    `find_weights` says of it then says so.

    Raises:
        InputError: there is no such set, or the file cannot be read, does not fit the network, or is another published
            set of weights.
    """
    if weights not in weight_sets(network.name):
        find_source(network.name, weights)
    (params, batch_stats), note = _fit_file(network, path)
    known = recognise(sha256(path))
    if known is not None and known.weights != weights:
        raise InputError(f"{path} is torchvision's {known.weights} of {known.backbone}, not {weights}; give that name.")
    return save_tree(store_name(network.name, weights), {"params": params, "batch_stats": batch_stats}, path, note)


def store_name(backbone: str, weights: str) -> str:
    """The name under which a set of weights is stored."""
    return f"{backbone}-{weights}"


def _read(network: Network, path: Path, partial: str | Sequence[str] | None, headless: bool) -> tuple[Trees, str]:
    _check_file(network, path)
    trees, note = _fit_file(network, path, partial, headless)
    return trees, describe(path.name, sha256(path)) + note


def _fit_file(
    network: Network, path: Path, partial: str | Sequence[str] | None = None, headless: bool = False
) -> tuple[Trees, str]:
    """Trees of a file, and in words what had to be understood in it."""
    checkpoint = open_checkpoint(path)
    fitted = fit(network, checkpoint.arrays, str(path), partial, headless)
    under = f", read from its key {checkpoint.under!r}" if checkpoint.under else ""
    return fitted.trees, under + fitted.note


def _check_file(network: Network, path: Path) -> None:
    if path.is_file():
        return
    known = ", ".join(
        dict.fromkeys((*(("imagenet",) if weight_sets(network.name) else ()), *weight_sets(network.name)))
    )
    close = difflib.get_close_matches(str(path), ("imagenet", RANDOM, *weight_sets(network.name)), n=1)
    hint = f"did you mean {close[0]}? expected" if close else "expected"
    raise InputError(
        f"weights {str(path)!r} of {network.name}: there is no such file; {hint} "
        f"{known + ', ' if known else ''}{RANDOM}, or the path of a .pth, .pt, .safetensors or .npz file."
    )


def _command(network: Network, weights: str) -> str:
    flag = f" --weights={weights}" if len(weight_sets(network.name)) > 1 else ""
    return f"`python -m experiments.convert_weights --backbone={network.name}{flag}`"


def _check_stored(network: Network, weights: str) -> None:
    if not is_stored(store_name(network.name, weights)):
        raise InputError(
            f"the weights {weights} of {network.name} are not stored on this machine; run {_command(network, weights)} "
            f"once, or give the path of a checkpoint file."
        )


def _load(network: Network, weights: str) -> tuple[Trees, str]:
    _check_stored(network, weights)
    name = store_name(network.name, weights)
    tree, provenance = load_tree(name)
    trees: Any = tree.get("params"), tree.get("batch_stats")
    if _shapes(trees) != _shapes(shapes(network)):
        raise InputError(
            f"the stored weights {name} do not fit the layers of {network.name}; run {_command(network, weights)} "
            "again."
        )
    words = describe(provenance["source"], provenance["source_sha256"])
    return trees, f"{weights} from {words}{provenance['note']}, converted {provenance['date'][:10]}"


def _shapes(trees: Any) -> dict[str, tuple[int, ...]]:
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree_util.tree_flatten_with_path(trees)[0]}
