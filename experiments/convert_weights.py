"""Published ImageNet weights into the store: download or take a file, convert, keep with its provenance.

    python -m experiments.convert_weights --backbone=resnet18
    python -m experiments.convert_weights --backbone=resnet50 --weights=IMAGENET1K_V2
    python -m experiments.convert_weights --backbone=resnet18 --file=resnet18-f37072fd.pth
    python -m experiments.convert_weights --file=net.pth      # says which network this file fits
    python -m experiments.convert_weights --list

An interrupted download goes on where it stopped when the same command is run again. Without a network, put the file
that the error names where it says, or give its path with --file. Everything lies below NBJAX_HOME (~/.cache/nbjax). The
weights of efficientnet_lite0 come with a package and need no storing.
"""

from pathlib import Path
from typing import Any

from absl import flags

from experiments.cli import run
from nbjax.english import listing
from nbjax.errors import InputError
from nbjax.files import sha256
from nbjax.weights.sources import (
    LICENSE,
    LITE0,
    describe,
    download,
    efficientnet_lite0_file,
    find_source,
    recognise,
    weight_sets,
)

BACKBONE = flags.DEFINE_string("backbone", None, "the network; `python -m experiments.models` lists them")
WEIGHTS = flags.DEFINE_string("weights", None, "IMAGENET1K_V1 or IMAGENET1K_V2; needed where both are published")
FILE = flags.DEFINE_string("file", None, "a checkpoint file that is already here (.pth, .pt, .safetensors, .npz)")
LIST = flags.DEFINE_bool("list", False, "say what is stored, and do nothing else")


def main() -> None:
    """Does what the flags say."""
    if LIST.value:
        print_stored()
        return
    path = None if FILE.value is None else Path(FILE.value)
    if BACKBONE.value is None:
        raise InputError(f"--backbone is missing; {suggestion(path)}")
    convert_weights(BACKBONE.value, WEIGHTS.value, path)


def suggestion(path: Path | None) -> str:
    """What to give as --backbone, in words."""
    if path is None:
        return "give the name of a network, `python -m experiments.models` lists them."
    from nbjax.models.convert import fitting_networks
    from nbjax.weights import read_checkpoint

    names = fitting_networks(read_checkpoint(path))
    if not names:
        return f"{path} fits none of the networks that `python -m experiments.models` lists."
    return f"{path} fits {names[0]}: give --backbone={names[0]}."


def convert_weights(backbone: str, weights: str | None, path: Path | None) -> Path:
    """Stores a set of weights, from a file or from where it is published; returns the folder."""
    # These import Flax and Orbax; missing flags are found before.
    from nbjax.models import build_network
    from nbjax.models.stored import store_weights
    from nbjax.weights.store import read_provenance

    network = build_network(backbone)
    weights = weights_of(backbone, path) if weights is None else weights
    path = published_file(backbone, weights) if path is None else path
    folder = store_weights(network, weights, path)
    note = read_provenance(folder.name)["note"]
    print(f"weights: {weights} of {backbone}, {describe(path.name, sha256(path))}{note}")
    print(f"use: python -m experiments.study --set=backbones={backbone} --set=weights={weights}")
    print(f'     nbjax.models.load_backbone("{backbone}", weights="{weights}")')
    print(f"\nstored: {folder}")
    return folder


def weights_of(backbone: str, path: Path | None) -> str:
    """The set of weights that is meant where none is named: the one that the file is, else the only one published."""
    known = recognise(sha256(path)) if path is not None and path.is_file() else None
    if known is not None and known.backbone == backbone:
        return known.weights
    published = weight_sets(backbone)
    if not published:
        raise InputError(
            f"{backbone} has no published weights to be stored; a study takes a file of its own as it is: "
            f"python -m experiments.study --set=backbones={backbone} --set=weights={path or 'FILE'}."
        )
    if len(published) != 1:
        raise InputError(f"{backbone} has the weights {listing(published)}; name one, as in --weights={published[0]}.")
    return published[0]


def published_file(backbone: str, weights: str) -> Path:
    """The file of a published set of weights, downloaded if it is not here."""
    if backbone == LITE0 and weights in weight_sets(LITE0):
        return efficientnet_lite0_file()
    source = find_source(backbone, weights)
    print(f"source: {source.address}\nlicence: {LICENSE}")
    return download(source)


def print_stored() -> None:
    """One line a stored set of weights."""
    from nbjax.weights.store import read_provenance, stored_names

    names = stored_names()
    for name in names:
        provenance: dict[str, Any] = read_provenance(name)
        words = describe(provenance["source"], provenance["source_sha256"])
        print(f"{name}: {words}{provenance['note']}, converted {provenance['date'][:10]}")
    if not names:
        print("nothing is stored")


if __name__ == "__main__":
    run(main)
