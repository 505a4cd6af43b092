"""The feature bank: the frozen prefix run once over every distinct input, its outputs on disk."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from nbjax import files
from nbjax.errors import InputError, disk_is_full
from nbjax.files import check_seal, clear_leftovers, damage, replacing, reserve, sealing
from nbjax.locks import locked
from nbjax.models import Backbone
from nbjax.models.network import forward
from nbjax.progress import bar, say
from nbjax.samples.reading import Dataset, columns, image_batches
from nbjax.training.inputs import View, inputs, to_network, window

# The fastest on two cores for most networks (`benchmarks/forward.md`).
BATCH_SIZE = 16
# bfloat16 is stored as its bits, since NumPy's file format has no name for it.
DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(np.uint16)}
PIXELS = "pixels"
DESCRIPTION = "bank.json"


class Bank(NamedTuple):
    """What a stage after a cut takes, for a whole dataset.

    Attributes:
        folder: where the `.npy` files lie.
        inputs: by split, `[samples * crops, …]`, memory-mapped; windows of a sample lie together.
        columns: by split, the samples' label, family, slide, x, y and transform, each `[samples]`.
        conventions: by split, as `nbjax.training.inputs.to_network` gives them, where the bank holds pixels; else
            empty.
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

    A file that is damaged, or without its seal, is said and made again. Each is filled by one process alone; others
    that want the same one wait for it.

    Raises:
        InputError: too little room on the disk.
    """
    folder, key, shapes, stored = _layout(dataset, backbone, start, view, Path(parent), dtype)
    try:
        opened = _open_all(folder, key, shapes, stored)
    except InputError:
        with locked(folder, "this feature bank", wait=True):
            _fill(dataset, backbone, start, view, folder, key, shapes, stored)
            opened = _open_all(folder, key, shapes, stored)
    if start is not None and dtype == "bfloat16":
        opened = {split: array.view(ml_dtypes.bfloat16) for split, array in opened.items()}
    conventions = {split: to_network(dataset, split, backbone.network) for split in shapes} if start is None else {}
    crops = 1 if start is None else view.crops
    return Bank(folder, opened, {split: columns(dataset, split) for split in dataset.splits}, conventions, crops)


def _open_all(
    folder: Path, key: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[Any]
) -> dict[str, np.ndarray]:
    if not _is_described(folder, key):
        raise InputError(f"{folder}: no bank of this description.")
    return {split: _open(_path(folder, split), shape, dtype) for split, shape in shapes.items()}


def _fill(
    dataset: Dataset,
    backbone: Backbone,
    start: str | None,
    view: View,
    folder: Path,
    key: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: np.dtype[Any],
) -> None:
    """Makes what of a bank is missing or damaged; of what is damaged it says so."""
    clear_leftovers(folder)
    if not _is_described(folder, key):
        _describe(folder, key)
    harm_of = {split: damage(_path(folder, split)) for split in shapes}
    for split, what in harm_of.items():
        if what and _path(folder, split).is_file():
            say(f"{_path(folder, split)} {what}; it is made again.")
    missing = [split for split, what in harm_of.items() if what]
    check_room(folder, sum(_bytes(shapes[split], dtype) for split in missing))
    for split in missing:
        blocks = _pixels(dataset, split) if start is None else _outputs(dataset, split, backbone, start, view)
        label = f"{'pixels' if start is None else f'{backbone.network.name} to {start}'}, {split}"
        _write(_path(folder, split), blocks, shapes[split], dtype, label, len(dataset.samples[split]))


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
        key |= {"backbone": name, "weights": weights, "cut": start, "view": list(view), "dtype": dtype}
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


def _description(key: Mapping[str, Any]) -> bytes:
    return json.dumps(key, indent=1, sort_keys=True).encode()


def _is_described(folder: Path, key: Mapping[str, Any]) -> bool:
    path = folder / DESCRIPTION
    return path.is_file() and path.read_bytes() == _description(key)


def _describe(folder: Path, key: Mapping[str, Any]) -> None:
    """Writes what a bank is made of; files of a bank that was described otherwise are removed."""
    if (folder / DESCRIPTION).is_file():
        say(
            f"{folder / DESCRIPTION} is damaged, or of another bank than its folder's name says; the bank is made "
            "again."
        )
        for other in folder.glob("*.npy"):
            other.unlink()
    with replacing(folder / DESCRIPTION) as temporary:
        temporary.write_bytes(_description(key))


def missing_files(
    dataset: Dataset, backbone: Backbone, start: str | None, view: View, parent: str | Path, dtype: str
) -> dict[Path, int]:
    """The files that `feature_bank` would still write, and the bytes of each; backbones share those of pixels."""
    folder, _, shapes, stored = _layout(dataset, backbone, start, view, Path(parent), dtype)
    paths = {_path(folder, split): _bytes(shape, stored) for split, shape in shapes.items()}
    return {path: size for path, size in paths.items() if not path.is_file()}


def _bytes(shape: tuple[int, ...], stored: np.dtype[Any]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * stored.itemsize


def check_room(folder: Path, needed: int) -> None:
    """Raises InputError unless the disk has room for so many bytes of banks."""
    advice = (
        "make room there, choose another --banks, --set=bank_dtype=bfloat16, fewer crops, as in "
        "--set=fidelity.crops=1, or strategies with a later cut"
    )
    files.check_room(folder, needed, "the feature banks take", advice)


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
        outputs = np.stack(draws, axis=1)[: len(pixels)]
        yield outputs.reshape(-1, *outputs.shape[2:])
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
    """Writes a bank's file whole or not at all, in order: a mapped file kills the process where the disk gets full."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    try:
        with sealing(path) as temporary, temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.flush()
            # Taken before the work, so that of two processes which found the same room free one is told at once.
            reserve(file, file.tell() + _bytes(shape, dtype))
            rows = 0
            for block in bar(blocks, label, "batch", -(-samples // BATCH_SIZE)):
                bits = block.astype(ml_dtypes.bfloat16).view(np.uint16) if dtype == np.uint16 else block
                file.write(np.ascontiguousarray(bits, dtype).data)
                rows += len(block)
            if rows != shape[0]:
                raise ValueError(f"{path}: {rows} of {shape[0]} rows were written")
    except OSError as error:
        if not disk_is_full(error):
            raise
        raise InputError(
            f"{path}: the disk got full ({_bytes(shape, dtype) / 2**30:.2f} GiB were wanted); make room there or "
            "choose another --banks; the same command goes on from what is finished."
        ) from error


def _open(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    check_seal(path, "the same command makes it again")
    try:
        array: np.ndarray = np.load(path, mmap_mode="r")
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a feature bank file ({error}); remove it and run again.") from error
    if array.shape != shape or array.dtype != dtype:
        raise InputError(
            f"{path}: holds {array.dtype} {array.shape}; expected {dtype} {shape}; remove it and run again."
        )
    return array
