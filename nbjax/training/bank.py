"""The feature bank: the frozen prefix run once over every distinct input, its outputs on disk."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from nbjax.errors import InputError
from nbjax.files import replacing
from nbjax.models import Backbone
from nbjax.models.network import forward
from nbjax.progress import bar
from nbjax.samples.reading import Dataset, columns, image_batches
from nbjax.training.inputs import View, inputs, text, to_network, window

# The fastest on two cores for most networks (`benchmarks/forward.md`).
BATCH_SIZE = 16
# bfloat16 is stored as its bits, since NumPy's file format has no name for it.
DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(np.uint16)}
PIXELS = "pixels"


class Bank(NamedTuple):
    """What a stage after a cut takes, for a whole dataset.

    Attributes:
        folder: where the `.npy` files lie.
        inputs: by split, `[samples * crops, …]`, memory-mapped; windows of a sample lie together.
        columns: by split, the samples' label, family, slide, x, y and transform, each `[samples]`.
        conventions: by split, as `nbjax.training.inputs.to_network` gives them, where the bank holds pixels; else empty.
        crops: windows a sample.
    """

    folder: Path | None
    inputs: Mapping[str, np.ndarray]
    columns: Mapping[str, Mapping[str, np.ndarray]]
    conventions: Mapping[str, np.ndarray] = {}
    crops: int = 1


def fingerprint(tree: Any) -> str:
    """sha256 over the names, shapes and values of a tree of arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def feature_bank(
    dataset: Dataset, backbone: Backbone, start: str | None, view: View, parent: str | Path, dtype: str = "float32"
) -> Bank:
    """Opens the bank of this dataset, backbone, cut and view below `parent`, and first makes what of it is missing.

    A sample is standardised with its split's moments, cropped or scaled, mapped to the backbone's own input convention,
    and run through the backbone in evaluation mode up to stage `start`. With `start` None the bank holds the samples'
    own pixels, and whatever draws a window does so later.

    Args:
        dataset: the built one.
        backbone: whose prefix runs.
        start: the first stage that does not.
        view: of the study; `random` needs `start` None.
        parent: the folder of banks.
        dtype: `float32` or `bfloat16`, of the outputs.

    Raises:
        InputError: too little room on the disk; a bank file of another shape or damaged, a bank description that does
            not match its name.
    """
    folder, key, shapes, stored = _layout(dataset, backbone, start, view, Path(parent), dtype)
    _describe(folder / "bank.json", key)
    check_room(folder, missing_bytes(dataset, backbone, start, view, parent, dtype))
    for split, shape in shapes.items():
        if not _path(folder, split).is_file():
            blocks = _pixels(dataset, split) if start is None else _outputs(dataset, split, backbone, start, view)
            label = "pixels" if start is None else f"{backbone.network.name} to {start}"
            _write(_path(folder, split), blocks, shape, stored, f"{label}, {split}", len(dataset.samples[split]))
    opened = {split: _open(_path(folder, split), shape, stored) for split, shape in shapes.items()}
    if start is not None and dtype == "bfloat16":
        opened = {split: array.view(ml_dtypes.bfloat16) for split, array in opened.items()}
    conventions = {split: to_network(dataset, split, backbone.network) for split in shapes} if start is None else {}
    crops = 1 if start is None else view.crops
    return Bank(folder, opened, {split: columns(dataset, split) for split in dataset.splits}, conventions, crops)


def _layout(
    dataset: Dataset, backbone: Backbone, start: str | None, view: View, parent: Path, dtype: str
) -> tuple[Path, dict[str, Any], dict[str, tuple[int, ...]], np.dtype[Any]]:
    """A bank's folder, all that it depends on, the shape of each split's array, and their type as stored."""
    key = {
        "dataset": dataset.card["sha256"],
        "dataset_config": dataset.card["config"],
        "standardisation": dataset.card["standardisation"],
    }
    row, crops = row_of(backbone, start, view), 1
    if start is None:
        key |= {"cut": PIXELS, "dtype": "float32" if dataset.is_standardised else "uint8"}
        stored = np.dtype(key["dtype"])
    else:
        weights = fingerprint((backbone.params, backbone.batch_stats))
        name = backbone.network.name
        key |= {"backbone": name, "weights": weights, "cut": start, "view": text(view), "dtype": dtype}
        stored, crops = DTYPES[dtype], view.crops
    folder = parent / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    shapes = {split: (len(samples) * crops, *row) for split, samples in dataset.samples.items()}
    return folder, key, shapes, stored


def _path(folder: Path, split: str) -> Path:
    return folder / f"{split}.npy"


def row_of(backbone: Backbone, start: str | None, view: View) -> tuple[int, ...]:
    """Shape of one row of a bank: an input of stage `start`, or a stored sample."""
    if start is None:
        return (view.edge, view.edge, 3)
    image = jax.ShapeDtypeStruct((1, view.size, view.size, 3), jnp.float32)

    def run(params: Any, batch_stats: Any, image: Any) -> jax.Array:
        return forward(backbone.network, params, batch_stats, image, stop=start)[0]

    return tuple(jax.eval_shape(run, backbone.params, backbone.batch_stats, image).shape[1:])


def _describe(path: Path, key: Mapping[str, Any]) -> None:
    """Writes what a bank is made of, or checks it."""
    if not path.is_file():
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(key, indent=1, sort_keys=True))
        return
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: not a bank's description ({error}); remove its folder and run again.") from error
    plain = json.loads(json.dumps(key))
    other = sorted(name for name in {*found, *plain} if found.get(name) != plain.get(name))
    if other:
        raise InputError(
            f"{path}: the bank has another {other[0]} than its name says; remove its folder and run again."
        )


def missing_bytes(
    dataset: Dataset, backbone: Backbone, start: str | None, view: View, parent: str | Path, dtype: str
) -> int:
    """Bytes that `feature_bank` would still write to the disk."""
    folder, _, shapes, stored = _layout(dataset, backbone, start, view, Path(parent), dtype)
    missing = [shape for split, shape in shapes.items() if not _path(folder, split).is_file()]
    return sum(int(np.prod(shape, dtype=np.int64)) for shape in missing) * stored.itemsize


def check_room(folder: Path, needed: int) -> None:
    """Raises InputError unless the disk has room for so many bytes of banks."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: the feature banks take {needed / 2**30:.1f} GiB and the disk has {free / 2**30:.1f} GiB free; "
            "choose another --banks, fewer fidelity.crops, bank_dtype bfloat16, or strategies with a later cut."
        )


def _pixels(dataset: Dataset, split: str) -> Iterator[np.ndarray]:
    yield from image_batches(dataset, split, BATCH_SIZE)


def _outputs(dataset: Dataset, split: str, backbone: Backbone, start: str, view: View) -> Iterator[np.ndarray]:
    """The prefix's outputs by batches `[samples * crops, …]`."""
    convention = jnp.asarray(to_network(dataset, split, backbone.network))
    first = 0
    for pixels in image_batches(dataset, split, BATCH_SIZE):
        # A short last batch is filled up, so that the network is compiled for one shape only.
        padded = np.zeros((BATCH_SIZE, *pixels.shape[1:]), pixels.dtype)
        padded[: len(pixels)] = pixels
        rows = jnp.arange(first, first + BATCH_SIZE)
        draws = [
            np.asarray(backbone.prefix(_look(view, jnp.asarray(padded), convention, rows, draw), start))
            for draw in range(view.crops)
        ]
        found = np.stack(draws, axis=1)[: len(pixels)]
        yield found.reshape(-1, *found.shape[2:])
        first += BATCH_SIZE


def _look(view: View, pixels: jax.Array, convention: jax.Array, rows: jax.Array, draw: int) -> jax.Array:
    if view.crop == "none":
        return inputs(view, pixels, convention, None)
    key = jax.random.key(0)
    corners = jax.vmap(window, (None, None, 0, None))(view, key, rows, jnp.int32(draw))
    return inputs(view, pixels, convention, corners)


def _write(
    path: Path, blocks: Iterator[np.ndarray], shape: tuple[int, ...], dtype: np.dtype, label: str, samples: int
) -> None:
    with replacing(path) as temporary:
        out = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        first = 0
        for block in bar(blocks, label, "batch", -(-samples // BATCH_SIZE)):
            bits = block.astype(ml_dtypes.bfloat16).view(np.uint16) if dtype == np.uint16 else block
            out[first : first + len(block)] = bits
            first += len(block)
        out.flush()
        del out


def _open(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r")
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a feature bank file ({error}); remove it and run again.") from error
    if array.shape != shape or array.dtype != dtype:
        raise InputError(
            f"{path}: holds {array.dtype} {array.shape}; expected {dtype} {shape}; remove it and run again."
        )
    return array
