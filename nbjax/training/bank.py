"""The feature bank: the frozen prefix run once over every sample, its outputs on disk."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from nbjax.errors import InputError
from nbjax.files import replacing
from nbjax.models import Backbone
from nbjax.progress import bar
from nbjax.samples.reading import Dataset, centre_crop, columns, image_batches, standardised

BATCH_SIZE = 32


class Bank(NamedTuple):
    """Prefix outputs of a dataset.

    Attributes:
        folder: where the `.npy` files lie.
        features: by split, float32 `[samples, features]`, memory-mapped.
        columns: by split, the samples' label, family, slide, x, y and transform, each `[samples]`.
    """

    folder: Path
    features: Mapping[str, np.ndarray]
    columns: Mapping[str, Mapping[str, np.ndarray]]


def fingerprint(tree: Any) -> str:
    """sha256 over the names, shapes and values of a tree of arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def feature_bank(dataset: Dataset, backbone: Backbone, input_size: int, parent: str | Path) -> Bank:
    """Opens the bank of this dataset, backbone and crop below `parent`, and first makes what of it is missing.

    A sample is standardised with its split's moments, its middle `input_size` square is cut out, mapped to the
    backbone's own input convention, and run through the backbone in evaluation mode up to its last layer.

    Raises:
        InputError: a bank file of another shape, or a bank description that does not match its name.
    """
    key = {
        "dataset": dataset.card["sha256"],
        "dataset_config": dataset.card["config"],
        "standardisation": dataset.card["standardisation"],
        "backbone": backbone.network.name,
        "weights": fingerprint((backbone.params, backbone.batch_stats)),
        "cut": "last layer",
        "crop": f"centre {input_size}",
        "dtype": "float32",
    }
    folder = Path(parent) / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    features = {}
    for split, samples in dataset.samples.items():
        path = folder / f"{split}.npy"
        if not path.is_file():
            _extract(dataset, split, backbone, input_size, path)
        features[split] = _open(path, (len(samples), backbone.feature_size))
    description = folder / "bank.json"
    if not description.is_file():
        with replacing(description) as temporary:
            temporary.write_text(json.dumps(key, indent=1, sort_keys=True))
    return Bank(folder, features, {split: columns(dataset, split) for split in dataset.splits})


def _extract(dataset: Dataset, split: str, backbone: Backbone, input_size: int, path: Path) -> None:
    samples = len(dataset.samples[split])
    batches = image_batches(dataset, split, BATCH_SIZE)
    label = f"{backbone.network.name} features, {split}"
    with replacing(path) as temporary:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        shape = (samples, backbone.feature_size)
        out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        for index, pixels in enumerate(bar(batches, label, "batch", -(-samples // BATCH_SIZE))):
            images = backbone.from_standardised(standardised(dataset, split, centre_crop(pixels, input_size)))
            # A short last batch is filled up, so that the network is compiled for one shape only.
            padded = np.zeros((BATCH_SIZE, *images.shape[1:]), np.float32)
            padded[: len(images)] = images
            start = index * BATCH_SIZE
            out[start : start + len(images)] = np.asarray(backbone.features(padded))[: len(images)]
        out.flush()
        del out


def _open(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r")
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a feature bank file ({error}); remove it and run again.") from error
    if array.shape != shape:
        raise InputError(f"{path}: holds features of shape {array.shape}; expected {shape}; remove it and run again.")
    return array
